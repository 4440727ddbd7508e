# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a service are refused among a host's variables, and taken from the command line."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.lookup import misplaced_settings as lookup
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies

HOST = {"inventory_hostname": "app-1", "rollout_service": "catalog", "rollout_store": {}, "rollout_exclude": []}


def found(of_this_run: dict[str, Any], *services: str, **variables: Any) -> list[str]:
    return lookup.misplaced({**HOST, **variables}, of_this_run, services)


def test_what_is_about_one_run_or_the_whole_estate_is_no_setting_of_a_service() -> None:
    assert found({}, "catalog") == []


@pytest.mark.parametrize("key", policies.POLICY)
def test_a_setting_of_a_host_is_refused_with_the_place_where_it_belongs(key: str) -> None:
    assert found({}, "catalog", **{f"rollout_{key}": None}) == [
        f"rollout_{key} is a variable of app-1, where it would hold for every service; move it to "
        f"app_services.catalog.rollout.{key}, or give it with -e for one run."
    ]
    assert found({f"rollout_{key}": 1}, "catalog", **{f"rollout_{key}": 1}) == []


def test_each_of_them_is_named_and_each_service_that_it_could_be_of() -> None:
    first, second = found({"rollout_gates": {}}, "catalog", "pricing", rollout_weights=[100], rollout_batches=[1])
    assert first.startswith("rollout_batches is a variable of app-1")
    assert "app_services.catalog.rollout.weights or app_services.pricing.rollout.weights" in second
    (unnamed,) = found({}, rollout_weights=[100])
    assert "move it to app_services.<service>.rollout.weights, or" in unnamed


def test_the_command_line_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "load_extra_vars", lambda loader: {"rollout_weights": loader})
    taken = lookup.LookupModule("loader", None).run(["catalog"], {"rollout_weights": [100], "rollout_batches": [1]})
    assert len(taken) == 1
    assert taken[0].startswith("rollout_batches is a variable of the host")
