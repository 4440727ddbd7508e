# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state with which HAProxy starts, and what a second HAProxy finds out for it."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import server_states, starting
from haproxy_samples import CONFIG, ONE_SERVER, RUNNING, TWO_SERVERS, rows, running, saved


def test_a_start_begins_with_the_health_that_was_found_and_only_a_saved_state_tells_who_was_taken_out() -> None:
    saved = RUNNING + server_states.FRESH_MARK
    healthy = {("catalog", "one"): True, ("catalog", "two"): False, ("catalog", "v6"): True}
    found = rows(starting.before_start(CONFIG, saved, healthy))
    assert {name: found[name]["srv_op_state"] for name in ("one", "two", "v6", "named")} == {
        "one": "2",
        "two": "0",
        "v6": "2",
        "named": "0",
    }
    assert [found[name]["srv_check_result"] for name in ("one", "two", "named")] == ["3", "2", "0"]
    assert found["one"]["srv_admin_state"] == "8"
    # What was just found out need not be asked again when it is started again at once.
    known = CONFIG.replace("    server named app-5:8001 check\n", "")
    again = starting.before_start(known, starting.before_start(known, saved, healthy))
    assert [rows(again)[name]["srv_op_state"] for name in ("one", "two", "v6")] == ["2", "0", "2"]
    assert starting.tells_health(known, again, 0.1)
    assert rows(starting.before_start(CONFIG, RUNNING, healthy))["one"]["srv_admin_state"] == "0"
    # Without checks, what was saved counts.
    assert rows(starting.before_start(CONFIG, saved))["one"]["srv_op_state"] == "2"


def test_a_server_in_maintenance_is_not_healthy_for_haproxy() -> None:
    text = saved(one="1", two="0")
    found = rows(starting.before_start(TWO_SERVERS, text, {("catalog", "one"): True, ("catalog", "two"): True}))
    assert [found[name]["srv_op_state"] for name in ("one", "two")] == ["0", "2"]


@pytest.mark.parametrize(
    ("config", "text", "age", "tells"),
    [
        (ONE_SERVER, running(), 0.2, True),
        (ONE_SERVER, running(), starting.YOUNG + 0.1, False),
        (ONE_SERVER, running(), -1.0, False),  # The clock was set back.
        (ONE_SERVER, running().replace(server_states.FRESH_MARK, ""), 0.2, False),
        (ONE_SERVER, running(op_state="0", result="2"), 0.2, True),  # It has failed its checks.
        (ONE_SERVER, running(op_state="0", result="0"), 0.2, False),  # It waits for its first one.
        (ONE_SERVER.replace("10.0.0.1", "10.0.0.9"), running(), 0.2, False),  # That was another one.
        (ONE_SERVER + " server three 10.0.0.3:80 check\n", running(), 0.2, False),
    ],
)
def test_only_a_young_state_of_the_same_servers_tells_who_is_healthy(
    config: str, text: str, age: float, tells: bool
) -> None:
    assert starting.tells_health(config, text, age) is tells


def test_a_start_right_after_a_stop_begins_with_the_health_that_was_saved() -> None:
    for op_state, result in (("2", "3"), ("0", "2")):
        text = running(op_state, result)
        for _start in range(3):
            assert starting.tells_health(ONE_SERVER, text, 0.1)
            text = starting.before_start(ONE_SERVER, text)
            assert rows(text)["one"]["srv_op_state"] == op_state


def test_drain_that_was_saved_survives_any_number_of_crashes() -> None:
    text = saved(one="8", two="0")
    for _crash in range(3):
        text = starting.before_start(TWO_SERVERS, text, {})
        assert server_states.parse_state(text)[("catalog", "one")]["srv_admin_state"] == "8"
    assert server_states.FRESH_MARK in text


REHEARSED = """global
    log /dev/log local0
    log-tag haproxy
    stats socket /run/haproxy/admin.sock level admin
    server-state-file /var/lib/haproxy/server-state
    mworker-max-reloads 50
    tune.bufsize 20000
defaults
    log global
    load-server-state-from-file global
    timeout check 2s
userlist stats
    user stats insecure-password x
frontend stats
    bind *:8404
peers mesops
    peer lb-1 10.0.0.1:10000
listen metrics
    bind 10.0.0.1:8405 ssl crt /etc/x.pem
    server metrics 127.0.0.1:9100 check
backend catalog
    stick-table type ip size 1m peers mesops
    option httpchk
    server one 10.0.0.1:8001 check
"""


