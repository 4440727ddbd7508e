# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtime state of HAProxy, with answers recorded from 2.6.12 and 3.0.11 (Debian)."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import state
from hypothesis import given
from hypothesis import strategies as st

HEADER = "# " + " ".join(state.STATE_FIELDS)
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
PROC_2_6_FAILED = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
405             master          2 [failed: 2]   0d00h05m32s     2.6.12-1+deb12u4
# workers
407             worker          2               0d00h05m32s     2.6.12-1+deb12u4
# programs

"""


def rows(text: str) -> dict[str, dict[str, str]]:
    return {name: row for (_backend, name), row in state.parse_state(text).items()}


def test_servers_are_read_from_backends_only() -> None:
    found = {one.name: one for one in state.parse_servers(CONFIG)}
    assert list(found) == ["one", "two", "plain", "v6", "named"]
    assert (found["v6"].host, found["v6"].port) == ("fd00::6", "8001")
    assert (found["one"].checked, found["plain"].checked, found["two"].tls) == (True, False, True)


@pytest.mark.parametrize(
    ("running", "configured", "now", "expected"),
    [
        (1, 1, 100, 100),  # Nobody had touched it.
        (0, 1, 100, 0),  # Held out of traffic by weight.
        (10, 100, 100, 10),
        (10, 100, 50, 5),
        (7, 1, 100, 256),
        (1, 100, 10, 1),  # Little is not nothing.
        (50, 0, 100, 50),
        (0, 0, 100, 100),
        (100, 100, 0, 0),
        (10, 100, 0, 0),  # The configuration takes it out.
    ],
)
def test_a_runtime_weight_keeps_its_share_when_the_configured_weight_changes(
    running: int, configured: int, now: int, expected: int
) -> None:
    config = f"backend catalog\n    server one 10.0.0.1:8001 weight {now} check\n"
    before = f"{HEADER}\n3 catalog 1 one 10.0.0.1 2 0 {running} {configured} 9 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0\n"
    row = rows(state.next_state(config, before))["one"]
    # HAProxy takes a weight from the file only where the configured one there is its own.
    assert (int(row["srv_uweight"]), int(row["srv_iweight"])) == (expected, now)


@given(st.integers(0, 256), st.integers(0, 256), st.integers(0, 256))
def test_any_runtime_weight_stays_one_and_never_becomes_nothing_by_rounding(
    running: int, configured: int, now: int
) -> None:
    config = f"backend catalog\n    server one 10.0.0.1:8001 weight {now} check\n"
    before = f"{HEADER}\n3 catalog 1 one 10.0.0.1 2 0 {running} {configured} 9 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0\n"
    text = state.next_state(config, before)
    weight = int(rows(text)["one"]["srv_uweight"])
    assert 0 <= weight <= 256
    if running != configured:
        assert (weight == 0) == (running == 0 or now == 0)
    assert rows(state.next_state(config, text))["one"]["srv_uweight"] == str(weight)


def test_a_weight_that_the_configuration_does_not_name_is_left_alone() -> None:
    row = rows(state.next_state("backend catalog\n    server two 10.0.0.2:8001 check\n", RUNNING))["two"]
    assert (row["srv_uweight"], row["srv_iweight"]) == ("1", "1")
    assert [one.weight for one in state.parse_servers(CONFIG)] == [5, None, None, None, None]


def test_administrative_state_survives_and_the_configuration_keeps_ports_and_tls() -> None:
    found = rows(state.next_state(CONFIG, RUNNING))
    assert (found["one"]["srv_admin_state"], found["one"]["srv_op_state"], found["one"]["srv_iweight"]) == (
        "8",
        "2",
        "5",
    )
    assert (found["one"]["srv_check_port"], found["one"]["srv_agent_port"]) == ("0", "0")
    assert found["plain"]["srv_admin_state"] == "1"
    assert "gone" not in found
    assert (found["named"]["srv_addr"], found["named"]["srv_fqdn"]) == ("10.0.0.5", "app-5")
    assert (found["one"]["srv_addr"], found["one"]["srv_fqdn"]) == ("-", "-")


def test_a_server_whose_address_changed_must_pass_its_checks_first() -> None:
    moved = rows(state.next_state(CONFIG, RUNNING))["two"]
    assert (moved["srv_port"], moved["srv_op_state"], moved["srv_use_ssl"]) == ("8001", "0", "1")
    assert moved["srv_admin_state"] == "0"  # 32: HAProxy refuses a state that it does not set by itself.
    drained = rows(state.next_state(CONFIG.replace("10.0.0.1:", "10.0.0.7:"), RUNNING))["one"]
    assert (drained["srv_op_state"], drained["srv_admin_state"]) == ("0", "8")


def test_a_new_server_must_pass_its_checks_first_unless_it_has_none() -> None:
    found = rows(state.next_state(CONFIG, ""))
    assert (found["one"]["srv_op_state"], found["plain"]["srv_op_state"]) == ("0", "2")


def test_a_start_begins_with_the_health_that_was_found_and_only_a_saved_state_tells_who_was_taken_out() -> None:
    saved = RUNNING + state.FRESH_MARK
    healthy = {("catalog", "one"): True, ("catalog", "two"): False, ("catalog", "v6"): True}
    found = rows(state.before_start(CONFIG, saved, healthy))
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
    again = state.before_start(known, state.before_start(known, saved, healthy))
    assert [rows(again)[name]["srv_op_state"] for name in ("one", "two", "v6")] == ["2", "0", "2"]
    assert state.tells_health(known, again, 0.1)
    assert rows(state.before_start(CONFIG, RUNNING, healthy))["one"]["srv_admin_state"] == "0"
    # Without checks, what was saved counts.
    assert rows(state.before_start(CONFIG, saved))["one"]["srv_op_state"] == "2"


def test_a_server_in_maintenance_is_not_healthy_for_haproxy() -> None:
    text = saved(one="1", two="0")
    found = rows(state.before_start(TWO_SERVERS, text, {("catalog", "one"): True, ("catalog", "two"): True}))
    assert [found[name]["srv_op_state"] for name in ("one", "two")] == ["0", "2"]


ONE_SERVER = "backend catalog\n server one 10.0.0.1:80 check weight 100\n"


def running(op_state: str = "2", result: str = "3") -> str:
    """What was saved of ONE_SERVER while it was so."""
    line = f"3 catalog 1 one 10.0.0.1 {op_state} 0 100 100 9 6 {result} 4 6 0 0 0 - 80 - 0 0 - - 0"
    return state.next_state(ONE_SERVER, f"1\n{HEADER}\n{line}\n") + f"{state.FRESH_MARK}\n"


@pytest.mark.parametrize(
    ("config", "text", "age", "tells"),
    [
        (ONE_SERVER, running(), 0.2, True),
        (ONE_SERVER, running(), state.YOUNG + 0.1, False),
        (ONE_SERVER, running(), -1.0, False),  # The clock was set back.
        (ONE_SERVER, running().replace(state.FRESH_MARK, ""), 0.2, False),
        (ONE_SERVER, running(op_state="0", result="2"), 0.2, True),  # It has failed its checks.
        (ONE_SERVER, running(op_state="0", result="0"), 0.2, False),  # It waits for its first one.
        (ONE_SERVER.replace("10.0.0.1", "10.0.0.9"), running(), 0.2, False),  # That was another one.
        (ONE_SERVER + " server three 10.0.0.3:80 check\n", running(), 0.2, False),
    ],
)
def test_only_a_young_state_of_the_same_servers_tells_who_is_healthy(
    config: str, text: str, age: float, tells: bool
) -> None:
    assert state.tells_health(config, text, age) is tells


def test_a_start_right_after_a_stop_begins_with_the_health_that_was_saved() -> None:
    for op_state, result in (("2", "3"), ("0", "2")):
        text = running(op_state, result)
        for _start in range(3):
            assert state.tells_health(ONE_SERVER, text, 0.1)
            text = state.before_start(ONE_SERVER, text)
            assert rows(text)["one"]["srv_op_state"] == op_state


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
    lines = [line.strip() for line in state.rehearsal(REHEARSED, "/run/x/socket").splitlines()]
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
    assert state.judged({"srv_check_state": check_state, "srv_check_result": result}) is judged


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
    assert state.passed(row) is passed


def test_a_service_that_was_up_and_has_nobody_now_is_waited_for() -> None:
    healthy = {("catalog", "one"): False, ("catalog", "two"): False}
    assert state.asleep(running(), healthy) == {"catalog"}
    assert state.asleep(running(op_state="0"), healthy) == set()
    assert state.asleep("", healthy) == set()
    assert state.asleep(running(), {**healthy, ("catalog", "two"): True}) == set()
    assert state.asleep(running(), {("files", "one"): False}) == set()


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
    monkeypatch.setattr(state, "HAPROXY", str(program))
    monkeypatch.setattr(state, "RUN", str(root))


def test_checks_before_a_start_wait_for_the_first_ones_and_for_a_service_that_was_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker(tmp_path, monkeypatch, running("2", "0"), running("2", "3"), 0.3)
    begin = time.monotonic()
    assert state.checked_now("", "") == {("catalog", "one"): True}
    assert time.monotonic() - begin > 0.3
    checker(tmp_path, monkeypatch, running("0", "2"), running("2", "3"), 0.3)
    assert state.checked_now("", running()) == {("catalog", "one"): True}
    checker(tmp_path, monkeypatch, running("0", "2"), "", 3600)
    assert state.checked_now("", "") == {("catalog", "one"): False}
    monkeypatch.setattr(state, "WAKING", 0.5)
    assert state.checked_now("", running()) == {("catalog", "one"): False}
    checker(tmp_path, monkeypatch, "", "", 3600)
    with pytest.raises(OSError, match="does not start"):
        state.checked_now("", "")
    # Nothing is left of it.
    assert sorted(one.name for one in tmp_path.iterdir()) == ["early", "haproxy", "late"]


def test_a_start_without_a_checking_haproxy_begins_with_all_servers_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state"
    file.write_text(running())
    os.utime(file, (0, 0))
    monkeypatch.setattr(state, "STATE_FILE", str(file))
    monkeypatch.setattr(state, "RUN", str(tmp_path))
    for program in ("/bin/false", "/no/such/haproxy"):
        monkeypatch.setattr(state, "HAPROXY", program)
        assert rows(state.start_state(TWO_SERVERS))["one"]["srv_op_state"] == "0"
        assert "all servers down until its checks have passed" in capsys.readouterr().err
    # A young state needs no checks.
    os.utime(file)
    assert rows(state.start_state(ONE_SERVER))["one"]["srv_op_state"] == "2"
    assert capsys.readouterr().err == ""


def test_columns_are_found_by_their_names() -> None:
    text = f"1\n{HEADER} srv_more\n3 catalog 1 one 10.0.0.1 2 8 1 5 100 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0 new\n"
    assert rows(text)["one"]["srv_admin_state"] == "8"


def test_processes() -> None:
    found = state.parse_processes(PROC_3_0)
    worker = state.current_worker(found)
    assert worker is not None
    assert worker.pid == 313
    assert [(one.kind, one.reloads, one.old) for one in found] == [
        ("master", 3, False),
        ("worker", 0, False),
        ("worker", 1, True),
    ]
    assert [one.reloads for one in state.parse_processes(PROC_2_6_FAILED)] == [2, 2]
    assert state.current_worker([]) is None


@pytest.mark.parametrize(
    ("changed", "waits"),
    [
        ({}, True),
        ({"srv_check_result": "3"}, True),
        ({"srv_check_result": "2"}, False),
        ({"srv_op_state": "2"}, False),
        ({"srv_admin_state": "1"}, False),
        ({"srv_admin_state": "8"}, True),
        ({"srv_check_state": "0"}, False),
    ],
)
def test_who_still_waits_for_a_first_check(changed: dict[str, str], waits: bool) -> None:
    row = {**rows(state.next_state(CONFIG, ""))["one"], **changed}
    assert state.waits_for_check(row) is waits


def test_the_master_socket_answers_only_after_a_half_close(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _peer = server.accept()
            with connection:
                text = b""
                while part := connection.recv(100):  # Ends only when the other side has said that it is done.
                    text += part
                heard.append(text)
                connection.sendall(b"answer\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert state.ask(path, "show proc", timeout=5) == "answer\n"
        thread.join(5)
    assert heard == [b"show proc\n"]


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config, file = tmp_path / "haproxy.cfg", tmp_path / "state"
    config.write_text(CONFIG)
    monkeypatch.setenv("CONFIG", str(config))
    monkeypatch.setattr(state, "STATE_FILE", str(file))
    monkeypatch.setattr(state, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(state, "checked_now", lambda _config, _saved: {})
    answers = {"show proc": PROC_3_0, "@!313 show servers state": RUNNING}
    monkeypatch.setattr(state, "ask", lambda _path, command: answers[command])

    assert state.main(["before-reload"]) == 0
    assert state.FRESH_MARK not in file.read_text()
    assert state.main(["save"]) == 0
    assert state.FRESH_MARK in file.read_text()
    assert state.main(["before-start"]) == 0
    assert rows(file.read_text())["one"]["srv_admin_state"] == "8"
    assert state.main([]) == 2

    def dead(_path: str, _command: str) -> str:
        raise ConnectionRefusedError("nobody there")

    before = file.read_text()
    # Whoever changes servers and saves that is waited for, or what has been saved would be lost.
    monkeypatch.setattr(state, "LOCK_TIMEOUT", 0.1)
    held = take_lock(state.LOCK, 1)
    assert state.main(["before-reload"]) == 1
    assert "held by somebody else" in capsys.readouterr().err
    assert state.main(["before-start"]) == 0
    os.close(held)
    monkeypatch.setattr(state, "ask", dead)
    assert state.main(["save"]) == 1
    assert "nobody there" in capsys.readouterr().err
    assert file.read_text() == before


def saved(**admin: str) -> str:
    """A state file with the administrative state of some servers."""
    lines = ["1", "# " + " ".join(state.STATE_FIELDS)]
    for name, value in admin.items():
        row = dict.fromkeys(state.STATE_FIELDS, "0")
        row.update(be_name="catalog", srv_name=name, srv_uweight="100", srv_iweight="100", srv_admin_state=value)
        lines.append(" ".join(row.values()))
    return "\n".join(lines) + f"\n{state.FRESH_MARK}\n"


TWO_SERVERS = "backend catalog\n server one 10.0.0.1:80 check weight 100\n server two 10.0.0.2:80 check weight 100\n"


def test_drain_that_was_saved_survives_any_number_of_crashes() -> None:
    text = saved(one="8", two="0")
    for _crash in range(3):
        text = state.before_start(TWO_SERVERS, text, {})
        assert state.parse_state(text)[("catalog", "one")]["srv_admin_state"] == "8"
    assert state.FRESH_MARK in text


def test_reload_keeps_the_mark_of_a_state_that_was_saved_and_drops_it_after_a_change_by_hand() -> None:
    as_saved, by_hand = saved(one="8", two="0"), saved(one="0", two="0")
    plain = as_saved.replace(state.FRESH_MARK, "")
    assert state.FRESH_MARK in state.keep_mark(plain, as_saved)
    assert state.FRESH_MARK not in state.keep_mark(plain, by_hand)
    assert state.FRESH_MARK not in state.keep_mark(plain, plain)
    # A server that is new in the configuration, or gone from it, is no change by hand.
    assert state.FRESH_MARK in state.keep_mark(saved(one="8", three="0").replace(state.FRESH_MARK, ""), as_saved)


# ------------------------------------------------------------------------------------------------------------ the guard

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
PROC = "#<PID> <type> <reloads>\n1 master 2\n# workers\n30 worker 0\n# old workers\n20 worker 1\n10 worker 2\n\n"
ONE_WORKER = "#<PID> <type> <reloads>\n1 master 2\n# workers\n30 worker 0\n# old workers\n\n"
SESSIONS = """\
0x7f10: proto=tcpv4 src=10.0.0.9:4001 fe=database be=database srv=pg-1 ts=00
0x7f20: proto=tcpv4 src=10.0.0.9:4002 fe=database be=database srv=pg-2 ts=00
0x7f30: proto=tcpv4 src=10.0.0.9:4003 fe=edge be=catalog srv=one ts=00
0x7f40: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00

