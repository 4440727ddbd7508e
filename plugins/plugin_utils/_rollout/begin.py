# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is asked for, what is on record and what is seen to what a run does. Touches nothing, no Ansible in here.

``decide`` is the only place where that is decided: a rollout, a rollback and the check mode of both ask it, so a plan
is what the run would do at that moment, its refusals included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import fits, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import (
    burnt_by,
    last_of,
    left_behind,
    left_behind_at,
    left_out,
    part_of,
    proved,
    record_of,
    way_closed,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings, make_batches
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.record_check import read_record, usable
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import (
    is_same,
    note_changes,
    refuse_other_version,
    refuse_unkept,
    target_of,
    unfinished,
    versions_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Node, Opened, Server, Sight
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Decision:
    """What a run does with what it has found."""

    record: Record
    """The record that it works on; one that is new and has no hosts means that there is nothing to do."""
    fresh: bool = True
    """Whether the record is new, and not an unfinished one that is taken up again."""
    superseded: Record | None = None
    """The record whose way back is closed and that a new one takes the place of, closed."""
    told: Sequence[str] = ()
    """Sentences about what is otherwise now than when the record was written."""

    @property
    def nothing(self) -> bool:
        """Whether every host is as it was asked for."""
        return self.fresh and not self.record.hosts


def decide(opened: Opened, sight: Sight, settings: Settings, blank: Record) -> Decision:
    """What a run of the kind of ``blank``, a new record without hosts, does; PlanError is its refusal."""
    history, told = usable(opened.history, settings.service.name)
    decision = _decided(opened.record, history, sight, settings, blank)
    return replace(decision, told=[*told, *decision.told])


def _decided(
    opened: Mapping[str, Any] | None, history: History, sight: Sight, settings: Settings, blank: Record
) -> Decision:
    if opened is None:
        begin = begin_rollback if blank.kind == "rollback" else begin_rollout
        return Decision(begin(blank, settings, sight, history))
    found = read_record(opened, settings.service.name)
    if blank.kind == "rollback":
        return _revert(found, sight, settings, history, blank.by)
    if is_same(found, settings, sight):
        return _take_up(found, sight, settings, history)
    if not found.replaceable:
        raise unfinished(found, settings, sight)
    return _supersede(found, sight, settings, history, blank)


def _revert(found: Record, sight: Sight, settings: Settings, history: History, by: str) -> Decision:
    if found.frozen_by and not found.replaceable:
        raise PlanError(
            f"The migration {burnt_by(found)} cannot be undone and may have run, so {found.id} cannot be reverted; run "
            f"the rollout to {found.version} again to finish it."
        )
    refuse_burnt(found)
    if found.kind == "rollout":
        found.direction, found.condemned = state.BACK, True
        found.reason = found.reason or f"reverted by {by}"
    return _take_up(found, sight, settings, history)


def _take_up(found: Record, sight: Sight, settings: Settings, history: History) -> Decision:
    found.resumed += 1
    found.advice = ""
    if found.direction == state.FORWARD and found.kind == "rollout":
        found.reason = ""
    return Decision(found, fresh=False, told=adopt(found, settings, sight, history))


def _supersede(found: Record, sight: Sight, settings: Settings, history: History, blank: Record) -> Decision:
    found.status, found.ended_at = state.SUPERSEDED, blank.started_at
    found.event(blank.started_at, f"superseded by version {settings.version}")
    # A later rollout must not take them for hosts that somebody else has taken out.
    found.enter([host for host, one in found.hosts.items() if one.phase in state.OUT], state.FAILED, blank.started_at)
    record = begin_rollout(blank, settings, sight, [found.to_dict(), *history])
    return Decision(record, superseded=found)


# ------------------------------------------------------------------------------------------------------ a new rollout


def begin_rollout(blank: Record, settings: Settings, sight: Sight, history: History) -> Record:
    """Complete a blank record: batches of the hosts that are not there yet, or no hosts when there is nothing to do."""
    refuse_silent(settings.hosts, sight)
    refuse_unserved_shares(settings, sight)
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
    refuse_half_down(targets, sight, blank.kept_out)
    return _with_hosts(blank, settings, sight, history, targets)


def _with_hosts(
    record: Record, settings: Settings, sight: Sight, history: History, targets: Mapping[str, str]
) -> Record:
    others = (*settings.excluded, *(host for host in settings.hosts if host not in targets))
    taking_part = replace(settings, hosts=tuple(targets), excluded=others)
    for batch in make_batches(taking_part, sight.available(), record.kept_out):
        record.batches.append(batch)
        for host in batch:
            previous = way_back(host, targets[host], sight.nodes[host], history, record.kind)
            record.hosts[host] = HostRecord(
                len(record.batches) - 1,
                targets[host],
                previous,
                left_out(last_of(host, history)),
                down_at=down_at(host, sight, record.kept_out),
                way_closed=way_closed(previous, history) if record.kind == "rollout" else "",
            )
    note_changes(record, sight)
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


def down_at(host: str, sight: Sight, kept: Mapping[str, Collection[str]]) -> list[str]:
    """The load balancers that do not see a host up, other than those where somebody has taken it out."""
    return [name for name, found in sight.servers.items() if host not in kept.get(name, ()) and not found[host].up]


# ----------------------------------------------------------------------------------------------------- a new rollback


def begin_rollback(blank: Record, settings: Settings, sight: Sight, history: History) -> Record:
    """Complete a blank record: every host that runs the last release goes back to what it ran before it.

    Rollbacks do not count, so that the same command given twice does not bring the newer version back; and after a
    rollout that came to nothing only hosts are brought back that it has left behind.
    """
    refuse_silent(settings.hosts, sight)
    last = next((record_of(one) for one in history if _has_said(one)), None)
    if last is None:
        raise PlanError(
            f"There is no finished rollout of {settings.service.name} on record to go back from; roll out the version "
            "that you want instead."
        )
    targets, first, oldest = _reverted(last, settings, sight, history)
    for one in history[: oldest + 1]:
        refuse_burnt(record_of(one), last.id)
    for target in targets.values():
        refuse_closed(way_closed(target, history), last.id)
    if not targets:
        raise PlanError(_nothing_to_revert(last, first))
    blank.version = versions_of(targets.values())
    blank.reason = f"reverts {last.id} of {last.version}"
    if first:
        blank.reason += f"; {', '.join(first)} had no version before it and keeps the one that it has"
    blank.kept_out = kept_out(settings, sight, history)
    blank.excluded = list(settings.excluded)
    blank.weights = [100]
    return _with_hosts(blank, settings, sight, history, targets)


def _has_said(one: Mapping[str, Any]) -> bool:
    """Whether a record is of a rollout that was done, or of one that came to nothing: both answer a rollback."""
    return one.get("kind") == "rollout" and one.get("status") in state.FINISHED


def _reverted(
    last: Record, settings: Settings, sight: Sight, history: History
) -> tuple[dict[str, str], list[str], int]:
    """What each host goes back to, the hosts that have nothing before, and how far back in the history that lies."""
    targets: dict[str, str] = {}
    first: list[str] = []
    at = oldest = next(number for number, one in enumerate(history) if one.get("id") == last.id)
    for host in settings.hosts:
        node = sight.nodes[host]
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


def _nothing_to_revert(last: Record, first: Sequence[str]) -> str:
    if first and not any(one.previous for one in last.hosts.values()):
        return (
            f"{last.id} brought the first version to {', '.join(first)}, so there is none to go back to; roll out the "
            "version that you want instead."
        )
    if last.status == state.SUCCEEDED:
        return f"Every host of {last.service} already runs what it ran before {last.id}; there is nothing to revert."
    came = "was rolled back by itself" if last.status == state.REVERTED else "has come to nothing"
    return (
        f"The last rollout {last.id} of {last.version} {came}, so there is nothing to revert; to go further back, roll "
        "out the version that you want."
    )


# ------------------------------------------------------------------------------------------ a record that is taken up


def adopt(record: Record, settings: Settings, sight: Sight, history: History) -> list[str]:
    """Fit an unfinished record to the inventory and the estate of today; what is otherwise now, for a person."""
    before = deepcopy(record.kept_out)
    told = _take_balancers(record, settings)
    told += _let_leave(record, settings)
    if record.direction == state.BACK or record.kind == "rollback":
        told += _rejoin(record, settings)
    record.kept_out = _kept_by_others(record, settings, sight, history)
    for one in record.hosts.values():
        one.kept_at = []
    told += [
        f"{', '.join(hosts)} was taken out of traffic at {name} by somebody else meanwhile and is left so"
        for name, now in record.kept_out.items()
        if (hosts := [host for host in now if host not in before.get(name, ())])
    ]
    if record.direction == state.BACK:
        return told
    refuse_silent([host for host in record.hosts if record.phase(host) != state.DONE], sight)
    if record.kind == "rollout":
        told += _let_join(record, settings, sight, history)
        untouched = [host for host in record.hosts if record.phase(host) in state.UNTOUCHED]
        refuse_half_down(untouched, sight, record.kept_out)
        for host in untouched:
            record.hosts[host].down_at = down_at(host, sight, record.kept_out)
    return told


def _take_balancers(record: Record, settings: Settings) -> list[str]:
    gone = [name for name in record.balancers if name not in settings.balancers]
    new = [name for name in settings.balancers if name not in record.balancers]
    record.asked = list(dict.fromkeys([*record.asked, *record.balancers]))
    record.balancers = list(settings.balancers)
    told = [f"{', '.join(gone)} is no load balancer of this run any more and is not asked"] if gone else []
    return told + ([f"{', '.join(new)} is a new load balancer and is included"] if new else [])


def _let_leave(record: Record, settings: Settings) -> list[str]:
    """Hosts that are excluded now, or are no longer in the group, take no part any more."""
    record.excluded = list(settings.excluded)
    leaving = [host for host in record.hosts if host not in settings.hosts]
    for host in leaving:
        record.left[host] = record.hosts.pop(host)
        record.left[host].kept_at = [name for name, hosts in record.kept_out.items() if host in hosts]
    _renumber(record, [[host for host in batch if host in record.hosts] for batch in record.batches])
    return [
        f"{host} {'is left out now' if host in settings.excluded else 'is no host of the service any more'}; it stays "
        f"as it is ({record.left[host].phase})"
        for host in leaving
    ]


def _rejoin(record: Record, settings: Settings) -> list[str]:
    """Hosts that were excluded in between go back as the others do: what was under way with them is not forgotten."""
    back = [host for host in record.left if host in settings.hosts]
    record.hosts.update({host: record.left.pop(host) for host in back})
    _renumber(record, [*record.batches, back])
    return [f"{', '.join(back)} takes part again"] if back else []


def _let_join(record: Record, settings: Settings, sight: Sight, history: History) -> list[str]:
    """Hosts that are new in the group, or no longer excluded, take part in batches of their own at the end."""
    targets = {
        host: target_of(host, settings, sight)
        for host in settings.hosts
        if host not in record.hosts
        and (host in record.left or not _is_there(host, target_of(host, settings, sight), sight, record.kept_out))
    }
    if not targets:
        return []
    refuse_silent(list(targets), sight)
    more = replace(record, hosts={}, batches=[])
    _with_hosts(more, settings, sight, history, targets)
    for host in more.hosts:
        record.hosts[host] = record.left.pop(host, more.hosts[host])
        record.hosts[host].kept_at = []
    _renumber(record, [*record.batches, *more.batches])
    return [f"{', '.join(targets)} is new in the service and takes part at the end"]


def _renumber(record: Record, batches: Sequence[Sequence[str]]) -> None:
    record.batches = [list(batch) for batch in batches if batch]
    for number, batch in enumerate(record.batches):
        for host in batch:
            record.hosts[host].batch = number


def _kept_by_others(record: Record, settings: Settings, sight: Sight, history: History) -> dict[str, list[str]]:
    """Servers that are out of traffic and were not taken out by the unfinished rollout."""

    def others(name: str, host: str, server: Server) -> bool:
        if server.admin == "ready" or host not in settings.hosts:
            return False
        mine = record.hosts.get(host) or record.left.get(host)
        if mine is None:
            return not left_behind_at(host, name, history)
        theirs = host in record.kept_out.get(name, ()) or name in (*mine.kept_at, *mine.let_in_at)
        theirs = theirs or name not in record.asked
        return theirs or not mine.taken_out

    kept = {
        name: [host for host, server in found.items() if others(name, host, server)]
        for name, found in sight.servers.items()
    }
    return {name: hosts for name, hosts in kept.items() if hosts}


# ----------------------------------------------------------------------------------------------------------- refusals


def refuse_silent(hosts: Collection[str], sight: Sight) -> None:
    """Refuse to begin while a host that takes part gives no answer."""
    silent = [f"{host} ({sight.nodes[host].reason})" for host in hosts if sight.nodes[host].reason]
    if silent:
        raise PlanError(
            f"{', '.join(silent)} gave no answer; bring it back, or leave it out with rollout_exclude, knowing that it "
            "keeps the version that it has."
        )


def refuse_unserved_shares(settings: Settings, sight: Sight) -> None:
    """Refuse shares of traffic that a load balancer, as it runs now, could not give the hosts.

    HAProxy itself would refuse them too, but when the first host has been taken out and restarted.
    """
    least = min(settings.weights)
    place = policies.place_in_service(settings.service.name, "weights")
    for balancer, seen in sight.servers.items():
        for host in settings.hosts if least < 100 else ():
            server = seen.get(host, Server("maint", up=False))
            wanted = f"but the weights are {list(settings.weights)}; set {place} to [100], or"
            if server.algorithm in plan.STATIC:
                raise PlanError(
                    f"{settings.service.name} is balanced by {server.algorithm} at {balancer}, which knows no shares "
                    f"of a server's traffic, {wanted} balance by roundrobin, leastconn or random and run site.yml."
                )
            if server.weight * least < 100:
                raise PlanError(
                    f"{host} has the weight {server.weight} at {balancer}, of which {least} % would be 0, {wanted} "
                    "give it a larger one in haproxy_services, such as 100, and run site.yml."
                )


def refuse_half_down(hosts: Collection[str], sight: Sight, kept: Mapping[str, Collection[str]]) -> None:
    """Refuse a host that serves at one load balancer while another does not see it up.

    It would be drained where it serves, and could not come back where it does not: neither is the release's doing. A
    host that serves nowhere loses nothing, and this very release may be what mends it.
    """
    for host in hosts:
        down = down_at(host, sight, kept)
        serving = [name for name, found in sight.servers.items() if name not in down and found[host].serving]
        if down and serving:
            said = ", ".join(f"{name} ({sight.servers[name][host].check or 'its check fails'})" for name in down)
            raise PlanError(
                f"{host} serves at {', '.join(serving)} but is not up at {said}, which no release can mend; bring it "
                "back there, or leave it out with rollout_exclude, knowing that it keeps the version that it has."
            )


def refuse_burnt(record: Record, reverted: str = "") -> None:
    """Refuse to go back where a migration has closed the way."""
    refuse_closed(burnt_by(record), reverted or record.id)


def refuse_closed(migration: str, reverted: str) -> None:
    """Refuse to go back past a migration; there may be none."""
    if migration:
        raise PlanError(
            f"The migration {migration} cannot be undone and has run, so {reverted} cannot be reverted; roll forward "
            "to a corrected version."
        )


# ------------------------------------------------------------------------------------------------------- what is seen


def _is_there(host: str, target: str, sight: Sight, kept: Mapping[str, Collection[str]]) -> bool:
    """Whether a host runs its target and has its whole share of traffic."""
    node = sight.nodes[host]
    return (node.current, node.running) == (target, target) and all(
        found[host].serving and found[host].percent >= 100
        for name, found in sight.servers.items()
        if host not in kept.get(name, ())
    )


def kept_out(settings: Settings, sight: Sight, history: History) -> dict[str, list[str]]:
    """Servers that somebody else has taken out of traffic: they are deployed to and left as they are."""
    kept = {
        name: [
            host
            for host, server in found.items()
            if host in settings.hosts and server.admin != "ready" and not left_behind_at(host, name, history)
        ]
        for name, found in sight.servers.items()
    }
    return {name: hosts for name, hosts in kept.items() if hosts}
