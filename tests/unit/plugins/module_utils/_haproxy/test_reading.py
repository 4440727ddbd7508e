# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of servers, from replies that were recorded from 2.6.12 and 3.0.11 (Debian)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import reading, traffic
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import parse_processes
from hypothesis import assume, given
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"


def read(version: str, what: str) -> str:
    return (RECORDED / f"{version}-{what}.txt").read_text()


@pytest.mark.parametrize("version", ["2.6", "3.0"])
def test_recorded_replies_are_read_alike(version: str) -> None:
    replies = {"show proc": read(version, "proc")}
    pid = parse_processes(replies["show proc"])[1].pid
    replies[f"@!{pid} show servers state"] = read(version, "servers-state")
    replies[f"@!{pid} show stat -1 6 -1"] = read(version, "stat")
    view = reading.look(replies.__getitem__)
    found = {
        one.label: (one.admin, one.status, one.up, one.checked, one.weight, one.available)
        for one in view.servers.values()
    }
    assert found == {
        "catalog/one": ("ready", "UP", True, True, 10, True),
        "catalog/two": ("drain", "DRAIN", True, True, 100, False),
        "catalog/three": ("ready", "DOWN", False, True, 100, False),
        "files/two": ("ready", "UP", True, True, 100, True),
        "billing/haproxy-app-2": ("maint", "MAINT", False, True, 100, False),
        "refusing/nobody": ("ready", "no check", True, False, 100, True),
        "refusing/one": ("ready", "no check", True, False, 100, True),
        "fragile/one": ("drain", "DRAIN", True, False, 100, False),
        "database/haproxy-app-1": ("ready", "DOWN", False, True, 100, False),
        "database/haproxy-app-2": ("ready", "DOWN", False, True, 100, False),
    }
    row = dict.fromkeys(replies[f"@!{pid} show stat -1 6 -1"].splitlines()[0].lstrip("# ").split(","), "")
    row.update(pxname="catalog", svname="BACKEND", algo="source")
    replies[f"@!{pid} show stat -1 6 -1"] = read(version, "stat").rstrip("\n") + "\n" + ",".join(row.values()) + "\n\n"
    told = reading.look(replies.__getitem__).servers
    assert {one.algorithm for one in told.values() if one.backend == "catalog"} == {"source"}
    assert told[("files", "two")].public()["algorithm"] == ""
    three = view.servers[("catalog", "three")]
    assert (three.address, three.check, three.weight_configured, three.rise) == (
        "10.205.0.22:8001",
        "L7STS 503 Service Unavailable",
        100,
        2,
    )
    assert three.counters["requests"] == 1
    assert (view.worker, view.old_workers) == (pid, ())


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=9, unique=True),
    st.lists(st.lists(st.text(max_size=12), min_size=9, max_size=9), max_size=4),
)
def test_a_table_is_read_by_its_header_whatever_the_cells_contain(names: list[str], cells: list[list[str]]) -> None:
    assume(not any("\0" in one for row in [names, *cells] for one in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    text.write("# pxname,")
    writer.writerow(names)
    for row in cells:
        writer.writerow(["p", *row[: len(names)]])
    expected = [dict(zip(["pxname", *names], ["p", *row])) for row in cells]
    assert reading.parse_stat(text.getvalue() + "\n") == expected


def test_what_is_no_table_is_none() -> None:
    for reply in ("", "\n", "Can't find the target PID matching the prefix '@!7'\n", "Permission denied\n\n"):
        assert reading.parse_stat(reply) is None


@pytest.mark.parametrize(
    ("bits", "admin"),
    [(0, "ready"), (8, "drain"), (16, "drain"), (1, "maint"), (4, "maint"), (32, "maint"), (9, "maint")],
)
def test_admin_state_from_the_flags(bits: int, admin: str) -> None:
    assert reading.admin_of(bits) == admin


def test_clients_that_are_served_are_counted_once_each() -> None:
    lines = [
        "0x7f01: proto=tcpv4 src=10.0.0.9:4001 fe=edge be=catalog srv=one ts=00",
        "0x7f02: proto=tcpv4 src=10.0.0.9:4001 fe=edge be=catalog srv=two ts=00",
        "0x7f03: proto=tcpv4 src=10.0.0.9:4002 fe=edge be=<NONE> srv=<none> ts=00",
        "0x7f04: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00",
    ]
    assert reading.served("\n".join(lines)) == {"10.0.0.9:4001"}


@pytest.mark.parametrize("version", ["2.6", "3.0"])
@pytest.mark.parametrize("crowd", [False, True])
def test_a_look_has_every_worker_and_lists_sessions_unless_there_are_too_many(
    version: str, crowd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = {"show proc": read(version, "proc")}
    pid = parse_processes(replies["show proc"])[1].pid
    replies[f"@!{pid} show servers state"] = read(version, "servers-state")
    replies[f"@!{pid} show stat -1 6 -1"] = read(version, "stat")
    replies[f"@!{pid} show sess"] = read(version, "sess")
    monkeypatch.setattr(traffic, "MOST_SESSIONS", -1 if crowd else 5000)
    _view, found = reading.look_at_traffic(replies.__getitem__, ["catalog"], 1234.5)
    assert (found["at"], list(found["workers"])) == (1234.5, [str(pid)])
    assert set(found["workers"][str(pid)]) == {"one", "two", "three"}
    assert found["workers"][str(pid)]["three"]["answered"] == 1
    health = {name: (one["up"], one["in_traffic"]) for name, one in found["health"].items()}
    assert health == {"one": (True, True), "two": (True, False), "three": (False, False)}
    assert found["health"]["three"]["check"] == "L7STS 503 Service Unavailable"
    assert ("waiting" in found) is not crowd
