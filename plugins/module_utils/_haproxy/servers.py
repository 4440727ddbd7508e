# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of one HAProxy at one moment, and in what form a module returns them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

READY, DRAIN, MAINT = "ready", "drain", "maint"
STATES = [READY, DRAIN, MAINT]
# A server that is in drain and healthy shows DRAIN. "UP 1/2" and the like are on their way down, or never checked.
_UP = {"UP", "DRAIN", "no check"}

Key = tuple[str, str]


class RuntimeFailure(Refused):
    """It could not be done; the text is one sentence for the user."""


@dataclass(frozen=True)
class Server:
    """One server, as the current worker sees it; sessions and counters also of the old workers."""

    backend: str
    name: str
    address: str
    admin: str
    status: str
    checked: bool
    check: str
    """What the last check said, such as "L7STS 503"."""
    checking: bool
    """Whether a check is under way at this moment."""
    rise: int
    weight: int
    weight_configured: int
    sessions: int
    queued: int
    sessions_old_workers: int
    clients_old_workers: int
    """Clients whose next request an old worker would send to a server by itself, to any of this backend."""
    counters: Mapping[str, int]
    algorithm: str = ""
    """How its backend is balanced, in HAProxy's own word."""
    workers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """What each worker has counted, see ``traffic.counts``."""

    @property
    def key(self) -> Key:
        """Backend and server name."""
        return (self.backend, self.name)

    @property
    def label(self) -> str:
        """As HAProxy's commands name it."""
        return f"{self.backend}/{self.name}"

    @property
    def up(self) -> bool:
        """Whether it is healthy without any doubt: it takes traffic, or would if it were ready."""
        return self.status in _UP

    @property
    def available(self) -> bool:
        """Whether it takes new traffic."""
        return self.up and self.admin == READY and self.weight > 0

    @property
    def busy(self) -> int:
        """Sessions and queued requests, in all workers."""
        return self.sessions + self.queued + self.sessions_old_workers

    @property
    def quiet(self) -> bool:
        """Whether it has nothing to do, and, while it is out of traffic, gets nothing any more from any worker."""
        return not self.busy and not self.clients_old_workers

    def public(self) -> dict[str, Any]:
        """The form in which a module returns it."""
        return {
            "backend": self.backend,
            "server": self.name,
            "address": self.address,
            "admin": self.admin,
            "status": self.status,
            "up": self.up,
            "checked": self.checked,
            "check": self.check,
            "weight": self.weight,
            "weight_configured": self.weight_configured,
            "sessions": self.sessions,
            "queued": self.queued,
            "sessions_old_workers": self.sessions_old_workers,
            "clients_old_workers": self.clients_old_workers,
            "counters": dict(self.counters),
            "algorithm": self.algorithm,
        }


@dataclass(frozen=True)
class View:
    """All servers of one HAProxy at one moment."""

    worker: int
    old_workers: tuple[int, ...]
    servers: Mapping[Key, Server]

    @property
    def workers(self) -> tuple[int, ...]:
        """Process ids of the workers, the current one first."""
        return (self.worker, *self.old_workers)

    def of(self, keys: Iterable[Key]) -> list[Server]:
        """The servers of these keys; one that a reload has removed fails."""
        found = []
        for key in keys:
            if key not in self.servers:
                raise RuntimeFailure(
                    f"Server {'/'.join(key)} has vanished from HAProxy's configuration; run again with what is there."
                )
            found.append(self.servers[key])
        return found
