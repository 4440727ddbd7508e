# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state with which a configuration is loaded."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import server_lines, server_states
from haproxy_samples import CONFIG, HEADER, RUNNING, rows, saved
from hypothesis import given
from hypothesis import strategies as st


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
    row = rows(server_states.next_state(config, before))["one"]
    # HAProxy takes a weight from the file only where the configured one there is its own.
    assert (int(row["srv_uweight"]), int(row["srv_iweight"])) == (expected, now)


@given(st.integers(0, 256), st.integers(0, 256), st.integers(0, 256))
def test_any_runtime_weight_stays_one_and_never_becomes_nothing_by_rounding(
    running: int, configured: int, now: int
) -> None:
    config = f"backend catalog\n    server one 10.0.0.1:8001 weight {now} check\n"
    before = f"{HEADER}\n3 catalog 1 one 10.0.0.1 2 0 {running} {configured} 9 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0\n"
    text = server_states.next_state(config, before)
    weight = int(rows(text)["one"]["srv_uweight"])
    assert 0 <= weight <= 256
    if running != configured:
        assert (weight == 0) == (running == 0 or now == 0)
    assert rows(server_states.next_state(config, text))["one"]["srv_uweight"] == str(weight)


def test_a_weight_that_the_configuration_does_not_name_is_left_alone() -> None:
    row = rows(server_states.next_state("backend catalog\n    server two 10.0.0.2:8001 check\n", RUNNING))["two"]
    assert (row["srv_uweight"], row["srv_iweight"]) == ("1", "1")
    assert [one.weight for one in server_lines.parse_servers(CONFIG)] == [5, None, None, None, None]


def test_administrative_state_survives_and_the_configuration_keeps_ports_and_tls() -> None:
    found = rows(server_states.next_state(CONFIG, RUNNING))
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
    moved = rows(server_states.next_state(CONFIG, RUNNING))["two"]
    assert (moved["srv_port"], moved["srv_op_state"], moved["srv_use_ssl"]) == ("8001", "0", "1")
    assert moved["srv_admin_state"] == "0"  # 32: HAProxy refuses a state that it does not set by itself.
    drained = rows(server_states.next_state(CONFIG.replace("10.0.0.1:", "10.0.0.7:"), RUNNING))["one"]
    assert (drained["srv_op_state"], drained["srv_admin_state"]) == ("0", "8")


def test_a_new_server_must_pass_its_checks_first_unless_it_has_none() -> None:
    found = rows(server_states.next_state(CONFIG, ""))
    assert (found["one"]["srv_op_state"], found["plain"]["srv_op_state"]) == ("0", "2")


def test_columns_are_found_by_their_names() -> None:
    text = f"1\n{HEADER} srv_more\n3 catalog 1 one 10.0.0.1 2 8 1 5 100 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0 new\n"
    assert rows(text)["one"]["srv_admin_state"] == "8"


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
    row = {**rows(server_states.next_state(CONFIG, ""))["one"], **changed}
    assert server_states.waits_for_check(row) is waits


def test_reload_keeps_the_mark_of_a_state_that_was_saved_and_drops_it_after_a_change_by_hand() -> None:
    as_saved, by_hand = saved(one="8", two="0"), saved(one="0", two="0")
    plain = as_saved.replace(server_states.FRESH_MARK, "")
    assert server_states.FRESH_MARK in server_states.keep_mark(plain, as_saved)
    assert server_states.FRESH_MARK not in server_states.keep_mark(plain, by_hand)
    assert server_states.FRESH_MARK not in server_states.keep_mark(plain, plain)
    # A server that is new in the configuration, or gone from it, is no change by hand.
    assert server_states.FRESH_MARK in server_states.keep_mark(
        saved(one="8", three="0").replace(server_states.FRESH_MARK, ""), as_saved
    )
