# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that runs a rollout: what it shows, what it returns, and when it fails. The estate is the simulated one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.action import rollout
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import setup, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from rollout_simulation import Estate, Killed, World, roll_out, settings

IRREVERSIBLE = {"expand": {"command": "bin/migrate", "reversible": False, "timeout": 60.0}}


class Outside(World):
    """The simulated world with what only the action asks of the real one."""

    def __init__(
        self, estate: Estate, wanted: Settings, trouble: Callable[[int, str, str], None] | None = None
    ) -> None:
        super().__init__(estate, wanted, trouble)
        self.fleet = SimpleNamespace(end=lambda: None)
        self.store = SimpleNamespace(read=self._read)

    def _read(self) -> Mapping[str, Any]:
        found = {"open_record": self.estate.open_record, "history": self.estate.history, "lock": None}
        return copy.deepcopy(found)

    def prepare(self, targets: Mapping[str, str], check: bool = False) -> dict[str, world.Prepared]:
        return {host: world.Prepared() for host in targets} if check else super().prepare(targets)


class Task:
    """The task, with what it has shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.shown: list[str] = []
        self.details: list[str] = []
        monkeypatch.setattr(ActionBase, "run", lambda *_args: {})
        display = SimpleNamespace(
            display=lambda text, **_: self.shown.append(text), vvv=self.details.append, warning=self.shown.append
        )
        monkeypatch.setattr(rollout, "DISPLAY", display)

    def run(
        self,
        estate: Estate,
        version: str,
        *,
        check: bool = False,
        trouble: Callable[[int, str, str], None] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Run it; no version asks for a rollback."""
        outside = Outside(estate, replace(settings(estate, version), **changes), trouble)
        self.monkeypatch.setattr(setup, "build", lambda *_args, **_rest: outside)
        action = rollout.ActionModule.__new__(rollout.ActionModule)
        args = {"state": "released" if version else "reverted", "app": {"name": "catalog"}, "version": version}
        action._task = SimpleNamespace(args=args, check_mode=check)
        found: dict[str, Any] = action.run(None, {})
        return found


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    return Task(monkeypatch)


def frozen() -> Estate:
    """3 was frozen by a migration."""
    estate = Estate.of(3)
    roll_out(estate, settings(estate))
    estate.bad["3"] = "errors"
    assert roll_out(estate, settings(estate, "3", migrations=IRREVERSIBLE)).status == state.FROZEN
    return estate


def test_check_mode_shows_the_plan_and_changes_nothing(task: Task) -> None:
    estate = Estate.of(3)
    before = copy.deepcopy(estate)
    found = task.run(estate, "2", check=True)
    assert found["changed"]
    assert found["rollout"]["status"] == "planned"
    assert found["diff"]["before"] == {"app-1": "1", "app-2": "1", "app-3": "1"}
    assert found["diff"]["after"] == {"app-1": "2", "app-2": "2", "app-3": "2"}
    assert task.shown[0].startswith("Plan: rollout of catalog to 2, 3 hosts, 3 batches")
    assert (estate.hosts, estate.balancers, estate.open_record) == (before.hosts, before.balancers, None)


def test_check_mode_of_a_corrected_version_is_about_that_version(task: Task) -> None:
    estate = frozen()
    found = task.run(estate, "4", check=True)
    assert set(found["diff"]["after"].values()) == {"4"}
    assert "of 3, which is frozen by expand" in task.shown[0]
    assert estate.open_record is not None


@pytest.mark.parametrize("check", [True, False])
def test_refusals_are_the_same_in_check_mode(task: Task, check: bool) -> None:
    found = task.run(frozen(), "", check=check)
    assert found["failed"]
    assert not found["changed"]
    assert found["msg"].startswith("Refused, nothing was changed: The migration expand of catalog 3 cannot be undone")


def test_check_mode_of_a_rollback_of_an_unfinished_rollout_shows_the_way_back(task: Task) -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("enter 100", "after"):
            raise Killed

    with pytest.raises(Killed):
        roll_out(estate, settings(estate), trouble)
    estate.lock = None
    found = task.run(estate, "", check=True)
    assert (found["diff"]["before"], found["diff"]["after"]) == ({"app-1": "2"}, {"app-1": "1"})
    assert "would go back" in task.shown[0]
    assert task.shown[0].startswith("Plan: rollout of catalog to 2 goes back on 1 of 3 hosts, newest first")
    assert "  batch 1: app-1 2 -> 1" in task.shown[0].splitlines()


def test_done_rollout_succeeds(task: Task) -> None:
    found = task.run(Estate.of(3), "2")
    assert "failed" not in found
    assert found["changed"]
    assert found["rollout"]["kept_out"] == {}
    assert found["rollout"]["status"] == state.SUCCEEDED


def test_rollout_that_went_back_fails_with_its_reason(task: Task) -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    found = task.run(estate, "2")
    assert found["failed"]
    assert "rolled back: gate errors failed" in found["msg"]


@pytest.mark.parametrize("again", [False, True])
def test_host_that_somebody_else_keeps_out_is_no_success(task: Task, again: bool) -> None:
    """Exit code 0 means that every host takes its whole share of traffic."""
    estate = Estate.of(3)
    for found in estate.balancers.values():
        found["app-2"].admin = "drain"
    result = task.run(estate, "2")
    if again:
        task.shown.clear()
        result = task.run(estate, "2")
    assert result["failed"]
    assert result["rollout"]["status"] == state.SUCCEEDED
    assert result["rollout"]["kept_out"] == {"lb-1": ["app-2"], "lb-2": ["app-2"]}
    assert "is done and there is nothing to revert" in result["msg"]
    assert "somebody else keeps out app-2 at lb-1 and lb-2" in result["msg"]
    summary = task.shown[-1]
    assert "DONE, BUT NOT ALL IN TRAFFIC: rollout of catalog to 2" in summary
    assert "kept out    app-2 at lb-1 and lb-2, by somebody else" in summary


def test_exception_in_the_middle_is_never_called_a_refusal(task: Task) -> None:
    seen: list[str] = []

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("activate", "after") and not seen:
            seen.append(name)
            raise ValueError("'raw' is not a valid Phase")

    found = task.run(Estate.of(3), "2", trouble=trouble)
    assert found["failed"]
    assert found["changed"]
    assert "halted: an error that nobody expected, ValueError: 'raw' is not a valid Phase" in found["msg"]
    assert "Refused" not in found["msg"]
    assert not any("Traceback" in text for text in task.shown)
    assert any("Traceback" in text for text in task.details)


@pytest.mark.parametrize("error", [ValueError("boom"), world.LockLost("somebody else has it"), PlanError("no")])
def test_exception_before_anything_is_one(task: Task, error: Exception) -> None:
    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("observe", "after"):
            raise error

    found = task.run(Estate.of(3), "2", trouble=trouble)
    assert found["failed"]
    assert not found["changed"]
    assert found["msg"].startswith("Refused, nothing was changed: ")
    assert str(error) in found["msg"]
