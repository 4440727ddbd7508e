# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble in the middle: a lost lock, a lost connection, a person's word, a defect. Each is obeyed in every loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.migrations import MIGRATION_SILENCE
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from rollout_simulation import Estate, Killed, World, engine, roll_out, settings

LONG = {"expand": {"command": "bin/migrate", "reversible": True, "timeout": 86400.0}}
CONTRACT = {"contract": {"command": "bin/contract", "reversible": True, "timeout": 86400.0}}


def migrating(outside: World, answer: Callable[[int], world.Migrated]) -> list[float]:
    """Let a migration stand as it is said for each time that it is asked for; when it was."""
    asked: list[float] = []

    def migrate(host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        asked.append(outside.estate.time)
        return answer(len(asked))

    outside.migrate = migrate  # type: ignore[method-assign]
    return asked


def lock_is_lost(outside: World) -> None:
    """Somebody broke the lock, which the heartbeat brings back."""
    outside.estate.lock = "somebody-else"
    outside._error = world.LockLost("somebody else has the lock")


# ------------------------------------------------------------------------------------------------------- a lost lock


def test_run_that_loses_its_lock_while_it_drains_drains_and_activates_no_more() -> None:
    estate = Estate.of(2)
    for found in estate.balancers.values():
        found["app-1"].sessions = 1
    rollout, outside = engine(estate, settings(estate, drain_deadline=600.0))
    lost: list[int] = []

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "after") and not lost:
            lock_is_lost(outside)
            lost.append(len(outside.operations))

    outside._trouble = trouble
    record = rollout.roll_out()
    assert outside.operations[lost[0] :] == []
    assert estate.hosts["app-1"].running == "1"
    assert record.status == state.HALTED
    assert "touches nothing more" in record.events[-1]["text"]


@pytest.mark.parametrize("operation", ["prepare", "activate", "enter 10", "sample", "enter 100", "servers"])
@pytest.mark.parametrize("bad", [False, True])
def test_run_that_knows_that_its_lock_is_lost_begins_no_step(operation: str, bad: bool) -> None:
    estate = Estate.of(3)
    if bad:
        estate.bad["2"] = "errors"
    rollout, outside = engine(estate, settings(estate))
    lost: list[int] = []

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == (operation, "after") and not lost:
            lock_is_lost(outside)
            lost.append(len(outside.operations))

    outside._trouble = trouble
    record = rollout.roll_out()
    if lost:
        assert outside.operations[lost[0] :] == []
        assert record.status == state.HALTED


def test_run_that_loses_its_lock_while_a_migration_runs_asks_no_more() -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))

    def answer(times: int) -> world.Migrated:
        if times == 3:
            lock_is_lost(outside)
        return world.Migrated(running=times < 3600)

    asked = migrating(outside, answer)
    assert rollout.roll_out().status == state.HALTED
    assert len(asked) == 3


# ------------------------------------------------------------------------------------------------------- migrations


def test_lost_connection_is_no_outcome_of_a_migration() -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))
    asked = migrating(
        outside,
        lambda times: world.Migrated(lost="no route to host") if 2 <= times <= 40 else world.Migrated(times < 50),
    )
    assert rollout.roll_out().status == state.SUCCEEDED
    assert len(asked) == 50


@pytest.mark.parametrize("steps", [LONG, CONTRACT])
def test_host_that_stays_silent_about_a_migration_halts_and_nothing_goes_back(steps: dict[str, Any]) -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=steps))
    asked = migrating(outside, lambda times: world.Migrated(running=True) if times < 3 else world.Migrated(lost="gone"))
    record = rollout.roll_out()
    (name,) = steps
    assert record.status == state.HALTED
    assert f"nobody knows how {name} stands" in record.reason
    assert asked[-1] - asked[1] >= MIGRATION_SILENCE
    assert record.migrations[name].state == "running"
    assert {one.running for one in estate.hosts.values()} == ({"1"} if steps is LONG else {"2"})
    # The same command joins it.
    estate.lock = None
    assert roll_out(estate, settings(estate, migrations=steps)).status == state.SUCCEEDED
    assert estate.migrated == [name]


