# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single requests from the access log, as 2.6.12 and 3.0.11 (Debian) have written it for the role's configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import access_log
from hypothesis import given
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"
LINE: dict[str, Any] = {
    "type": "http",
    "ts": 1000.5,
    "backend": "catalog",
    "server": "one",
    "method": "GET",
    "status": 200,
    "ms_request": 0,
    "ms_queue": 0,
    "ms_connect": 0,
    "ms_response": 20,
    "ms_active": 20,
    "ms_total": 20,
    "termination": "----",
}


def text(**changed: object) -> str:
    return json.dumps({**LINE, **changed})


class Journal:
    """Answers with what it was given, and keeps what it was asked."""

    def __init__(self, out: str, rc: int = 0, err: str = "") -> None:
        self.answer = (rc, out, err)
        self.command: list[str] = []
        self.asked = 0

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.command = list(command)
        self.asked += 1
        return self.answer


def read(journal: Journal, backend: str, since: float, until: float) -> list[access_log.Request]:
    return access_log.AccessLog(journal, until, until - since).requests(backend, until - since)


@pytest.mark.parametrize("version", ["2.6", "3.0"])
def test_recorded_log(version: str) -> None:
    journal = Journal((RECORDED / f"{version}-access.txt").read_text())
    found = read(journal, "catalog", 0, 2e9)
    assert [(one.method, one.status, one.termination) for one in found] == [
        ("GET", 200, "----"),
        ("GET", 200, "----"),
        ("GET", 200, "----"),
        ("POST", 200, "----"),
        ("GET", 200, "----"),
    ]
    assert [one.server in {"one", "two", "three"} for one in found] == [True] * 5
    # The second one came on a connection that had idled for 1.5 s; that is no part of anything.
    assert found[1].ms <= 3
    assert 1.5 <= found[1].at - found[0].at <= 1.52
    assert 700 <= found[2].ms <= 710
    assert 2000 <= found[4].ms <= 2010
    assert found[4].at < found[3].at

    lost, busy, refused = read(journal, "fragile", 0, 2e9)
    assert (lost.method, lost.status, lost.termination) == ("POST", 502, "SH--")
    assert (busy.status, busy.termination) == (503, "----")
    # Three seconds of attempts are not the time of a server that was never reached.
    assert (refused.status, refused.termination, refused.ms) == (503, "SC--", 0)

    (unrouted,) = read(journal, "unrouted", 0, 2e9)
    assert (unrouted.server, unrouted.status) == (access_log.NO_SERVER, 404)


def test_the_queue_and_the_client_are_not_the_servers_time() -> None:
    waits = {"ms_request": 300, "ms_queue": 500, "ms_connect": 2}
    assert access_log.server_ms({**LINE, **waits, "ms_response": 40, "ms_active": 9000}) == 40
    # A server that never answered was waited for until its timeout.
    assert access_log.server_ms({**LINE, **waits, "ms_response": -1, "ms_active": 5802}) == 5000
    assert access_log.server_ms({**LINE, "ms_queue": -1, "ms_connect": -1, "ms_response": -1, "ms_active": 30}) == 30
    assert access_log.server_ms({**LINE, "ms_queue": 50, "ms_response": -1, "ms_active": 30}) == 0


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Server catalog/one is DOWN.",
        text()[:80],
        text(type="tcp"),
        text(backend="files"),
        text(status="x"),
        text(ms_active=None),
        text(status=float("inf")),
        "{}",
        "[1]",
        '{"type": "http", "backend": "catalog"}',
        '{"type":"error","error":"no TLS"}',
    ],
)
def test_other_lines_are_passed_over(line: str) -> None:
    good = text()
    found = read(Journal(f"{line}\n{good}\n{line}\n"), "catalog", 0, 2000)
    assert [one.server for one in found] == ["one"]


@given(st.text(max_size=60) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_line_raises(line: str) -> None:
    access_log.parse_line(line, "catalog")
    access_log.parse_line(f'{{"type":"http","backend":"catalog","ts":{line},"ms_total":{line}}}', "catalog")


@given(st.dictionaries(st.sampled_from(sorted(LINE)), st.none() | st.integers() | st.text(max_size=5) | st.floats()))
def test_no_value_raises(changed: dict[str, object]) -> None:
    found = access_log.parse_line(text(**changed), "catalog")
    assert found is None or found[1].ms >= 0


def test_a_request_counts_when_it_ends() -> None:
    lines = [text(ts=ts, ms_total=2000, ms_active=2000, status=index) for index, ts in enumerate((10.0, 7.9, 8.0, 9.5))]
    found = read(Journal("\n".join(lines)), "catalog", 10.0, 11.5)
    assert [(one.status, one.at) for one in found] == [(2, 8.0), (3, 9.5)]


def test_the_journal_is_asked_for_no_more_than_needed() -> None:
    journal = Journal("")
    log = access_log.AccessLog(journal, 1060.2, 59.5, limit=500)
    assert log.requests("catalog", 10) == []
    assert {"--unit", "haproxy.service", "--priority=info..info", "--lines=500", "--reverse"} <= set(journal.command)
    assert {"--since=@1000", "--until=@1062", "--output=cat"} <= set(journal.command)


def test_probes_that_are_taken_together_read_the_log_once() -> None:
    journal = Journal(
        "\n".join(text(ts=ts, backend=backend) for ts in (1001, 1009) for backend in ("catalog", "files"))
    )
    log = access_log.AccessLog(journal, 1010, 60)
    assert journal.asked == 0
    assert [[one.at for one in log.requests(*asked)] for asked in (("catalog", 60), ("catalog", 5), ("files", 60))] == [
        [1001, 1009],
        [1009],
        [1001, 1009],
    ]
    assert journal.asked == 1


def test_a_journal_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(access_log.RequestsError, match=r"cannot be read: No journal files\.$"):
        read(Journal("", 1, "No journal\nfiles"), "catalog", 0, 1)


@pytest.mark.parametrize(
    ("status", "termination", "failed"),
    [
        (200, "----", False),
        (404, "----", False),
        (500, "----", True),
        (503, "SC--", True),
        (-1, "SH--", True),
        (200, "SD--", True),
        (200, "sD--", True),
        (-1, "CD--", False),
        (-1, "cD--", False),
    ],
)
def test_server_is_to_blame_for_5xx_and_for_giving_up(status: int, termination: str, failed: bool) -> None:
    parsed = access_log.parse_line(text(status=status, termination=termination), "catalog")
    assert parsed is not None
    assert parsed[1].failed is failed
