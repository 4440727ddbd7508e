# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain, maint, ready and weight, on a HAProxy with its own clock."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.outcome import TimedOut
from haproxy_simulation import TICK, Balancer, states
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# ------------------------------------------------------------------------------------------------- reading and refusals


def test_reading_changes_nothing_and_returns_all_servers() -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one")
    balancer.member("catalog/two").admin = 8
    outcome = balancer.change(())
    assert [one.label for one in outcome.servers] == ["catalog/one", "catalog/two"]
    assert (outcome.changed, outcome.done, outcome.available, outcome.workers) == (False, True, {"catalog": 1}, 1)
    assert (balancer.commands, balancer.saves) == ([], 0)
    assert outcome.public()["after"] == {
        "catalog/one": {"admin": "ready", "weight": 100},
        "catalog/two": {"admin": "drain", "weight": 100},
    }


def test_a_refusal_for_the_second_server_takes_the_first_one_back() -> None:
    balancer = Balancer("catalog/one", "files/one")
    reply = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n"
    balancer.refusals = {"set server files/one weight": reply}
    text = str(balancer.refused("one", "catalog,files", state="drain", weight="10%"))
    assert "static LB algorithm and only accepts weights '0%' and '100%'; nothing was changed." in text
    assert set(states(balancer).values()) == {(0, 100)}


def test_a_weight_that_haproxy_takes_without_heeding_it_fails() -> None:
    balancer = Balancer()
    balancer.refusals = {"set server catalog/one weight": "\n"}
    assert "its weight is 100 and not 10" in str(balancer.refused(weight="10%"))


# ------------------------------------------------------------------------------------------------- somebody else's word


@pytest.mark.parametrize(
    ("admin", "wanted", "states_left_alone"),
    [(8, "ready", ["drain", "maint"]), (1, "ready", ["maint"]), (8, "drain", ["drain"]), (1, "drain", ["maint"])],
)
def test_a_server_that_somebody_else_has_put_elsewhere_is_left_alone(
    admin: int, wanted: str, states_left_alone: list[str]
) -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", "api/s0", checked=False)
    balancer.member("catalog/s0").admin = admin
    before = states(balancer)
    unless = {"s0": states_left_alone, "s1": []}
    outcome = balancer.change(["s0", "s1"], state=wanted, wait=0.0, unless=unless)
    assert outcome.left_alone == {"s0": {8: "drain", 1: "maint"}[admin]}
    assert states(balancer)["catalog/s0"] == before["catalog/s0"]
    assert [one.name for one in outcome.servers] == ["s1"]


def test_a_server_that_is_out_in_one_backend_is_left_alone_in_all() -> None:
    balancer = Balancer("catalog/s0", "api/s0", checked=False)
    balancer.member("api/s0").admin = 1
    outcome = balancer.change(["s0"], "catalog,api", state="drain", wait=0.0, unless={"s0": ["maint", "drain"]})
    assert (outcome.left_alone, outcome.changed) == ({"s0": "maint"}, False)
    assert balancer.member("catalog/s0").admin == 0


@pytest.mark.parametrize(("taken_out", "states_left_alone"), [(1, ["maint"]), (1, ["maint", "drain"]), (8, ["maint"])])
def test_a_server_that_somebody_takes_out_while_others_are_waited_for_is_left_alone(
    taken_out: int, states_left_alone: list[str]
) -> None:
    def person_acts(now: float) -> bool:
        if now > 1.0 and balancer.member("catalog/s0").admin == 0:
            balancer.member("catalog/s0").admin = taken_out
        return now > 2.0

    balancer = Balancer("catalog/s0", "catalog/s1", "api/s0", "api/s1", healthy=person_acts)
    balancer.member("catalog/s1").up, balancer.member("catalog/s1").health = False, 0
    unless = {"s0": states_left_alone, "s1": ["maint"]}
    outcome = balancer.change(["s0", "s1"], "catalog,api", state="ready", fresh=False, unless=unless)
    assert outcome.left_alone == {"s0": {8: "drain", 1: "maint"}[taken_out]}
    assert (outcome.done, {one.name for one in outcome.servers}) == (True, {"s1"})
    assert balancer.member("catalog/s0").admin == taken_out
    assert balancer.now > 2.0


