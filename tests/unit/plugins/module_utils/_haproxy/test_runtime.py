# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain, maint, ready and weight, on a balancer that behaves as 2.6 and 3.0 were measured to, with its own clock.

The replies in ``haproxy/`` were recorded from 2.6.12 and 3.0.11 (Debian).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import runtime, state
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"
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
            rows.append([f"{state.HANDOVER}edge", "BACKEND", 0, 0, "UP", "http"])
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
        lines = ["1", "# " + " ".join(state.STATE_FIELDS)]
        for number, ((backend, name), one) in enumerate(servers.items()):
            row = dict.fromkeys(state.STATE_FIELDS, "0")
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

    def change(self, server: str | Sequence[str] = "one", backend: str = "catalog", **wanted: Any) -> runtime.Outcome:
        servers = (server,) if isinstance(server, str) else tuple(server)
        tools = runtime.Tools(self.ask, lambda: self.now, self.sleep, self.save, self.lock)
        return runtime.change(
            tools,
            runtime.Wanted(tuple(backend.split(",")), servers, **wanted),
        )

    def refused(self, *arguments: str, **wanted: Any) -> runtime.RuntimeFailure:
        with pytest.raises(runtime.RuntimeFailure) as caught:
            self.change(*arguments, **wanted)
        text = str(caught.value)
        assert text.endswith(".")
        assert "\n" not in text
        return caught.value


def states(balancer: Balancer) -> dict[str, tuple[int, int]]:
    return {"/".join(key): (one.admin, one.weight) for key, one in balancer.workers[balancer.current].items()}