@pytest.mark.parametrize("steps", [LONG, CONTRACT])
def test_abort_while_a_migration_runs_is_obeyed_at_once_and_nothing_goes_back_meanwhile(steps: dict[str, Any]) -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=steps))

    def answer(times: int) -> world.Migrated:
        if times == 3:
            estate.control = outside.control = world.Control("abort", "ops@desk")
        return world.Migrated(running=times < 3600)

    asked = migrating(outside, answer)
    record = rollout.roll_out()
    assert len(asked) == 3
    assert record.status == state.HALTED
    assert "still runs on app-1, and nothing goes back meanwhile" in record.reason
    assert estate.control is None, "an abort that was obeyed is used up"
    # The rollback waits for its end, and begins none.
    rollback, outside = engine(estate, settings(estate, ""))
    looks: list[str] = []

    def look(host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        looks.append(name)
        return world.Migrated(running=len(looks) < 5)

    outside.look_at_migration = look  # type: ignore[method-assign]
    begun = migrating(outside, lambda _times: world.Migrated())
    assert rollback.roll_back().status == state.REVERTED
    assert (len(looks), begun) == (5, [])
    assert {one.running for one in estate.hosts.values()} == {"1"}


def test_pause_is_obeyed_while_a_migration_runs() -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=LONG, pause_timeout=60.0))

    def answer(times: int) -> world.Migrated:
        if times == 2:
            estate.control = outside.control = world.Control("pause", "ops@desk")
        return world.Migrated(running=times < 10)

    migrating(outside, answer)
    record = rollout.roll_out()
    assert "paused for 60 s and nobody went on" in record.reason


def test_migration_of_a_host_that_left_is_run_on_another() -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))
    migrating(outside, lambda _times: world.Migrated(lost="gone"))
    assert rollout.roll_out().status == state.HALTED
    wanted = settings(estate, migrations=LONG, hosts=("app-2", "app-3"), excluded=("app-1",))
    record = roll_out(estate, wanted)
    assert record.status == state.SUCCEEDED
    assert record.migrations["expand"].host == "app-2"


# ------------------------------------------------------------------------------------------------------------ flags


def test_promote_that_comes_before_its_time_skips_no_gate() -> None:
    estate = Estate.of(2)
    slow = {"errors": {"count": 20, "timeout": 1000}}
    rollout, outside = engine(estate, settings(estate, gates=slow))
    sampled: list[int] = []
    sample = outside.sample

    def watched(requests: Sequence[world.SampleRequest], **rest: Any) -> dict[str, world.Taken]:
        sampled.extend(1 for one in requests if one.key.startswith("errors"))
        return sample(requests, **rest)

    outside.sample = watched  # type: ignore[method-assign]

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("prepare", "before"):
            estate.control = outside.control = world.Control("promote", "ops@desk")

    outside._trouble = trouble
    record = rollout.roll_out()
    assert record.status == state.SUCCEEDED
    assert len(sampled) >= 40
    assert estate.control is None
    assert any("promote came while nothing was waited for" in event["text"] for event in record.events)


def test_abort_is_used_up_by_the_run_that_obeys_it() -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate))
    operations: list[str] = []
    clear = outside.clear_control

    def cleared() -> None:
        operations.append("cleared")
        clear()

    outside.clear_control = cleared  # type: ignore[method-assign]

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("enter 10", "before"):
            estate.control = world.Control("abort", "ops@desk")

    outside._trouble = trouble
    assert rollout.roll_out().status == state.REVERTED
    assert operations == ["cleared"]


