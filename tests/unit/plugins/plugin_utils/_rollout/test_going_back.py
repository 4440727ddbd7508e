# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back: it always exists, leads to what has proved itself, and takes nobody out of traffic who serves well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.engine import Engine
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from rollout_simulation import Estate, Killed, World, engine, roll_out, settings

IRREVERSIBLE = {"expand": {"command": "bin/migrate", "reversible": False, "timeout": 60.0}}


def running(estate: Estate) -> dict[str, str | None]:
    """What each host runs."""
    return {name: host.running for name, host in estate.hosts.items()}


def out_of_traffic(estate: Estate) -> set[str]:
    """Hosts that some load balancer does not let in."""
    return {name for found in estate.balancers.values() for name, server in found.items() if server.admin != "ready"}


def rolled_out(hosts: int, **changes: Any) -> Estate:
    """An estate on which 1 was followed by 2."""
    estate = Estate.of(hosts)
    assert roll_out(estate, settings(estate, **changes)).status == state.SUCCEEDED
    return estate


def back(estate: Estate, **changes: Any) -> tuple[Engine, World]:
    return engine(estate, settings(estate, "", **changes))


def abort_when(outside: World, due: Callable[[str, Sequence[str]], bool]) -> None:
    """A person aborts as soon as something is told."""
    tell = outside.tell

    def watched(text: str, hosts: Sequence[str] = ()) -> None:
        tell(text, hosts)
        if due(text, hosts):
            outside.estate.control = outside.control = world.Control("abort", "ops@desk", "stop this")

    outside.tell = watched  # type: ignore[method-assign]


def fails_on(outside: World, host: str, reason: str = "no space left on device") -> None:
    """One host cannot activate anything."""
    activate = outside._activate

    def one_fails(name: str, version: str, stop: bool) -> world.Activated:
        return world.Activated(reason) if name == host else activate(name, version, stop)

    outside._activate = one_fails  # type: ignore[method-assign]


# ------------------------------------------------------------------------------------- who serves goes on serving


def test_abort_of_a_rollback_between_two_batches_leaves_every_host_in_traffic() -> None:
    estate = rolled_out(5)
    rollback, outside = back(estate, batches=(1, "50%"), min_available="50%")
    abort_when(outside, lambda text, hosts: text.startswith("back in service") and "app-1" in hosts)
    record = rollback.roll_back()
    assert record.status == state.BROKEN
    assert record.reason == "aborted: by ops@desk: stop this"
    assert out_of_traffic(estate) == set()
    assert running(estate) == {"app-1": "1", "app-2": "2", "app-3": "2", "app-4": "2", "app-5": "2"}
    assert (estate.lock, estate.control, estate.open_record) == (None, None, None)
    # And the same command goes on with the hosts that are left.
    assert back(estate)[0].roll_back().status == state.SUCCEEDED
    assert set(running(estate).values()) == {"1"}


def test_abort_of_a_rollback_while_a_host_is_drained_puts_it_back() -> None:
    estate = rolled_out(3)
    for found in estate.balancers.values():
        found["app-1"].sessions = 1
    rollback, outside = back(estate)
    abort_when(outside, lambda text, hosts: text.startswith("draining"))
    record = rollback.roll_back()
    assert record.status == state.BROKEN
    assert out_of_traffic(estate) == set()
    assert set(running(estate).values()) == {"2"}


