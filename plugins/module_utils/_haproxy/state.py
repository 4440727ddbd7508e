# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's runtime state: read it from the master socket, keep it across reloads and starts.

The haproxy role also installs it on the load balancer, as one file with what it imports from the kernel, where the
systemd unit calls it, so that a plain "systemctl reload haproxy" keeps drained servers drained as well.

The server state file is HAProxy's own way to carry runtime state over, with traps that this file removes:
the file overrides a port, check port or TLS flag that the configuration has just changed (so these always come from
the configuration here), a server that the file does not know starts as "up" before its first check (so an unknown
server with checks gets a line that says "down until the checks pass"), and a runtime weight is dropped when the
configured weight changes (so it keeps its share of the new one here: a server held at 0 stays at 0).

A start answers no 503 because its checks have not run yet, and sends nothing to a dead server: it begins with the
health that was saved a moment ago, or, when that is older, with what a second HAProxy has just found out that has the
same checks and no frontends. Nobody can connect meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Callable

from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically

MASTER_SOCKET = "/run/haproxy-master.sock"
CONFIG = "/etc/haproxy/haproxy.cfg"
STATE_FILE = "/var/lib/haproxy/server-state"
LOCK = "/run/mesops-haproxy-server.lock"
"""Held while servers are changed and that is saved, and while a state is read and written for a reload."""
LOCK_TIMEOUT = 10.0
"""Seconds for which a reload waits for it; nobody holds it for longer than a few commands take."""
HANDOVER = "handover:"
"""How the names begin of what a worker that a reload has left behind has only to reach the current one."""

# "show servers state" version 1, the same in HAProxy 2.6 and 3.0.
STATE_FIELDS = [
    "be_id",
    "be_name",
    "srv_id",
    "srv_name",
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_time_since_last_change",
    "srv_check_status",
    "srv_check_result",
    "srv_check_health",
    "srv_check_state",
    "srv_agent_state",
    "bk_f_forced_id",
    "srv_f_forced_id",
    "srv_fqdn",
    "srv_port",
    "srvrecord",
    "srv_use_ssl",
    "srv_check_port",
    "srv_check_addr",
    "srv_agent_addr",
    "srv_agent_port",
]
HAPROXY = "/usr/sbin/haproxy"
RUN = "/run"
GUARD_INTERVAL = 1.0
"""Seconds between two looks of the guard."""
YOUNG = 3.0
"""Seconds for which a saved state tells who is healthy; a HAProxy that runs notices a death no sooner."""
REHEARSAL, WAKING = 5.0, 10.0
"""Seconds that a start waits for the first checks, and for a service that was up to come up."""
# Written by a clean stop or an explicit save: what follows is how the servers really were, not how they once were.
FRESH_MARK = "# mesops: saved"
SERVERS_MARK = "# mesops: servers"
_SECTIONS = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "userlist",
    "resolvers",
    "mailers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "fcgi-app",
    "log-forward",
    "crt-store",
    "traces",
]
_ADMIN_KEPT = 0x01 | 0x04 | 0x08  # forced maint, maint by configuration, forced drain: what HAProxy takes back


@dataclass(frozen=True)
class ServerLine:
    """One server as the configuration defines it."""

    backend: str
    name: str
    host: str
    port: str
    checked: bool
    tls: bool
    weight: int | None = None
    """Its configured weight, nothing where its line does not say it."""
    ends_sessions: bool = False
    """Whether its sessions are to end when it goes down: "on-marked-down shutdown-sessions"."""

    @property
    def key(self) -> tuple[str, str]:
        """Backend and server name, by which HAProxy finds the state line."""
        return (self.backend, self.name)


@dataclass(frozen=True)
class Process:
    """One line of "show proc"."""

    pid: int
    kind: str
    reloads: int
    old: bool


def _by_network(address: str) -> bool:
    return not re.match(r"/|(unix|abns|abnsz|sockpair|fd)@", address)


def _after(word: str, options: list[str]) -> str:
    """Return what follows the last occurrence of a word."""
    return dict(zip(options, options[1:])).get(word, "")


def _weight(options: list[str]) -> int | None:
    given = _after("weight", options)
    return int(given) if given.isdigit() else None


