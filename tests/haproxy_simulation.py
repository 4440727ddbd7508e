# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A HAProxy with its master that behaves as 2.6 and 3.0 were measured to, with its own clock."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.change import change
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.commands import Tools
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import Wanted
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.outcome import Outcome
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import HANDOVER
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import STATE_FIELDS
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import RuntimeFailure

TICK, INTERVAL, CHECK_TAKES, REEXEC = 0.01, 0.2, 0.03, 0.1
SET = ("set server", "shutdown")
COLUMNS = ["pxname", "scur", "svname", "qcur", "stot", "req_tot", "status", "hrsp_5xx", "check_rise", "check_status"]
PROXY_COLUMNS = ["pxname", "svname", "qcur", "scur", "status", "mode"]
Healthy = Callable[[float], bool]


@dataclass
class Member:
    """A server, as one worker knows it."""

    admin: int = 0
    weight: int = 100
    configured: int = 100
    checked: bool = True
    rise: int = 2
    up: bool = True
    health: int = 3
    queued: int = 0
    check_began: float | None = None
    passed: list[float] = field(default_factory=list)
    """When the checks began that passed in a row."""
    rose: list[float] = field(default_factory=list)
    """Those that brought it up: a failed check in between, fewer than "fall", takes nothing from them."""
    sessions: list[float] = field(default_factory=list)
    """When they end."""

    @property
    def takes_traffic(self) -> bool:
        return self.admin == 0 and self.up

    def status(self) -> str:
        if self.admin & 1:
            return "MAINT"
        if not self.up:
            return f"DOWN {self.health}/{self.rise}" if self.health else "DOWN"
        if self.checked and self.health < self.rise + 1:
            return f"UP {self.health}/{self.rise}"
        if self.admin & 8:
            return "DRAIN"
        return "UP" if self.checked else "no check"