# -------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("version", ["2.6", "3.0"])
def test_recorded_replies_are_read_alike(version: str) -> None:
    def read(what: str) -> str:
        return (RECORDED / f"{version}-{what}.txt").read_text()

    replies = {"show proc": read("proc")}
    pid = state.parse_processes(replies["show proc"])[1].pid
    replies[f"@!{pid} show servers state"] = read("servers-state")
    replies[f"@!{pid} show stat -1 6 -1"] = read("stat")
    view = runtime.look(replies.__getitem__)
    found = {
        one.label: (one.admin, one.status, one.up, one.checked, one.weight, one.available)
        for one in view.servers.values()
    }
    assert found == {
        "catalog/one": ("ready", "UP", True, True, 10, True),
        "catalog/two": ("drain", "DRAIN", True, True, 100, False),
        "catalog/three": ("ready", "DOWN", False, True, 100, False),
        "files/two": ("ready", "UP", True, True, 100, True),
        "billing/haproxy-app-2": ("maint", "MAINT", False, True, 100, False),
        "refusing/nobody": ("ready", "no check", True, False, 100, True),
        "refusing/one": ("ready", "no check", True, False, 100, True),
        "fragile/one": ("drain", "DRAIN", True, False, 100, False),
        "database/haproxy-app-1": ("ready", "DOWN", False, True, 100, False),
        "database/haproxy-app-2": ("ready", "DOWN", False, True, 100, False),
    }
    row = dict.fromkeys(replies[f"@!{pid} show stat -1 6 -1"].splitlines()[0].lstrip("# ").split(","), "")
    row.update(pxname="catalog", svname="BACKEND", algo="source")
    replies[f"@!{pid} show stat -1 6 -1"] = read("stat").rstrip("\n") + "\n" + ",".join(row.values()) + "\n\n"
    told = runtime.look(replies.__getitem__).servers
    assert {one.algorithm for one in told.values() if one.backend == "catalog"} == {"source"}
    assert told[("files", "two")].public()["algorithm"] == ""
    three = view.servers[("catalog", "three")]
    assert (three.address, three.check, three.weight_configured, three.rise) == (
        "10.205.0.22:8001",
        "L7STS 503 Service Unavailable",
        100,
        2,
    )
    assert three.counters["requests"] == 1
    assert (view.worker, view.old_workers) == (pid, ())


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=9, unique=True),
    st.lists(st.lists(st.text(max_size=12), min_size=9, max_size=9), max_size=4),
)
def test_a_table_is_read_by_its_header_whatever_the_cells_contain(names: list[str], cells: list[list[str]]) -> None:
    assume(not any("\0" in one for row in [names, *cells] for one in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    text.write("# pxname,")
    writer.writerow(names)
    for row in cells:
        writer.writerow(["p", *row[: len(names)]])
    expected = [dict(zip(["pxname", *names], ["p", *row])) for row in cells]
    assert runtime.parse_stat(text.getvalue() + "\n") == expected


def test_what_is_no_table_is_none() -> None:
    for reply in ("", "\n", "Can't find the target PID matching the prefix '@!7'\n", "Permission denied\n\n"):
        assert runtime.parse_stat(reply) is None


@pytest.mark.parametrize(
    ("bits", "admin"),
    [(0, "ready"), (8, "drain"), (16, "drain"), (1, "maint"), (4, "maint"), (32, "maint"), (9, "maint")],
)
def test_admin_state_from_the_flags(bits: int, admin: str) -> None:
    assert runtime.admin_of(bits) == admin


@pytest.mark.parametrize(
    ("status", "up"),
    [("UP", True), ("DRAIN", True), ("no check", True), ("UP 1/3", False), ("DOWN 1/2", False), ("NOLB", False)],
)
def test_only_a_server_without_doubt_is_up(status: str, up: bool) -> None:
    balancer = Balancer("catalog/one")
    server = runtime.look(balancer.ask).servers[("catalog", "one")]
    assert runtime.Server(**{**vars(server), "status": status}).up is up


def test_reading_changes_nothing_and_returns_all_servers() -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one")
    balancer.member("catalog/two").admin = 8
    outcome = balancer.change(())
    assert [one.label for one in outcome.servers] == ["catalog/one", "catalog/two"]
    assert (outcome.changed, outcome.done, outcome.available, outcome.workers) == (False, True, {"catalog": 1}, 1)
    assert (balancer.commands, balancer.saves) == ([], 0)
    assert outcome.public()["after"] == {
        "catalog/one": {"admin": "ready", "weight": 100},
        "catalog/two": {"admin": "drain", "weight": 100},
    }


# ----------------------------------------------------------------------------------------------------------- complaints


@pytest.mark.parametrize(
    ("arguments", "wanted", "text"),
    [
        (("one", "nobody"), {"state": "drain"}, "no backend 'nobody' with servers; it has catalog, files"),
        (("four",), {"state": "drain"}, "Backend 'catalog' has no server 'four'; it has one, two."),
        (("two", "catalog,files"), {"state": "drain"}, "Backend 'files' has no server 'two'; it has one."),
        ((), {"server": (), "state": "drain"}, "needs the names of its servers"),
        (("one",), {"weight": "fast"}, "Weight 'fast' is neither"),
        (("one",), {"weight": "300"}, "would be 300"),
        (("one",), {"weight": "400%"}, "would be 400"),
        (("one",), {"weight": "-1"}, "Weight '-1' is neither"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_before_any_change(
    arguments: tuple[str, ...], wanted: dict[str, Any], text: str
) -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one")
    assert text in str(balancer.refused(*arguments, **wanted))
    assert (balancer.commands, balancer.saves) == ([], 0)


def test_a_percentage_that_would_be_nothing_is_refused() -> None:
    balancer = Balancer(configured=1, weight=1)
    assert "would be 0, because its configured weight is 1" in str(balancer.refused(weight="10%"))
    assert balancer.commands == []
    balancer.change(weight="0")
    assert balancer.member().weight == 0


def test_a_socket_without_the_right_changes_nothing_and_says_so() -> None:
    balancer = Balancer()
    balancer.refusals = {"set server": "Permission denied\n\n"}
    text = str(balancer.refused(state="drain"))
    assert "'set server catalog/one state drain': Permission denied (the master's socket must have level admin)" in text
    assert text.endswith("nothing was changed.")
    assert set(states(balancer).values()) == {(0, 100)}


def test_a_refusal_for_the_second_server_takes_the_first_one_back() -> None:
    balancer = Balancer("catalog/one", "files/one")
    reply = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n"
    balancer.refusals = {"set server files/one weight": reply}
    text = str(balancer.refused("one", "catalog,files", state="drain", weight="10%"))
    assert "static LB algorithm and only accepts weights '0%' and '100%'; nothing was changed." in text
    assert set(states(balancer).values()) == {(0, 100)}


def test_a_weight_that_haproxy_takes_without_heeding_it_fails() -> None:
    balancer = Balancer()
    balancer.refusals = {"set server catalog/one weight": "\n"}
    assert "its weight is 100 and not 10" in str(balancer.refused(weight="10%"))


def test_without_an_answer_it_fails_in_time() -> None:
    balancer = Balancer()

    def nobody(_command: str) -> str:
        balancer.now += 0.01
        raise FileNotFoundError("no socket")

    balancer.ask = nobody  # type: ignore[method-assign, assignment]
    assert "gives no usable answer (no socket)" in str(balancer.refused(state="drain"))
    assert 10 <= balancer.now < 11


def test_a_state_that_cannot_be_saved_fails() -> None:
    balancer = Balancer()

    def full() -> None:
        raise OSError("no space")

    balancer.save = full  # type: ignore[method-assign]
    assert "could not be saved for a restart of HAProxy (no space)" in str(balancer.refused(state="drain"))


# ----------------------------------------------------------------------------------------------- somebody else's word


@pytest.mark.parametrize(
    ("admin", "wanted", "states_left_alone"),
    [(8, "ready", ["drain", "maint"]), (1, "ready", ["maint"]), (8, "drain", ["drain"]), (1, "drain", ["maint"])],
)
def test_a_server_that_somebody_else_has_put_elsewhere_is_left_alone(
    admin: int, wanted: str, states_left_alone: list[str]
) -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", "api/s0", checked=False)
    balancer.member("catalog/s0").admin = admin
    before = states(balancer)
    unless = {"s0": states_left_alone, "s1": []}
    outcome = balancer.change(["s0", "s1"], state=wanted, wait=0.0, unless=unless)
    assert outcome.left_alone == {"s0": {8: "drain", 1: "maint"}[admin]}
    assert states(balancer)["catalog/s0"] == before["catalog/s0"]
    assert [one.name for one in outcome.servers] == ["s1"]


def test_a_server_that_is_out_in_one_backend_is_left_alone_in_all() -> None:
    balancer = Balancer("catalog/s0", "api/s0", checked=False)
    balancer.member("api/s0").admin = 1
    outcome = balancer.change(["s0"], "catalog,api", state="drain", wait=0.0, unless={"s0": ["maint", "drain"]})
    assert (outcome.left_alone, outcome.changed) == ({"s0": "maint"}, False)
    assert balancer.member("catalog/s0").admin == 0


@pytest.mark.parametrize(("taken_out", "states_left_alone"), [(1, ["maint"]), (1, ["maint", "drain"]), (8, ["maint"])])
def test_a_server_that_somebody_takes_out_while_others_are_waited_for_is_left_alone(
    taken_out: int, states_left_alone: list[str]
) -> None:
    def person_acts(now: float) -> bool:
        if now > 1.0 and balancer.member("catalog/s0").admin == 0:
            balancer.member("catalog/s0").admin = taken_out
        return now > 2.0

    balancer = Balancer("catalog/s0", "catalog/s1", "api/s0", "api/s1", healthy=person_acts)
    balancer.member("catalog/s1").up, balancer.member("catalog/s1").health = False, 0
    unless = {"s0": states_left_alone, "s1": ["maint"]}
    outcome = balancer.change(["s0", "s1"], "catalog,api", state="ready", fresh=False, unless=unless)
    assert outcome.left_alone == {"s0": {8: "drain", 1: "maint"}[taken_out]}
    assert (outcome.done, {one.name for one in outcome.servers}) == (True, {"s1"})
    assert balancer.member("catalog/s0").admin == taken_out
    assert balancer.now > 2.0


def test_a_server_that_a_reload_has_taken_out_again_is_put_back() -> None:
    """The new worker has it as the state file from before had it."""

    def reload_forgets(now: float) -> bool:
        balancer.saved["catalog", "s0"].admin = 8
        return now > 2.0

    balancer = Balancer("catalog/s0", "catalog/s1", healthy=reload_forgets)
    balancer.reloads = [1.0]
    balancer.member("catalog/s1").up, balancer.member("catalog/s1").health = False, 0
    unless: dict[str, list[str]] = {"s0": ["maint"], "s1": ["maint"]}
    outcome = balancer.change(["s0", "s1"], state="ready", fresh=False, unless=unless)
    assert (outcome.done, outcome.left_alone) == (True, {})
    assert balancer.member("catalog/s0").admin == 0


# ------------------------------------------------------------------------------------------------------------ capacity


def test_the_capacity_guard_counts_the_others_that_take_traffic() -> None:
    balancer = Balancer()
    balancer.member("catalog/two").up = False
    text = str(balancer.refused(state="drain", min_available=2))
    assert "Taking catalog/one out of traffic would leave 1 of 3 servers of backend 'catalog' up and ready" in text
    assert balancer.commands == []
    balancer.change(state="drain", min_available=1)
    # One of weight 0 takes nothing, so it does not count.
    balancer.member().admin, balancer.member().weight = 0, 0
    assert "would leave 0 of 3" in str(balancer.refused("three", state="drain", min_available=1))
    balancer.member().admin = 8
    # Nothing is taken from what is out already, so nothing stands in the way.
    balancer.change(state="maint", min_available=2)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 8]), st.booleans(), st.sampled_from([0, 10, 100])), min_size=1, max_size=5
    ),
    st.sets(st.integers(0, 4), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from([{"state": "drain"}, {"state": "maint"}, {"weight": "0"}]),
)
def test_capacity_is_never_less_than_asked_for_after_a_server_was_taken_out(
    members: list[tuple[int, bool, int]], chosen: set[int], least: int, wanted: dict[str, Any]
) -> None:
    targets = [f"s{index}" for index in chosen if index < len(members)]
    assume(targets)
    balancer = Balancer(*[f"catalog/s{index}" for index in range(len(members))], checked=False)
    for index, (admin, up, weight) in enumerate(members):
        member = balancer.member(f"catalog/s{index}")
        member.admin, member.up, member.weight = admin, up and admin != 1, weight
    before = states(balancer)
    taken = [one for one in targets if balancer.member(f"catalog/{one}").takes_traffic and before[f"catalog/{one}"][1]]
    try:
        outcome = balancer.change(targets, min_available=least, wait=0.0, **wanted)
    except runtime.RuntimeFailure:
        assert states(balancer) == before
        assert taken
        others = [f"s{index}" for index in range(len(members)) if f"s{index}" not in targets]
        serving = [balancer.member(f"catalog/{one}") for one in others]
        assert sum(one.takes_traffic and one.weight > 0 for one in serving) < least
        return
    assert not taken or outcome.available["catalog"] >= least


# ----------------------------------------------------------------------------------------------------- drain and maint


@pytest.mark.parametrize(("how", "admin"), [("drain", 8), ("maint", 1)])
def test_it_waits_for_the_last_session_and_is_saved_before(how: str, admin: int) -> None:
    balancer = Balancer()
    balancer.member().sessions = [1.0, 2.0]
    outcome = balancer.change(state=how)
    assert (outcome.changed, outcome.done, outcome.killed) == (True, True, {})
    assert 2.0 <= balancer.now < 2.4
    assert 1.9 < outcome.waited_s < 2.4
    assert balancer.saved[("catalog", "one")].admin == admin
    assert outcome.available == {"catalog": 2}
    assert outcome.public()["diff"] == {
        "before": "catalog/one: ready, weight 100\n",
        "after": f"catalog/one: {how}, weight 100\n",
    }


def test_queued_requests_count() -> None:
    balancer = Balancer()
    balancer.member().queued = 1
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="report")
    assert (outcome.done, outcome.servers[0].queued) == (False, 1)


