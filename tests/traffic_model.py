# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of HAProxy 2.6 and 3.0 as they were measured on both: what each fate of a request does to them."""

from __future__ import annotations

import copy
from typing import Any

KEYS = (
    "sent",
    "answered",
    "redirected",
    "rejected",
    "failed",
    "cut",
    "refused",
    "broken",
    "retries",
    "redispatches",
    "aborted",
    "downs",
    "failed_checks",
    "now",
)
FATES: dict[str, dict[str, dict[str, int]]] = {
    "good": {"2.6": {"answered": 1}, "3.0": {"answered": 1}},
    "3xx": {"2.6": {"answered": 1, "redirected": 1}, "3.0": {"answered": 1, "redirected": 1}},
    "4xx": {"2.6": {"answered": 1, "rejected": 1}, "3.0": {"answered": 1, "rejected": 1}},
    "5xx": {"2.6": {"answered": 1, "failed": 1}, "3.0": {"answered": 1, "failed": 1}},
    "empty, tried again": {
        "2.6": {"retries": 1, "redispatches": 1},
        "3.0": {"retries": 1, "redispatches": 1, "broken": 1},
    },
    "empty": {"2.6": {"broken": 1}, "3.0": {"broken": 2}},
    "refused, tried again": {"2.6": {"redispatches": 1}, "3.0": {"redispatches": 1}},
    "refused": {"2.6": {"refused": 1}, "3.0": {"refused": 1}},
    "cut off": {"2.6": {"answered": 1, "cut": 1, "broken": 1}, "3.0": {"answered": 1, "cut": 1, "broken": 1}},
    "timed out": {"2.6": {"broken": 1}, "3.0": {"broken": 1}},
    "client gave up": {"2.6": {"aborted": 1}, "3.0": {"aborted": 1}},
}
"""What ends a request to what it adds, beside the session that was begun."""


class Model:
    """One HAProxy: its workers, what they have counted, the sessions that they have."""

    def __init__(self, version: str = "2.6", servers: tuple[str, ...] = ("app-1", "app-2")) -> None:
        self.version = version
        self.at = 1000.0
        self.workers: dict[str, dict[str, dict[str, int]]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.up = dict.fromkeys(servers, True)
        self.in_traffic = dict.fromkeys(servers, True)
        self.listed = True
        self._number = 100
        self.reload()

    def reload(self) -> None:
        """A new worker takes over; the old one keeps its sessions."""
        self._number += 1
        self.pid = str(self._number)
        self.workers[self.pid] = {server: dict.fromkeys(KEYS, 0) for server in self.up}

    def end(self, pid: str) -> None:
        """A worker is gone, with all that it has counted."""
        del self.workers[pid]
        self.sessions = {name: one for name, one in self.sessions.items() if one["pid"] != pid}

    def send(self, server: str, fate: str = "good", times: int = 1) -> None:
        """Requests that are over at once."""
        counted = self.workers[self.pid][server]
        counted["sent"] += times
        for key, value in FATES[fate][self.version].items():
            counted[key] += value * times

    def begin(self, server: str, times: int = 1, streaming: bool = False) -> list[str]:
        """Requests that wait for an answer, or have begun to receive one; their names."""
        names = []
        for _one in range(times):
            name = f"{self.pid}/0x{len(self.sessions):x}/10.0.0.9:{40000 + self._number}"
            self._number += 1
            self.sessions[name] = {"pid": self.pid, "server": server, "at": self.at, "streaming": streaming}
            self.workers[self.pid][server]["sent"] += 1
            self.workers[self.pid][server]["answered"] += streaming
            self.workers[self.pid][server]["now"] += 1
            names.append(name)
        return names

    def finish(self, names: list[str], fate: str = "good") -> None:
        """What becomes of them."""
        for name in names:
            one = self.sessions.pop(name)
            counted = self.workers[one["pid"]][one["server"]]
            counted["now"] -= 1
            for key, value in FATES[fate][self.version].items():
                counted[key] += value

    def flap(self, server: str) -> None:
        """Down, and up again."""
        self.workers[self.pid][server]["downs"] += 1
        self.workers[self.pid][server]["failed_checks"] += 3

    def look(self, seconds: float = 3.0) -> dict[str, Any]:
        """A look, so many seconds after the last one."""
        self.at += seconds
        health = {
            server: {
                "up": up,
                "in_traffic": up and self.in_traffic[server],
                "status": "UP" if up else "DOWN",
                "check": "",
            }
            for server, up in self.up.items()
        }
        found: dict[str, Any] = {"at": self.at, "workers": copy.deepcopy(self.workers), "health": health}
        if self.listed:
            kinds: dict[str, dict[str, dict[str, int]]] = {"waiting": {}, "streaming": {}}
            for name, one in self.sessions.items():
                kind = kinds["streaming" if one["streaming"] else "waiting"]
                kind.setdefault(one["server"], {})[name] = int(self.at - one["at"])
            found.update(kinds)
        return found
