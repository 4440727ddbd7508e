# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of a change of servers, and what is said when they are not as wanted in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import Goal, Wanted
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import counters, traffic_of
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import (
    READY,
    RuntimeFailure,
    Server,
    View,
)


@dataclass
class Outcome:
    """What was found and done, or would be done in check mode."""

    changed: bool = False
    done: bool = True
    killed: dict[str, int] = field(default_factory=dict)
    waited_s: float = 0.0
    workers: int = 0
    servers: list[Server] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of every server of the backends, whether it was named or not, by name and over all backends."""
    traffic: dict[str, Any] = field(default_factory=dict)
    """What each worker has counted of them; see ``traffic.Traffic``."""
    available: dict[str, int] = field(default_factory=dict)
    busy_before: dict[str, int] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)
    """Servers that were not touched, with the administrative state that somebody else has given them."""
    before: dict[str, Goal] = field(default_factory=dict)
    after: dict[str, Goal] = field(default_factory=dict)

    def finished(self, view: View, servers: Sequence[Server], backends: Sequence[str]) -> Outcome:
        """Tell how everything is at the end."""
        self.servers = [view.servers.get(one.key, one) for one in servers]
        self.workers = len(view.workers)
        mine = [one for one in view.servers.values() if one.backend in backends]
        self.counters, self.traffic = counters(mine), traffic_of(mine, 0.0)
        self.available = {
            backend: sum(one.available for one in view.servers.values() if one.backend == backend)
            for backend in dict.fromkeys(backends)
        }
        self.after = {one.label: Goal(one.admin, one.weight) for one in self.servers}
        self.before = self.before or self.after
        self.busy_before = self.busy_before or {one.label: one.busy for one in self.servers}
        self.changed = self.before != self.after
        return self

    def public(self) -> dict[str, Any]:
        """The form in which a module returns it."""
        return {
            "changed": self.changed,
            "done": self.done,
            "killed": dict(self.killed),
            "left_alone": dict(self.left_alone),
            "waited_s": round(self.waited_s, 3),
            "workers": self.workers,
            "servers": [one.public() for one in self.servers],
            "counters": self.counters,
            "traffic": self.traffic,
            "available": dict(self.available),
            "busy_before": dict(self.busy_before),
            "before": {name: vars(one) for name, one in self.before.items()},
            "after": {name: vars(one) for name, one in self.after.items()},
            "diff": {"before": _diff_text(self.before), "after": _diff_text(self.after)},
        }


def _may_send_more(server: Server) -> str:
    clients = server.clients_old_workers
    return f", and {quantity(clients, 'client')} there may send more" if clients else ""


def _diff_text(goals: Mapping[str, Goal]) -> str:
    return "".join(f"{name}: {one.admin}, weight {one.weight}\n" for name, one in goals.items())


class TimedOut(RuntimeFailure):
    """The servers are not as wanted in time; ``outcome`` says how they are now."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.outcome = outcome


def complaint(wanted: Wanted, left: Sequence[Server]) -> str:
    """Say of servers what keeps them from being as wanted."""
    seconds = f"{wanted.wait:g} s"
    if wanted.state == READY:
        parts = [f"{one.label} is {one.status}{f' ({one.check})' if one.check else ''}" for one in left]
        return f"HAProxy's own checks did not find the server healthy within {seconds}: {', '.join(parts)}."
    parts = [
        f"{one.label} (state {one.admin}, weight {one.weight}) still has {quantity(one.sessions, 'session')}, "
        f"{one.sessions_old_workers} more in workers from before a reload, and "
        f"{quantity(one.queued, 'queued request')}{_may_send_more(one)}"
        for one in left
    ]
    return f"After {seconds}, {'; '.join(parts)}; wait longer, or let on_timeout kill them."
