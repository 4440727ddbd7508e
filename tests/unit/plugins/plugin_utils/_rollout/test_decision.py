# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode says is what the run does: both ask the same function, and this compares them where it matters."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan_text import decision_lines
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rollout_simulation import Estate, Killed, engine, roll_out, settings

IRREVERSIBLE = {"expand": {"command": "bin/migrate", "reversible": False, "timeout": 60.0}}


def planned(estate: Estate, wanted: Settings, kind: str) -> Decision | str:
    """What check mode says, or its refusal; it changes nothing."""
    untouched = copy.deepcopy(estate)
    driver, _outside = engine(untouched, wanted)
    opened = world.StoreView(copy.deepcopy(untouched.open_record), copy.deepcopy(untouched.history))
    try:
        return driver.plan(opened, kind)
    except PlanError as why:
        return str(why)


def carried_out(estate: Estate, wanted: Settings, kind: str) -> tuple[Record | str, Record | None]:
    """The record as it was after the first step of the run, or its refusal; and how the run ended."""
    first: list[Record] = []
    driver, outside = engine(estate, wanted)
    tell = outside.tell

    def watched(text: str, hosts: Any = ()) -> None:
        tell(text, hosts)
        if (
            driver.run
            and not first
            and (" begins, by " in text or " is resumed, run " in text or "in service already" in text)
        ):
            first.append(copy.deepcopy(driver.run.record))

    outside.tell = watched  # type: ignore[method-assign]
    try:
        record = driver.roll_back() if kind == "rollback" else driver.roll_out()
    except PlanError as why:
        return str(why), None
    return first[0], record


def essence(record: Record) -> dict[str, Any]:
    """All that a decision is about: not when it was made, nor what was noted since."""
    kept = record.to_dict()
    return {
        key: value for key, value in kept.items() if key not in ("id", "started_at", "ended_at", "events", "status")
    }


def compare(estate: Estate, wanted: Settings, kind: str) -> Record | None:
    """Plan and run agree; how the run ended."""
    plan = planned(estate, wanted, kind)
    began, ended = carried_out(estate, wanted, kind)
    if isinstance(plan, str) or isinstance(began, str):
        assert plan == began
        return None
    assert essence(plan.record) == essence(began)
    return ended


def made(what: str) -> Estate:
    """An estate with a history of one kind."""
    estate = Estate.of(3)
    if what == "nothing":
        return estate
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED
    if what == "frozen":
        estate.bad["3"] = "errors"
        roll_out(estate, settings(estate, "3", migrations=IRREVERSIBLE))
    elif what == "unfinished":
        with pytest.raises(Killed):
            roll_out(estate, settings(estate, "3"), killed_after(12))
    elif what == "reverted":
        estate.bad["3"] = "errors"
        roll_out(estate, settings(estate, "3"))
    elif what == "rollback unfinished":
        killing, _outside = engine(estate, settings(estate, ""), killed_after(9))
        with pytest.raises(Killed):
            killing.roll_back()
    estate.lock = None
    return estate


def killed_after(operation: int) -> Any:
    def trouble(number: int, _name: str, moment: str) -> None:
        if (number, moment) == (operation, "after"):
            raise Killed

    return trouble


@pytest.mark.parametrize("kind", ["rollout", "rollback"])
@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("what", ["nothing", "done", "frozen", "unfinished", "reverted", "rollback unfinished"])
def test_plan_is_what_the_run_does(what: str, version: str, kind: str) -> None:
    estate = made(what)
    compare(estate, settings(estate, version if kind == "rollout" else ""), kind)


def test_plan_for_the_corrected_version_of_a_frozen_rollout_is_about_the_corrected_one() -> None:
    estate = made("frozen")
    decision = planned(estate, settings(estate, "4"), "rollout")
    assert isinstance(decision, Decision)
    assert {one.target for one in decision.record.hosts.values()} == {"4"}
    assert decision.superseded is not None
    (line,) = decision_lines(decision)
    assert line.startswith("supersedes  catalog-")
    assert line.endswith("of 3, which is frozen by expand")


def test_plan_of_a_rollback_over_an_irreversible_migration_is_its_refusal() -> None:
    estate = made("frozen")
    refusal = planned(estate, settings(estate, ""), "rollback")
    assert isinstance(refusal, str)
    assert "expand of catalog 3 cannot be undone" in refusal


def test_plan_that_resumes_says_which_way_it_goes_and_what_is_otherwise_now() -> None:
    estate = made("unfinished")
    wanted = replace(settings(estate, "3"), hosts=("app-1", "app-3"), excluded=("app-2",))
    decision = planned(estate, wanted, "rollout")
    assert isinstance(decision, Decision)
    lines = decision_lines(decision)
    assert lines[0].startswith("unfinished  catalog-")
    assert lines[0].endswith("is running and would be resumed")
    assert lines[1].startswith("changed     app-2 is excluded now; it stays as it is (")
    decision = planned(estate, settings(estate, ""), "rollback")
    assert isinstance(decision, Decision)
    assert decision_lines(decision)[0].endswith("is running and would go back")


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.data())
def test_plan_is_what_the_run_does_whatever_happened_before(data: st.DataObject) -> None:
    """Random rollouts, rollbacks, kills, faults, exclusions and hands at the load balancers, each planned and run."""
    estate = Estate.of(data.draw(st.integers(2, 4), label="hosts"))
    names = sorted(estate.hosts)
    for version in "234":
        fault = data.draw(st.sampled_from(["", "", "errors", "never-ready", "expand-fails"]), label=version)
        if fault:
            estate.bad[version] = fault
    for _command in range(data.draw(st.integers(1, 5), label="commands")):
        kind = data.draw(st.sampled_from(["rollout", "rollout", "rollback"]), label="kind")
        version = data.draw(st.sampled_from("1234"), label="version") if kind == "rollout" else ""
        hand = data.draw(st.sampled_from([*names, ""]), label="hand")
        if hand:
            server = estate.balancers["lb-1"][hand]
            server.admin = data.draw(st.sampled_from(["ready", "drain", "maint"]), label="admin")
        out = data.draw(st.sampled_from([*names, "", ""]), label="excluded")
        wanted = settings(
            estate, version, migrations=data.draw(st.sampled_from([{}, IRREVERSIBLE]), label="migrations")
        )
        wanted = replace(wanted, hosts=tuple(one for one in names if one != out), excluded=(out,) if out else ())
        plan = planned(estate, wanted, kind)
        operation = data.draw(st.one_of(st.none(), st.integers(2, 25)), label="killed after")
        outside = engine(estate, wanted, killed_after(operation) if operation is not None else None)
        try:
            compare_with(plan, *outside, kind=kind)
        finally:
            estate.lock = None


def compare_with(plan: Decision | str, driver: Any, outside: Any, *, kind: str) -> None:
    """Run it, possibly until it is killed, and compare its beginning with the plan."""
    before = itertools.count()
    tell = outside.tell

    def watched(text: str, hosts: Any = ()) -> None:
        tell(text, hosts)
        if next(before) == 0:
            assert isinstance(plan, Decision)
            assert essence(plan.record) == essence(driver.run.record)

    outside.tell = watched
    refusal = ""
    try:
        (driver.roll_back if kind == "rollback" else driver.roll_out)()
    except PlanError as why:
        refusal = str(why)
    except Killed:
        pass
    assert not refusal or plan == refusal
    assert not driver.defect, driver.defect
