# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine of a rollout: every way it ends, and every single operation at which the world may fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import NEXT, HostRecord, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rollout_simulation import Estate, Killed, World, engine, roll_out, settings

BAD = ["never-starts", "never-ready", "errors", "dies"]
EXPAND = {"expand": {"command": "bin/migrate", "reversible": True, "timeout": 60.0}}
IRREVERSIBLE = {"expand": {"command": "bin/migrate", "reversible": False, "timeout": 60.0}}
BOTH = {**EXPAND, "contract": {"command": "bin/contract", "reversible": False, "timeout": 60.0}}


def versions(estate: Estate) -> set[str | None]:
    """What runs."""
    return {host.running for host in estate.hosts.values()}


def all_in_service(estate: Estate) -> bool:
    """Whether every host takes its whole share of traffic everywhere."""
    return all(estate.in_service(host) for host in estate.hosts)


def at(operation: int, when: str, act: Callable[[], None]) -> Callable[[int, str, str], None]:
    """Trouble at one operation."""

    def trouble(number: int, _name: str, moment: str) -> None:
        if (number, moment) == (operation, when):
            act()

    return trouble


def kill() -> None:
    """End the controller."""
    raise Killed


def operations(make: Callable[[], Estate], **changes: Any) -> int:
    """How many operations an undisturbed rollout has."""
    estate = make()
    outside = engine(estate, settings(estate, **changes))
    outside[0].roll_out()
    return len(outside[1].operations)


# -------------------------------------------------------------------------------------------------------- good releases


def test_good_release() -> None:
    estate = Estate.of(5)
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert record.batches == [["app-1"], ["app-2"], ["app-3"], ["app-4"], ["app-5"]]
    assert versions(estate) == {"2"}
    assert all_in_service(estate)
    assert estate.lock is None
    assert estate.open_record is None
    assert estate.history[0]["id"] == record.id
    assert {host.phase for host in record.hosts.values()} == {state.DONE}
    assert {host.previous for host in record.hosts.values()} == {"1"}


def test_five_executions_for_each_host_when_there_is_no_canary_share() -> None:
    estate = Estate.of(3)
    off = {name: {"enabled": False} for name in ("errors", "answers", "up")}
    wanted = settings(estate, weights=(100,), min_healthy_time=0.0, gates=off)
    rollout, outside = engine(estate, wanted)
    rollout.roll_out()
    turn = ["save", "drain", "activate", "enter 100"]
    assert outside.operations == ["open", "observe", "save", "prepare", *turn * 3, "enter 100", "prune", "close"]


def test_every_phase_is_entered_in_order() -> None:
    estate = Estate.of(2)
    record = roll_out(estate, settings(estate))
    phases = [phase for phase, _at in record.hosts["app-1"].history]
    assert phases == ["prepared", "draining", "drained", "activated", "healthy", "in_service", "in_service", "done"]


def test_second_run_has_nothing_to_do_and_writes_nothing() -> None:
    estate = Estate.of(3)
    roll_out(estate, settings(estate))
    before = len(estate.history)
    rollout, outside = engine(estate, settings(estate))
    record = rollout.roll_out()
    assert record.status == state.SUCCEEDED
    assert not rollout.changed
    assert outside.operations == ["open", "observe"]
    assert (len(estate.history), estate.lock) == (before, None)


def test_hosts_that_are_there_already_are_left_alone() -> None:
    estate = Estate.of(3)
    estate.hosts["app-2"].current = estate.hosts["app-2"].running = "2"
    record = roll_out(estate, settings(estate))
    assert set(record.hosts) == {"app-1", "app-3"}
    assert versions(estate) == {"2"}


def test_hosts_that_are_down_come_first() -> None:
    estate = Estate.of(3)
    estate.hosts["app-3"].running = None
    record = roll_out(estate, settings(estate))
    assert record.batches[0] == ["app-3"]
    assert all_in_service(estate)


def test_server_that_somebody_else_took_out_is_deployed_to_and_kept_out() -> None:
    estate = Estate.of(3)
    estate.balancers["lb-1"]["app-2"].admin = "maint"
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert record.kept_out == {"lb-1": ["app-2"]}
    assert estate.balancers["lb-1"]["app-2"].admin == "maint"
    assert estate.balancers["lb-2"]["app-2"].admin == "ready"
    assert versions(estate) == {"2"}


# --------------------------------------------------------------------------------------------------------- bad releases


