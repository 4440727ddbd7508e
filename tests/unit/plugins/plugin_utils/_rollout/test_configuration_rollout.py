# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration rolls out like a release: alone or with one, through the same engine, record and way back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import rollout_simulation as simulation
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import report
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan_text import plan_text
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import changes_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from rollout_simulation import Estate, Host, Killed, roll_out


def estate() -> Estate:
    """Three hosts that run version 1 with the configuration a, while the inventory has b."""
    found = Estate.of()
    for name in found.hosts:
        found.hosts[name] = Host("1@aaaaaaaaaaaa", "1@aaaaaaaaaaaa", None, {"1@aaaaaaaaaaaa"})
    found.wanted, found.changes = "bbbbbbbbbbbb", "DATABASE_URL, new LOG_LEVEL"
    return found


def configuration(found: Estate, **more: Any) -> Settings:
    return simulation.settings(found, "1", configuration_only=True, artifact="", checksum="", **more)


def everywhere(found: Estate) -> set[str | None]:
    assert all(found.in_service(host) for host in found.hosts)
    assert all(one.current == one.running for one in found.hosts.values())
    assert found.broken_promises == []
    return {one.current for one in found.hosts.values()}


def test_a_changed_configuration_comes_to_the_version_that_runs() -> None:
    found = estate()
    record = roll_out(found, configuration(found))
    assert (record.status, record.version, record.configuration_only) == (state.SUCCEEDED, "1", True)
    assert everywhere(found) == {"1@bbbbbbbbbbbb"}
    assert {(one.previous, one.target) for one in record.hosts.values()} == {("1@aaaaaaaaaaaa", "1@bbbbbbbbbbbb")}
    assert roll_out(found, configuration(found)).hosts == {}


def test_a_wrong_one_gets_no_traffic_goes_back_and_is_named_by_its_keys() -> None:
    found = estate()
    found.bad["1@bbbbbbbbbbbb"] = "never-ready"
    record = roll_out(found, configuration(found))
    assert record.status == state.REVERTED
    assert everywhere(found) == {"1@aaaaaaaaaaaa"}
    phases = [phase for one in record.hosts.values() for phase, _at in one.history]
    assert state.IN_SERVICE not in phases
    assert len([one for one in record.hosts.values() if one.phase == state.ROLLED_BACK]) == 1
    assert "settings    changed: DATABASE_URL, new LOG_LEVEL" in report.summary(record, 0.0)
    assert "settings    changed: DATABASE_URL, new LOG_LEVEL" in plan_text(record, configuration(found), {}, [])


def test_a_new_version_brings_the_configuration_and_takes_it_back() -> None:
    found = estate()
    assert roll_out(found, simulation.settings(found)).status == state.SUCCEEDED
    assert everywhere(found) == {"2@bbbbbbbbbbbb"}
    assert simulation.engine(found, simulation.settings(found, ""))[0].roll_back().status == state.SUCCEEDED
    assert everywhere(found) == {"1@aaaaaaaaaaaa"}


def test_a_rollback_takes_a_configuration_back() -> None:
    found = estate()
    roll_out(found, configuration(found))
    record = simulation.engine(found, simulation.settings(found, ""))[0].roll_back()
    assert (record.status, record.version) == (state.SUCCEEDED, "1")
    assert everywhere(found) == {"1@aaaaaaaaaaaa"}


def test_migrations_of_the_release_are_no_matter_of_its_configuration() -> None:
    found = estate()
    steps = {"expand": {"command": "bin/x", "reversible": True, "timeout": 9.0}}
    record = roll_out(found, configuration(found, migrations=steps))
    assert (record.status, record.migrations, found.migrated) == (state.SUCCEEDED, {}, [])


def after(operation: int) -> Callable[[int, str, str], None]:
    def die(number: int, _name: str, when: str) -> None:
        if (number, when) == (operation, "after"):
            raise Killed

    return die


@pytest.mark.parametrize("operation", range(40))
def test_a_run_that_is_killed_anywhere_is_resumed_or_reverted(operation: int) -> None:
    found = estate()
    try:
        roll_out(found, configuration(found), after(operation))
    except Killed:
        found.lock = None
    if operation % 2:
        assert roll_out(found, configuration(found)).status == state.SUCCEEDED
        assert everywhere(found) == {"1@bbbbbbbbbbbb"}
    elif found.open_record:
        simulation.engine(found, simulation.settings(found, ""))[0].roll_back()
        assert everywhere(found) == {"1@aaaaaaaaaaaa"}


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_unfinished_rollout_is_not_resumed_with_another_configuration(version: str) -> None:
    found = estate()
    asked = configuration(found) if version == "1" else simulation.settings(found)
    with pytest.raises(Killed):
        roll_out(found, asked, after(6))
    found.lock, found.wanted = None, "cccccccccccc"
    with pytest.raises(PlanError, match=r"is unfinished .* with the configuration that it began with for app-1"):
        roll_out(found, asked)
    found.wanted = "bbbbbbbbbbbb"
    assert roll_out(found, asked).status == state.SUCCEEDED


def test_a_rollout_of_a_version_is_not_one_of_a_configuration() -> None:
    found = estate()
    with pytest.raises(Killed):
        roll_out(found, configuration(found), after(6))
    found.lock = None
    with pytest.raises(PlanError, match="again with a changed configuration"):
        roll_out(found, simulation.settings(found))


def test_where_none_are_kept_versions_are_rolled_out_as_ever_and_configurations_are_refused() -> None:
    found = Estate.of()
    found.changes = "LOG_LEVEL"
    with pytest.raises(PlanError, match="app-1, app-2, app-3 keep no configurations yet"):
        roll_out(found, configuration(found))
    assert roll_out(found, simulation.settings(found)).status == state.SUCCEEDED
    assert everywhere(found) == {"2"}


def test_a_version_that_came_in_between_is_not_taken_back() -> None:
    found = estate()
    found.hosts["app-2"] = Host(
        "2@aaaaaaaaaaaa", "2@aaaaaaaaaaaa", "1@aaaaaaaaaaaa", {"1@aaaaaaaaaaaa", "2@aaaaaaaaaaaa"}
    )
    with pytest.raises(PlanError, match="app-2 does not have version 1 any more"):
        roll_out(found, configuration(found))
    assert found.hosts["app-2"].running == "2@aaaaaaaaaaaa"


def test_a_person_reads_versions_where_configurations_are_the_same() -> None:
    found = estate()
    found.wanted, found.changes = "aaaaaaaaaaaa", ""
    record = roll_out(found, simulation.settings(found))
    assert "app-1 1 -> 2\n" in plan_text(record, simulation.settings(found), {}, [])
    found.wanted, found.changes = "bbbbbbbbbbbb", "LOG_LEVEL"
    record = roll_out(found, simulation.settings(found, "3"))
    assert "2@aaaaaaaaaaaa -> 3@bbbbbbbbbbbb" in plan_text(record, simulation.settings(found), {}, [])
    assert "2@aaaaaaaaaaaa -> 3@bbbbbbbbbbbb" in report.summary(record, 0.0)


def test_a_record_has_digests_and_names_and_says_where_hosts_differ() -> None:
    found = estate()
    record = roll_out(found, configuration(found))
    record.hosts["app-3"].changes = "LOG_LEVEL"
    assert changes_of(record) == ["DATABASE_URL, new LOG_LEVEL on app-1, app-2", "LOG_LEVEL on app-3"]
    again = state.Record.from_dict(json.loads(json.dumps(record.to_dict())))
    assert again == record
