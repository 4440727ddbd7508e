# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers are healthy."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import look
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import Server
from haproxy_simulation import Balancer


@pytest.mark.parametrize(
    ("status", "up"),
    [("UP", True), ("DRAIN", True), ("no check", True), ("UP 1/3", False), ("DOWN 1/2", False), ("NOLB", False)],
)
def test_only_a_server_without_doubt_is_up(status: str, up: bool) -> None:
    balancer = Balancer("catalog/one")
    server = look(balancer.ask).servers[("catalog", "one")]
    assert Server(**{**vars(server), "status": status}).up is up
