# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take servers out of one HAProxy's traffic and put them back, and prove it. No Ansible in here.

Everything goes through the master's socket, because only the master knows the workers that a reload has left behind.
Measured on 2.6 and 3.0, and the reason for much of what follows:

- "@!<pid>" holds for one command; what follows a ";" would go to the master. So every command is sent alone.
- A reload answers nobody for some 100 ms, and gives the new worker the state from before it. So every look names the
  worker it was taken from, and what a reload has lost is set again.
- An old worker refuses "set server" and "shutdown sessions server" ("Proxy is disabled."), but ends single sessions.
- An old worker keeps idle client connections, makes no checks, and would send the next request of each to any server
  as it was at the reload. The role's configuration has it hand such a request to the current worker instead. Where a
  configuration does not, a server is drained only when no such connection is left: "show sess" does not list them, but
  a frontend counts them, and nothing can end them without the danger of losing a request.
- "show stat <name>" may mean the frontend of that name. So all servers are asked for.
- Leaving maint, a server is "UP 1/3" and takes traffic before any check. Going through drain, where checks go on, and
  saying "health down" there, leaves it DOWN until "rise" checks have passed.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import Held, take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import state, traffic

READY, DRAIN, MAINT = "ready", "drain", "maint"
STATES = [READY, DRAIN, MAINT]
ON_TIMEOUT = ["fail", "revert", "kill", "report"]

FIRST_POLL, LAST_POLL, POLL_GROWTH = 0.05, 0.25, 1.3
ANSWER_TIMEOUT = 10.0
"""Seconds in which HAProxy must answer; a reload takes some 100 ms of them."""
KILL_WAIT = 5.0
"""Seconds in which sessions that were shut down must be gone."""
LOCK_TIMEOUT = 60.0

# Bits of srv_admin_state and srv_check_state in "show servers state".
_MAINT_BITS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
_DRAIN_BITS = 0x08 | 0x10
_CHECK_RUNS, _CHECK_ENABLED = 0x01, 0x04
# A server that is in drain and healthy shows DRAIN. "UP 1/2" and the like are on their way down, or never checked.
_UP = {"UP", "DRAIN", "no check"}
# Kinds of rows in "show stat".
_BACKENDS, _PROXIES, _SERVERS = 2, 1 | 2, 4
_GONE = "Can't find the target PID"
_COUNTERS = {
    "responses_5xx": "hrsp_5xx",
    "connection_errors": "econ",
    "response_errors": "eresp",
    "retries": "wretr",
    "redispatches": "wredis",
    "aborted_by_client": "cli_abrt",
    "check_failures": "chkfail",
}

Key = tuple[str, str]
Ask = Callable[[str], str]
Result = TypeVar("Result")


class RuntimeFailure(Refused):
    """It could not be done; the text is one sentence for the user, ``outcome`` says how things are now."""

    def __init__(self, text: str, outcome: Outcome | None = None) -> None:
        super().__init__(text)
        self.outcome = outcome


class NotAccepted(RuntimeFailure):
    """HAProxy has answered a command with something else than nothing."""


class NoAnswer(Exception):
    """Nobody answers, or half an answer came: a reload is under way."""


# -------------------------------------------------------------------------------------------------------------- reading


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


def parse_stat(text: str) -> list[dict[str, str]] | None:
    """Read "show stat" by its header line; nothing when the reply is no table."""
    if not text.startswith("# pxname,"):
        return None
    rows = csv.reader(io.StringIO(text[2:].replace("\0", ""), newline=""))
    header = next(rows)
    return [dict(zip(header, row)) for row in rows if len(row) > 1]


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0


def admin_of(bits: int) -> str:
    """Translate srv_admin_state: whatever keeps a server out of everything is maint."""
    if bits & _MAINT_BITS:
        return MAINT
    return DRAIN if bits & _DRAIN_BITS else READY


def _check_text(row: Mapping[str, str]) -> str:
    # HAProxy marks a check that is under way with "* ".
    words = [row.get("check_status", "").lstrip("* "), row.get("check_code", ""), row.get("last_chk", "")]
    return " ".join(word for word in words if word)