@pytest.mark.parametrize("comes_up", [True, False])
def test_abort_of_a_rollback_lets_in_a_host_that_the_killed_run_had_switched_and_not_recorded(comes_up: bool) -> None:
    estate = rolled_out(2)

    def killed(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("activate", "after"):
            raise Killed

    with pytest.raises(Killed):
        engine(estate, settings(estate, ""), killed)[0].roll_back()
    assert (running(estate)["app-1"], out_of_traffic(estate)) == ("1", {"app-1"})
    estate.hosts["app-1"].running = "1" if comes_up else None
    estate.lock, estate.control = None, world.Control("abort", "ops@desk", "stop this")
    record = back(estate)[0].roll_back()
    assert (record.status, record.reason) == (state.BROKEN, "aborted: by ops@desk: stop this")
    assert out_of_traffic(estate) == (set() if comes_up else {"app-1"})
    assert record.phase("app-1") == (state.DONE if comes_up else state.FAILED)
    assert ("app-1 stays out of traffic" in record.advice) == (not comes_up)


@pytest.mark.parametrize("up", [True, False])
def test_rollback_lets_in_what_a_killed_one_had_drained_where_its_version_cannot_be_installed_any_more(
    up: bool,
) -> None:
    estate = rolled_out(2 if up else 3)

    def killed(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "after"):
            raise Killed

    with pytest.raises(Killed):
        engine(estate, settings(estate, ""), killed)[0].roll_back()
    assert out_of_traffic(estate) == {"app-1"}
    estate.lock = None
    estate.hosts["app-1"].full, estate.hosts["app-1"].running = True, "2" if up else None
    record = back(estate)[0].roll_back()
    assert (record.status, record.reason) == (state.BROKEN, "app-1 could not be brought back")
    assert out_of_traffic(estate) == (set() if up else {"app-1"})
    assert record.phase("app-1") == (state.PREPARED if up else state.FAILED)
    assert ("app-1 stays out of traffic" in record.advice) == (not up)


@pytest.mark.parametrize(
    ("operation", "left"), [("activate", state.DRAINED), ("enter 10", state.IN_SERVICE), ("enter 100", state.DONE)]
)
def test_rollback_finds_a_host_that_had_left_the_last_rollout_in_the_middle_of_its_turn(
    operation: str, left: str
) -> None:
    estate = Estate.of(2)
    seen: list[str] = []

    def killed(_number: int, name: str, moment: str) -> None:
        seen.extend([name] if moment == "before" else [])
        # Once it is on record how far it came.
        if operation in seen and (name, moment) == ("drain" if left == state.DONE else "sample", "after"):
            raise Killed
        if operation == name == "activate" and moment == "after":
            raise Killed

    with pytest.raises(Killed):
        engine(estate, settings(estate), killed)[0].roll_out()
    estate.lock = None
    record = back(estate, hosts=("app-2",), excluded=("app-1",))[0].roll_back()
    assert (record.status, record.left["app-1"].phase) == (state.REVERTED, left)
    rollback, _outside = back(estate)
    if left == state.DONE:
        # It was judged and serves.
        with pytest.raises(PlanError, match="there is nothing to revert"):
            rollback.roll_back()
        return
    assert rollback.roll_back().status == state.SUCCEEDED
    assert set(running(estate).values()) == {"1"}
    assert all(estate.in_service(host) for host in estate.hosts)


def test_host_that_left_a_rollout_which_was_then_done_is_named_and_reverted_with_it() -> None:
    estate = Estate.of(2)

    def killed(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("activate", "after"):
            raise Killed

    with pytest.raises(Killed):
        engine(estate, settings(estate), killed)[0].roll_out()
    estate.lock = None
    record = roll_out(estate, settings(estate, hosts=("app-2",), excluded=("app-1",), min_available=0))
    assert record.status == state.SUCCEEDED
    assert record.advice.startswith("app-1 has left this rollout in the middle of it and stays as it is. Run the same ")
    assert (running(estate), out_of_traffic(estate)) == ({"app-1": "2", "app-2": "2"}, {"app-1"})
    assert back(estate, min_available=0)[0].roll_back().status == state.SUCCEEDED
    assert set(running(estate).values()) == {"1"}
    assert all(estate.in_service(host) for host in estate.hosts)


def test_one_host_that_fails_in_a_rollback_takes_no_other_with_it() -> None:
    estate = rolled_out(9)
    rollback, outside = back(estate, batches=(1, "50%"), min_available="50%")
    fails_on(outside, "app-4")
    record = rollback.roll_back()
    assert record.status == state.BROKEN
    assert out_of_traffic(estate) == {"app-4"}
    assert {name for name, version in running(estate).items() if version != "1"} == {"app-4"}
    assert "app-4" in record.reason
    assert "app-4 stays out of traffic" in record.advice
    assert record.hosts["app-4"].note == "no space left on device"


def test_host_on_which_the_version_before_is_gone_stays_in_traffic_and_others_go_back() -> None:
    estate = rolled_out(3)
    rollback, outside = back(estate)
    prepare = outside.prepare

    def missing(targets: Any) -> dict[str, world.Prepared]:
        found = prepare(targets)
        return {**found, "app-2": world.Prepared("release 1 is not there, and no artifact is given")}

    outside.prepare = missing  # type: ignore[method-assign]
    record = rollback.roll_back()
    assert record.status == state.BROKEN
    assert running(estate) == {"app-1": "1", "app-2": "2", "app-3": "1"}
    assert out_of_traffic(estate) == set()


def test_batch_in_which_one_host_fails_goes_back_whole() -> None:
    estate = Estate.of(5)
    rollout, outside = engine(estate, settings(estate, batches=(1, 4), min_available=1))
    activate = outside._activate

    def one_fails(name: str, version: str, stop: bool) -> world.Activated:
        return world.Activated("boom") if (name, version) == ("app-3", "2") else activate(name, version, stop)

    outside._activate = one_fails  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == state.REVERTED
    assert set(running(estate).values()) == {"1"}
    assert out_of_traffic(estate) == set()


@pytest.mark.parametrize("least", [1, 2])
def test_bad_canary_is_taken_out_only_where_enough_others_serve(least: int) -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"

    def trouble(_number: int, name: str, moment: str) -> None:
        # Another host dies while the canary has its share.
        if (name, moment) == ("enter 10", "after"):
            estate.hosts["app-3"].running = None

    record = roll_out(estate, settings(estate, min_available=least), trouble)
    if least == 1:
        assert record.status == state.REVERTED
        assert running(estate)["app-1"] == "1"
        return
    assert record.status == state.ROLLING_BACK
    assert "1 server would be left at lb-1, fewer than 2" in record.reason
    assert estate.available("lb-1") == 2
    # Once the other is back the same command finishes it.
    estate.hosts["app-3"].running = "1"
    assert roll_out(estate, settings(estate, min_available=least)).status == state.REVERTED
    assert out_of_traffic(estate) == set()


def test_rollback_goes_host_by_host_where_a_whole_batch_would_be_too_many() -> None:
    estate = rolled_out(4)
    rollback, outside = back(estate, batches=(1, 2), min_available=2)

    def trouble(_number: int, name: str, moment: str) -> None:
        # A host dies when the first one is back.
        if (name, moment) == ("enter 100", "after") and outside.operations.count(name) == 1:
            estate.hosts["app-4"].running = None

    outside._trouble = trouble
    least: list[int] = []
    drain = outside.drain

    def watched(*args: Any, **rest: Any) -> world.Drained:
        answer = drain(*args, **rest)
        least.append(min(estate.available(name) for name in estate.balancers))
        return answer

    outside.drain = watched  # type: ignore[method-assign]
    assert rollback.roll_back().status == state.SUCCEEDED
    assert min(least) >= 2
    assert set(running(estate).values()) == {"1"}


# -------------------------------------------------------------------------------------- what is stuck holds up nobody


def hung(estate: Estate, hosts: Sequence[str]) -> None:
    for found in estate.balancers.values():
        for host in hosts:
            found[host].sessions = 3


def test_requests_that_a_bad_release_never_answers_do_not_hold_up_its_rollback() -> None:
    estate = Estate.of(4)
    rollout, outside = engine(estate, settings(estate, drain_deadline=1860.0))
    tell, bad = outside.tell, list[float]()

    def watched(text: str, hosts: Sequence[str] = ()) -> None:
        tell(text, hosts)
        if text.startswith("in service with 10 ") and not bad and "app-3" in hosts:
            bad.append(estate.time)
            estate.bad["2"] = "errors"
            hung(estate, ("app-1", "app-2", "app-3"))

    outside.tell = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == state.REVERTED
    assert estate.time - bad[0] < 120
    assert set(running(estate).values()) == {"1"}
    assert out_of_traffic(estate) == set()
    assert any("outlived 10 s and were shut down" in event["text"] for event in record.events)


def test_sessions_of_a_release_that_a_person_gives_up_get_the_deadline_that_the_service_asked_for() -> None:
    """An abort is no verdict: long sessions may be well. One that is stuck holds up no other."""
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate, drain_deadline=100.0))
    tell = outside.tell

    def watched(text: str, hosts: Sequence[str] = ()) -> None:
        tell(text, hosts)
        if text.startswith("done in") and "app-2" in hosts:
            hung(estate, ("app-2",))
            estate.control = outside.control = world.Control("abort", "ops@desk")

    outside.tell = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == state.ROLLING_BACK
    assert running(estate) == {"app-1": "1", "app-2": "2", "app-3": "1"}
    assert "6 sessions of app-2 outlived the drain deadline of 100 s" in record.reason
    assert out_of_traffic(estate) == set()
    hung(estate, ())
    for found in estate.balancers.values():
        found["app-2"].sessions = 0
    assert roll_out(estate, settings(estate)).status == state.REVERTED


