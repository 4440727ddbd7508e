# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's server state file: how a state is read, and with which one a configuration is loaded.

The server state file is HAProxy's own way to carry runtime state over, with traps that this file removes:
the file overrides a port, check port or TLS flag that the configuration has just changed (so these always come from
the configuration here), a server that the file does not know starts as "up" before its first check (so an unknown
server with checks gets a line that says "down until the checks pass"), and a runtime weight is dropped when the
configured weight changes (so it keeps its share of the new one here: a server held at 0 stays at 0).
"""

from __future__ import annotations

import hashlib
import re

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import number
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_lines import ServerLine, parse_servers

STATE_FILE = "/var/lib/haproxy/server-state"
LOCK = "/run/mesops-haproxy-server.lock"
"""Held while servers are changed and that is saved, and while a state is read and written for a reload."""
LOCK_TIMEOUT = 10.0
"""Seconds for which a reload waits for it; nobody holds it for longer than a few commands take."""

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
# Written by a clean stop or an explicit save: what follows is how the servers really were, not how they once were.
FRESH_MARK = "# mesops: saved"
SERVERS_MARK = "# mesops: servers"
_ADMIN_KEPT = 0x01 | 0x04 | 0x08  # forced maint, maint by configuration, forced drain: what HAProxy takes back


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
    row["srv_admin_state"] = str(number(row["srv_admin_state"]) & _ADMIN_KEPT)
    if server.weight is not None:
        weight = _share(number(row["srv_uweight"]), number(row["srv_iweight"]), server.weight)
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
    return "\n".join(lines) + f"\n{servers_line(config)}"


def waits_for_check(row: dict[str, str]) -> bool:
    """Whether a server is still down only because its first checks are under way."""
    failed, maint = row["srv_check_result"] == "2", number(row["srv_admin_state"]) & 0x3F & ~0x18
    return row["srv_op_state"] == "0" and bool(number(row["srv_check_state"]) & 0x02) and not failed and not maint


def servers_line(config: str) -> str:
    """Return a line that tells whether a state file was written for the same servers."""
    text = repr([(one.key, one.host, one.port, one.checked, one.tls) for one in parse_servers(config)])
    return f"{SERVERS_MARK} {hashlib.sha256(text.encode()).hexdigest()}\n"


def administrative(text: str) -> dict[tuple[str, str], tuple[int, str]]:
    """What people have decided about servers: administrative state and weight."""
    rows = parse_state(text).items()
    return {key: (number(row["srv_admin_state"]) & _ADMIN_KEPT, row["srv_uweight"]) for key, row in rows}


def keep_mark(text: str, saved: str) -> str:
    """Mark a state as saved, if it says of every server what the saved one says; then a crash need not forget it."""
    known = administrative(saved)
    same = FRESH_MARK in saved and all(known.get(key, now) == now for key, now in administrative(text).items())
    return text + (f"{FRESH_MARK}\n" if same else "")