def test_a_server_that_a_reload_has_taken_out_again_is_put_back() -> None:
    """The new worker has it as the state file from before had it."""

    def reload_forgets(now: float) -> bool:
        balancer.saved["catalog", "s0"].admin = 8
        return now > 2.0

    balancer = Balancer("catalog/s0", "catalog/s1", healthy=reload_forgets)
    balancer.reloads = [1.0]
    balancer.member("catalog/s1").up, balancer.member("catalog/s1").health = False, 0
    unless: dict[str, list[str]] = {"s0": ["maint"], "s1": ["maint"]}
    outcome = balancer.change(["s0", "s1"], state="ready", fresh=False, unless=unless)
    assert (outcome.done, outcome.left_alone) == (True, {})
    assert balancer.member("catalog/s0").admin == 0


# ------------------------------------------------------------------------------------------------------ drain and maint


@pytest.mark.parametrize(("how", "admin"), [("drain", 8), ("maint", 1)])
def test_it_waits_for_the_last_session_and_is_saved_before(how: str, admin: int) -> None:
    balancer = Balancer()
    balancer.member().sessions = [1.0, 2.0]
    outcome = balancer.change(state=how)
    assert (outcome.changed, outcome.done, outcome.killed) == (True, True, {})
    assert 2.0 <= balancer.now < 2.4
    assert 1.9 < outcome.waited_s < 2.4
    assert balancer.saved[("catalog", "one")].admin == admin
    assert outcome.available == {"catalog": 2}
    assert outcome.public()["diff"] == {
        "before": "catalog/one: ready, weight 100\n",
        "after": f"catalog/one: {how}, weight 100\n",
    }


def test_queued_requests_count() -> None:
    balancer = Balancer()
    balancer.member().queued = 1
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="report")
    assert (outcome.done, outcome.servers[0].queued) == (False, 1)


def test_a_dead_server_without_sessions_is_drained_at_once() -> None:
    balancer = Balancer(healthy=lambda now: False)
    balancer.member().up = False
    assert balancer.change(state="drain").done
    assert balancer.now < 0.1


def test_sessions_of_a_worker_from_before_a_reload_count() -> None:
    balancer = Balancer()
    balancer.member().sessions = [3.0]
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    assert balancer.current == 101
    read = balancer.change()
    assert (read.workers, read.servers[0].sessions, read.servers[0].sessions_old_workers) == (2, 0, 1)
    assert read.busy_before == {"catalog/one": 1}
    balancer.member().queued = 2
    with pytest.raises(TimedOut) as caught:
        balancer.change(state="drain", wait=0.1)
    assert caught.value.outcome.public()["busy_before"] == {"catalog/one": 3}
    balancer.member().queued = 0
    outcome = balancer.change(state="drain")
    assert (outcome.done, outcome.workers) == (True, 1)
    assert 3.0 <= balancer.now < 3.4


def reloaded(balancer: Balancer, **old: Any) -> Balancer:
    """The balancer after a reload, with what its old worker, 100, still has."""
    for name, value in old.items():
        setattr(balancer, name, value)
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    assert balancer.current == 101
    return balancer


def test_a_drain_waits_for_idle_clients_of_an_old_worker_that_sends_their_next_requests_by_itself() -> None:
    balancer = reloaded(Balancer(), hands_over=False, idle={100: [2.0, 3.0]})
    text = str(balancer.refused(state="drain", wait=0.5))
    assert "2 clients there may send more" in text
    outcome = balancer.change(state="drain")
    assert outcome.done
    assert 3.0 <= balancer.now < 3.5


