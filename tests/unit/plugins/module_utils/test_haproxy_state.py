# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtime state of HAProxy, with answers recorded from 2.6.12 and 3.0.11 (Debian)."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils import haproxy_state as state
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


def test_after_a_start_everything_is_checked_again_and_only_a_saved_state_counts() -> None:
    saved = RUNNING + state.FRESH_MARK
    found = rows(state.before_start(CONFIG, saved))
    assert (found["one"]["srv_op_state"], found["one"]["srv_admin_state"]) == ("0", "8")
    assert rows(state.before_start(CONFIG, RUNNING))["one"]["srv_admin_state"] == "0"


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
        text = state.before_start(TWO_SERVERS, text)
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