@pytest.mark.parametrize("fault", BAD)
def test_bad_release_goes_back(fault: str) -> None:
    estate = Estate.of(4)
    estate.bad["2"] = fault
    record = roll_out(estate, settings(estate))
    assert record.status == state.REVERTED
    assert record.reason
    assert versions(estate) == {"1"}
    assert all_in_service(estate)
    # Only the canary was touched.
    assert [name for name, host in record.hosts.items() if host.phase != state.PREPARED] == ["app-1"]
    assert estate.lock is None
    assert estate.open_record is None


def test_reason_names_gate_and_evidence() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "errors"
    record = roll_out(estate, settings(estate))
    assert record.reason.startswith("gate errors failed: ")
    assert "12 of 240 requests failed (5.0 %)" in record.reason
    assert any(gate["name"] == "errors" and gate["verdict"] == "failed" for gate in record.gates)


def test_release_that_ignores_sigterm_goes_back_when_it_has_to_prove_its_stop() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "ignores-sigterm"
    record = roll_out(estate, settings(estate, prove_stop=True))
    assert (record.status, versions(estate)) == (state.REVERTED, {"1"})
    assert "ignored SIGTERM" in record.reason


def test_corrupt_archive_drains_nothing() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "corrupt"
    rollout, outside = engine(estate, settings(estate))
    record = rollout.roll_out()
    assert record.status == state.BROKEN
    assert "drain" not in outside.operations
    assert all_in_service(estate)
    assert "app-1: the archive is damaged" in record.reason


@pytest.mark.parametrize("when", range(2, 6))
def test_failure_in_a_later_batch_brings_earlier_batches_back_newest_first(when: int) -> None:
    estate = Estate.of(6)
    names = list(estate.hosts)
    broken = names[when]

    def trouble(_number: int, name: str, moment: str) -> None:
        # This very host cannot run the new version.
        if (name, moment) == ("activate", "before"):
            estate.hosts[broken].installed.discard("2")

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.REVERTED
    assert versions(estate) == {"1"}
    assert all_in_service(estate)
    back = {name: host.history[-1][1] for name, host in record.hosts.items() if host.phase == state.ROLLED_BACK}
    assert list(back) == names[: when + 1]
    assert sorted(back, key=lambda name: -back[name]) == names[: when + 1]


def test_gate_without_data_is_never_green() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "silent"
    record = roll_out(estate, settings(estate, gates={"errors": {"on_inconclusive": "rollback"}}))
    assert record.status == state.REVERTED
    assert "gate errors inconclusive" in record.reason


def test_gate_without_data_may_be_let_pass_and_is_reported_as_inconclusive() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "silent"
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert {gate["verdict"] for gate in record.gates if gate["name"] == "errors"} == {"inconclusive"}


def test_measuring_system_that_is_gone_goes_back() -> None:
    estate = Estate.of(2)
    estate.dead_balancers.add("prometheus")
    numbers = {"probe": {"type": "promql", "url": "http://p", "query": "up", "min": 1}, "interval": 1}
    record = roll_out(estate, settings(estate, gates={"numbers": numbers}))
    assert record.status == state.REVERTED
    assert "gate numbers error" in record.reason
    assert versions(estate) == {"1"}


def test_samples_that_are_due_at_nearly_the_same_time_are_taken_together() -> None:
    """Each round starts a process on every load balancer that serves requests meanwhile."""
    probe = {"type": "haproxy", "measure": "errors"}
    gates = {
        "one": {"probe": probe, "interval": 3, "count": 100, "timeout": 400},
        "two": {"probe": probe, "interval": 3, "initial_delay": 3.4, "count": 100, "timeout": 400},
        "far": {"probe": probe, "interval": 3, "initial_delay": 5.2, "count": 100, "timeout": 400},
    }
    estate = Estate.of(2)
    driver, outside = engine(estate, settings(estate, weights=[100], min_healthy_time=0, gates=gates))
    rounds: list[set[str]] = []
    sample = outside.sample

    def noted(requests: Sequence[world.SampleRequest], **rest: Any) -> dict[str, world.Taken]:
        rounds.append({request.key.split("/")[0] for request in requests} & set(gates))
        return sample(requests, **rest)

    outside.sample = noted  # type: ignore[method-assign]
    assert driver.roll_out().status == state.SUCCEEDED
    shared = [one for one in rounds if {"one", "two"} & one and len(one) < 3]
    assert sum(len(one) == 2 for one in shared) > 0.9 * len(shared)
    # What is due more than half a second later is not waited for.
    assert {"far"} in rounds


