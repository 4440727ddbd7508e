# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe of a gate with the names of a rollout in it."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.gate_probe import fill_probe
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service

from _rollout.test_plan import SERVICE, settings


def test_default_gates_follow_the_service() -> None:
    service = Service("catalog", 8080, "c.service", "bin/x", "c", readiness_path="/r?$a", ready_timeout=5)
    found = rollout_gates.check_gates({}, service)
    filled = fill_probe(found["ready"], settings(service=service), "1", "app-1", hosts=["app-1"], baseline=[])
    assert filled["url"] == "http://127.0.0.1:8080/r?$a"
    assert found["ready"].timeout == 5
    assert found["running"].probe["unit"] == "c.service"


def test_names_that_are_known_before_a_rollout_are_those_that_are_filled_in() -> None:
    names = rollout_gates.example_names(SERVICE)
    probe = {"type": "http", "url": "http://127.0.0.1/", "headers": {name: f"${name}" for name in names}}
    spec = rollout_gates.check_gates({"x": {"probe": probe}}, SERVICE)["x"]
    wanted = settings(addresses={"app-1": "10.0.0.1"})
    filled = fill_probe(spec, wanted, "1.4.0", "app-1", hosts=["app-1", "app-2"], baseline=["app-3", "app-4"])
    assert filled["headers"] == {
        "service": "catalog",
        "version": "1.4.0",
        "port": "3000",
        "host": "app-1",
        "address": "10.0.0.1",
        "hosts": "app-1|app-2",
        "baseline": "app-3|app-4",
    }