"""


def now(**servers: tuple[str, str, str]) -> str:
    """What the worker says of servers: operational state, administrative state and result of the last check."""
    lines = ["1", HEADER]
    for name, (up, admin, result) in servers.items():
        backend = "catalog" if name == "one" else "database"
        row = dict.fromkeys(state.STATE_FIELDS, "0")
        row.update(be_name=backend, srv_name=name.replace("_", "-"), srv_op_state=up, srv_admin_state=admin)
        row.update(srv_check_result=result, srv_check_state="6", srv_uweight="100", srv_iweight="100")
        row.update(srv_addr=f"10.0.0.{name[-1] if name != 'one' else 1}", srv_port="80" if name == "one" else "5432")
        lines.append(" ".join(row.values()))
    return "\n".join(lines) + "\n\n"


class Workers:
    """A HAProxy with two old workers that have the same sessions."""

    def __init__(self, running: str, processes: str = PROC) -> None:
        self.running = running
        self.processes = processes
        self.ended: list[str] = []

    def __call__(self, command: str) -> str:
        if command == "show proc":
            return self.processes
        worker, _, rest = command.partition(" ")
        if rest == "show servers state":
            assert worker == "@!30"
            return self.running
        if rest == "show sess":
            return SESSIONS
        assert rest.startswith("shutdown session ")
        self.ended.append(f"{worker} {rest.split()[-1]}")
        return "\n"


UP, DOWN = ("2", "0", "3"), ("0", "0", "2")


@pytest.mark.parametrize(
    ("pg_1", "ends"),
    [
        (UP, False),
        (DOWN, True),
        (("0", "1", "3"), True),  # Put in maintenance.
        (("0", "0", "0"), False),  # Not yet checked.
        (("0", "0", "3"), False),  # On its way up.
        (("2", "8", "3"), False),  # Drained: what it has may finish.
    ],
)
def test_sessions_of_old_workers_end_when_the_current_one_has_marked_the_server_down(
    pg_1: tuple[str, str, str], ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "STATE_FILE", str(tmp_path / "state"))
    monkeypatch.setattr(state, "LOCK", str(tmp_path / "lock"))
    # catalog/one is down too, but its requests may finish.
    workers = Workers(now(pg_1=pg_1, pg_2=UP, one=DOWN))
    state.guard(workers, DATABASE)
    assert workers.ended == (["@!20 0x7f10", "@!10 0x7f10"] if ends else [])


def test_without_old_workers_nobody_is_asked_for_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE_FILE", str(tmp_path / "state"))
    monkeypatch.setattr(state, "LOCK", str(tmp_path / "lock"))
    workers = Workers(now(pg_1=DOWN), ONE_WORKER)
    state.guard(workers, DATABASE)
    assert workers.ended == []


def test_who_ends_sessions_is_read_as_haproxy_reads_it() -> None:
    found = {f"{one.backend}/{one.name}": one.ends_sessions for one in state.parse_servers(DATABASE)}
    assert found == {
        "catalog/one": False,
        "database/pg-1": True,
        "database/pg-2": True,
        "cache/one": False,
        "cache/two": True,
    }


def test_the_guard_saves_every_change_and_marks_the_time_of_what_has_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state"
    monkeypatch.setattr(state, "STATE_FILE", str(file))
    monkeypatch.setattr(state, "LOCK", str(tmp_path / "lock"))
    workers = Workers(now(pg_1=UP, pg_2=UP, one=UP))

    def saved_one() -> tuple[str, str]:
        row = state.parse_state(file.read_text())[("catalog", "one")]
        return row["srv_op_state"], row["srv_admin_state"]

    for one in (UP, DOWN, ("2", "8", "3")):
        workers.running = now(pg_1=UP, pg_2=UP, one=one)
        state.guard(workers, DATABASE)
        assert saved_one() == one[:2]
        assert state.FRESH_MARK in file.read_text()
    before = file.stat()
    os.utime(file, (0, 0))
    state.guard(workers, DATABASE)
    after = file.stat()
    assert (after.st_ino, after.st_mtime > 0) == (before.st_ino, True)
    # Half an answer, or none, is no news.
    for running in (workers.running[:-40], "", "Can't find the target PID matching the prefix '@!30'\n"):
        os.utime(file, (0, 0))
        workers.running = running
        state.guard(workers, DATABASE)
        assert (file.stat().st_ino, file.stat().st_mtime) == (before.st_ino, 0)


def test_the_guard_lives_on_while_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MASTER_SOCKET", str(tmp_path / "nobody"))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        state.main(["guard"])
    assert looks == [state.GUARD_INTERVAL] * 3