def test_a_dead_server_without_sessions_is_drained_at_once() -> None:
    balancer = Balancer(healthy=lambda now: False)
    balancer.member().up = False
    assert balancer.change(state="drain").done
    assert balancer.now < 0.1


def test_sessions_of_a_worker_from_before_a_reload_count() -> None:
    balancer = Balancer()
    balancer.member().sessions = [3.0]
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    assert balancer.current == 101
    read = balancer.change()
    assert (read.workers, read.servers[0].sessions, read.servers[0].sessions_old_workers) == (2, 0, 1)
    assert read.busy_before == {"catalog/one": 1}
    balancer.member().queued = 2
    with pytest.raises(runtime.RuntimeFailure) as caught:
        balancer.change(state="drain", wait=0.1)
    assert caught.value.outcome is not None
    assert caught.value.outcome.public()["busy_before"] == {"catalog/one": 3}
    balancer.member().queued = 0
    outcome = balancer.change(state="drain")
    assert (outcome.done, outcome.workers) == (True, 1)
    assert 3.0 <= balancer.now < 3.4


def reloaded(balancer: Balancer, **old: Any) -> Balancer:
    """The balancer after a reload, with what its old worker, 100, still has."""
    for name, value in old.items():
        setattr(balancer, name, value)
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    assert balancer.current == 101
    return balancer