def parse_servers(config: str) -> list[ServerLine]:
    """List the servers that a configuration text defines, those on local sockets left out."""
    servers: list[ServerLine] = []
    section = name = ""
    common: list[str] = []
    default: list[str] = []
    for raw in config.splitlines():
        words = raw.split("#", 1)[0].split() if "'" not in raw and '"' not in raw else raw.split()
        if not words:
            continue
        if words[0] in _SECTIONS:
            section, name = words[0], words[1] if len(words) > 1 else ""
            common, default = ([], []) if section == "defaults" else (common, list(common))
        elif words[0] == "default-server":
            (common if section == "defaults" else default).extend(words[1:])
        elif words[0] == "server" and section in {"backend", "listen"} and len(words) > 2 and _by_network(words[2]):
            host, _colon, port = words[2].rpartition(":")
            if not port.isdigit():
                host, port = words[2], "0"
            options = words[3:]
            checked, tls = "check" in options, "ssl" in options
            ends = _after("on-marked-down", default + options) == "shutdown-sessions"
            servers.append(ServerLine(name, words[1], host.strip("[]"), port, checked, tls, _weight(options), ends))
    return servers


def parse_state(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """Read "show servers state" (or the state file) by its header line."""
    fields = STATE_FIELDS
    found: dict[tuple[str, str], dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("# be_id"):
            fields = line[2:].split()
        values = line.split()
        if line.startswith("#") or len(values) < len(STATE_FIELDS):
            continue
        row = dict(zip(fields, values))
        found[(row["be_name"], row["srv_name"])] = row
    return found


def _as_int(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0


def _fresh(server: ServerLine) -> dict[str, str]:
    row = dict.fromkeys(STATE_FIELDS, "0")
    row.update(be_name=server.backend, srv_name=server.name, srv_uweight="1", srv_iweight="1", srv_check_status="1")
    row.update(srv_op_state="0" if server.checked else "2", srv_check_state="6" if server.checked else "0")
    return row


def _known(server: ServerLine, old: dict[str, str], cold: bool) -> dict[str, str]:
    row = {field: old.get(field, "0") for field in STATE_FIELDS}
    fqdn = row["srv_fqdn"]
    # A state file has no addresses, as they would win over the configuration; then SERVERS_MARK tells about them.
    known = {row["srv_addr"], fqdn} - {"-"}
    moved = row["srv_port"] != server.port or (bool(known) and server.host not in known)
    if (moved or cold) and server.checked:
        row.update(srv_op_state="0", srv_check_health="0", srv_check_result="0", srv_time_since_last_change="0")
        row.update(srv_check_status="1")
    row["srv_admin_state"] = str(_as_int(row["srv_admin_state"]) & _ADMIN_KEPT)
    if server.weight is not None:
        weight = _share(_as_int(row["srv_uweight"]), _as_int(row["srv_iweight"]), server.weight)
        row.update(srv_uweight=str(weight), srv_iweight=str(server.weight))
    return row


def _share(running: int, configured: int, now: int) -> int:
    """Return the runtime weight that is to ``now`` what ``running`` was to ``configured``; little stays more than 0."""
    if running == configured or not now:
        return now
    wanted = running if configured == 0 else (running * now + configured // 2) // configured
    return min(max(wanted, 1), 256) if running else 0


def next_state(config: str, running: str, cold: bool = False) -> str:
    """Build the state file with which ``config`` is to be loaded after ``running`` ("show servers state").

    ``cold`` is for a start: what was up then must first pass its checks again.
    """
    states = parse_state(running)
    lines = ["1", "# " + " ".join(STATE_FIELDS)]
    for server in parse_servers(config):
        old = states.get(server.key)
        row = _fresh(server) if old is None else _known(server, old, cold)
        by_name = not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+", server.host)
        row["srv_addr"] = row["srv_addr"] if by_name and old and old["srv_fqdn"] == server.host else "-"
        row["srv_fqdn"] = server.host if by_name else "-"
        row.update(be_id="0", srv_id="0", bk_f_forced_id="0", srv_f_forced_id="0", srvrecord="-")
        # These belong to the configuration; the file would win over it.
        row.update(srv_port=server.port, srv_use_ssl="1" if server.tls else "0", srv_check_port="0")
        row.update(srv_check_addr="-", srv_agent_addr="-", srv_agent_port="0")
        lines.append(" ".join(row[field] for field in STATE_FIELDS))
    return "\n".join(lines) + f"\n{_servers_line(config)}"


def waits_for_check(row: dict[str, str]) -> bool:
    """Whether a server is still down only because its first checks are under way."""
    failed, maint = row["srv_check_result"] == "2", _as_int(row["srv_admin_state"]) & 0x3F & ~0x18
    return row["srv_op_state"] == "0" and bool(_as_int(row["srv_check_state"]) & 0x02) and not failed and not maint


def _servers_line(config: str) -> str:
    """Return a line that tells whether a state file was written for the same servers."""
    text = repr([(one.key, one.host, one.port, one.checked, one.tls) for one in parse_servers(config)])
    return f"{SERVERS_MARK} {hashlib.sha256(text.encode()).hexdigest()}\n"


def parse_processes(text: str) -> list[Process]:
    """Read "show proc" of the master socket."""
    found: list[Process] = []
    old = False
    for line in text.splitlines():
        if line.startswith("# "):
            old = line.startswith("# old")
            continue
        words = line.split()
        if len(words) > 2 and words[0].isdigit():
            found.append(Process(int(words[0]), words[1], _as_int(words[2]), old))
    return found


def current_worker(processes: list[Process]) -> Process | None:
    """Return the worker that accepts new connections."""
    return next((one for one in processes if one.kind == "worker" and not one.old), None)


def ask(path: str, command: str, timeout: float = 10.0) -> str:
    """Send one command to a HAProxy socket and return the reply.

    The write side is closed after the command: the master socket never ends its answer otherwise.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        parts: list[bytes] = []
        while True:
            part = connection.recv(65536)
            if not part:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(part)


def running_state(asker: Callable[[str], str]) -> str:
    """Return the current worker's "show servers state", or nothing where no worker runs."""
    worker = current_worker(parse_processes(asker("show proc")))
    return asker(f"@!{worker.pid} show servers state") if worker else ""


def administrative(text: str) -> dict[tuple[str, str], tuple[int, str]]:
    """What people have decided about servers: administrative state and weight."""
    rows = parse_state(text).items()
    return {key: (_as_int(row["srv_admin_state"]) & _ADMIN_KEPT, row["srv_uweight"]) for key, row in rows}


def keep_mark(text: str, saved: str) -> str:
    """Mark a state as saved, if it says of every server what the saved one says; then a crash need not forget it."""
    known = administrative(saved)
    same = FRESH_MARK in saved and all(known.get(key, now) == now for key, now in administrative(text).items())
    return text + (f"{FRESH_MARK}\n" if same else "")


def before_start(config: str, saved: str, healthy: dict[tuple[str, str], bool] | None = None) -> str:
    """State file for a start.

    Administrative state only if it was saved when HAProxy stopped, and then for the next start too. ``healthy`` says
    whom checks have just found healthy; without it those count that the saved state knows to be.
    """
    kept = saved if FRESH_MARK in saved else ""
    text = next_state(config, kept, cold=healthy is not None)
    lines = [_found(line, healthy or {}) for line in text.splitlines()]
    return keep_mark("\n".join(lines) + "\n", saved)


def _found(line: str, healthy: dict[tuple[str, str], bool]) -> str:
    row = dict(zip(STATE_FIELDS, line.split()))
    up = healthy.get((row.get("be_name", ""), row.get("srv_name", "")))
    # Nobody is healthy in maintenance for HAProxy, until it has been checked again.
    if line.startswith("#") or up is None or _as_int(row["srv_admin_state"]) & 0x05:
        return line
    row["srv_op_state"] = "2" if up else "0"
    if _as_int(row["srv_check_state"]):
        row["srv_check_result"] = "3" if up else "2"
    return " ".join(row.values())


def tells_health(config: str, saved: str, age: float) -> bool:
    """Whether a saved state is young enough to say who is healthy, and knows all whom HAProxy is to check."""
    if FRESH_MARK not in saved or _servers_line(config) not in saved or not 0 <= age <= YOUNG:
        return False
    return not any(waits_for_check(row) for row in parse_state(saved).values())


# Lines of a configuration that have no place, or no right, in a second HAProxy that only checks.
_NOT_REHEARSED = {
    "global": r"log|nbthread|cpu-map|server-state-\S+|stats|pidfile|daemon|master-worker|mworker-max-reloads",
    "defaults": r"log|load-server-state-from-file",
    "backend": r"log|load-server-state-from-file|email-alert",
    "listen": r"log|load-server-state-from-file|email-alert",
}
_KEPT_SECTIONS = {*_NOT_REHEARSED, "userlist", "resolvers", "cache", "http-errors", "fcgi-app", "crt-store"}


def rehearsal(config: str, path: str) -> str:
    """Return a configuration whose HAProxy only checks the servers, each at once, and answers on a socket, ``path``."""
    lines = ["global", f"    stats socket {path} mode 600 level admin", "    max-spread-checks 10", "    nbthread 1"]
    section = ""
    for line in config.splitlines():
        words = line.split()
        if words and words[0] in _SECTIONS:
            section = words[0]
        if section in _KEPT_SECTIONS and not (words and re.fullmatch(_NOT_REHEARSED.get(section, ""), words[0])):
            # Nobody listens, and no stick table goes to the other balancers.
            alone = re.sub(r"^(\s*bind\s+)\S+", rf"\1abns@{os.path.dirname(path)}-{len(lines)}", line)
            lines.append(re.sub(r"\bpeers\s+\S+", "", alone))
    return "\n".join(lines) + "\n"


def judged(row: dict[str, str]) -> bool:
    """Whether a server has no checks, or one of them has ended."""
    return not _as_int(row["srv_check_state"]) & 0x02 or row["srv_check_result"] not in {"0", "1"}


def passed(row: dict[str, str]) -> bool:
    """Whether a server has no checks, or its last one has passed; a moment after a failed one it is still called up."""
    return row["srv_op_state"] == "2" and (not _as_int(row["srv_check_state"]) & 0x02 or row["srv_check_result"] > "2")


def asleep(saved: str, healthy: dict[tuple[str, str], bool]) -> set[str]:
    """The backends of which nobody is healthy, although somebody was when the state was saved."""
    up = {backend for (backend, _name), row in parse_state(saved).items() if row["srv_op_state"] == "2"}
    return {backend for backend, _name in healthy} & up - {key[0] for key, one in healthy.items() if one}


def checked_now(config: str, saved: str) -> dict[tuple[str, str], bool]:
    """Have HAProxy itself check all servers, before it is started for traffic; ``OSError`` when that is not possible.

    Every server is asked once. A service that had a healthy server when the state was saved, and has none now, gets
    ``WAKING`` seconds for it: after a power failure everything starts at the same time.
    """
    with tempfile.TemporaryDirectory(prefix="mesops-haproxy-", dir=RUN) as directory:
        path = os.path.join(directory, "socket")
        write_atomically(os.path.join(directory, "haproxy.cfg"), rehearsal(config, path))
        # A library of programs that know no AnsibleModule.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [HAPROXY, "-db", "-q", "-f", os.path.join(directory, "haproxy.cfg")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return _watch(process, path, saved)
        finally:
            process.kill()
            process.wait()


def _watch(process: subprocess.Popen[bytes], path: str, saved: str) -> dict[tuple[str, str], bool]:
    begin = time.monotonic()
    while process.poll() is None:
        took = time.monotonic() - begin
        try:
            rows = parse_state(ask(path, "show servers state", timeout=REHEARSAL))
        except OSError:
            rows = {}
        healthy = {key: passed(row) for key, row in rows.items()}
        patience = WAKING if asleep(saved, healthy) else 0 if all(map(judged, rows.values())) else REHEARSAL
        if rows and took > patience:
            return healthy
        if not rows and took > WAKING:
            break
        time.sleep(0.02)
    raise OSError("a HAProxy that only checks the servers does not start with this configuration")


def start_state(config: str) -> str:
    """State file for a start now: who is healthy is known from just before, or found out."""
    saved = read_text(STATE_FILE)
    try:
        if tells_health(config, saved, time.time() - os.stat(STATE_FILE).st_mtime):
            return before_start(config, saved)
    except FileNotFoundError:
        pass
    try:
        healthy = checked_now(config, saved)
    except OSError as error:
        sys.stderr.write(f"HAProxy starts with all servers down until its checks have passed ({error}).\n")
        healthy = {}
    return before_start(config, saved, healthy)


# ------------------------------------------------------------------------------------------------------------ the guard


def sessions_of(text: str, key: tuple[str, str]) -> list[str]:
    """The ids of a server's sessions in "show sess"."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and words[0].endswith(":") and f"be={key[0]}" in words and f"srv={key[1]}" in words:
            found.append(words[0][:-1])
    return found


def gone(row: dict[str, str]) -> bool:
    """Whether checks have found a server down, or somebody has put it in maintenance; not yet checked is neither."""
    return row["srv_op_state"] == "0" and (row["srv_check_result"] == "2" or bool(_as_int(row["srv_admin_state"]) & 5))


def end_sessions(asker: Callable[[str], str], config: str, processes: list[Process], running: str) -> int:
    """End what old workers still have with servers that are gone for the current one; how many sessions that were.

    "on-marked-down shutdown-sessions" does that in the current worker only: old ones make no checks.
    """
    old = [one.pid for one in processes if one.old and one.kind == "worker"]
    lost = {key for key, row in parse_state(running).items() if gone(row)} if old else set()
    keys = [one.key for one in parse_servers(config) if one.ends_sessions and one.key in lost] if lost else []
    ended = 0
    for pid in old if keys else ():
        sessions = asker(f"@!{pid} show sess")
        for session in (one for key in keys for one in sessions_of(sessions, key)):
            asker(f"@!{pid} shutdown session {session}")
            ended += 1
    return ended


def remembers(saved: str, text: str) -> bool:
    """Whether a saved state says of all servers who is up, taken out and weighed how, as ``text`` does."""
    telling = ("srv_op_state", "srv_admin_state", "srv_uweight", "srv_addr", "srv_port", "srv_check_result")

    def told(state: str) -> dict[tuple[str, str], list[str]]:
        return {key: [row[field] for field in telling] for key, row in parse_state(state).items()}

    return FRESH_MARK in saved and told(saved) == told(text)


def _whole_state(asker: Callable[[str], str]) -> str:
    """Return the current worker's state, or nothing where none runs or one ended while it answered."""
    running = running_state(asker)
    return running if "# be_id" in running and running.endswith("\n\n") else ""


def keep(asker: Callable[[str], str], config: str, running: str) -> None:
    """See to it that the state file tells how the servers are, and by its time that this is so now."""
    if remembers(read_text(STATE_FILE), next_state(config, running)):
        os.utime(STATE_FILE)
        return
    lock = take_lock(LOCK, LOCK_TIMEOUT)
    try:
        running = _whole_state(asker)
        if running:
            write_atomically(STATE_FILE, f"{next_state(config, running)}{FRESH_MARK}\n")
    finally:
        os.close(lock)


def guard(asker: Callable[[str], str], config: str) -> None:
    """Look once: end what has to end in old workers, and keep the state for a crash of HAProxy or of the machine."""
    processes = parse_processes(asker("show proc"))
    running = _whole_state(asker)
    if not running:
        return
    ended = end_sessions(asker, config, processes, running)
    if ended:
        what = "session" if ended == 1 else "sessions"
        sys.stderr.write(f"Ended {ended} {what} of workers from before a reload with servers that are down.\n")
    keep(asker, config, running)


def guard_for_ever(config_file: str) -> None:
    """Look every second. While HAProxy is reloaded or does not run, there is nobody to ask, and nothing to do."""
    while True:
        with contextlib.suppress(OSError):
            guard(lambda command: ask(MASTER_SOCKET, command), read_text(config_file))
        time.sleep(GUARD_INTERVAL)


def _save(config: str, marked: bool) -> None:
    lock = take_lock(LOCK, LOCK_TIMEOUT)
    try:
        text = next_state(config, running_state(lambda command: ask(MASTER_SOCKET, command)))
        write_atomically(STATE_FILE, f"{text}{FRESH_MARK}\n" if marked else keep_mark(text, read_text(STATE_FILE)))
    finally:
        os.close(lock)


def main(arguments: list[str]) -> int:
    """Serve the systemd units: "before-reload", "save" (at stop), "before-start", and "guard", which does not end."""
    action = arguments[0] if arguments else ""
    config_file = os.environ.get("CONFIG", CONFIG)
    if action not in {"before-start", "before-reload", "save", "guard"}:
        sys.stderr.write("usage: haproxy_state.py before-start|before-reload|save|guard\n")
        return 2
    if action == "guard":
        guard_for_ever(config_file)
    config = read_text(config_file)
    try:
        if action == "before-start":
            # Without the lock: whoever has it now waits for the HAProxy that is to start.
            write_atomically(STATE_FILE, start_state(config))
        else:
            _save(config, marked=action == "save")
    except OSError as error:
        sys.stderr.write(f"The server state of HAProxy was not kept ({error}).\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
