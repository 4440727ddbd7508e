# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a service: it fits one screen however big the estate is, and trouble comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.layout import NAME_WIDTH, clip
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.status_text import NODES_SHOWN, status_text
from screens import COLUMNS, ROUTE, line_of, names, new_record, screen, walk


def server(status: str = "UP", weight: int = 100, sessions: int = 3, admin: str = "ready") -> dict[str, Any]:
    return {
        "status": status,
        "weight": weight,
        "weight_configured": 100,
        "sessions": sessions,
        "sessions_old_workers": 1,
        "admin": admin,
    }


def status_of(hosts: Sequence[str], **changes: Any) -> dict[str, Any]:
    node = {"current": "1.5.0", "running": "1.5.0", "previous": "1.4.0", "reason": ""}
    base: dict[str, Any] = {
        "nodes": {host: dict(node) for host in hosts},
        "servers": {name: {host: server() for host in hosts} for name in ("lb-1", "lb-2")},
        "lock": {},
        "open_record": {},
        "history": [],
        "store_reason": "",
        "replication": {},
    }
    return {**base, **changes}


def test_status_of_a_healthy_service() -> None:
    record = new_record(names(2), status=state.SUCCEEDED, ended_at=1_800_000_030.0)
    found = status_of(
        names(2),
        history=[record.to_dict()],
        replication={"phase": "success", "text": "pg-1 leads, 1 standby streams"},
    )
    assert screen(status_text("catalog", found, 5)) == [
        "",
        "catalog",
        "",
        "  host   current  running  previous  lb-1            lb-2",
        "  app-1  1.5.0    1.5.0    1.4.0     UP, 4 sessions  UP, 4 sessions",
        "  app-2  1.5.0    1.5.0    1.4.0     UP, 4 sessions  UP, 4 sessions",
        "",
        "  lock         free",
        "  replication  healthy: pg-1 leads, 1 standby streams",
        "",
        "  last rollouts",
        "    2027-01-15 08:00:00Z  rollout to 1.5.0: done (30.0 s), 2 hosts, by ops@controller",
    ]


def test_status_in_the_middle_of_a_rollout() -> None:
    record = new_record(names(2), advice="Run the same command again to go on.")
    walk(record, "app-1", ROUTE[:6])
    found = status_of(
        names(2), lock={"summary": "ops@controller, rollout of catalog 1.5.0"}, open_record=record.to_dict()
    )
    found["servers"]["lb-2"]["app-1"] = server(weight=10, sessions=0)
    found["servers"]["lb-1"]["app-2"] = server("DRAIN", admin="drain")
    found["replication"] = {"phase": "failure", "text": "0 members lead, not one"}
    text = status_text("catalog", found, 5)
    screen(text)
    assert line_of(text, "app-1  ").endswith("UP, 4 sessions     UP 10 %, 1 session")
    assert "DRAIN, 4 sessions" in line_of(text, "app-2  ")
    assert line_of(text, "lock") == "lock         ops@controller, rollout of catalog 1.5.0"
    assert line_of(text, "unfinished").startswith("unfinished   2027-01-15 08:00:00Z  rollout to 1.5.0: running (unfin")
    assert line_of(text, "app-1 in_service") == "app-1 in_service, app-2 pending"
    assert line_of(text, "Run the same") == "Run the same command again to go on."
    assert line_of(text, "replication") == "replication  failure: 0 members lead, not one"


def test_status_of_what_is_silent() -> None:
    found = status_of(names(3), store_reason="etcd: no answer from 3 endpoints", lock={"unknown": 1})
    found["nodes"]["app-2"] = {"current": None, "running": None, "previous": None, "reason": "no route to host"}
    found["nodes"]["app-3"].update(current=None, running=None, previous=None)
    found["servers"]["lb-2"] = {"": {"reason": "cannot connect to its socket"}}
    text = status_text("catalog", found, 5)
    screen(text)
    assert line_of(text, "app-2 ") == "app-2  no answer                     UP, 4 sessions  no answer"
    assert line_of(text, "app-3 ") == "app-3  -          -        -         UP, 4 sessions  no answer"
    assert line_of(text, "app-2:") == "app-2: no route to host"
    assert line_of(text, "lb-2:") == "lb-2: cannot connect to its socket"
    assert line_of(text, "lock") == "lock         held by somebody"
    assert line_of(text, "store") == "store        gives no answer: etcd: no answer from 3 endpoints"


def test_host_that_is_no_server_has_a_dash() -> None:
    found = status_of(names(2))
    del found["servers"]["lb-1"]["app-2"]
    assert re.search(r"app-2 .*1\.4\.0 +-  +UP", status_text("catalog", found, 5))


@pytest.mark.parametrize("name", ["app-{}", "catalog-node-{}.hall-3.plant.example.com"])
def test_status_of_fifty_hosts_fits_one_screen_and_shows_trouble_first(name: str) -> None:
    hosts = names(50, name)
    record = new_record(hosts, advice="Run the same command again, or revert. " * 5, reason="halted " * 50)
    found = status_of(
        hosts,
        open_record=record.to_dict(),
        history=[record.to_dict()] * 9,
        replication={"phase": "success", "text": "x" * 200},
        store_reason="etcd gives no answer " * 20,
        lock={"summary": "ops " * 50},
    )
    found["nodes"][hosts[40]]["reason"] = "no route to host " * 10
    found["servers"]["lb-1"][hosts[45]] = server("DOWN", admin="maint")
    found["nodes"][hosts[47]]["running"] = None
    found["servers"]["lb-2"][hosts[49]] = server(weight=10)
    text = status_text("catalog", found, 5)
    lines = text.split("\n")
    assert max(map(len, lines)) <= COLUMNS
    # Everything at once is longer than a screen; what is asked for without trouble is not.
    screen(status_text("catalog", {**found, "open_record": {}, "store_reason": "", "lock": {}}, 5))
    rows = text.split("\n  host")[1].split("\n")[1:]
    first = [clip(hosts[number], NAME_WIDTH) for number in (40, 45, 47, 49)]
    assert [row.split()[0] for row in rows[:4]] == first
    assert "and 37 more hosts" in text


def test_status_names_the_load_balancers_for_which_there_is_no_room() -> None:
    found = status_of(names(2))
    found["servers"] = {f"balancer-{number}": {host: server() for host in names(2)} for number in range(1, 9)}
    text = status_text("catalog", found, 5)
    screen(text)
    shown = re.findall(r"balancer-\d", line_of(text, "host"))
    hidden = re.findall(r"balancer-\d", line_of(text, "no room for"))
    assert sorted(shown + hidden) == sorted(found["servers"])
    assert shown == [f"balancer-{number}" for number in range(1, len(shown) + 1)]
    assert len(shown) >= 3


def test_status_of_as_many_hosts_as_there_is_room_for() -> None:
    text = status_text("catalog", status_of(names(NODES_SHOWN)), 5)
    assert "more" not in text
    assert "and 1 more host" in status_text("catalog", status_of(names(NODES_SHOWN + 1)), 5)


def test_history_is_as_long_as_asked_for() -> None:
    record = new_record(["app-1"], status=state.REVERTED, reason="gate errors failed")
    found = status_of(["app-1"], history=[record.to_dict()] * 9)
    assert status_text("catalog", found, 3).count("rollout to 1.5.0: rolled back") == 3
    assert status_text("catalog", found, 20).count("by ops@controller; gate") == 9