# ---------------------------------------------------------------------------------------- to what has proved itself


def test_a_version_that_failed_is_never_what_is_gone_back_to() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    assert roll_out(estate, settings(estate)).status == state.REVERTED
    # A weight is lost, the person rolls 1 out to mend it, and aborts.
    estate.balancers["lb-1"]["app-1"].percent = 50
    rollout, outside = engine(estate, settings(estate, "1"))
    abort_when(outside, lambda text, hosts: text.startswith("in service with 10 "))
    record = rollout.roll_out()
    assert record.status == state.REVERTED
    assert record.hosts["app-1"].previous == "1"
    assert running(estate)["app-1"] == "1"
    assert estate.in_service("app-1")


def test_a_chain_of_failed_attempts_goes_back_to_what_ran_before_it() -> None:
    estate = rolled_out(2)
    for version in ("3", "4"):
        estate.bad[version] = "errors"
        assert roll_out(estate, settings(estate, version)).status == state.REVERTED
        assert set(running(estate).values()) == {"2"}


def test_rollback_reverts_the_release_on_every_host_that_runs_it() -> None:
    estate = Estate.of(3)
    estate.hosts["app-3"].alive = False
    wanted = replace(settings(estate), hosts=("app-1", "app-2"), excluded=("app-3",))
    assert roll_out(estate, wanted).status == state.SUCCEEDED
    estate.hosts["app-3"].alive = True
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED
    record = back(estate)[0].roll_back()
    assert record.status == state.SUCCEEDED
    assert set(running(estate).values()) == {"1"}