def test_a_client_whose_request_is_at_a_server_sends_no_other_one() -> None:
    balancer = Balancer()
    balancer.member("catalog/two").sessions = [60.0]
    reloaded(balancer, hands_over=False)
    assert balancer.change(state="drain").done
    assert balancer.now < 1


def test_a_drain_need_not_wait_for_idle_clients_whose_requests_are_handed_to_the_current_worker() -> None:
    balancer = reloaded(Balancer(), idle={100: [60.0] * 9})
    assert balancer.change(state="drain").done
    assert balancer.now < 1


def test_a_drain_of_tcp_does_not_wait_for_idle_clients_of_http() -> None:
    balancer = reloaded(Balancer("catalog/one", "database/one"), hands_over=False, idle={100: [60.0]})
    assert balancer.change("one", "database", state="drain").done
    assert balancer.now < 1
    assert not balancer.change("one", "catalog", state="drain", wait=0.5, on_timeout="report").done


def test_requests_that_wait_in_an_old_worker_for_any_server_count() -> None:
    balancer = reloaded(Balancer(), waiting={100: 1})
    assert balancer.change(state="drain", wait=0.5, on_timeout="report").servers[0].clients_old_workers == 1
    balancer.waiting = {}
    assert balancer.change(state="drain").done


def test_an_old_worker_that_has_not_begun_to_stop_hands_nothing_over() -> None:
    balancer = reloaded(Balancer(), still_open={100}, idle={100: [60.0]})
    assert not balancer.change(state="drain", wait=0.5, on_timeout="report").done
    balancer.still_open = set()
    assert balancer.change(state="drain").done


def test_a_reload_that_forgets_the_drain_is_noticed() -> None:
    balancer = Balancer()
    balancer.member().sessions = [1.5]
    balancer.reloads = [0.5]
    original = balancer.tick

    def forget() -> None:
        original()
        if balancer.back_at > 0:
            balancer.saved[("catalog", "one")].admin = 0

    balancer.tick = forget  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert (balancer.current, balancer.member().admin) == (101, 8)
    assert balancer.saved[("catalog", "one")].admin == 8


def test_a_reload_right_after_a_quiet_look_is_noticed() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    original = balancer.reply

    def reply(pid: int, command: str) -> str:
        text = original(pid, command)
        # The first look after everything has been set and saved.
        if command.startswith("show stat") and balancer.saves == 2 and balancer.current == 100:
            balancer.current = 101
            balancer.workers[101] = deepcopy(balancer.workers[100])
            balancer.member().sessions = [balancer.now + 1]
        return text

    balancer.reply = reply  # type: ignore[method-assign]
    begin = balancer.now
    assert balancer.change(state="drain").done
    assert balancer.now > begin + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.floats(0.01, 3.0), max_size=5),
    st.lists(st.floats(0.01, 3.0), max_size=3),
    st.sampled_from(["drain", "maint"]),
    st.booleans(),
    st.lists(st.floats(0.01, 5.0), max_size=3),
)
def test_drained_means_no_session_in_any_worker_and_no_new_one(
    ends: list[float], reloads: list[float], how: str, forgetful: bool, idle: list[float]
) -> None:
    balancer = Balancer()
    balancer.member().sessions = ends
    balancer.hands_over, balancer.idle = False, {100: idle}
    balancer.reloads = sorted(reloads)
    if forgetful:
        balancer.save = lambda: None  # type: ignore[method-assign]
    outcome = balancer.change(state=how, wait=10.0)
    assert outcome.done
    for pid in balancer.workers:
        assert balancer.member(pid=pid).sessions == []
    assert balancer.member().admin != 0
    done_at = balancer.now
    # A reload that begins later is another story: what is idle then was not idle in an old worker.
    if balancer.current != 100:
        for _ in range(25):
            balancer.sleep(0.25)
        assert balancer.last_from_old <= done_at