@dataclass(frozen=True)
class OldWorker:
    """What a worker from before a reload still has."""

    servers: Mapping[Key, Mapping[str, str]]
    """Its rows of "show stat" for servers, by backend and server name."""
    proxies: Mapping[Key, Mapping[str, str]]
    """Those for frontends and backends, by name and FRONTEND or BACKEND."""
    served: int
    """Client connections that have a request at a server; each is closed after its answer."""

    def clients(self, backend: str) -> int:
        """Clients whose next request it would send to a server of this backend, and requests that wait for any."""
        own = self.proxies.get((backend, "BACKEND"))
        if own is None:
            return 0
        waiting = _number(own.get("qcur"))
        if own.get("mode") == "tcp":  # A connection there is one session, and it accepts no more.
            return waiting
        fronts = [one for (_name, kind), one in self.proxies.items() if kind == "FRONTEND" and one.get("mode") != "tcp"]
        connections = sum(_number(one.get("scur")) for one in fronts)
        if any(one.get("status") != "STOP" for one in fronts):
            return waiting + max(connections, 1)  # It has not yet begun to stop.
        if any(name.startswith(state.HANDOVER) for name, _kind in self.proxies):
            return waiting
        return waiting + max(connections - self.served, 0)


def _server(known: Mapping[str, str], pid: int, row: Mapping[str, str], old_workers: Mapping[int, OldWorker]) -> Server:
    """One server from its row in the current worker, and in the old ones."""
    host, port = known["srv_addr"], known["srv_port"]
    checks = _number(known["srv_check_state"])
    key = (known["be_name"], known["srv_name"])
    rows = {pid: row, **{pid: one.servers[key] for pid, one in old_workers.items() if key in one.servers}}
    everywhere = list(rows.values())
    old = everywhere[1:]
    counters = {
        # Empty for tcp, where a session is what is counted.
        "requests": sum(_number(one.get("req_tot") or one.get("stot")) for one in everywhere),
        **{name: sum(_number(one.get(column)) for one in everywhere) for name, column in _COUNTERS.items()},
        # Every worker counts the same seconds.
        "downtime_s": _number(row.get("downtime")),
    }
    return Server(
        backend=known["be_name"],
        name=known["srv_name"],
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        admin=admin_of(_number(known["srv_admin_state"])),
        status=row.get("status", ""),
        checked=bool(checks & _CHECK_ENABLED),
        check=_check_text(row),
        checking=bool(checks & _CHECK_RUNS),
        rise=_number(row.get("check_rise")),
        weight=_number(known["srv_uweight"]),
        weight_configured=_number(known["srv_iweight"]),
        sessions=_number(row.get("scur")),
        queued=sum(_number(one.get("qcur")) for one in everywhere),
        sessions_old_workers=sum(_number(one.get("scur")) for one in old),
        clients_old_workers=sum(one.clients(key[0]) for one in old_workers.values()),
        counters=counters,
        workers={pid: traffic.counts(one) for pid, one in rows.items()},
    )


def _answer(ask: Ask, command: str) -> str:
    try:
        return ask(command)
    except OSError as error:
        raise NoAnswer(str(error)) from error


def _whole(ask: Ask, command: str) -> str:
    """Ask for something of several lines; a worker that ends while it answers leaves out the empty line at the end."""
    reply = _answer(ask, command)
    if not reply.endswith("\n\n"):
        raise NoAnswer(" ".join(reply.split())[-120:] or "an empty reply")
    return reply


def _rows(ask: Ask, pid: int, kinds: int = _SERVERS) -> dict[Key, dict[str, str]]:
    reply = _whole(ask, f"@!{pid} show stat -1 {kinds} -1")
    rows = parse_stat(reply)
    if rows is None:
        raise NoAnswer(" ".join(reply.split()))
    return {(row["pxname"], row["svname"]): row for row in rows}


def _old_worker(ask: Ask, pid: int) -> OldWorker:
    return OldWorker(_rows(ask, pid), _rows(ask, pid, _PROXIES), len(served(_whole(ask, f"@!{pid} show sess"))))


def served(text: str) -> set[str]:
    """The clients in "show sess", as address and port, that have a session at a server."""
    found = re.findall(r"^0x\S+ .*?\bsrc=(\S+) .*?\bsrv=(\S+)", text, re.MULTILINE)
    return {client for client, server in found if server != "<none>"}