def test_rollback_after_an_automatic_one_has_nothing_to_revert() -> None:
    estate = rolled_out(3)
    estate.bad["3"] = "errors"
    assert roll_out(estate, settings(estate, "3")).status == state.REVERTED
    with pytest.raises(PlanError, match="was rolled back by itself, so there is nothing to revert"):
        back(estate)[0].roll_back()
    assert set(running(estate).values()) == {"2"}
    assert estate.lock is None


# ------------------------------------------------------------------------------------ a migration that has closed it


def frozen(estate: Estate) -> None:
    """2 is there, and 3 is frozen by a migration."""
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED
    estate.bad["3"] = "errors"
    assert roll_out(estate, settings(estate, "3", migrations=IRREVERSIBLE)).status == state.FROZEN


def test_refused_successor_leaves_the_frozen_rollout_open() -> None:
    estate = Estate.of(3)
    frozen(estate)
    with pytest.raises(PlanError, match="min_available"):
        roll_out(estate, settings(estate, "4", min_available=3))
    assert estate.open_record is not None
    assert estate.open_record["status"] == state.FROZEN
    with pytest.raises(PlanError, match=r"expand of catalog 3 cannot be undone"):
        back(estate)[0].roll_back()


def test_successor_that_fails_remembers_the_migration_of_the_frozen_one() -> None:
    estate = Estate.of(3)
    frozen(estate)
    estate.bad["4"] = "errors"
    record = roll_out(estate, settings(estate, "4"))
    assert record.status == state.FROZEN
    assert "expand of catalog 3 cannot be undone" in record.advice
    assert running(estate)["app-2"] == "2"
    with pytest.raises(PlanError, match="cannot be undone"):
        back(estate)[0].roll_back()
    # A version that works ends it, and what comes after may go back to that one.
    assert roll_out(estate, settings(estate, "5")).status == state.SUCCEEDED
    estate.bad["6"] = "errors"
    assert roll_out(estate, settings(estate, "6")).status == state.REVERTED
    assert set(running(estate).values()) == {"5"}


def test_successor_that_was_killed_before_its_first_write_changes_nothing_about_that() -> None:
    estate = Estate.of(3)
    frozen(estate)

    def trouble(number: int, name: str, moment: str) -> None:
        if (name, moment) == ("save", "after"):
            raise Killed

    with pytest.raises(Killed):
        roll_out(estate, settings(estate, "4"), trouble)
    estate.lock = None
    with pytest.raises(PlanError, match="cannot be undone"):
        back(estate)[0].roll_back()