def test_a_drain_waits_for_idle_clients_of_an_old_worker_that_sends_their_next_requests_by_itself() -> None:
    balancer = reloaded(Balancer(), hands_over=False, idle={100: [2.0, 3.0]})
    text = str(balancer.refused(state="drain", wait=0.5))
    assert "2 clients there may send more" in text
    outcome = balancer.change(state="drain")
    assert outcome.done
    assert 3.0 <= balancer.now < 3.5


def test_a_client_whose_request_is_at_a_server_sends_no_other_one() -> None:
    balancer = Balancer()
    balancer.member("catalog/two").sessions = [60.0]
    reloaded(balancer, hands_over=False)
    assert balancer.change(state="drain").done
    assert balancer.now < 1


def test_a_drain_need_not_wait_for_idle_clients_whose_requests_are_handed_to_the_current_worker() -> None:
    balancer = reloaded(Balancer(), idle={100: [60.0] * 9})
    assert balancer.change(state="drain").done
    assert balancer.now < 1


def test_a_drain_of_tcp_does_not_wait_for_idle_clients_of_http() -> None:
    balancer = reloaded(Balancer("catalog/one", "database/one"), hands_over=False, idle={100: [60.0]})
    assert balancer.change("one", "database", state="drain").done
    assert balancer.now < 1
    assert not balancer.change("one", "catalog", state="drain", wait=0.5, on_timeout="report").done


def test_requests_that_wait_in_an_old_worker_for_any_server_count() -> None:
    balancer = reloaded(Balancer(), waiting={100: 1})
    assert balancer.change(state="drain", wait=0.5, on_timeout="report").servers[0].clients_old_workers == 1
    balancer.waiting = {}
    assert balancer.change(state="drain").done


def test_an_old_worker_that_has_not_begun_to_stop_hands_nothing_over() -> None:
    balancer = reloaded(Balancer(), still_open={100}, idle={100: [60.0]})
    assert not balancer.change(state="drain", wait=0.5, on_timeout="report").done
    balancer.still_open = set()
    assert balancer.change(state="drain").done