def look(ask: Ask) -> View:
    """Read all servers from all workers; ``NoAnswer`` when a worker comes or goes meanwhile."""
    processes = state.parse_processes(_whole(ask, "show proc"))
    current = state.current_worker(processes)
    if current is None:
        raise NoAnswer("no worker runs")
    reply = _whole(ask, f"@!{current.pid} show servers state")
    if "# be_id" not in reply:
        raise NoAnswer(" ".join(reply.split()))
    known = state.parse_state(reply)
    rows = _rows(ask, current.pid, _BACKENDS | _SERVERS)
    # One that ends in between makes no answer, and the next look is without it.
    old = {one.pid: _old_worker(ask, one.pid) for one in processes if one.old and one.kind == "worker"}
    servers = {
        key: replace(
            _server(row, current.pid, rows[key], old), algorithm=rows.get((key[0], "BACKEND"), {}).get("algo", "")
        )
        for key, row in known.items()
        if key in rows and not key[0].startswith(state.HANDOVER)
    }
    return View(current.pid, tuple(old), servers)


def counters(servers: Iterable[Server]) -> dict[str, dict[str, int]]:
    """What was counted of each server, by its name, over all backends that have it."""
    found: dict[str, dict[str, int]] = {}
    for server in servers:
        into = found.setdefault(server.name, {})
        for key, value in server.counters.items():
            into[key] = into.get(key, 0) + value
    return found


def look_at_traffic(ask: Ask, backends: Sequence[str], at: float) -> tuple[View, traffic.Traffic]:
    """Read all servers, and the traffic of some backends with the requests that wait; ``NoAnswer`` as ``look`` does."""
    view = look(ask)
    found = traffic_of((one for one in view.servers.values() if one.backend in backends), at)
    everybody = sum(one.sessions + one.sessions_old_workers for one in view.servers.values())
    if everybody <= traffic.MOST_SESSIONS:
        # A worker that ends meanwhile has no sessions any more.
        listed = (traffic.sessions(_answer(ask, f"@!{pid} show sess"), pid, backends) for pid in view.workers)
        found.update(traffic.together(listed))
    return view, found


def traffic_of(servers: Iterable[Server], at: float) -> dict[str, Any]:
    """What is known of some servers' traffic, by name and over all backends that have them; see ``Traffic``."""
    workers: dict[str, dict[str, dict[str, int]]] = {}
    health: dict[str, dict[str, Any]] = {}
    for server in servers:
        traffic.merge(workers, server.name, server.workers)
        before = health.get(server.name, {"up": True, "in_traffic": False})
        up = server.up or not server.checked or server.admin == MAINT
        told = {"status": server.status, "check": server.check} if before["up"] else {}
        health[server.name] = {
            **before,
            **told,
            "up": before["up"] and up,
            "in_traffic": before["in_traffic"] or (server.admin == READY and up and server.weight > 0),
        }
    return {"at": at, "workers": workers, "health": health}


# ------------------------------------------------------------------------------------------------------ what is wanted


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for; ``state`` and ``weight`` absent means to read only."""

    backends: tuple[str, ...]
    servers: tuple[str, ...] = ()
    state: str | None = None
    weight: str | None = None
    wait: float = 60.0
    on_timeout: str = "fail"
    min_available: int = 0
    fresh: bool = True
    check_mode: bool = False
    unless: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Server to administrative states in which somebody else has put it, so that it is left alone."""

    @property
    def reads_only(self) -> bool:
        """Whether nothing is to be changed."""
        return self.state is None and self.weight is None


@dataclass(frozen=True)
class Goal:
    """How one server is to be."""

    admin: str
    weight: int


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


def select(view: View, wanted: Wanted) -> list[Server]:
    """The servers that are meant, in the order of the request; a name that does not exist fails."""
    if not wanted.reads_only and not wanted.servers:
        raise RuntimeFailure("A change needs the names of its servers; give them in 'server'.")
    found: list[Server] = []
    for backend in dict.fromkeys(wanted.backends):
        members = [one.name for one in view.servers.values() if one.backend == backend]
        if not members:
            known = ", ".join(dict.fromkeys(one.backend for one in view.servers.values())) or "none"
            raise RuntimeFailure(f"HAProxy has no backend '{backend}' with servers; it has {known}.")
        for name in dict.fromkeys(wanted.servers or members):
            if name not in members:
                raise RuntimeFailure(f"Backend '{backend}' has no server '{name}'; it has {', '.join(members)}.")
            found.append(view.servers[(backend, name)])
    return found