def test_rollback_past_a_migration_of_a_rollout_that_touched_no_host_is_refused() -> None:
    estate = rolled_out(3)
    estate.bad["3"] = "expand-fails"
    failed = roll_out(estate, settings(estate, "3", migrations=IRREVERSIBLE))
    assert (failed.status, failed.frozen_by) == (state.BROKEN, "expand")
    with pytest.raises(PlanError, match=r"expand of catalog 3 cannot be undone"):
        back(estate)[0].roll_back()
    assert set(running(estate).values()) == {"2"}


def test_freeze_takes_no_host_out_that_was_only_drained() -> None:
    estate = Estate.of(3)
    for found in estate.balancers.values():
        found["app-2"].sessions = 1
    rollout, outside = engine(estate, settings(estate, migrations=IRREVERSIBLE))
    abort_when(outside, lambda text, hosts: text.startswith("draining") and "app-2" in hosts)
    record = rollout.roll_out()
    assert record.status == state.FROZEN
    assert out_of_traffic(estate) == set()
    assert estate.control is None


# ---------------------------------------------------------------------------------------------------- no dead end


def test_rollback_whose_host_goes_down_again_ends_names_it_and_gives_way_to_a_version_that_works() -> None:
    estate = rolled_out(2)
    entered = 0

    def trouble(_number: int, name: str, moment: str) -> None:
        nonlocal entered
        entered += (name, moment) == ("enter 100", "before")
        if entered == 3:
            estate.hosts["app-1"].running = None

    one, _outside = engine(estate, settings(estate, ""), trouble)
    record = one.roll_back()
    assert (record.status, record.reason) == (state.BROKEN, "app-1 is DOWN at lb-1, is DOWN at lb-2")
    assert record.advice.startswith("Every host runs what it ran before, but app-1 is down with it.")
    assert (estate.lock, estate.open_record, out_of_traffic(estate)) == (None, None, set())
    assert roll_out(estate, settings(estate, "3")).status == state.SUCCEEDED
    assert running(estate) == {"app-1": "3", "app-2": "3"}


def halted_after_its_migration(estate: Estate) -> None:
    """Every host runs 2, whose contract step cannot be undone, and one of them is down."""

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("migrate contract", "after"):
            estate.hosts["app-1"].running = None

    steps = {"contract": {"command": "bin/contract", "reversible": False, "timeout": 60.0}}
    record = roll_out(estate, settings(estate, migrations=steps), trouble)
    assert record.status == state.HALTED
    assert record.advice.endswith("to go on, or roll out a corrected version: the migration contract cannot be undone.")


def test_rollout_that_halts_with_its_way_back_closed_gives_way_to_a_corrected_version() -> None:
    estate = Estate.of(2)
    halted_after_its_migration(estate)
    with pytest.raises(PlanError, match="roll forward to a corrected version"):
        back(estate)[0].roll_back()
    assert roll_out(estate, settings(estate, "3")).status == state.SUCCEEDED
    assert [one["status"] for one in estate.history] == [state.SUCCEEDED, state.SUPERSEDED]


def test_rollout_whose_migration_may_still_run_gives_way_to_none_and_says_what_finishes_it() -> None:
    estate = Estate.of(2)
    halted_after_its_migration(estate)
    assert estate.open_record is not None
    estate.open_record["migrations"]["contract"]["state"] = "running"
    with pytest.raises(PlanError, match=r"Finish it by running it again with that version\.$"):
        roll_out(estate, settings(estate, "3"))
    with pytest.raises(PlanError, match=r"run the rollout to 2 again to finish it\.$"):
        back(estate)[0].roll_back()


def test_what_an_unfinished_rollback_needs_is_the_rollback() -> None:
    estate = rolled_out(2)

    def trouble(number: int, name: str, _moment: str) -> None:
        estate.dead_balancers = {"lb-1"} if name == "drain" else set()

    one, _outside = engine(estate, settings(estate, ""), trouble)
    assert one.roll_back().advice.endswith("Run the same command again to go on.")
    way_on = r"\(halted\)\. Finish it: ansible-playbook mesops.platform.rollback -e rollout_service=catalog$"
    with pytest.raises(PlanError, match=way_on):
        roll_out(estate, settings(estate, "3"))


