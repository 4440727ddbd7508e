# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new record: which hosts a rollout or a rollback works on, to what and from what. Pure, no Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import fits, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import (
    History,
    last_of,
    left_behind,
    left_out,
    part_of,
    proved,
    record_of,
    way_closed,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.kept_out import kept_out
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings, make_batches
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.refusals import (
    refuse_closed,
    refuse_half_down,
    refuse_irreversible,
    refuse_other_version,
    refuse_silent,
    refuse_unkept,
    refuse_unserved_shares,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Snapshot, down_at, is_there
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import (
    note_changes,
    target_of,
    versions_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


def begin_rollout(blank: Record, settings: Settings, snapshot: Snapshot, history: History) -> Record:
    """Complete a blank record: batches of the hosts that are not there yet, or no hosts when there is nothing to do."""
    refuse_silent(settings.hosts, snapshot)
    refuse_unserved_shares(settings, snapshot)
    blank.kept_out = kept_out(settings, snapshot, history)
    blank.excluded = list(settings.excluded)
    blank.weights = list(settings.weights)
    blank.configuration_only = settings.configuration_only
    refuse_unkept(settings, snapshot)
    refuse_other_version(settings, snapshot)
    wanted = {host: target_of(host, settings, snapshot) for host in settings.hosts}
    targets = {
        host: target
        for host, target in wanted.items()
        if not is_there(host, target, snapshot, blank.kept_out) or left_behind(host, history)
    }
    refuse_half_down(targets, snapshot, blank.kept_out)
    return with_hosts(blank, settings, snapshot, history, targets)


def with_hosts(
    record: Record, settings: Settings, snapshot: Snapshot, history: History, targets: Mapping[str, str]
) -> Record:
    """Give a record hosts and their targets, in batches."""
    others = (*settings.excluded, *(host for host in settings.hosts if host not in targets))
    taking_part = replace(settings, hosts=tuple(targets), excluded=others)
    for batch in make_batches(taking_part, snapshot.available(), record.kept_out):
        record.batches.append(batch)
        for host in batch:
            previous = way_back(host, targets[host], snapshot.nodes[host], history, record.kind)
            record.hosts[host] = HostRecord(
                len(record.batches) - 1,
                targets[host],
                previous,
                left_out(last_of(host, history)),
                down_at=down_at(host, snapshot, record.kept_out),
                way_closed=way_closed(previous, history) if record.kind == "rollout" else "",
            )
    note_changes(record, snapshot)
    return record


def way_back(host: str, target: str, node: Node, history: History, kind: str = "rollout") -> str | None:
    """The version that a host goes back to: what it runs, unless that has failed there; else what last proved itself.

    A host that runs the target already, and is only mended, goes back to it where it has proved itself.
    """
    if kind == "rollback":
        return node.current
    version, failed = proved(host, history)
    sound = [one for one in (node.current, node.running) if one not in (None, target, *failed)]
    if sound and not left_out(last_of(host, history)):
        return sound[0]
    before = version or (node.previous if node.previous not in failed else None)
    if before is None and target == node.current and target not in failed and not left_out(last_of(host, history)):
        # Nothing is known but that it ran the target when it was found.
        return target
    return before


def begin_rollback(blank: Record, settings: Settings, snapshot: Snapshot, history: History) -> Record:
    """Complete a blank record: every host that runs the last release goes back to what it ran before it.

    Rollbacks do not count, so that the same command given twice does not bring the newer version back; and after a
    rollout that came to nothing only hosts are brought back that it has left behind.
    """
    refuse_silent(settings.hosts, snapshot)
    last = next((record_of(one) for one in history if _has_said(one)), None)
    if last is None:
        raise PlanError(
            f"There is no finished rollout of {settings.service.name} on record to go back from; roll out the version "
            "that you want instead."
        )
    targets, first, oldest = _reverted(last, settings, snapshot, history)
    for one in history[: oldest + 1]:
        refuse_irreversible(record_of(one), last.id)
    for target in targets.values():
        refuse_closed(way_closed(target, history), last.id)
    if not targets:
        raise PlanError(_nothing_to_revert(last, first, _not_wholly_in(settings.hosts, snapshot, history)))
    blank.version = versions_of(targets.values())
    blank.reason = f"reverts {last.id} of {last.version}"
    if first:
        blank.reason += f"; {', '.join(first)} had no version before it and keeps the one that it has"
    blank.kept_out = kept_out(settings, snapshot, history)
    blank.excluded = list(settings.excluded)
    blank.weights = [100]
    return with_hosts(blank, settings, snapshot, history, targets)


def _has_said(one: Mapping[str, Any]) -> bool:
    """Whether a record is of a rollout that was done, or of one that came to nothing: both answer a rollback."""
    return one.get("kind") == "rollout" and one.get("status") in state.FINISHED


def _reverted(
    last: Record, settings: Settings, snapshot: Snapshot, history: History
) -> tuple[dict[str, str], list[str], int]:
    """What each host goes back to, the hosts that have nothing before, and how far back in the history that lies."""
    targets: dict[str, str] = {}
    first: list[str] = []
    at = oldest = next(number for number, one in enumerate(history) if one.get("id") == last.id)
    for host in settings.hosts:
        node = snapshot.nodes[host]
        behind = left_behind(host, history)
        # It takes part again, and whatever became of the others, nobody has judged what it runs.
        midway = host in last.left and last.left[host].phase in (*state.UNDER_WAY, state.FAILED)
        if midway or last.status != state.SUCCEEDED:
            previous = part_of(history[at], host).get("previous")
            if previous and (midway or behind):
                targets[host] = previous
            continue
        reached = last.hosts[host].target if host in last.hosts else str(node.current)
        number, before = _ran_before(host, reached, history)
        runs = any(one and fits(reached, one) for one in (node.current, node.running))
        if number is None or version_of(reached) != last.version or not (behind or runs):
            continue
        oldest = max(oldest, number)
        if before:
            targets[host] = before
        else:
            first.append(host)
    return targets, first, oldest


def _ran_before(host: str, target: str, history: History) -> tuple[int | None, str | None]:
    """Where in the history a host came to what it runs, and what it ran before that."""
    found: tuple[int | None, str | None] = (None, None)
    for number, one in enumerate(history):
        seen = one.get("hosts", {}).get(host)
        came = (one.get("kind"), one.get("status")) == ("rollout", state.SUCCEEDED)
        if came and seen and fits(str(seen.get("target")), target):
            found = (number, seen.get("previous"))
            # One that only mended the host knows nothing of what was before.
            if found[1] != target:
                break
    return (found[0], None) if found[1] == target else found


def _nothing_to_revert(last: Record, first: Sequence[str], left: Sequence[str]) -> str:
    if first and not any(one.previous for one in last.hosts.values()):
        return (
            f"{last.id} brought the first version to {', '.join(first)}, so there is none to go back to; roll out the "
            "version that you want instead."
        )
    if last.status == state.SUCCEEDED:
        nothing = f"Every host of {last.service} already runs what it ran before {last.id}; there is nothing to revert."
    else:
        came = "was rolled back by itself" if last.status == state.REVERTED else "has come to nothing"
        nothing = (
            f"The last rollout {last.id} of {last.version} {came}, so there is nothing to revert; to go further back, "
            "roll out the version that you want."
        )
    if not left:
        return nothing
    are, them = ("is", "it") if len(left) == 1 else ("are", "them")
    return f"{nothing} {', '.join(left)} {are} not wholly in traffic; to let {them} in, roll out the version that runs."


def _not_wholly_in(hosts: Sequence[str], snapshot: Snapshot, history: History) -> list[str]:
    """Hosts that an earlier rollout has left behind, and those with a part of their share."""

    def has_a_part(host: str) -> bool:
        seen = [found[host] for found in snapshot.servers.values() if host in found]
        return any(server.admin == "ready" and server.percent < 100 for server in seen)

    return [host for host in hosts if left_behind(host, history) or has_a_part(host)]