def test_timeout_fails_and_leaves_it_as_it_is() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    error = balancer.refused(state="drain", wait=2.0)
    assert "After 2 s, catalog/one (state drain, weight 100) still has 1 session, 0 more in workers" in str(error)
    assert balancer.member().admin == 8
    assert isinstance(error, TimedOut)
    assert (error.outcome.changed, error.outcome.done) == (True, False)
    assert 2.0 <= balancer.now < 2.2


@pytest.mark.parametrize("how", ["drain", "maint"])
def test_timeout_reverts_and_the_checks_let_it_in_again(how: str) -> None:
    balancer = Balancer(healthy=lambda now: False)
    member = balancer.member()
    member.sessions, member.weight = [99.0], 50
    error = balancer.refused(state=how, weight="10%", wait=2.0, on_timeout="revert")
    assert "is back" in str(error)
    assert isinstance(error, TimedOut)
    assert not error.outcome.changed
    assert (balancer.member().admin, balancer.member().weight) == (0, 50)
    assert (balancer.saved[("catalog", "one")].admin, balancer.saved[("catalog", "one")].weight) == (0, 50)
    # It had died meanwhile, and maint had not looked.
    assert not balancer.member().up
    assert balancer.entered == []


def test_timeout_reports() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="report")
    assert (outcome.done, outcome.changed, outcome.servers[0].sessions) == (False, True, 1)


def test_timeout_kills_sessions_in_every_worker_and_goes_on() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0, 99.0]
    balancer.member("catalog/two").sessions = [99.0]
    balancer.reloads = [0.01]
    balancer.sleep(0.2)
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="kill")
    assert (outcome.done, outcome.killed) == (True, {"catalog/one": 3})
    assert balancer.now < 2
    assert balancer.member("catalog/two", 100).sessions == [99.0]
    assert "shutdown sessions server catalog/one" in balancer.commands


def test_what_cannot_be_killed_is_not_done() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    balancer.refusals = {"shutdown": "\n"}
    outcome = balancer.change(state="drain", wait=1.0, on_timeout="kill")
    assert (outcome.done, outcome.killed) == (False, {"catalog/one": 1})
    assert 6 <= balancer.now < 7


def test_without_waiting_it_does_not_fail() -> None:
    balancer = Balancer()
    balancer.member().sessions = [99.0]
    outcome = balancer.change(state="drain", wait=0.0)
    assert (outcome.done, outcome.changed) == (False, True)
    assert balancer.now < 0.1


def test_a_second_run_changes_nothing_whatever_the_traffic_does() -> None:
    balancer = Balancer()
    assert balancer.change(state="drain", weight="10%").changed
    count = len(balancer.commands)
    balancer.member().sessions = [balancer.now + 1]
    outcome = balancer.change(state="drain", weight="10%")
    assert (outcome.changed, outcome.done) == (False, True)
    assert len(balancer.commands) == count
    # A run that was killed before it could save is made good.
    assert balancer.saves == 2


# ---------------------------------------------------------------------------------------------------------------- ready


def test_a_healthy_server_is_let_in_after_new_checks_with_its_weight() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    balancer.commands.clear()
    begin = balancer.now
    outcome = balancer.change(state="ready", weight="10%")
    assert balancer.commands == [
        "set server catalog/one weight 10%",
        "set server catalog/one health down",
        "set server catalog/one state ready",
    ]
    assert (outcome.done, outcome.changed, outcome.servers[0].weight) == (True, True, 10)
    assert balancer.saved[("catalog", "one")].admin == 0
    assert len(balancer.entered) == 1
    assert min(balancer.entered[0][1]) >= begin
    assert balancer.now - begin < 1.0


def test_from_maint_it_goes_through_drain() -> None:
    balancer = Balancer()
    balancer.change(state="maint")
    balancer.commands.clear()
    assert balancer.change(state="ready", fresh=False).done
    assert balancer.commands == [
        "set server catalog/one state drain",
        "set server catalog/one health down",
        "set server catalog/one state ready",
    ]
    assert [len(passed) >= 2 for _label, passed in balancer.entered] == [True]