def test_clients_that_are_served_are_counted_once_each() -> None:
    lines = [
        "0x7f01: proto=tcpv4 src=10.0.0.9:4001 fe=edge be=catalog srv=one ts=00",
        "0x7f02: proto=tcpv4 src=10.0.0.9:4001 fe=edge be=catalog srv=two ts=00",
        "0x7f03: proto=tcpv4 src=10.0.0.9:4002 fe=edge be=<NONE> srv=<none> ts=00",
        "0x7f04: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00",
    ]
    assert runtime.served("\n".join(lines)) == {"10.0.0.9:4001"}


def test_a_reload_that_forgets_the_drain_is_noticed() -> None:
    balancer = Balancer()
    balancer.member().sessions = [1.5]
    balancer.reloads = [0.5]
    original = balancer.tick

    def forget() -> None:
        original()
        if balancer.back_at > 0:
            balancer.saved[("catalog", "one")].admin = 0

    balancer.tick = forget  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert (balancer.current, balancer.member().admin) == (101, 8)
    assert balancer.saved[("catalog", "one")].admin == 8


def test_a_reload_right_after_a_quiet_look_is_noticed() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    original = balancer.reply

    def reply(pid: int, command: str) -> str:
        text = original(pid, command)
        # The first look after everything has been set and saved.
        if command.startswith("show stat") and balancer.saves == 2 and balancer.current == 100:
            balancer.current = 101
            balancer.workers[101] = deepcopy(balancer.workers[100])
            balancer.member().sessions = [balancer.now + 1]
        return text

    balancer.reply = reply  # type: ignore[method-assign]
    begin = balancer.now
    assert balancer.change(state="drain").done
    assert balancer.now > begin + 1


def test_a_worker_that_ends_before_it_is_told_is_not_believed() -> None:
    balancer = Balancer()
    original = balancer.ask

    def ask(command: str) -> str:
        if "set server" in command and balancer.current == 100:
            balancer.workers[101] = balancer.workers.pop(100)
            balancer.current = 101
        return original(command)

    balancer.ask = ask  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert balancer.commands == ["set server catalog/one state drain"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.floats(0.01, 3.0), max_size=5),
    st.lists(st.floats(0.01, 3.0), max_size=3),
    st.sampled_from(["drain", "maint"]),
    st.booleans(),
    st.lists(st.floats(0.01, 5.0), max_size=3),
)
def test_drained_means_no_session_in_any_worker_and_no_new_one(
    ends: list[float], reloads: list[float], how: str, forgetful: bool, idle: list[float]
) -> None:
    balancer = Balancer()
    balancer.member().sessions = ends
    balancer.hands_over, balancer.idle = False, {100: idle}
    balancer.reloads = sorted(reloads)
    if forgetful:
        balancer.save = lambda: None  # type: ignore[method-assign]
    outcome = balancer.change(state=how, wait=10.0)
    assert outcome.done
    for pid in balancer.workers:
        assert balancer.member(pid=pid).sessions == []
    assert balancer.member().admin != 0
    done_at = balancer.now
    # A reload that begins later is another story: what is idle then was not idle in an old worker.
    if balancer.current != 100:
        for _ in range(25):
            balancer.sleep(0.25)
        assert balancer.last_from_old <= done_at


def test_timeout_fails_and_leaves_it_as_it_is() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    error = balancer.refused(state="drain", wait=2.0)
    assert "After 2 s, catalog/one (state drain, weight 100) still has 1 session, 0 more in workers" in str(error)
    assert balancer.member().admin == 8
    assert error.outcome is not None
    assert (error.outcome.changed, error.outcome.done) == (True, False)
    assert 2.0 <= balancer.now < 2.2


@pytest.mark.parametrize("how", ["drain", "maint"])
def test_timeout_reverts_and_the_checks_let_it_in_again(how: str) -> None:
    balancer = Balancer(healthy=lambda now: False)
    member = balancer.member()
    member.sessions, member.weight = [99.0], 50
    error = balancer.refused(state=how, weight="10%", wait=2.0, on_timeout="revert")
    assert "is back" in str(error)
    assert error.outcome is not None
    assert not error.outcome.changed
    assert (balancer.member().admin, balancer.member().weight) == (0, 50)
    assert (balancer.saved[("catalog", "one")].admin, balancer.saved[("catalog", "one")].weight) == (0, 50)
    # It had died meanwhile, and maint had not looked.
    assert not balancer.member().up
    assert balancer.entered == []


def test_timeout_reports() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="report")
    assert (outcome.done, outcome.changed, outcome.servers[0].sessions) == (False, True, 1)


def test_timeout_kills_sessions_in_every_worker_and_goes_on() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0, 99.0]
    balancer.member("catalog/two").sessions = [99.0]
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="kill")
    assert (outcome.done, outcome.killed) == (True, {"catalog/one": 3})
    assert balancer.now < 2
    assert balancer.member("catalog/two", 100).sessions == [99.0]
    assert "shutdown sessions server catalog/one" in balancer.commands