def test_first_release_has_nothing_to_go_back_to() -> None:
    estate = Estate.of(2)
    for host in estate.hosts.values():
        host.current, host.running, host.installed = None, None, set()
    estate.bad["2"] = "never-ready"
    record = roll_out(estate, settings(estate, min_available=0))
    assert record.status == state.BROKEN
    assert "no version before" in record.hosts["app-1"].note
    assert {found["app-1"].admin for found in estate.balancers.values()} == {"drain"}


def test_host_that_cannot_go_back_stays_out_and_is_named() -> None:
    estate = Estate.of(3)
    estate.bad.update({"2": "errors", "1": "never-ready"})
    # Hosts that run version 1 are taken for healthy until they are restarted.
    for host in estate.hosts.values():
        host.current = host.running = "1-as-it-was"
        host.installed.add("1-as-it-was")
    estate.bad["1-as-it-was"] = ""

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("sample", "after"):
            estate.bad["1-as-it-was"] = "never-starts"

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.BROKEN
    assert record.hosts["app-1"].phase == state.FAILED
    assert "app-1" in record.advice
    assert {found["app-1"].admin for found in estate.balancers.values()} == {"drain"}


# ----------------------------------------------------------------------------------------------------------- migrations


def test_expand_runs_once_before_the_first_host_and_contract_once_after_the_last() -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate, migrations=BOTH))
    assert rollout.roll_out().status == state.SUCCEEDED
    names = [name for name in outside.operations if name.startswith(("migrate", "activate"))]
    assert names == ["migrate expand", "activate", "activate", "activate", "migrate contract"]


def test_expand_that_fails_drains_nothing() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "expand-fails"
    rollout, outside = engine(estate, settings(estate, migrations=EXPAND))
    record = rollout.roll_out()
    assert record.status == state.BROKEN
    assert record.reason == "expand: exit status 1"
    assert "drain" not in outside.operations


def test_irreversible_step_turns_rollback_into_a_freeze() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    record = roll_out(estate, settings(estate, migrations=IRREVERSIBLE))
    assert record.status == state.FROZEN
    assert "expand cannot be undone" in record.advice
    # The bad host is out of traffic, the others serve with the version before.
    assert {found["app-1"].admin for found in estate.balancers.values()} == {"drain"}
    assert all(estate.in_service(host) for host in ("app-2", "app-3"))
    assert estate.lock is None
    assert estate.open_record is not None


def test_frozen_rollout_goes_on_with_the_same_command() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    roll_out(estate, settings(estate, migrations=IRREVERSIBLE))
    del estate.bad["2"]
    record = roll_out(estate, settings(estate, migrations=IRREVERSIBLE))
    assert record.status == state.SUCCEEDED
    assert estate.migrated == ["expand"]
    assert all_in_service(estate)


def test_frozen_rollout_is_superseded_by_a_corrected_version() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    roll_out(estate, settings(estate, migrations=IRREVERSIBLE))
    record = roll_out(estate, settings(estate, "3"))
    assert record.status == state.SUCCEEDED
    assert versions(estate) == {"3"}
    assert all_in_service(estate)
    assert [one["status"] for one in estate.history] == [state.SUCCEEDED, state.SUPERSEDED]


def test_frozen_rollout_cannot_be_rolled_back() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    roll_out(estate, settings(estate, migrations=IRREVERSIBLE))
    with pytest.raises(PlanError, match="cannot be undone"):
        engine(estate, settings(estate))[0].roll_back()
    assert estate.lock is None


def test_contract_that_fails_freezes_with_every_host_in_service() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "contract-fails"
    record = roll_out(estate, settings(estate, migrations=BOTH))
    assert record.status == state.FROZEN
    assert all_in_service(estate)
    del estate.bad["2"]
    assert roll_out(estate, settings(estate, migrations=BOTH)).status == state.SUCCEEDED
    assert estate.migrated == ["expand", "contract"]


# ---------------------------------------------------------------------------------------------------------------- drain


