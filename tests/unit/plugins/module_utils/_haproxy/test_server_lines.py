# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers are found in a configuration as HAProxy finds them."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import server_lines
from haproxy_samples import CONFIG, DATABASE


def test_servers_are_read_from_backends_only() -> None:
    found = {one.name: one for one in server_lines.parse_servers(CONFIG)}
    assert list(found) == ["one", "two", "plain", "v6", "named"]
    assert (found["v6"].host, found["v6"].port) == ("fd00::6", "8001")
    assert (found["one"].checked, found["plain"].checked, found["two"].tls) == (True, False, True)


def test_who_ends_sessions_is_read_as_haproxy_reads_it() -> None:
    found = {f"{one.backend}/{one.name}": one.ends_sessions for one in server_lines.parse_servers(DATABASE)}
    assert found == {
        "catalog/one": False,
        "database/pg-1": True,
        "database/pg-2": True,
        "cache/one": False,
        "cache/two": True,
    }