class Balancer:
    """HAProxy with its master: workers, checks, sessions and reloads."""

    def __init__(self, *servers: str, healthy: Healthy = lambda now: True, **member: object) -> None:
        self.now = 0.0
        self.healthy = healthy
        labels = servers or ("catalog/one", "catalog/two", "catalog/three")
        self.workers: dict[int, dict[tuple[str, str], Member]] = {
            100: {(a, b): Member(**member) for a, b in (one.split("/") for one in labels)}  # type: ignore[arg-type]
        }
        self.current = 100
        self.saved = deepcopy(self.workers[100])
        self.reloads: list[float] = []
        self.back_at = -1.0
        self.hands_over = True
        self.idle: dict[int, list[float]] = {}
        """By worker, when its idle clients send their next request, after which their connections end."""
        self.last_from_old = -1.0
        self.waiting: dict[int, int] = {}
        """By worker, requests that wait for any server of a backend."""
        self.still_open: set[int] = set()
        """Workers from before a reload that have not yet begun to stop."""
        self.commands: list[str] = []
        self.refusals: dict[str, str] = {}
        self.saves = 0
        self.locked = False
        self.entered: list[tuple[str, list[float]]] = []
        """Servers that began to take traffic, with the checks that they had passed."""

    def member(self, label: str = "catalog/one", pid: int | None = None) -> Member:
        backend, _, name = label.partition("/")
        return self.workers[pid or self.current][(backend, name)]

    # -- time

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 0.25 + 1e-9
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + TICK, end)
            self.tick()

    def tick(self) -> None:
        before = self.taking()
        if self.reloads and self.now >= self.reloads[0]:
            self.reloads.pop(0)
            self.saved = deepcopy(self.workers[self.current])
            self.back_at = self.now + REEXEC
        if 0 < self.back_at <= self.now:
            self.back_at = -1.0
            self.current += 1
            self.workers[self.current] = deepcopy(self.saved)
            for member in self.workers[self.current].values():
                member.sessions, member.queued, member.check_began, member.passed, member.rose = [], 0, None, [], []
        for pid, servers in list(self.workers.items()):
            for member in servers.values():
                member.sessions = [one for one in member.sessions if one > self.now]
                if pid == self.current:
                    self.check(member)
            self.wake(pid)
            busy = self.idle[pid] or self.waiting.get(pid) or pid in self.still_open
            if pid != self.current and not busy and not any(one.sessions for one in servers.values()):
                del self.workers[pid]
        self.note(before)

    def wake(self, pid: int) -> None:
        """Idle clients of an old worker send one more request, and it knows of no drain."""
        idle = self.idle.get(pid, [])
        self.idle[pid] = [one for one in idle if one > self.now]
        if len(self.idle[pid]) < len(idle) and pid != self.current and not self.hands_over:
            self.member(pid=pid).sessions.append(self.now + 0.05)
            self.last_from_old = self.now

    def check(self, member: Member) -> None:
        if not member.checked or member.admin & 1:
            member.check_began = None
            return
        if member.check_began is None:
            if (self.now % INTERVAL) < TICK:
                member.check_began = self.now
        elif self.now >= member.check_began + CHECK_TAKES:
            if self.healthy(member.check_began):
                member.passed.append(member.check_began)
                member.health += 1
                if member.health == member.rise or not member.up:
                    member.rose = list(member.passed)
                if member.health >= member.rise:
                    member.up, member.health = True, member.rise + 1
            else:
                member.passed = []
                member.health = max(member.health - 1, 0) if member.health > member.rise else 0
                member.up = member.up and member.health >= member.rise
            member.check_began = None

    def taking(self) -> set[tuple[str, str]]:
        return {key for key, one in self.workers[self.current].items() if one.takes_traffic}

    def note(self, before: set[tuple[str, str]]) -> None:
        for key in self.taking() - before:
            self.entered.append(("/".join(key), list(self.workers[self.current][key].rose)))

    # -- the master's socket

    def ask(self, command: str) -> str:
        self.now += 0.001
        if self.back_at > 0:
            self.sleep(TICK)
            raise ConnectionRefusedError("reloading")
        if command == "show proc":
            old = [pid for pid in self.workers if pid != self.current]
            lines = ["#<PID> <type> <reloads>", "1 master 0", "# workers", f"{self.current} worker 0", "# old workers"]
            return "\n".join(lines + [f"{pid} worker 1" for pid in old]) + "\n\n"
        prefix, _, rest = command.partition(" ")
        pid = int(prefix[2:])
        if pid not in self.workers:
            return f"Can't find the target PID matching the prefix '{prefix}'\n"
        if rest.startswith(SET):
            self.commands.append(rest)
        for start, reply in self.refusals.items():
            if rest.startswith(start):
                return reply
        before = self.taking()
        reply = self.reply(pid, rest)
        self.note(before)
        return reply

    def reply(self, pid: int, command: str) -> str:
        words = command.split()
        servers = self.workers[pid]
        stats = dict.fromkeys(("show stat -1 4 -1", "show stat -1 6 -1"), self.stat)
        tables = {**stats, "show servers state": self.state, "show sess": self.sessions}
        if command in tables:
            return tables[command](servers)
        if command == "show stat -1 3 -1":
            return self.proxies(pid)
        if words[:2] == ["shutdown", "session"]:
            found = [one for (a, b), one in servers.items() if words[2].endswith(f"{a}{b}") and one.sessions]
            if found:
                found[0].sessions.pop()
            return "\n" if found else "No such session (use 'show sess').\n\n"
        if pid != self.current:
            return "Proxy is disabled.\n\n"
        label = words[3] if words[0] == "shutdown" else words[2]
        backend, _, name = label.partition("/")
        member = servers[(backend, name)]
        if words[0] == "shutdown":
            member.sessions = []
        else:
            self.set(member, words[3], words[4])
        return "\n"

    @staticmethod
    def set(member: Member, what: str, value: str) -> None:
        if what == "weight":
            percent = value.endswith("%")
            member.weight = int(value[:-1]) * member.configured // 100 if percent else int(value)
        elif what == "health":
            assert value == "down"
            member.up, member.health = member.up if member.admin & 1 else False, 0
            member.passed, member.rose = [], []
        else:
            if member.admin & 1 and value != "maint":
                member.up, member.health = True, member.rise - 1  # "UP 1/2", before any check.
                member.passed, member.rose = [], []
            member.admin = {"ready": 0, "drain": 8, "maint": 1}[value]
            if value == "maint":
                member.up, member.health = False, 0

    @staticmethod
    def sessions(servers: dict[tuple[str, str], Member]) -> str:
        rows = [(key, index) for key, one in servers.items() for index in range(len(one.sessions))]
        lines = [
            f"0x{index}{a}{b}: proto=tcpv4 src=10.0.9.9:{number} fe=edge be={a} srv={b} ts=00\n"
            for number, ((a, b), index) in enumerate(rows)
        ]
        return "".join(["0x9: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n", *lines]) + "\n"

    def proxies(self, pid: int) -> str:
        stopped = pid != self.current and pid not in self.still_open
        connections = len(self.idle.get(pid, [])) + sum(len(one.sessions) for one in self.workers[pid].values())
        rows: list[list[object]] = [[*PROXY_COLUMNS]]
        rows.append(["edge", "FRONTEND", "", connections, "STOP" if stopped else "OPEN", "http"])
        if self.hands_over:
            rows.append([f"{HANDOVER}edge", "BACKEND", 0, 0, "UP", "http"])
        for backend in dict.fromkeys(backend for backend, _name in self.workers[pid]):
            mode = "tcp" if backend == "database" else "http"
            rows.append([backend, "BACKEND", self.waiting.get(pid, 0), 0, "UP", mode])
        return "# " + "".join(",".join(str(one) for one in row) + ",\n" for row in rows) + "\n"

    @staticmethod
    def stat(servers: dict[tuple[str, str], Member]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, ""])
        for (backend, name), one in servers.items():
            row = [backend, len(one.sessions), name, one.queued, 7, 7, one.status(), 0, one.rise, "L7OK"]
            writer.writerow([*row, ""])
        return f"# {text.getvalue()}\n"

    @staticmethod
    def state(servers: dict[tuple[str, str], Member]) -> str:
        lines = ["1", "# " + " ".join(STATE_FIELDS)]
        for number, ((backend, name), one) in enumerate(servers.items()):
            row = dict.fromkeys(STATE_FIELDS, "0")
            row.update(be_name=backend, srv_name=name, srv_addr="10.0.0.1", srv_port=str(8000 + number))
            row.update(srv_op_state="2" if one.up else "0", srv_admin_state=str(one.admin))
            row.update(srv_uweight=str(one.weight), srv_iweight=str(one.configured))
            checks = (6 if one.checked else 0) | (one.check_began is not None)
            row.update(srv_check_state=str(checks))
            lines.append(" ".join(row.values()))
        return "\n".join(lines) + "\n\n"

    # -- the rest of the machine

    def save(self) -> None:
        self.saved = deepcopy(self.workers[self.current])
        self.saves += 1

    @contextmanager
    def lock(self) -> Iterator[None]:
        assert not self.locked
        self.locked = True
        try:
            yield
        finally:
            self.locked = False

    def change(self, server: str | Sequence[str] = "one", backend: str = "catalog", **wanted: Any) -> Outcome:
        servers = (server,) if isinstance(server, str) else tuple(server)
        tools = Tools(self.ask, lambda: self.now, self.sleep, self.save, self.lock)
        return change(tools, Wanted(tuple(backend.split(",")), servers, **wanted))

    def refused(self, *arguments: str, **wanted: Any) -> RuntimeFailure:
        with pytest.raises(RuntimeFailure) as caught:
            self.change(*arguments, **wanted)
        text = str(caught.value)
        assert text.endswith(".")
        assert "\n" not in text
        return caught.value


def states(balancer: Balancer) -> dict[str, tuple[int, int]]:
    return {"/".join(key): (one.admin, one.weight) for key, one in balancer.workers[balancer.current].items()}