@pytest.mark.parametrize("policy", ["wait", "kill", "fail"])
def test_session_that_outlives_the_deadline(policy: str) -> None:
    estate = Estate.of(2)
    estate.balancers["lb-2"]["app-1"].sessions = 1
    wanted = settings(estate, drain_deadline=10.0, drain_on_timeout=policy)
    begin = estate.time

    def trouble(_number: int, _name: str, _moment: str) -> None:
        if estate.time > begin + 40:
            estate.balancers["lb-2"]["app-1"].sessions = 0

    record = roll_out(estate, wanted, trouble)
    assert all_in_service(estate)
    if policy == "fail":
        assert record.status == state.HALTED
        assert "1 session of app-1 outlived the drain deadline of 10 s" in record.reason
        assert record.hosts["app-1"].phase == state.PREPARED
        assert versions(estate) == {"1"}
    else:
        assert record.status == state.SUCCEEDED
        assert record.hosts["app-1"].killed == (1 if policy == "kill" else 0)
        assert record.hosts["app-1"].sessions == 1


def test_killed_sessions_are_those_of_each_host() -> None:
    estate = Estate.of(4)
    estate.balancers["lb-1"]["app-2"].sessions = 3
    estate.balancers["lb-2"]["app-3"].sessions = 1
    wanted = settings(estate, batches=(1, 3), drain_deadline=5.0, drain_on_timeout="kill")
    record = roll_out(estate, wanted)
    assert record.status == state.SUCCEEDED
    assert [one.killed for one in record.hosts.values()] == [0, 3, 1, 0]
    assert any(event["text"].startswith("4 sessions of app-2, app-3, app-4 outlived") for event in record.events)


# ------------------------------------------------------------------------------------------------------ a person's word


def flagged(estate: Estate, flag: str, operation: str) -> Callable[[int, str, str], None]:
    """A person sets a flag at the first operation of that name."""
    seen: list[str] = []

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == (operation, "before") and not seen:
            seen.append(flag)
            estate.control = world.Control(flag, "ops@desk", "customer call")

    return trouble


@pytest.mark.parametrize("operation", ["prepare", "drain", "activate", "enter 10", "sample"])
def test_abort_goes_back(operation: str) -> None:
    estate = Estate.of(3)
    record = roll_out(estate, settings(estate), flagged(estate, "abort", operation))
    assert record.status in (state.REVERTED, state.BROKEN)
    assert record.reason == "aborted: by ops@desk: customer call"
    assert versions(estate) == {"1"}
    assert all_in_service(estate)


@pytest.mark.parametrize("end", ["resume", "promote", "abort", "taken back"])
def test_pause_lasts_until_a_person_ends_it(end: str) -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate), flagged(estate, "pause", "enter 10"))
    sleeps: list[float] = []
    sleep = outside.sleep

    def watched(seconds: float) -> None:
        sleep(seconds)
        if rollout.run and rollout.run.record.status == state.PAUSED:
            sleeps.append(seconds)
            if len(sleeps) == 5:
                estate.control = None if end == "taken back" else world.Control(end, "ops@desk")

    outside.sleep = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert len(sleeps) == 5
    assert record.status == (state.REVERTED if end == "abort" else state.SUCCEEDED)
    assert all_in_service(estate)


def test_pause_that_nobody_ends_halts() -> None:
    estate = Estate.of(3)
    record = roll_out(estate, settings(estate, pause_timeout=60.0), flagged(estate, "pause", "enter 10"))
    assert record.status == state.HALTED
    assert "paused for 60 s" in record.reason
    estate.control = None
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED
    assert all_in_service(estate)


def test_promote_does_not_wait_for_the_gates() -> None:
    estate = Estate.of(2)
    slow = {"errors": {"count": 50, "timeout": 1000}}
    plain = operations(lambda: Estate.of(2), gates=slow)
    rollout, outside = engine(estate, settings(estate, gates=slow), flagged(estate, "promote", "enter 10"))
    record = rollout.roll_out()
    assert record.status == state.SUCCEEDED
    assert estate.control is None
    assert len(outside.operations) < plain - 40
    assert any("promoted by a person" in event["text"] for event in record.events)