def weight_of(text: str, server: Server) -> int:
    """Translate a weight, "10%" of the configured one or a whole number; refuse what HAProxy would make 0 or cut."""
    given = re.fullmatch(r"([0-9]{1,5})(%?)", text)
    if not given:
        raise RuntimeFailure(
            f"Weight '{text}' is neither a percentage of the configured weight, such as 10%, nor a whole number "
            "from 0 to 256; give one of them."
        )
    number = int(given.group(1))
    weight = number * server.weight_configured // 100 if given.group(2) else number
    if weight > 256:
        raise RuntimeFailure(f"Weight {text} of {server.label} would be {weight}, but HAProxy knows at most 256.")
    if number and not weight:
        raise RuntimeFailure(
            f"Weight {text} of {server.label} would be 0, because its configured weight is "
            f"{server.weight_configured}; configure a larger one, such as 100, or give a whole number."
        )
    return weight


def goals(targets: Sequence[Server], wanted: Wanted) -> dict[Key, Goal]:
    """How each server is to be, by key."""
    return {
        one.key: Goal(wanted.state or one.admin, one.weight if wanted.weight is None else weight_of(wanted.weight, one))
        for one in targets
    }


def guard(view: View, wanted: Mapping[Key, Goal], min_available: int) -> None:
    """Refuse to take servers out of a backend that would keep too few others which are up and ready."""
    leaving = [
        server
        for server in view.of(wanted)
        if server.available and (wanted[server.key].admin != READY or not wanted[server.key].weight)
    ]
    for backend in dict.fromkeys(one.backend for one in leaving):
        names = [one.label for one in leaving if one.backend == backend]
        members = [one for one in view.servers.values() if one.backend == backend]
        left = sum(one.available for one in members if one.key not in wanted)
        if left < min_available:
            raise RuntimeFailure(
                f"Taking {', '.join(names)} out of traffic would leave {left} of {quantity(len(members), 'server')} of "
                f"backend '{backend}' up and ready, but min_available is {min_available}; bring others up first, "
                "or lower it (for one rollout with -e rollout_min_available)."
            )


# ------------------------------------------------------------------------------------------------------------- changing


@dataclass(frozen=True)
class Tools:
    """The few things that touch the machine."""

    ask: Ask
    """Sends one command to the master's socket and returns the reply; raises ``OSError`` when nobody answers."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    save: Callable[[], None]
    """Keeps the current worker's state over a crash; raises ``OSError``, or ``NoAnswer`` during a reload."""
    lock: Callable[[], AbstractContextManager[None]]
    """Held while something is decided and changed, never while something is waited for."""
    superseded: Callable[[], bool] = lambda: False
    """Whether an execution with a higher fence has come since; asked before every change."""


