# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations of HAProxy, and what it says of their servers."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import (
    FRESH_MARK,
    STATE_FIELDS,
    next_state,
    parse_state,
)

HEADER = "# " + " ".join(STATE_FIELDS)
CONFIG = """\
backend catalog
    server one 10.0.0.1:8001 weight 5 check
    server two 10.0.0.2:8001 check ssl verify none
    server plain 10.0.0.3:8001 # check
    server v6 [fd00::6]:8001 check
    server named app-5:8001 check
backend handover:catalog
    server current unix@/to-catalog.sock send-proxy-v2
    server other /run/other.sock
    server another abns@other
frontend edge
    server no 10.0.0.9:80
"""
# srv_check_port 8008 and use_ssl 0 are from an older configuration; "gone" is no longer defined.
RUNNING = f"""\
1
{HEADER}
3 catalog 1 one 10.0.0.1 2 8 1 5 100 6 3 4 6 0 0 0 - 8001 - 0 8008 - - 8008
3 catalog 2 two 10.0.0.2 2 32 1 1 100 6 3 4 6 0 0 0 - 9999 - 0 0 - - 0
3 catalog 3 plain 10.0.0.3 2 1 1 1 100 1 0 2 0 0 0 0 - 8001 - 0 0 - - 0
3 catalog 4 gone 10.0.0.4 2 0 1 1 100 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0
3 catalog 5 named 10.0.0.5 2 0 1 1 100 6 3 4 6 0 0 0 app-5 8001 - 0 0 - - 0

"""
PROC_3_0 = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
234             master          3 [failed: 0]   0d00h05m32s     3.0.11-1+deb13u5
# workers
313             worker          0               0d00h00m01s     3.0.11-1+deb13u5
# old workers
296             worker          1               0d00h00m02s     3.0.11-1+deb13u5
# programs


"""
ONE_SERVER = "backend catalog\n server one 10.0.0.1:80 check weight 100\n"
TWO_SERVERS = "backend catalog\n server one 10.0.0.1:80 check weight 100\n server two 10.0.0.2:80 check weight 100\n"
DATABASE = """\
defaults
    default-server on-marked-down shutdown-sessions
backend catalog
    default-server on-marked-up shutdown-backup-sessions on-marked-down none
    server one 10.0.0.1:80 check weight 100
backend database
    server pg-1 10.0.0.1:5432 check weight 100
    server pg-2 10.0.0.2:5432 check weight 100
defaults
backend cache
    server one 10.0.0.1:6379 check
    server two 10.0.0.2:6379 check on-marked-down shutdown-sessions
"""


def rows(text: str) -> dict[str, dict[str, str]]:
    return {name: row for (_backend, name), row in parse_state(text).items()}


def running(op_state: str = "2", result: str = "3") -> str:
    """What was saved of ONE_SERVER while it was so."""
    line = f"3 catalog 1 one 10.0.0.1 {op_state} 0 100 100 9 6 {result} 4 6 0 0 0 - 80 - 0 0 - - 0"
    return next_state(ONE_SERVER, f"1\n{HEADER}\n{line}\n") + f"{FRESH_MARK}\n"


def saved(**admin: str) -> str:
    """A state file with the administrative state of some servers."""
    lines = ["1", "# " + " ".join(STATE_FIELDS)]
    for name, value in admin.items():
        row = dict.fromkeys(STATE_FIELDS, "0")
        row.update(be_name="catalog", srv_name=name, srv_uweight="100", srv_iweight="100", srv_admin_state=value)
        lines.append(" ".join(row.values()))
    return "\n".join(lines) + f"\n{FRESH_MARK}\n"