def test_abort_that_waited_for_a_run_is_obeyed_before_anything_is_begun() -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))

    def killed(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("prepare", "before"):
            raise Killed

    outside._trouble = killed
    with pytest.raises(Killed):
        rollout.roll_out()
    estate.lock, estate.control = None, world.Control("abort", "ops@desk")
    operations: list[str] = []

    def noted(_number: int, name: str, _moment: str) -> None:
        operations.append(name)

    record = roll_out(estate, settings(estate, migrations=LONG), noted)
    assert (record.status, record.reason) == (state.BROKEN, "aborted: by ops@desk")
    assert not {"prepare", "migrate expand", "drain"} & set(operations)
    assert estate.migrated == []
    assert estate.control is None, "an abort that was obeyed is used up"


def test_abort_that_comes_while_the_release_is_installed_is_obeyed_before_its_migration_is_begun() -> None:
    estate = Estate.of(3)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("prepare", "after"):
            estate.control = outside.control = world.Control("abort", "ops@desk")

    outside._trouble = trouble
    record = rollout.roll_out()
    assert (record.status, record.reason) == (state.BROKEN, "aborted: by ops@desk")
    assert estate.migrated == []


def killed_while_migrating() -> Estate:
    """What a run leaves behind that was killed while its migration ran."""
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, migrations=LONG))

    def killed(_times: int) -> world.Migrated:
        raise Killed

    migrating(outside, killed)
    with pytest.raises(Killed):
        rollout.roll_out()
    estate.lock = None
    return estate


@pytest.mark.parametrize(
    ("stands", "status"), [("running", state.HALTED), ("lost", state.HALTED), ("over", state.BROKEN)]
)
def test_abort_that_waited_for_a_run_closes_nothing_while_the_migration_may_run(stands: str, status: str) -> None:
    estate = killed_while_migrating()
    estate.control = world.Control("abort", "ops@desk")
    rollout, outside = engine(estate, settings(estate, migrations=LONG))
    answer = world.Migrated(running=stands == "running", lost="no route to host" if stands == "lost" else "")
    outside.look_at_migration = lambda *_: answer  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == status
    assert ("nothing goes back meanwhile" in record.reason) == (stands != "over")
    assert estate.migrated == []
    assert estate.control is None, "an abort that was obeyed is used up"


def test_release_that_cannot_be_installed_any_more_is_not_over_while_its_migration_runs() -> None:
    estate = killed_while_migrating()
    estate.hosts["app-2"].full = True
    rollout, outside = engine(estate, settings(estate, migrations=LONG))
    outside.look_at_migration = lambda *_: world.Migrated(running=True)  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert record.status == state.HALTED
    assert record.reason.startswith("prepare: app-2: no room; but expand still runs on app-1")


# ---------------------------------------------------------------------------------------------------------- defects


@pytest.mark.parametrize("name", ["prepare", "drain", "activate", "enter 10", "enter 100", "sample", "prune"])
def test_exception_that_nobody_expected_halts_with_the_record_written(name: str) -> None:
    estate = Estate.of(3)
    seen: list[str] = []

    def trouble(_number: int, operation: str, moment: str) -> None:
        if (operation, moment) == (name, "after") and not seen:
            seen.append(operation)
            raise ValueError("'raw' is not a valid Phase")

    rollout, _outside = engine(estate, settings(estate), trouble)
    record = rollout.roll_out()
    assert record.status == state.HALTED
    assert record.reason == "an error that nobody expected, ValueError: 'raw' is not a valid Phase"
    assert "Traceback" in rollout.defect
    assert estate.lock is None
    assert estate.open_record is not None
    assert estate.open_record["status"] == state.HALTED
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED


def test_exception_before_anything_is_passed_on_and_lets_go_of_the_lock() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("observe", "after"):
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        roll_out(estate, settings(estate), trouble)
    assert (estate.lock, estate.open_record) == (None, None)


def test_end_that_could_not_be_written_is_an_unfinished_record() -> None:
    estate = Estate.of(2)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("close", "before"):
            raise world.StoreLost("the store is down")

    record = roll_out(estate, settings(estate), trouble)
    assert (record.status, record.ended_at) == (state.HALTED, 0.0)
    assert estate.open_record is not None
    assert estate.open_record["ended_at"] == 0.0
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED


def test_rollback_refused_while_another_holds_the_lock_touches_nothing() -> None:
    estate = Estate.of(2)
    roll_out(estate, settings(estate))
    estate.lock = "somebody-else"
    with pytest.raises(PlanError, match="is locked"):
        engine(estate, settings(estate, ""))[0].roll_back()
    assert estate.lock == "somebody-else"