@pytest.mark.parametrize("wait", [0.0, 5.0])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("begin", ["drain", "maint"])
def test_a_dead_server_never_gets_in(begin: str, fresh: bool, wait: float) -> None:
    balancer = Balancer(healthy=lambda now: now < 2.0)
    balancer.change(state=begin)
    balancer.entered.clear()
    while balancer.now < 4.0:
        balancer.sleep(0.1)
    if wait:
        error = balancer.refused(state="ready", fresh=fresh, wait=wait)
        assert "catalog/one is DOWN (L7OK)" in str(error)
        assert balancer.member().admin == 8
    else:
        outcome = balancer.change(state="ready", fresh=fresh, wait=wait)
        assert (outcome.done, outcome.servers[0].admin) == (False, "ready")
        for _ in range(20):
            balancer.sleep(0.1)
    assert balancer.entered == []


def test_a_server_that_comes_up_later_is_waited_for() -> None:
    balancer = Balancer(healthy=lambda now: now > 3.0)
    balancer.change(state="drain")
    assert balancer.change(state="ready").done
    assert 3.3 < balancer.now < 4.0


def test_one_that_is_ready_and_up_is_left_alone_and_one_that_is_down_is_waited_for() -> None:
    balancer = Balancer(healthy=lambda now: now > 1.0)
    assert balancer.change(state="ready").done
    assert balancer.now < 0.1
    balancer.member().up, balancer.member().health = False, 0
    outcome = balancer.change(state="ready")
    assert (outcome.done, outcome.changed) == (True, False)
    assert balancer.now > 1.0
    assert balancer.commands == []


def test_health_that_drain_has_found_is_good_enough_when_told_so() -> None:
    balancer = Balancer()
    balancer.change(state="drain")
    begin = balancer.now
    assert balancer.change(state="ready", fresh=False).done
    assert balancer.now - begin < 0.1
    assert not any("health" in one for one in balancer.commands)


def test_a_server_without_checks_goes_in_at_once() -> None:
    balancer = Balancer(checked=False)
    balancer.change(state="maint")
    begin = balancer.now
    outcome = balancer.change(state="ready")
    assert (outcome.done, outcome.servers[0].checked) == (True, False)
    assert balancer.now - begin < 0.1
    assert not any("health" in one for one in balancer.commands)


def test_with_rise_1_a_check_that_began_before_does_not_count() -> None:
    balancer = Balancer(rise=1, healthy=lambda now: now < 1.005)
    balancer.change(state="drain")
    while balancer.member().check_began is None or balancer.now < 1.0:
        balancer.sleep(TICK)
    assert balancer.member().check_began == pytest.approx(1.0, abs=0.006)
    balancer.refused(state="ready", wait=3.0)
    assert balancer.entered == []


@pytest.mark.parametrize("how", ["fail", "revert", "kill", "report"])
def test_timeout_of_ready(how: str) -> None:
    balancer = Balancer(healthy=lambda now: False)
    balancer.change(state="maint")
    if how == "report":
        outcome = balancer.change(state="ready", weight="10%", wait=1.0, on_timeout=how)
    else:
        error = balancer.refused(state="ready", weight="10%", wait=1.0, on_timeout=how)
        assert isinstance(error, TimedOut)
        outcome = error.outcome
    assert not outcome.done
    assert outcome.killed == {}
    now = (balancer.member().admin, balancer.member().weight)
    assert now == ((1, 100) if how == "revert" else (8, 10))
    assert balancer.entered == []


