# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of HAProxy's counters and sessions, from replies of 2.6 and 3.0 that were recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import traffic

RECORDED = Path(__file__).parent / "recorded"


def recorded(version: str, what: str) -> str:
    return (RECORDED / f"{version}-{what}.txt").read_text()


@pytest.mark.parametrize("version", ["2.6", "3.0"])
def test_a_request_that_waits_is_told_from_a_response_that_streams(version: str) -> None:
    found = traffic.sessions(recorded(version, "sess"), 77, ["catalog"])
    assert [len(found[kind]["one"]) for kind in ("waiting", "streaming")] == [1, 1]
    assert list(found["waiting"]["one"].values()) == [1]
    assert next(iter(found["waiting"]["one"])).startswith("77/0x")
    assert traffic.sessions(recorded(version, "sess"), 77, ["other"]) == {"waiting": {}, "streaming": {}}


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("59s", 59), ("2m3s", 123), ("1h", 3600), ("1d2h", 93600)])
def test_an_age_is_read_whatever_its_unit(text: str, seconds: int) -> None:
    line = recorded("2.6", "sess").splitlines()[0].replace("age=1s", f"age={text}")
    assert list(traffic.sessions(line, 1, ["catalog"])["waiting"]["one"].values()) == [seconds]


def test_only_the_oldest_sessions_are_told() -> None:
    line = recorded("2.6", "sess").splitlines()[0]
    lines = [line.replace("0x55ba8c21c530", f"0x{n:x}").replace("age=1s", f"age={n}s") for n in range(600)]
    ages = list(traffic.sessions("\n".join(lines), 1, ["catalog"])["waiting"]["one"].values())
    assert ages == list(range(599, 99, -1))


def test_a_connection_over_tcp_is_good_when_it_was_made() -> None:
    row = {"stot": "50", "req_tot": "", "econ": "3", "wretr": "2", "wredis": "5", "scur": "7"}
    found = traffic.counts(row)
    assert (found["sent"], found["answered"], found["now"]) == (50, 42, 7)
    assert traffic.counts({**row, "req_tot": "40"})["answered"] == 40