def test_a_rehearsal_has_the_same_checks_and_nobody_listens() -> None:
    lines = [line.strip() for line in starting.rehearsal(REHEARSED, "/run/x/socket").splitlines()]
    kept = ["log-tag haproxy", "tune.bufsize 20000", "timeout check 2s", "option httpchk", "userlist stats"]
    assert set(kept) < set(lines)
    assert "stats socket /run/x/socket mode 600 level admin" in lines
    assert [line for line in lines if line.startswith("server ")] == [
        "server metrics 127.0.0.1:9100 check",
        "server one 10.0.0.1:8001 check",
    ]
    assert [line.split()[1].partition("-")[0] for line in lines if line.startswith("bind ")] == ["abns@/run/x"]
    gone = ["log", "stats socket /run/haproxy", "server-state", "mworker", "load-server", "frontend", "bind *", "peer"]
    for start in gone:
        assert not [line for line in lines if re.match(re.escape(start) + r"(?!-tag)", line)], start
    assert "stick-table type ip size 1m" in lines


@pytest.mark.parametrize(
    ("check_state", "result", "judged"),
    [("6", "0", False), ("7", "0", False), ("6", "1", False), ("6", "2", True), ("6", "3", True), ("0", "0", True)],
)
def test_a_server_is_judged_when_its_first_check_has_ended(check_state: str, result: str, judged: bool) -> None:
    assert starting.judged({"srv_check_state": check_state, "srv_check_result": result}) is judged


@pytest.mark.parametrize(
    ("up", "check_state", "result", "passed"),
    [
        ("2", "6", "3", True),
        ("2", "6", "4", True),
        ("2", "6", "2", False),  # Its check has failed, and it is not yet called down.
        ("2", "7", "0", False),
        ("0", "6", "2", False),
        ("0", "6", "3", False),
        ("2", "0", "0", True),
    ],
)
def test_a_server_is_healthy_when_a_check_has_passed(up: str, check_state: str, result: str, passed: bool) -> None:
    row = {"srv_op_state": up, "srv_check_state": check_state, "srv_check_result": result}
    assert starting.passed(row) is passed


def test_a_service_that_was_up_and_has_nobody_now_is_waited_for() -> None:
    healthy = {("catalog", "one"): False, ("catalog", "two"): False}
    assert starting.asleep(running(), healthy) == {"catalog"}
    assert starting.asleep(running(op_state="0"), healthy) == set()
    assert starting.asleep("", healthy) == set()
    assert starting.asleep(running(), {**healthy, ("catalog", "two"): True}) == set()
    assert starting.asleep(running(), {("files", "one"): False}) == set()


# A HAProxy that only checks, as its process and its socket behave.
CHECKER = """import socket, sys, time
path = open(sys.argv[-1]).read().split("stats socket ")[1].split()[0]
begin = time.monotonic()
with socket.socket(socket.AF_UNIX) as server:
    server.bind(path)
    server.listen()
    while True:
        connection, _peer = server.accept()
        with connection:
            connection.recv(100)
            name = "late" if time.monotonic() - begin > {after} else "early"
            connection.sendall(open("{root}/" + name).read().encode())
"""


def checker(root: Path, monkeypatch: pytest.MonkeyPatch, early: str, late: str, after: float) -> None:
    program = root / "haproxy"
    program.write_text(f"#!{sys.executable}\n" + CHECKER.format(root=root, after=after))
    program.chmod(0o755)
    (root / "early").write_text(early)
    (root / "late").write_text(late)
    monkeypatch.setattr(starting, "HAPROXY", str(program))
    monkeypatch.setattr(starting, "RUN", str(root))


def test_checks_before_a_start_wait_for_the_first_ones_and_for_a_service_that_was_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker(tmp_path, monkeypatch, running("2", "0"), running("2", "3"), 0.3)
    begin = time.monotonic()
    assert starting.checked_now("", "") == {("catalog", "one"): True}
    assert time.monotonic() - begin > 0.3
    checker(tmp_path, monkeypatch, running("0", "2"), running("2", "3"), 0.3)
    assert starting.checked_now("", running()) == {("catalog", "one"): True}
    checker(tmp_path, monkeypatch, running("0", "2"), "", 3600)
    assert starting.checked_now("", "") == {("catalog", "one"): False}
    monkeypatch.setattr(starting, "WAKING", 3.0)
    assert starting.checked_now("", running()) == {("catalog", "one"): False}
    checker(tmp_path, monkeypatch, "", "", 3600)
    with pytest.raises(OSError, match="does not start"):
        starting.checked_now("", "")
    # Nothing is left of it.
    assert sorted(one.name for one in tmp_path.iterdir()) == ["early", "haproxy", "late"]


def test_a_start_without_a_checking_haproxy_begins_with_all_servers_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state"
    file.write_text(running())
    os.utime(file, (0, 0))
    monkeypatch.setattr(starting, "STATE_FILE", str(file))
    monkeypatch.setattr(starting, "RUN", str(tmp_path))
    for program in ("/bin/false", "/no/such/haproxy"):
        monkeypatch.setattr(starting, "HAPROXY", program)
        assert rows(starting.start_state(TWO_SERVERS))["one"]["srv_op_state"] == "0"
        assert "all servers down until its checks have passed" in capsys.readouterr().err
    # A young state needs no checks.
    os.utime(file)
    assert rows(starting.start_state(ONE_SERVER))["one"]["srv_op_state"] == "2"
    assert capsys.readouterr().err == ""