@settings(deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(
    begin=st.sampled_from([1, 8]),
    up=st.booleans(),
    rise=st.integers(1, 3),
    fresh=st.booleans(),
    toggles=st.lists(st.floats(0, 4), max_size=4),
    reloads=st.lists(st.floats(0.3, 3), max_size=2),
    lead=st.floats(0.0, 0.3),
)
def test_traffic_begins_only_after_checks_that_began_after_the_call(
    *, begin: int, up: bool, rise: int, fresh: bool, toggles: list[float], reloads: list[float], lead: float
) -> None:
    balancer = Balancer(rise=rise, healthy=lambda now: sum(one <= now for one in toggles) % 2 == 1)
    member = balancer.member()
    member.admin, member.up = begin, up and begin == 8
    member.health = rise + 1 if member.up else 0
    while balancer.now < lead:
        balancer.sleep(TICK)
    balancer.reloads = sorted(balancer.now + one for one in reloads)
    balancer.entered.clear()
    called = balancer.now
    outcome = balancer.change(state="ready", fresh=fresh, wait=4.0, on_timeout="report")
    entries = [passed for label, passed in balancer.entered if label == "catalog/one"]
    assert len(entries) > 0 or not outcome.done
    for passed in entries[:1]:
        if fresh:
            # A worker counts "rise" passes in a row; at least one of them was not under way already.
            assert passed
            assert len(passed) >= rise
            assert max(passed) >= called
        elif begin == 1:
            assert len(passed) >= rise


# ------------------------------------------------------------------------------------------------------------- the rest


def test_weight_alone_leaves_the_state_alone() -> None:
    balancer = Balancer()
    balancer.member().admin = 8
    outcome = balancer.change(weight="30")
    assert (outcome.changed, outcome.done, states(balancer)["catalog/one"]) == (True, True, (8, 30))
    outcome = balancer.change(weight="30%")
    assert (outcome.changed, balancer.commands) == (False, ["set server catalog/one weight 30"])


def test_all_servers_of_all_backends_in_one_execution() -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one", "files/two")
    outcome = balancer.change(["one", "two"], "catalog,files", state="drain")
    assert [one.label for one in outcome.servers] == ["catalog/one", "catalog/two", "files/one", "files/two"]
    assert {one.admin for one in outcome.servers} == {"drain"}


@settings(deadline=None)
@given(
    st.sampled_from([0, 1, 8]),
    st.sampled_from([None, "ready", "drain", "maint"]),
    st.sampled_from([None, "10%", "100%", "0", "256"]),
)
def test_check_mode_changes_nothing_and_predicts_what_happens(
    begin: int, wanted: str | None, weight: str | None
) -> None:
    balancer = Balancer()
    balancer.member().admin, balancer.member().up = begin, begin != 1
    predicted = balancer.change(state=wanted, weight=weight, check_mode=True)
    assert (balancer.commands, balancer.saves) == ([], 0)
    done = balancer.change(state=wanted, weight=weight)
    for key in ("changed", "before", "after", "diff"):
        assert predicted.public()[key] == done.public()[key]
    again = balancer.change(state=wanted, weight=weight)
    assert (again.changed, again.done) == (False, True)


@pytest.mark.parametrize("checked", [True, False])
def test_a_reload_that_forgets_ready_is_noticed(checked: bool) -> None:
    balancer = Balancer(checked=checked)
    balancer.change(state="maint")
    balancer.commands.clear()
    original = balancer.save

    def save() -> None:
        if balancer.current == 100 and not balancer.member().admin & 1:
            balancer.workers[101] = balancer.workers.pop(100)
            balancer.current = 101
            balancer.member().admin, balancer.member().up = 1, False
        original()

    balancer.save = save  # type: ignore[method-assign]
    outcome = balancer.change(state="ready")
    assert (outcome.done, balancer.current, balancer.member().admin) == (True, 101, 0)
    # "health down" without checks would be for good.
    assert any("health down" in one for one in balancer.commands) is checked


def test_counters_are_those_of_every_server_of_the_backends() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", "other/s0", checked=False)
    found = balancer.change(["s0"], state="drain", wait=0.0).counters
    assert set(found) == {"s0", "s1"}
    assert set(found["s1"]) >= {"requests", "responses_5xx", "connection_errors", "response_errors"}
