# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the servers of one HAProxy from all its workers.

Everything goes through the master's socket, because only the master knows the workers that a reload has left behind.
Measured on 2.6 and 3.0, and the reason for much of what follows:

- "@!<pid>" holds for one command; what follows a ";" would go to the master. So every command is sent alone.
- A reload answers nobody for some 100 ms, and gives the new worker the state from before it. So every look names the
  worker it was taken from.
- An old worker keeps idle client connections, makes no checks, and would send the next request of each to any server
  as it was at the reload. The role's configuration has it hand such a request to the current worker instead. Where a
  configuration does not, a server is drained only when no such connection is left: "show sess" does not list them, but
  a frontend counts them, and nothing can end them without the danger of losing a request.
- "show stat <name>" may mean the frontend of that name. So all servers are asked for.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import traffic
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import (
    current_worker,
    number,
    parse_processes,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import parse_state
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import (
    DRAIN,
    MAINT,
    READY,
    Key,
    Server,
    View,
)

HANDOVER = "handover:"
"""How the names begin of what a worker that a reload has left behind has only to reach the current one."""

# Bits of srv_admin_state and srv_check_state in "show servers state".
_MAINT_BITS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
_DRAIN_BITS = 0x08 | 0x10
_CHECK_RUNS, _CHECK_ENABLED = 0x01, 0x04
# Kinds of rows in "show stat".
_BACKENDS, _PROXIES, _SERVERS = 2, 1 | 2, 4
_COUNTERS = {
    "responses_5xx": "hrsp_5xx",
    "connection_errors": "econ",
    "response_errors": "eresp",
    "retries": "wretr",
    "redispatches": "wredis",
    "aborted_by_client": "cli_abrt",
    "check_failures": "chkfail",
}

Ask = Callable[[str], str]


class NoAnswer(Exception):
    """Nobody answers, or half an answer came: a reload is under way."""


def parse_stat(text: str) -> list[dict[str, str]] | None:
    """Read "show stat" by its header line; nothing when the reply is no table."""
    if not text.startswith("# pxname,"):
        return None
    rows = csv.reader(io.StringIO(text[2:].replace("\0", ""), newline=""))
    header = next(rows)
    return [dict(zip(header, row)) for row in rows if len(row) > 1]


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
        waiting = number(own.get("qcur"))
        if own.get("mode") == "tcp":  # A connection there is one session, and it accepts no more.
            return waiting
        fronts = [one for (_name, kind), one in self.proxies.items() if kind == "FRONTEND" and one.get("mode") != "tcp"]
        connections = sum(number(one.get("scur")) for one in fronts)
        if any(one.get("status") != "STOP" for one in fronts):
            return waiting + max(connections, 1)  # It has not yet begun to stop.
        if any(name.startswith(HANDOVER) for name, _kind in self.proxies):
            return waiting
        return waiting + max(connections - self.served, 0)


def _server(known: Mapping[str, str], pid: int, row: Mapping[str, str], old_workers: Mapping[int, OldWorker]) -> Server:
    """One server from its row in the current worker, and in the old ones."""
    host, port = known["srv_addr"], known["srv_port"]
    checks = number(known["srv_check_state"])
    key = (known["be_name"], known["srv_name"])
    rows = {pid: row, **{pid: one.servers[key] for pid, one in old_workers.items() if key in one.servers}}
    everywhere = list(rows.values())
    old = everywhere[1:]
    counters = {
        # Empty for tcp, where a session is what is counted.
        "requests": sum(number(one.get("req_tot") or one.get("stot")) for one in everywhere),
        **{name: sum(number(one.get(column)) for one in everywhere) for name, column in _COUNTERS.items()},
        # Every worker counts the same seconds.
        "downtime_s": number(row.get("downtime")),
    }
    return Server(
        backend=known["be_name"],
        name=known["srv_name"],
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        admin=admin_of(number(known["srv_admin_state"])),
        status=row.get("status", ""),
        checked=bool(checks & _CHECK_ENABLED),
        check=_check_text(row),
        checking=bool(checks & _CHECK_RUNS),
        rise=number(row.get("check_rise")),
        weight=number(known["srv_uweight"]),
        weight_configured=number(known["srv_iweight"]),
        sessions=number(row.get("scur")),
        queued=sum(number(one.get("qcur")) for one in everywhere),
        sessions_old_workers=sum(number(one.get("scur")) for one in old),
        clients_old_workers=sum(one.clients(key[0]) for one in old_workers.values()),
        counters=counters,
        workers={pid: traffic.counts(one) for pid, one in rows.items()},
    )


def answer(ask: Ask, command: str) -> str:
    """Ask for something; ``NoAnswer`` where nobody is."""
    try:
        return ask(command)
    except OSError as error:
        raise NoAnswer(str(error)) from error


def whole(ask: Ask, command: str) -> str:
    """Ask for something of several lines; a worker that ends while it answers omits the empty line at the end."""
    reply = answer(ask, command)
    if not reply.endswith("\n\n"):
        raise NoAnswer(" ".join(reply.split())[-120:] or "an empty reply")
    return reply


def _rows(ask: Ask, pid: int, kinds: int = _SERVERS) -> dict[Key, dict[str, str]]:
    reply = whole(ask, f"@!{pid} show stat -1 {kinds} -1")
    rows = parse_stat(reply)
    if rows is None:
        raise NoAnswer(" ".join(reply.split()))
    return {(row["pxname"], row["svname"]): row for row in rows}


def _old_worker(ask: Ask, pid: int) -> OldWorker:
    return OldWorker(_rows(ask, pid), _rows(ask, pid, _PROXIES), len(served(whole(ask, f"@!{pid} show sess"))))


def served(text: str) -> set[str]:
    """The clients in "show sess", as address and port, that have a session at a server."""
    found = re.findall(r"^0x\S+ .*?\bsrc=(\S+) .*?\bsrv=(\S+)", text, re.MULTILINE)
    return {client for client, server in found if server != "<none>"}


def look(ask: Ask) -> View:
    """Read all servers from all workers; ``NoAnswer`` when a worker comes or goes meanwhile."""
    processes = parse_processes(whole(ask, "show proc"))
    current = current_worker(processes)
    if current is None:
        raise NoAnswer("no worker runs")
    reply = whole(ask, f"@!{current.pid} show servers state")
    if "# be_id" not in reply:
        raise NoAnswer(" ".join(reply.split()))
    known = parse_state(reply)
    rows = _rows(ask, current.pid, _BACKENDS | _SERVERS)
    # One that ends in between makes no answer, and the next look is without it.
    old = {one.pid: _old_worker(ask, one.pid) for one in processes if one.old and one.kind == "worker"}
    servers = {
        key: replace(
            _server(row, current.pid, rows[key], old), algorithm=rows.get((key[0], "BACKEND"), {}).get("algo", "")
        )
        for key, row in known.items()
        if key in rows and not key[0].startswith(HANDOVER)
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
        listed = (traffic.sessions(answer(ask, f"@!{pid} show sess"), pid, backends) for pid in view.workers)
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