def test_gate_that_asks_for_a_person_pauses() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "silent"
    rollout, outside = engine(estate, settings(estate, gates={"errors": {"on_inconclusive": "pause"}}))
    sleep = outside.sleep

    def watched(seconds: float) -> None:
        sleep(seconds)
        if rollout.run and rollout.run.record.status == state.PAUSED:
            estate.control = world.Control("promote", "ops@desk")

    outside.sleep = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == state.SUCCEEDED
    assert any(event["text"].startswith("paused because gate errors is inconclusive") for event in record.events)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_unfinished_rollout_of_another_version_is_named() -> None:
    estate = Estate.of(3)
    with pytest.raises(Killed):
        roll_out(estate, settings(estate), at(8, "after", kill))
    estate.lock = None
    with pytest.raises(PlanError, match=r"to 2 is unfinished \(running\).*mesops.platform.rollback"):
        roll_out(estate, settings(estate, "3"))
    assert estate.lock is None


def test_host_without_an_answer_is_refused_before_anything_changes() -> None:
    estate = Estate.of(3)
    estate.hosts["app-2"].alive = False
    with pytest.raises(PlanError, match=r"app-2 .*rollout_exclude"):
        roll_out(estate, settings(estate))
    assert (estate.lock, estate.open_record) == (None, None)


def test_excluded_host_keeps_its_version() -> None:
    estate = Estate.of(3)
    estate.hosts["app-2"].alive = False
    wanted = replace(settings(estate), hosts=("app-1", "app-3"), excluded=("app-2",))
    record = roll_out(estate, wanted)
    assert record.status == state.SUCCEEDED
    assert record.excluded == ["app-2"]
    assert estate.hosts["app-2"].current == "1"


@pytest.mark.parametrize(("hosts", "least", "batches"), [(2, 2, (1,)), (4, "75%", (2,)), (1, "50%", (1,))])
def test_capacity_guard_refuses_the_plan_and_says_the_numbers(hosts: int, least: int | str, batches: Any) -> None:
    estate = Estate.of(hosts)
    with pytest.raises(PlanError, match=r"which leaves \d+ at lb-1, but min_available is"):
        roll_out(estate, settings(estate, min_available=least, batches=batches))
    assert all_in_service(estate)
    assert estate.lock is None


def test_capacity_that_shrinks_meanwhile_halts_and_puts_back() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("prepare", "after"):
            estate.hosts["app-3"].running = None

    record = roll_out(estate, settings(estate, min_available=2), trouble)
    assert record.status == state.HALTED
    assert "min_available is 2" in record.reason
    assert estate.in_service("app-1")
    assert estate.in_service("app-2")


# ------------------------------------------------------------------------------------------------- going back on demand


def test_rollback_of_the_last_rollout() -> None:
    estate = Estate.of(3)
    roll_out(estate, settings(estate))
    record = engine(estate, settings(estate, ""))[0].roll_back()
    assert (record.kind, record.status) == ("rollback", state.SUCCEEDED)
    assert versions(estate) == {"1"}
    assert all_in_service(estate)


def test_rollback_is_not_judged_by_gates_about_the_new_version() -> None:
    estate = Estate.of(3)
    roll_out(estate, settings(estate))
    gates = {"version": {"stage": "ready", "probe": {"type": "tcp", "address": "$version:80"}, "failure_limit": -1}}
    rollback, outside = engine(estate, settings(estate, "", gates=gates))
    assert rollback.roll_back().status == state.SUCCEEDED
    assert "sample" not in outside.operations