def test_what_cannot_be_killed_is_not_done() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    balancer.refusals = {"shutdown": "\n"}
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="kill")
    assert (outcome.done, outcome.killed) == (False, {"catalog/one": 1})
    assert 6 <= balancer.now < 7


def test_without_waiting_it_does_not_fail() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=0.0)
    assert (outcome.done, outcome.changed) == (False, True)
    assert balancer.now < 0.1


def test_a_second_run_changes_nothing_whatever_the_traffic_does() -> None:
    balancer = Balancer()
    assert balancer.change(state="drain", weight="10%").changed
    count = len(balancer.commands)
    balancer.member().sessions = [balancer.now + 1]
    outcome = balancer.change(state="drain", weight="10%")
    assert (outcome.changed, outcome.done) == (False, True)
    assert len(balancer.commands) == count
    # A run that was killed before it could save is made good.
    assert balancer.saves == 2


# --------------------------------------------------------------------------------------------------------------- ready


def test_a_healthy_server_is_let_in_after_new_checks_with_its_weight() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    balancer.commands.clear()
    begin = balancer.now
    outcome = balancer.change(state="ready", weight="10%")
    assert balancer.commands == [
        "set server catalog/one weight 10%",
        "set server catalog/one health down",
        "set server catalog/one state ready",
    ]
    assert (outcome.done, outcome.changed, outcome.servers[0].weight) == (True, True, 10)
    assert balancer.saved[("catalog", "one")].admin == 0
    assert len(balancer.entered) == 1
    assert min(balancer.entered[0][1]) >= begin
    assert balancer.now - begin < 1.0


def test_from_maint_it_goes_through_drain() -> None:
    balancer = Balancer()
    balancer.change(state="maint")
    balancer.commands.clear()
    assert balancer.change(state="ready", fresh=False).done
    assert balancer.commands == [
        "set server catalog/one state drain",
        "set server catalog/one health down",
        "set server catalog/one state ready",
    ]
    assert [len(passed) >= 2 for _label, passed in balancer.entered] == [True]


@pytest.mark.parametrize("wait", [0.0, 5.0])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("begin", ["drain", "maint"])
def test_a_dead_server_never_gets_in(begin: str, fresh: bool, wait: float) -> None:
    balancer = Balancer(healthy=lambda now: now < 2.0)
    balancer.change(state=begin)
    balancer.entered.clear()
    while balancer.now < 4.0:
        balancer.sleep(0.1)
    if wait:
        error = balancer.refused(state="ready", fresh=fresh, wait=wait)
        assert "catalog/one is DOWN (L7OK)" in str(error)
        assert balancer.member().admin == 8
    else:
        outcome = balancer.change(state="ready", fresh=fresh, wait=wait)
        assert (outcome.done, outcome.servers[0].admin) == (False, "ready")
        for _ in range(20):
            balancer.sleep(0.1)
    assert balancer.entered == []


def test_a_server_that_comes_up_later_is_waited_for() -> None:
    balancer = Balancer(healthy=lambda now: now > 3.0)
    balancer.change(state="drain")
    assert balancer.change(state="ready").done
    assert 3.3 < balancer.now < 4.0


def test_one_that_is_ready_and_up_is_left_alone_and_one_that_is_down_is_waited_for() -> None:
    balancer = Balancer(healthy=lambda now: now > 1.0)
    assert balancer.change(state="ready").done
    assert balancer.now < 0.1
    balancer.member().up, balancer.member().health = False, 0
    outcome = balancer.change(state="ready")
    assert (outcome.done, outcome.changed) == (True, False)
    assert balancer.now > 1.0
    assert balancer.commands == []


def test_health_that_drain_has_found_is_good_enough_when_told_so() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    begin = balancer.now
    assert balancer.change(state="ready", fresh=False).done
    assert balancer.now - begin < 0.1
    assert not any("health" in one for one in balancer.commands)


def test_a_server_without_checks_goes_in_at_once() -> None:
    balancer = Balancer(checked=False)
    balancer.change(state="maint")
    begin = balancer.now
    outcome = balancer.change(state="ready")
    assert (outcome.done, outcome.servers[0].checked) == (True, False)
    assert balancer.now - begin < 0.1
    assert not any("health" in one for one in balancer.commands)


def test_with_rise_1_a_check_that_began_before_does_not_count() -> None:
    balancer = Balancer(rise=1, healthy=lambda now: now < 1.005)
    balancer.change(state="drain")
    while balancer.member().check_began is None or balancer.now < 1.0:
        balancer.sleep(TICK)
    assert balancer.member().check_began == pytest.approx(1.0, abs=0.006)
    balancer.refused(state="ready", wait=3.0)
    assert balancer.entered == []


