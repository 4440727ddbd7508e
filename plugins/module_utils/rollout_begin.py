# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is asked for and what is seen to the record of a new rollout. Touches nothing, no Ansible in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils import rollout_state as state
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import PlanError, Settings, make_batches
from ansible_collections.mesops.platform.plugins.module_utils.rollout_state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.module_utils.rollout_target import (
    note_changes,
    refuse_other_version,
    refuse_unkept,
    target_of,
    versions_of,
)
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import Sight

History = Sequence[Mapping[str, Any]]


def begin_rollout(blank: Record, settings: Settings, sight: Sight, history: History) -> Record:
    """Complete a blank record: batches of the hosts that are not there yet, or no hosts when there is nothing to do."""
    refuse_silent(settings, sight)
    blank.kept_out = kept_out(settings, sight, history)
    blank.excluded = list(settings.excluded)
    blank.weights = list(settings.weights)
    blank.configuration_only = settings.configuration_only
    refuse_unkept(settings, sight)
    refuse_other_version(settings, sight)
    wanted = {host: target_of(host, settings, sight) for host in settings.hosts}
    targets = {
        host: target
        for host, target in wanted.items()
        if not _is_there(host, target, sight, blank.kept_out) or left_behind(host, history)
    }
    return _with_hosts(blank, settings, sight, history, targets)


def begin_rollback(blank: Record, settings: Settings, sight: Sight, history: History) -> Record:
    """Complete a blank record: every host goes back to what it ran before the last rollout that was done.

    Rollbacks do not count, so that the same command given twice does not bring the newer version back.
    """
    refuse_silent(settings, sight)
    done = (one for one in history if (one.get("kind"), one.get("status")) == ("rollout", state.SUCCEEDED))
    last = next((Record.from_dict(one) for one in done), None)
    if last is None:
        raise PlanError(
            f"There is no finished rollout of {settings.service.name} on record to go back from; roll out the version "
            "that you want instead."
        )
    refuse_burnt(last)
    took_part = {host: one.previous for host, one in last.hosts.items() if host in settings.hosts}
    before = {host: previous for host, previous in took_part.items() if previous}
    first = [host for host, previous in took_part.items() if not previous]
    targets = {
        host: previous
        for host, previous in before.items()
        if sight.nodes[host].current != previous or left_behind(host, history)
    }
    if not targets:
        if first and not before:
            raise PlanError(
                f"{last.id} brought the first version to {', '.join(first)}, so there is none to go back to; roll out "
                "the version that you want instead."
            )
        raise PlanError(
            f"Every host of {last.service} already runs what it ran before {last.id}; there is nothing to revert."
        )
    blank.version = versions_of(targets.values())
    blank.reason = f"reverts {last.id} of {last.version}"
    if first:
        blank.reason += f"; {', '.join(first)} had no version before it and keeps the one that it has"
    blank.kept_out = kept_out(settings, sight, history)
    blank.excluded = list(settings.excluded)
    blank.weights = [100]
    return _with_hosts(blank, settings, sight, history, targets)


def _with_hosts(
    record: Record, settings: Settings, sight: Sight, history: History, targets: Mapping[str, str]
) -> Record:
    others = (*settings.excluded, *(host for host in settings.hosts if host not in targets))
    taking_part = replace(settings, hosts=tuple(targets), excluded=others)
    record.batches = make_batches(taking_part, sight.available(), record.kept_out)
    for number, batch in enumerate(record.batches):
        for host in batch:
            last = _last(host, history)
            left = _left_out(last)
            # What an unfinished attempt has left on a host is nothing to go back to.
            before = last.get("previous") if left else sight.nodes[host].current
            if before == targets[host]:
                before = sight.nodes[host].previous
            record.hosts[host] = HostRecord(number, targets[host], before, left)
    note_changes(record, sight)
    return record


def refuse_silent(settings: Settings, sight: Sight) -> None:
    """Refuse to begin while a host that takes part gives no answer."""
    silent = [f"{host} ({sight.nodes[host].reason})" for host in settings.hosts if sight.nodes[host].reason]
    if silent:
        raise PlanError(
            f"{', '.join(silent)} gave no answer; bring it back, or leave it out with rollout_exclude, knowing that it "
            "keeps the version that it has."
        )


def refuse_burnt(record: Record) -> None:
    """Refuse to go back where a migration has closed the way."""
    if record.frozen_by:
        raise PlanError(
            f"The migration {record.frozen_by} of {record.service} {record.version} cannot be undone and has run, so "
            f"{record.id} cannot be reverted; roll forward to a corrected version."
        )


def _is_there(host: str, target: str, sight: Sight, kept: Mapping[str, Collection[str]]) -> bool:
    """Whether a host runs its target and has its whole share of traffic."""
    node = sight.nodes[host]
    return (node.current, node.running) == (target, target) and all(
        found[host].serving and found[host].percent >= 100
        for name, found in sight.servers.items()
        if host not in kept.get(name, ())
    )


def _last(host: str, history: History) -> Mapping[str, Any]:
    """What the last rollout in which a host took part says of it."""
    found: Mapping[str, Any] = next((one["hosts"][host] for one in history if host in one.get("hosts", {})), {})
    return found


def _left_out(last: Mapping[str, Any]) -> bool:
    return last.get("phase") == state.FAILED or bool(last.get("left_out") and last.get("phase") in state.UNTOUCHED)


def left_behind(host: str, history: History) -> bool:
    """Whether an earlier rollout left the host out of traffic, and no later one has brought it back."""
    return _left_out(_last(host, history))


def kept_out(settings: Settings, sight: Sight, history: History) -> dict[str, list[str]]:
    """Servers that somebody else has taken out of traffic: they are deployed to and left as they are."""
    kept = {
        name: [
            host
            for host, server in found.items()
            if host in settings.hosts and server.admin != "ready" and not left_behind(host, history)
        ]
        for name, found in sight.servers.items()
    }
    return {name: hosts for name, hosts in kept.items() if hosts}
