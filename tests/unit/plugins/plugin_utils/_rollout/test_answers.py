# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in the answers of load balancers: as each sees it, and as good as in its worst backend."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.answers import server_of, servers_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server

from _rollout.test_estate_world import server


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"weight": 10}, Server("ready", True, 10.0)),
        ({"weight": 64, "weight_configured": 128}, Server("ready", True, 50.0, weight=128)),
        ({"weight": 0, "weight_configured": 0}, Server("ready", True, 0.0, weight=0)),
        ({"algorithm": "source"}, Server("ready", True, algorithm="source")),
        ({"up": False}, Server("ready", False)),
        # Without checks HAProxy sends traffic to whoever is ready.
        ({"up": False, "checked": False}, Server("ready", True)),
    ],
)
def test_a_server_is_as_its_load_balancer_sees_it(seen: dict[str, Any], expected: Server) -> None:
    assert server_of(server("app-1", **seen)) == expected


@pytest.mark.parametrize("turned", [False, True])
def test_a_server_of_several_backends_is_as_good_as_in_its_worst(turned: bool) -> None:
    servers = [server("app-1"), server("app-1", backend="api", admin="maint")]
    found = servers_of({"servers": servers[::-1] if turned else servers}, ["app-1"])
    assert found == {"app-1": Server("maint", True)}


@pytest.mark.parametrize("turned", [False, True])
def test_what_one_of_several_backends_cannot_give_counts(turned: bool) -> None:
    servers = [
        server("app-1", algorithm="roundrobin", weight_configured=5, weight=5),
        server("app-1", backend="api", algorithm="source"),
    ]
    found = servers_of({"servers": servers[::-1] if turned else servers}, ["app-1"])
    assert (found["app-1"].weight, found["app-1"].algorithm) == (5, "source")
