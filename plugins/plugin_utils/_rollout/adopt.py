# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An unfinished record that is resumed, on the inventory and the estate of today. Pure, no Ansible in here."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import with_hosts
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import History
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.kept_out import kept_by_others
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.refusals import refuse_half_down, refuse_silent
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Snapshot, down_at, is_there
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import target_of


def adopt(record: Record, settings: Settings, snapshot: Snapshot, history: History) -> list[str]:
    """Fit an unfinished record to the inventory and the estate of today; what is otherwise now, for a person."""
    before = deepcopy(record.kept_out)
    told = _take_balancers(record, settings)
    told += _let_leave(record, settings)
    if record.direction == state.BACK or record.kind == "rollback":
        told += _rejoin(record, settings)
    record.kept_out = kept_by_others(record, settings, snapshot, history)
    for one in record.hosts.values():
        one.kept_at = []
    told += [
        f"{', '.join(hosts)} was taken out of traffic at {name} by somebody else meanwhile and is left so"
        for name, now in record.kept_out.items()
        if (hosts := [host for host in now if host not in before.get(name, ())])
    ]
    if record.direction == state.BACK:
        return told
    refuse_silent([host for host in record.hosts if record.phase(host) != state.DONE], snapshot)
    if record.kind == "rollout":
        told += _let_join(record, settings, snapshot, history)
        untouched = [host for host in record.hosts if record.phase(host) in state.UNTOUCHED]
        refuse_half_down(untouched, snapshot, record.kept_out)
        for host in untouched:
            record.hosts[host].down_at = down_at(host, snapshot, record.kept_out)
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
        f"{host} {'is excluded now' if host in settings.excluded else 'is no host of the service any more'}; it stays "
        f"as it is ({record.left[host].phase})"
        for host in leaving
    ]


def _rejoin(record: Record, settings: Settings) -> list[str]:
    """Hosts that were excluded in between go back as the others do: what was under way with them is not forgotten."""
    back = [host for host in record.left if host in settings.hosts]
    record.hosts.update({host: record.left.pop(host) for host in back})
    _renumber(record, [*record.batches, back])
    return [f"{', '.join(back)} takes part again"] if back else []


def _let_join(record: Record, settings: Settings, snapshot: Snapshot, history: History) -> list[str]:
    """Hosts that are new in the group, or no longer excluded, take part in batches of their own at the end."""
    targets = {
        host: target_of(host, settings, snapshot)
        for host in settings.hosts
        if host not in record.hosts
        and (host in record.left or not is_there(host, target_of(host, settings, snapshot), snapshot, record.kept_out))
    }
    if not targets:
        return []
    refuse_silent(list(targets), snapshot)
    more = replace(record, hosts={}, batches=[])
    with_hosts(more, settings, snapshot, history, targets)
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