def test_new_process_may_warm_up_at_every_share_of_traffic() -> None:
    estate = Estate.of(2)
    gates = {"errors": {"initial_delay": 4, "interval": 1, "count": 1}}
    rollout, outside = engine(estate, settings(estate, gates=gates))
    entered, early = [0.0], list[float]()
    enter, take = outside.enter, outside.sample

    def entering(where: world.Where, percent: int, **rest: Any) -> world.Entered:
        answer = enter(where, percent, **rest)
        entered[0] = outside.clock()
        return answer

    def watched(requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        early.extend(outside.clock() - entered[0] for one in requests if one.key == "errors/")
        return take(requests, save=save)

    outside.enter, outside.sample = entering, watched  # type: ignore[method-assign]
    assert rollout.roll_out().status == state.SUCCEEDED
    assert len(early) >= 4
    assert min(early) >= 4


def test_rollback_without_anything_to_revert_is_refused() -> None:
    estate = Estate.of(2)
    with pytest.raises(PlanError, match="There is no finished rollout of catalog on record"):
        engine(estate, settings(estate))[0].roll_back()
    assert estate.lock is None


def test_rollback_of_an_unfinished_rollout() -> None:
    estate = Estate.of(4)
    with pytest.raises(Killed):
        roll_out(estate, settings(estate), at(20, "after", kill))
    estate.lock = None
    record = engine(estate, settings(estate, ""))[0].roll_back()
    assert record.status == state.REVERTED
    assert versions(estate) == {"1"}
    assert all_in_service(estate)


# ------------------------------------------------------------------------------------ failures of the world, everywhere


def finish(estate: Estate, **changes: Any) -> Record:
    """Run the same command again, until it has an end; twice is enough."""
    estate.lock = None
    return roll_out(estate, settings(estate, **changes))


COUNT = operations(lambda: Estate.of(3), migrations=BOTH)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", range(COUNT))
def test_controller_killed_at_every_operation(operation: int, moment: str) -> None:
    estate = Estate.of(3)
    with pytest.raises(Killed):
        roll_out(estate, settings(estate, migrations=BOTH), at(operation, moment, kill))
    record = finish(estate, migrations=BOTH)
    assert record.status == state.SUCCEEDED
    assert versions(estate) == {"2"}
    assert all_in_service(estate)
    assert (estate.lock, estate.open_record) == (None, None)
    assert estate.broken_promises == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", range(26))
def test_controller_killed_while_a_bad_release_goes_back(operation: int, moment: str) -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    try:
        roll_out(estate, settings(estate), at(operation, moment, kill))
    except Killed:
        record = finish(estate)
        assert record.status == state.REVERTED
    assert versions(estate) == {"1"}
    assert all_in_service(estate)
    assert (estate.lock, estate.open_record) == (None, None)


@pytest.mark.parametrize("victim", ["app-1", "app-2"])
@pytest.mark.parametrize("operation", range(COUNT))
def test_host_lost_at_every_operation(operation: int, victim: str) -> None:
    estate = Estate.of(3)

    def lose() -> None:
        estate.hosts[victim].alive = False

    try:
        first = roll_out(estate, settings(estate, migrations=EXPAND), at(operation, "before", lose))
        assert first.status in (state.SUCCEEDED, state.REVERTED, state.BROKEN, state.HALTED)
        # Hosts that live go on serving.
        assert all(estate.in_service(host) for host in estate.hosts if estate.hosts[host].alive)
    except PlanError:
        pass
    estate.hosts[victim].alive = True
    record = finish(estate, migrations=EXPAND)
    assert record.status == state.SUCCEEDED
    assert versions(estate) == {"2"}
    assert all_in_service(estate)


@pytest.mark.parametrize("operation", range(COUNT))
def test_load_balancer_lost_at_every_operation(operation: int) -> None:
    estate = Estate.of(3)

    def lose() -> None:
        estate.dead_balancers.add("lb-1")

    try:
        first = roll_out(estate, settings(estate, migrations=BOTH), at(operation, "before", lose))
        assert first.status in (state.SUCCEEDED, state.HALTED)
    except (PlanError, world.BalancerTrouble):
        pass
    assert estate.lock is None
    estate.dead_balancers.clear()
    record = finish(estate, migrations=BOTH)
    assert record.status == state.SUCCEEDED
    assert versions(estate) == {"2"}
    assert all_in_service(estate)


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("operation", range(COUNT))
def test_store_lost_at_every_operation(operation: int, bad: bool) -> None:
    estate = Estate.of(3)
    if bad:
        estate.bad["2"] = "errors"

    def lose() -> None:
        estate.store_down = True

    try:
        first = roll_out(estate, settings(estate, migrations=EXPAND), at(operation, "before", lose))
        # Whoever is out of traffic without a store is out for a reason that the report names.
        out = [host for host in estate.hosts if not estate.serves(host) or not estate.in_service(host)]
        canary = [host for host in out if estate.balancers["lb-1"][host].admin == "ready"]
        assert all(host in first.advice for host in out if host not in canary), (first.advice, out)
    except world.StoreLost:
        pass
    estate.store_down = False
    record = finish(estate, migrations=EXPAND)
    assert record.status == (state.REVERTED if bad else state.SUCCEEDED)
    assert versions(estate) == {"1" if bad else "2"}
    assert all_in_service(estate)


@pytest.mark.parametrize("operation", range(COUNT))
def test_lock_taken_by_somebody_else_stops_without_a_touch(operation: int) -> None:
    estate = Estate.of(3)
    touched: list[str] = []

    def trouble(number: int, name: str, moment: str) -> None:
        if (number, moment) == (operation, "before") and estate.lock is not None:
            estate.lock = "another rollout"
        if estate.lock == "another rollout" and moment == "after" and name.startswith(("drain", "activate", "enter")):
            touched.append(name)

    try:
        record = roll_out(estate, settings(estate, migrations=BOTH), trouble)
    except (PlanError, world.LockLost):
        return
    if record.status != state.SUCCEEDED:
        assert "somebody else has the lock" in record.reason
        # At most the one step that was under way when the lock changed hands, and the next one before its write.
        assert len(touched) <= 2


@pytest.mark.parametrize("operation", range(COUNT))
def test_disk_full_at_every_operation(operation: int) -> None:
    estate = Estate.of(3)

    def fill() -> None:
        estate.hosts["app-2"].full = True

    first = roll_out(estate, settings(estate, migrations=EXPAND), at(operation, "before", fill))
    assert first.status in (state.SUCCEEDED, state.REVERTED, state.BROKEN)
    if first.status == state.REVERTED:
        assert all_in_service(estate)
    estate.hosts["app-2"].full = False
    record = finish(estate, migrations=EXPAND)
    assert record.status == state.SUCCEEDED
    assert versions(estate) == {"2"}
    assert all_in_service(estate)


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_number_of_kills_and_losses_ends_well(data: st.DataObject) -> None:
    """Kills, lost hosts, lost balancers and a lost store, in any order, over several runs; then a run in peace."""
    estate = Estate.of(data.draw(st.integers(2, 5), label="hosts"))
    fault = data.draw(st.sampled_from(["", "errors", "never-ready"]), label="fault")
    if fault:
        estate.bad["2"] = fault
    for _run in range(data.draw(st.integers(1, 4), label="runs")):
        kind = data.draw(st.sampled_from(["kill", "host", "balancer", "store"]), label="trouble")
        operation = data.draw(st.integers(0, 30), label="operation")
        victim = data.draw(st.sampled_from(sorted(estate.hosts)), label="victim")

        def act(kind: str = kind, victim: str = victim) -> None:
            if kind == "kill":
                raise Killed
            if kind == "host":
                estate.hosts[victim].alive = False
            elif kind == "balancer":
                estate.dead_balancers.add("lb-2")
            else:
                estate.store_down = True

        with contextlib.suppress(Killed, PlanError, world.BalancerTrouble, world.StoreLost):
            roll_out(estate, settings(estate), at(operation, data.draw(st.sampled_from(["before", "after"])), act))
        estate.lock = None
        estate.dead_balancers.clear()
        estate.store_down = False
        for host in estate.hosts.values():
            host.alive = True
    record = finish(estate)
    # A run that was going back ends by going back, even if what made it do so is over.
    if record.status != (state.REVERTED if fault else state.SUCCEEDED):
        record = finish(estate)
    assert record.status == (state.REVERTED if fault else state.SUCCEEDED), record.reason
    assert versions(estate) == {"1" if fault else "2"}
    assert all_in_service(estate)
    assert estate.open_record is None
    assert estate.broken_promises == []


# ----------------------------------------------------------------------------------------------------------- the record


@given(st.sampled_from(sorted(NEXT)), st.sampled_from(sorted(NEXT)))
def test_only_legal_transitions(before: str, after: str) -> None:
    record = Record("r", "catalog", "2", "me", 0.0, batches=[["a"]], hosts={"a": HostRecord(0, "2", "1", phase=before)})
    if after == before or after in NEXT[before]:
        record.enter(["a"], after, 1.0)
        assert record.phase("a") == after
    else:
        with pytest.raises(state.IllegalTransition, match=f"from {before} to {after}"):
            record.enter(["a"], after, 1.0)


def test_record_survives_the_store() -> None:
    estate = Estate.of(3)
    record = roll_out(estate, settings(estate, migrations=BOTH))
    assert Record.from_dict(record.to_dict()) == record


def test_record_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="has schema 2"):
        Record.from_dict({"id": "x", "schema": 2})


def test_the_simulation_notices_a_dead_host_in_traffic() -> None:
    """The world of these tests refuses what the real one refuses; otherwise they would prove nothing."""
    estate = Estate.of(2)
    estate.hosts["app-1"].running = None
    outside = World(estate, settings(estate))
    found = outside.enter({"lb-1": ["app-1"]}, 100, mine=["app-1"])
    assert found.down == {"app-1": {"lb-1": "is DOWN at lb-1"}}