class Change:
    """One execution on one load balancer."""

    def __init__(self, tools: Tools, wanted: Wanted) -> None:
        self.tools = tools
        self.wanted = wanted
        self.goals: dict[Key, Goal] = {}
        self.outcome = Outcome()
        self.doubted: dict[Key, int] = {}
        """Servers that must pass new checks, with the worker that has been told so."""
        self.let_in: dict[Key, int] = {}
        """Servers that were seen ready, with the worker that had them so."""
        self.doubted_twice: set[Key] = set()
        """Those of them whose first passed check may have begun before."""

    def run(self) -> Outcome:
        """Do it, or in check mode say what would be done."""
        wanted = self.wanted
        if wanted.reads_only:
            return self._finish(select(self.look(), wanted))
        with nullcontext() if wanted.check_mode else self.tools.lock():
            view = self.look()
            targets = self._leave_alone(select(view, wanted))
            self.goals = goals(targets, wanted)
            self.outcome.before = {one.label: Goal(one.admin, one.weight) for one in targets}
            self.outcome.busy_before = {one.label: one.busy for one in targets}
            guard(view, self.goals, wanted.min_available)
            if not wanted.check_mode:
                self._begin(view)
        if wanted.check_mode:
            self.outcome.done = not self._pending(view, settle=False)
            self._finish(targets)
            self.outcome.after = {one.label: self.goals[one.key] for one in targets}
            self.outcome.changed = self.outcome.before != self.outcome.after
            return self.outcome
        self._wait()
        return self._finish(self.look().of(self.goals))

    def _leave_alone(self, targets: Sequence[Server]) -> list[Server]:
        """The servers that are to be changed; what somebody else has put elsewhere in any backend is not."""
        unless = self.wanted.unless
        alone = {one.name: one.admin for one in targets if one.admin in unless.get(one.name, ())}
        self.outcome.left_alone = alone
        return [one for one in targets if one.name not in alone]

    # -- single steps

    def look(self) -> View:
        """Read all servers; a reload is waited for."""
        return self._answered(lambda: look(self.tools.ask))

    def _answered(self, call: Callable[[], Result]) -> Result:
        deadline = self.tools.clock() + ANSWER_TIMEOUT
        while True:
            try:
                return call()
            except NoAnswer as error:
                if self.tools.clock() >= deadline:
                    raise RuntimeFailure(
                        f"HAProxy's master socket gives no usable answer ({error}); look whether HAProxy runs, in "
                        "master-worker mode."
                    ) from error
            self.tools.sleep(FIRST_POLL)

    def _command(self, pid: int, command: str) -> None:
        """Send one command to a worker; its answer must be empty, which HAProxy writes as an empty line."""
        reply = _answer(self.tools.ask, f"@!{pid} {command}")
        if not reply or reply.startswith(_GONE):
            raise NoAnswer(f"worker {pid} has ended")
        if reply.strip():
            hint = " (the master's socket must have level admin)" if reply.startswith("Permission denied") else ""
            raise NotAccepted(f"HAProxy refuses '{command}': {' '.join(reply.split()).rstrip('.')}{hint}.")

    def _set(self, server: Server, what: str) -> None:
        """Send one "set server" to whichever worker is the current one by now."""

        if self.tools.superseded():
            raise RuntimeFailure(f"A newer run changes these servers now, so {server.label} is left as it is.")

        def send() -> None:
            worker = state.current_worker(state.parse_processes(_whole(self.tools.ask, "show proc")))
            if worker is None:
                raise NoAnswer("no worker runs")
            self._command(worker.pid, f"set server {server.label} {what}")

        self._answered(send)

    def _save(self) -> None:
        try:
            self._answered(self.tools.save)
        except OSError as error:
            raise RuntimeFailure(
                f"The servers are as wanted, but that could not be saved for a restart of HAProxy ({error}); "
                "make the state file writable and run again."
            ) from error

    def _doubt(self, view: View, server: Server) -> None:
        """Make HAProxy forget what it thinks of a server's health; it must be out of traffic."""
        if server.admin == MAINT:
            self._set(server, "state drain")
        self._set(server, "health down")
        self.doubted[server.key] = view.worker
        # With "rise 1" a check that began before would be enough.
        if server.checking and server.rise == 1:
            self.doubted_twice.add(server.key)

    # -- the change itself

    def _begin(self, view: View) -> None:
        """Take the first step with every server; what HAProxy refuses leaves nothing behind."""
        touched: list[Server] = []
        try:
            for server in view.of(self.goals):
                goal = self.goals[server.key]
                touched.append(server)
                if goal.weight != server.weight:
                    self._set(server, f"weight {self.wanted.weight}")
                if goal.admin == READY and server.admin != READY:
                    self._enter(view, server)
                elif goal.admin != server.admin:
                    self._leave(view, server, goal.admin)
        except NotAccepted as error:
            self._put_back(touched)
            raise RuntimeFailure(f"{str(error)[:-1]}; nothing was changed.") from error
        self._verify(view)
        # Also when nothing had to be set: an execution that was killed may have got no further than that.
        self._save()

    def _leave(self, view: View, server: Server, admin: str) -> None:
        if server.admin == MAINT and server.checked:
            self._doubt(view, server)  # It would be shown as healthy before any check.
        else:
            self._set(server, f"state {admin}")

    def _enter(self, view: View, server: Server) -> None:
        """Begin to put a server back, or do it where nothing can be waited for."""
        if not server.checked:
            self._set(server, "state ready")
            return
        if self.wanted.fresh or server.admin == MAINT:
            self._doubt(view, server)
        elif server.up:
            self._set(server, "state ready")
        if not self.wanted.wait:
            # HAProxy itself lets it in when its checks have passed.
            self._set(server, "state ready")

    def _verify(self, before: View) -> None:
        """Read the weights back; what a reload has lost meanwhile is set again while waiting."""
        view = self.look()
        for server in view.of(self.goals):
            goal = self.goals[server.key]
            if server.weight != goal.weight and view.worker == before.worker:
                raise RuntimeFailure(
                    f"HAProxy has taken weight {self.wanted.weight} for {server.label} without a word, but its weight "
                    f"is {server.weight} and not {goal.weight}; look at what else changes it."
                )

    def _pending(self, view: View, settle: bool = True) -> list[Server]:
        """The servers that are not yet as wanted; with ``settle`` also do for them what has become possible."""
        return [server for server in view.of(self.goals) if not self._settled(view, server, settle)]

    def _settled(self, view: View, server: Server, settle: bool) -> bool:
        if server.key not in self.goals or self._taken_out_meanwhile(view, server):
            return True
        goal = self.goals[server.key]
        if server.weight != goal.weight:
            if settle:
                self._again(server, f"weight {goal.weight}")
            return False
        if self.wanted.state is None:
            return True
        if server.admin == goal.admin:
            return server.up if goal.admin == READY else server.quiet
        if settle and goal.admin == READY:
            self._let_in(view, server)
        elif settle:
            self._again(server, f"state {goal.admin}")
        return False

    def _taken_out_meanwhile(self, view: View, server: Server) -> bool:
        """Whether somebody else takes a server out while it is waited for; then it is left alone from now on."""
        states = self.wanted.unless.get(server.name)
        if states is None or self.wanted.state != READY:
            return False
        if server.admin == READY:
            self.let_in[server.key] = view.worker
            return False
        # A new worker may have it as it was before it was let in; the same one has it as somebody wants it.
        if server.admin not in states and self.let_in.get(server.key) != view.worker:
            return False
        self.outcome.left_alone = {**self.outcome.left_alone, server.name: server.admin}
        self.goals = {key: goal for key, goal in self.goals.items() if key[1] != server.name}
        return True

    def _again(self, server: Server, what: str) -> None:
        """Set what a reload has lost: the new worker was given the state from before."""
        with self.tools.lock():
            self._set(server, what)
            self._save()

    def _let_in(self, view: View, server: Server) -> None:
        """Put a server back once the worker that has to use it has seen it healthy."""
        told = self.doubted.get(server.key)
        proven = told == view.worker or (told is None and not self.wanted.fresh)
        if not server.checked:
            self._again(server, "state ready")
        elif server.admin == MAINT or not proven:
            self._doubt(view, server)
        elif server.up and server.key in self.doubted_twice:
            self._doubt(view, server)
            self.doubted_twice.discard(server.key)
        elif server.up:
            self._again(server, "state ready")

    # -- waiting

    def _wait(self) -> None:
        begin = self.tools.clock()
        left = self._poll(self.wanted.wait)
        if left and self.wanted.wait:
            self._timed_out(left, begin)
        else:
            self.outcome.done = not left
        self.outcome.waited_s = self.tools.clock() - begin

    def _poll(self, seconds: float, each: Callable[[View, list[Server]], None] | None = None) -> list[Server]:
        """Look until nothing is pending or the time is over; what is pending then."""
        deadline = self.tools.clock() + seconds
        pause = FIRST_POLL
        quiet: tuple[int, ...] = ()
        while True:
            view = self.look()
            left = self._pending(view)
            # Twice in the same workers: one that a reload has just made may not have been in the first look.
            if not left and quiet == view.workers:
                return []
            quiet = () if left else view.workers
            if left and self.tools.clock() >= deadline:
                return left
            if left and each:
                each(view, left)
            if left:
                self.tools.sleep(min(pause, max(deadline - self.tools.clock(), 0.001)))
                pause = min(pause * POLL_GROWTH, LAST_POLL)

    def _timed_out(self, left: list[Server], begin: float) -> None:
        how = self.wanted.on_timeout
        if how == "kill" and self.wanted.state != READY:
            self.outcome.killed = {one.label: one.sessions + one.sessions_old_workers for one in left}
            left = self._poll(KILL_WAIT, self._kill)
            how = "report"
        self.outcome.done = not left
        if how == "report":
            return
        text = self._complaint(left)
        if how == "revert":
            with self.tools.lock():
                self._put_back(self.look().of(self.goals))
            text += " What was there before is back."
        else:
            text += " It is left as it is."
        self.outcome.waited_s = self.tools.clock() - begin
        raise RuntimeFailure(text, self._finish(self.look().of(self.goals)))

    def _kill(self, view: View, left: list[Server]) -> None:
        """Shut down what a server still has; HAProxy may send a killed GET once more, so this is repeated."""
        for server in left:
            try:
                if server.sessions:
                    self._command(view.worker, f"shutdown sessions server {server.label}")
                for pid in view.old_workers if server.sessions_old_workers else ():
                    for session in state.sessions_of(_answer(self.tools.ask, f"@!{pid} show sess"), server.key):
                        self._end(pid, session)
            except NoAnswer:
                continue  # The next look sees what is left.

    def _end(self, pid: int, session: str) -> None:
        try:
            self._command(pid, f"shutdown session {session}")
        except NotAccepted as error:
            if "No such session" not in str(error):
                raise

    def _complaint(self, left: Sequence[Server]) -> str:
        seconds = f"{self.wanted.wait:g} s"
        if self.wanted.state == READY:
            parts = [f"{one.label} is {one.status}{f' ({one.check})' if one.check else ''}" for one in left]
            return f"HAProxy's own checks did not find the server healthy within {seconds}: {', '.join(parts)}."
        parts = [
            f"{one.label} (state {one.admin}, weight {one.weight}) still has {quantity(one.sessions, 'session')}, "
            f"{one.sessions_old_workers} more in workers from before a reload, and "
            f"{quantity(one.queued, 'queued request')}{_may_send_more(one)}"
            for one in left
        ]
        return f"After {seconds}, {'; '.join(parts)}; wait longer, or let on_timeout kill them."

    def _put_back(self, servers: Sequence[Server]) -> None:
        """Restore what was there before this execution, for as many servers as HAProxy lets us."""
        touched = False
        for server in servers:
            before = self.outcome.before[server.label]
            now = self.look().servers.get(server.key)
            if now is None or before == Goal(now.admin, now.weight):
                continue
            touched = True
            try:
                if before.weight != now.weight:
                    self._set(now, f"weight {before.weight}")
                if before.admin != now.admin:
                    if now.admin == MAINT and now.checked:
                        self._set(now, "state drain")
                        self._set(now, "health down")
                    self._set(now, f"state {before.admin}")
            except NotAccepted:
                continue
        if touched:
            self._save()

    # -- result

    def _finish(self, servers: Sequence[Server]) -> Outcome:
        outcome, view = self.outcome, self.look()
        outcome.servers = [view.servers.get(one.key, one) for one in servers]
        outcome.workers = len(view.workers)
        mine = [one for one in view.servers.values() if one.backend in self.wanted.backends]
        outcome.counters, outcome.traffic = counters(mine), traffic_of(mine, 0.0)
        outcome.available = {
            backend: sum(one.available for one in view.servers.values() if one.backend == backend)
            for backend in dict.fromkeys(self.wanted.backends)
        }
        outcome.after = {one.label: Goal(one.admin, one.weight) for one in outcome.servers}
        outcome.before = outcome.before or outcome.after
        outcome.busy_before = outcome.busy_before or {one.label: one.busy for one in outcome.servers}
        outcome.changed = outcome.before != outcome.after
        return outcome


def change(tools: Tools, wanted: Wanted) -> Outcome:
    """Do what is wanted and say what came of it; ``RuntimeFailure`` in one sentence."""
    return Change(tools, wanted).run()


# ------------------------------------------------------------------------------------------------------ the real things


@contextmanager
def file_lock(
    path: str, clock: Callable[[], float], sleep: Callable[[float], None], timeout: float = LOCK_TIMEOUT
) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process that holds it."""
    try:
        handle = take_lock(path, timeout, clock, sleep)
    except Held:
        raise RuntimeFailure(
            f"Somebody else has been changing HAProxy's servers for {timeout:g} s (lock {path}); "
            "run again when they have finished."
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def save(ask: Ask, config: str, state_file: str) -> None:
    """Write the state file as "haproxy_state.py save" does, so that a crash forgets nothing."""
    running = state.running_state(lambda command: _whole(ask, command))
    if "# be_id" not in running:
        raise NoAnswer("no worker tells its state")
    write_atomically(state_file, state.next_state(read_text(config), running) + f"{state.FRESH_MARK}\n")
