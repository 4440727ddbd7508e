# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server state with which HAProxy starts.

A start answers no 503 because its checks have not run yet, and sends nothing to a dead server: it begins with the
health that was saved a moment ago, or, when that is older, with what a second HAProxy has just found out that has the
same checks and no frontends. Nobody can connect meanwhile.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time

from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import ask, number
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_lines import SECTIONS
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import (
    FRESH_MARK,
    STATE_FIELDS,
    STATE_FILE,
    keep_mark,
    next_state,
    parse_state,
    servers_line,
    waits_for_check,
)

HAPROXY = "/usr/sbin/haproxy"
RUN = "/run"
YOUNG = 3.0
"""Seconds for which a saved state tells who is healthy; a HAProxy that runs notices a death no sooner."""
REHEARSAL, WAKING = 5.0, 10.0
"""Seconds that a start waits for the first checks, and for a service that was up to come up."""


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
    if line.startswith("#") or up is None or number(row["srv_admin_state"]) & 0x05:
        return line
    row["srv_op_state"] = "2" if up else "0"
    if number(row["srv_check_state"]):
        row["srv_check_result"] = "3" if up else "2"
    return " ".join(row.values())


def tells_health(config: str, saved: str, age: float) -> bool:
    """Whether a saved state is young enough to say who is healthy, and knows all whom HAProxy is to check."""
    if FRESH_MARK not in saved or servers_line(config) not in saved or not 0 <= age <= YOUNG:
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
        if words and words[0] in SECTIONS:
            section = words[0]
        if section in _KEPT_SECTIONS and not (words and re.fullmatch(_NOT_REHEARSED.get(section, ""), words[0])):
            # Nobody listens, and no stick table goes to the other balancers.
            alone = re.sub(r"^(\s*bind\s+)\S+", rf"\1abns@{os.path.dirname(path)}-{len(lines)}", line)
            lines.append(re.sub(r"\bpeers\s+\S+", "", alone))
    return "\n".join(lines) + "\n"


def judged(row: dict[str, str]) -> bool:
    """Whether a server has no checks, or one of them has ended."""
    return not number(row["srv_check_state"]) & 0x02 or row["srv_check_result"] not in {"0", "1"}


def passed(row: dict[str, str]) -> bool:
    """Whether a server has no checks, or its last one has passed; a moment after a failed one it is still called up."""
    return row["srv_op_state"] == "2" and (not number(row["srv_check_state"]) & 0x02 or row["srv_check_result"] > "2")


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