@pytest.mark.parametrize("how", ["fail", "revert", "kill", "report"])
def test_timeout_of_ready(how: str) -> None:
    balancer = Balancer(healthy=lambda now: False)
    balancer.change(state="maint")
    if how == "report":
        outcome: runtime.Outcome | None = balancer.change(state="ready", weight="10%", wait=1.0, on_timeout=how)
    else:
        outcome = balancer.refused(state="ready", weight="10%", wait=1.0, on_timeout=how).outcome
    assert outcome is not None
    assert not outcome.done
    assert outcome.killed == {}
    now = (balancer.member().admin, balancer.member().weight)
    assert now == ((1, 100) if how == "revert" else (8, 10))
    assert balancer.entered == []


@settings(deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(
    begin=st.sampled_from([1, 8]),
    up=st.booleans(),
    rise=st.integers(1, 3),
    fresh=st.booleans(),
    toggles=st.lists(st.floats(0, 4), max_size=4),
    reloads=st.lists(st.floats(0.3, 3), max_size=2),
    lead=st.floats(0.0, 0.3),
)
def test_traffic_begins_only_after_checks_that_began_after_the_call(
    *, begin: int, up: bool, rise: int, fresh: bool, toggles: list[float], reloads: list[float], lead: float
) -> None:
    balancer = Balancer(rise=rise, healthy=lambda now: sum(one <= now for one in toggles) % 2 == 1)
    member = balancer.member()
    member.admin, member.up = begin, up and begin == 8
    member.health = rise + 1 if member.up else 0
    while balancer.now < lead:
        balancer.sleep(TICK)
    balancer.reloads = sorted(balancer.now + one for one in reloads)
    balancer.entered.clear()
    called = balancer.now
    outcome = balancer.change(state="ready", fresh=fresh, wait=4.0, on_timeout="report")
    entries = [passed for label, passed in balancer.entered if label == "catalog/one"]
    assert len(entries) > 0 or not outcome.done
    for passed in entries[:1]:
        if fresh:
            # A worker counts "rise" passes in a row; at least one of them was not under way already.
            assert passed
            assert len(passed) >= rise
            assert max(passed) >= called
        elif begin == 1:
            assert len(passed) >= rise


# ------------------------------------------------------------------------------------------------------------- the rest


def test_weight_alone_leaves_the_state_alone() -> None:
    balancer = Balancer()
    balancer.member().admin = 8
    outcome = balancer.change(weight="30")
    assert (outcome.changed, outcome.done, states(balancer)["catalog/one"]) == (True, True, (8, 30))
    outcome = balancer.change(weight="30%")
    assert (outcome.changed, balancer.commands) == (False, ["set server catalog/one weight 30"])


def test_all_servers_of_all_backends_in_one_execution() -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one", "files/two")
    outcome = balancer.change(["one", "two"], "catalog,files", state="drain")
    assert [one.label for one in outcome.servers] == ["catalog/one", "catalog/two", "files/one", "files/two"]
    assert {one.admin for one in outcome.servers} == {"drain"}


@settings(deadline=None)
@given(
    st.sampled_from([0, 1, 8]),
    st.sampled_from([None, "ready", "drain", "maint"]),
    st.sampled_from([None, "10%", "100%", "0", "256"]),
)
def test_check_mode_changes_nothing_and_predicts_what_happens(
    begin: int, wanted: str | None, weight: str | None
) -> None:
    balancer = Balancer()
    balancer.member().admin, balancer.member().up = begin, begin != 1
    predicted = balancer.change(state=wanted, weight=weight, check_mode=True)
    assert (balancer.commands, balancer.saves) == ([], 0)
    done = balancer.change(state=wanted, weight=weight)
    for key in ("changed", "before", "after", "diff"):
        assert predicted.public()[key] == done.public()[key]
    again = balancer.change(state=wanted, weight=weight)
    assert (again.changed, again.done) == (False, True)


def test_sessions_of_one_server_are_found_by_whole_words() -> None:
    text = (
        "0x1: proto=tcpv4 src=10.0.0.9:1 fe=edge be=catalog srv=one ts=00\n"
        "0x2: proto=tcpv4 src=10.0.0.9:2 fe=edge be=catalog srv=one-b ts=00\n"
        "0x3: proto=tcpv4 src=10.0.0.9:3 fe=edge be=files srv=one ts=00\n"
        "0x4: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n\n"
    )
    assert state.sessions_of(text, ("catalog", "one")) == ["0x1"]


def test_the_lock_excludes_and_gives_up(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    path = str(tmp_path / "lock")
    with (
        runtime.file_lock(path, lambda: now[0], sleep),
        pytest.raises(runtime.RuntimeFailure, match="for 5 s"),
        runtime.file_lock(path, lambda: now[0], sleep, 5),
    ):
        raise AssertionError("two at once")
    with runtime.file_lock(path, lambda: now[0], sleep, 0):
        pass
    assert 5 <= now[0] < 5.2


def test_what_is_saved_is_what_a_start_takes_back(tmp_path: Path) -> None:
    balancer = Balancer("catalog/one")
    balancer.change(state="drain", weight="10%")
    config = tmp_path / "haproxy.cfg"
    config.write_text("backend catalog\n    server one 10.0.0.1:8000 weight 100 check\n")
    runtime.save(balancer.ask, str(config), str(tmp_path / "state"))
    text = (tmp_path / "state").read_text()
    assert text.endswith(f"{state.FRESH_MARK}\n")
    row = state.parse_state(state.before_start(config.read_text(), text))[("catalog", "one")]
    assert (row["srv_admin_state"], row["srv_uweight"], row["srv_iweight"]) == ("8", "10", "100")


@pytest.mark.parametrize("cut", ["show proc", "show servers state"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_half_an_answer_does_not_wipe_the_saved_state(tmp_path: Path, cut: str, share: float) -> None:
    balancer = Balancer("catalog/one", "catalog/two")
    target = tmp_path / "state"
    target.write_text("kept")

    def ask(command: str) -> str:
        whole = balancer.ask(command)
        return whole[: int(len(whole) * share)] if command.endswith(cut) else whole

    with pytest.raises(runtime.NoAnswer):
        runtime.save(ask, "/no", str(target))
    assert target.read_text() == "kept"


def test_a_master_without_a_worker_does_not_wipe_the_saved_state(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_text("kept")
    with pytest.raises(runtime.NoAnswer):
        runtime.save(lambda _command: "#<PID> <type> <reloads>\n7 master 1\n# workers\n\n", "/no", str(target))
    assert target.read_text() == "kept"


@pytest.mark.parametrize("command", ["show proc", "show servers state", "show stat -1 6 -1"])
def test_half_an_answer_is_asked_for_again(command: str) -> None:
    balancer = Balancer()
    balancer.member("catalog/three").sessions = [1.0]
    original = balancer.ask
    asked: list[str] = []

    def ask(one: str) -> str:
        whole = original(one)
        if one.endswith(command):
            asked.append(one)
        return whole[: len(whole) // 2] if one.endswith(command) and len(asked) % 2 else whole

    balancer.ask = ask  # type: ignore[method-assign, assignment]
    outcome = balancer.change("three", state="drain")
    assert (outcome.done, outcome.servers[0].admin) == (True, "drain")
    assert balancer.now >= 1.0


def test_a_reload_while_the_state_is_saved_is_waited_for() -> None:
    balancer = Balancer()
    original = balancer.save
    failures = [runtime.NoAnswer("reloading")] * 3

    def save() -> None:
        if failures:
            raise failures.pop()
        original()

    balancer.save = save  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert balancer.saved[("catalog", "one")].admin == 8


@pytest.mark.parametrize("checked", [True, False])
def test_a_reload_that_forgets_ready_is_noticed(checked: bool) -> None:
    balancer = Balancer(checked=checked)
    balancer.change(state="maint")
    balancer.commands.clear()
    original = balancer.save

    def save() -> None:
        if balancer.current == 100 and not balancer.member().admin & 1:
            balancer.workers[101] = balancer.workers.pop(100)
            balancer.current = 101
            balancer.member().admin, balancer.member().up = 1, False
        original()

    balancer.save = save  # type: ignore[method-assign]
    outcome = balancer.change(state="ready")
    assert (outcome.done, balancer.current, balancer.member().admin) == (True, 101, 0)
    # "health down" without checks would be for good.
    assert any("health down" in one for one in balancer.commands) is checked


def test_server_that_takes_no_traffic_may_always_be_taken_out() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", checked=True)
    for name in ("catalog/s0", "catalog/s1"):
        balancer.member(name).up = False
    outcome = balancer.change(["s0"], state="drain", min_available=2, wait=0.0)
    assert outcome.after["catalog/s0"].admin == "drain"


def test_counters_are_those_of_every_server_of_the_backends() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", "other/s0", checked=False)
    found = balancer.change(["s0"], state="drain", wait=0.0).counters
    assert set(found) == {"s0", "s1"}
    assert set(found["s1"]) >= {"requests", "responses_5xx", "connection_errors", "response_errors"}


def test_execution_that_was_superseded_while_it_waited_lets_nobody_in() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", checked=True)
    balancer.member("catalog/s0").admin = 8
    come: list[float] = []

    def later(seconds: float) -> None:
        come.append(seconds)
        balancer.sleep(seconds)

    tools = runtime.Tools(
        balancer.ask, lambda: balancer.now, later, balancer.save, balancer.lock, superseded=lambda: bool(come)
    )
    with pytest.raises(runtime.RuntimeFailure, match="newer run changes these servers now"):
        runtime.change(tools, runtime.Wanted(("catalog",), ("s0",), state="ready", wait=30.0))
    assert come
    assert balancer.member("catalog/s0").admin == 8