def test_only_host_that_was_not_up_before_goes_back_from_a_bad_release_whatever_is_left() -> None:
    estate = Estate.of(1)
    estate.hosts["app-1"].running = None
    estate.bad["2"] = "errors"
    record = roll_out(estate, settings(estate))
    assert record.status == state.REVERTED
    assert running(estate) == {"app-1": "1"}
    assert "app-1 goes back although 0 servers would be left at lb-1" in str(record.events)


def test_host_that_was_up_before_waits_for_others_and_the_way_out_is_said() -> None:
    estate = Estate.of(2)
    estate.bad["2"] = "errors"

    def trouble(_number: int, name: str, _moment: str) -> None:
        if name.startswith("sample"):
            estate.hosts["app-2"].alive = False

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.ROLLING_BACK
    assert record.reason.endswith(
        "bring other servers up first, or lower it for this run with -e rollout_min_available"
    )


def test_what_has_left_and_what_was_found_with_a_part_of_its_share_is_named_when_nothing_comes_of_a_rollout() -> None:
    estate = Estate.of(3)
    estate.balancers["lb-1"]["app-2"].percent = 10
    estate.bad["2"] = "expand-fails"
    steps = {"expand": {"command": "bin/migrate", "reversible": True, "timeout": 60.0}}
    record = roll_out(estate, settings(estate, migrations=steps))
    assert record.status == state.BROKEN
    assert "app-2 takes only a part of its share, as it was found." in record.advice


@pytest.mark.parametrize("what", ["the store", "the program"])
def test_host_that_was_activated_is_not_put_back_unjudged_when_something_fails_then(what: str) -> None:
    estate = Estate.of(2)
    one, outside = engine(estate, settings(estate))
    activate = outside.activate

    def then_fails(*given: Any, **more: Any) -> dict[str, world.Activated]:
        found = activate(*given, **more)
        if what == "the program":
            raise ValueError("what nobody expected")
        outside._error = world.StoreLost("the store gives no answer")
        return found

    outside.activate = then_fails  # type: ignore[method-assign]
    record = one.roll_out()
    assert (record.status, record.phase("app-1"), running(estate)["app-1"]) == (state.HALTED, state.ACTIVATED, "2")
    assert record.advice.startswith("app-1 stays out of traffic until then.")
    assert estate.available("lb-1") == 1


def test_host_stays_in_traffic_when_the_store_keeps_its_activation_from_beginning() -> None:
    estate = Estate.of(2)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("activate", "before"):
            raise world.StoreLost("the store gives no answer")

    record = roll_out(estate, settings(estate), trouble)
    assert (record.status, record.phase("app-1"), running(estate)["app-1"]) == (state.HALTED, state.PREPARED, "1")
    assert estate.available("lb-1") == 2


@pytest.mark.parametrize("hosts", [2, 3])
@pytest.mark.parametrize("ends_by", ["the store", "an abort"])
def test_host_that_an_earlier_rollout_has_left_behind_is_not_put_back_when_its_turn_is_broken_off(
    ends_by: str, hosts: int
) -> None:
    estate = rolled_out(hosts)
    one, outside = back(estate)
    fails_on(outside, "app-1")
    assert one.roll_back().hosts["app-1"].phase == state.FAILED
    assert out_of_traffic(estate) == {"app-1"}
    estate.balancers["lb-1"]["app-1"].sessions = 1

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "after") and ends_by == "the store":
            raise world.StoreLost("the store gives no answer")
        if name == "drain":
            estate.control = outside.control = world.Control("abort", "ops@desk", "stop this")

    one, outside = engine(estate, settings(estate, ""), trouble)
    record = one.roll_back()
    assert out_of_traffic(estate) == {"app-1"}
    assert record.advice.startswith("app-1 stays out of traffic")
    assert record.phase("app-1") == (state.DRAINING if ends_by == "the store" else state.FAILED)
    # With two hosts the first run has halted, with three it has ended. No person keeps the host out: it comes back.
    estate.balancers["lb-1"]["app-1"].sessions, estate.control = 0, None
    assert back(estate)[0].roll_back().status == state.SUCCEEDED
    assert (set(running(estate).values()), out_of_traffic(estate)) == ({"1"}, set())
