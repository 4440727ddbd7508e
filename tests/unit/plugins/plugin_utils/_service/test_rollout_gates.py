# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gates of a rollout: which it has where nothing is said, and what is refused, with which sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from refusals import refused

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
HTTP = {"type": "http", "url": "http://127.0.0.1:$port/version"}
PROMQL = {"type": "promql", "url": "http://prometheus:9090", "query": "new", "baseline": "old", "max_ratio": 1.5}


def test_default_gates() -> None:
    found = rollout_gates.check_gates({}, SERVICE)
    assert list(found) == ["ready", "running", "errors", "answers", "up"]
    assert found["ready"].probe["url"] == "http://127.0.0.1:3000/readyz"
    assert (found["ready"].stage, found["ready"].failure_limit, found["ready"].timeout) == ("ready", -1, 60)
    assert (found["running"].stage, found["running"].failure_limit) == ("ready", 0)
    assert (found["errors"].stage, found["errors"].on_inconclusive) == ("traffic", "continue")
    assert (found["errors"].on_bad_baseline, found["up"].probe["measure"]) == ("halt", "state")


def test_gate_of_the_same_name_changes_some_keys() -> None:
    found = rollout_gates.check_gates({"errors": {"count": 5}, "ready": {"timeout": 90}}, SERVICE)
    assert (found["errors"].count, found["errors"].on_inconclusive) == (5, "continue")
    assert found["errors"].probe == rollout_gates.default_gates(SERVICE)["errors"]["probe"]
    assert (found["ready"].timeout, found["ready"].failure_limit) == (90, -1)
    assert found["errors"].name == "errors"


def test_gate_of_the_same_name_replaces_the_whole_probe() -> None:
    found = rollout_gates.check_gates({"ready": {"probe": {"type": "tcp", "address": "127.0.0.1:$port"}}}, SERVICE)
    assert found["ready"].probe == {"type": "tcp", "address": "127.0.0.1:$port"}


def test_gates_are_taken_away_and_added() -> None:
    given_gates = {"running": {"enabled": False}, "version": {"stage": "ready", "probe": HTTP}}
    found = rollout_gates.check_gates(given_gates, SERVICE)
    assert list(found) == ["ready", "errors", "answers", "up", "version"]
    # What is taken away may be as wrong as it likes, but it still has to be a gate.
    assert "x" not in rollout_gates.check_gates({"x": {"enabled": False, "probe": {"type": "?"}}}, SERVICE)
    assert refused(rollout_gates.check_gates, {"x": {"enabled": False}}, SERVICE).startswith(
        "rollout_gates.x.probe is None;"
    )


def test_null_is_as_good_as_not_written() -> None:
    probe = {**HTTP, "timeout": None, "status": None}
    assert rollout_gates.check_gates({"version": {"probe": probe}}, SERVICE)["version"].probe == HTTP


def test_a_gate_that_cannot_see_the_new_version_alone_in_time_is_refused() -> None:
    def gates(window: str, **more: Any) -> dict[str, Any]:
        probe = {"type": "promql", "url": "http://p", "query": f"rate(a[{window}])", "max": 1}
        return {"slow": {"probe": probe, "interval": 10, "count": 3, "timeout": 120, **more}}

    assert rollout_gates.check_gates(gates("1m"), SERVICE)["slow"].timeout == 120
    assert rollout_gates.check_gates(gates("5m", stage="ready"), SERVICE), (
        "before there is traffic, it is about something else"
    )
    assert refused(rollout_gates.check_gates, gates("5m"), SERVICE) == (
        "rollout_gates.slow.timeout is 120, but its query looks back 300 s, which must not reach to the version "
        "before, so it cannot pass before 320 s; make the timeout longer, or the window shorter."
    )


def test_checking_gates_changes_neither_them_nor_the_defaults() -> None:
    given_gates = {"errors": {"timeout": 70}}
    rollout_gates.check_gates(given_gates, SERVICE)
    assert given_gates == {"errors": {"timeout": 70}}
    assert (
        rollout_gates.check_gates({}, SERVICE)["errors"].timeout
        == rollout_gates.default_gates(SERVICE)["errors"]["timeout"]
        != 70
    )


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        (["ready"], "rollout_gates is ['ready'], which is no mapping of gate names to gates; write it as one."),
        (
            {"Bad Name": {}},
            "rollout_gates.Bad Name: the name must have lower-case letters, digits, '_' and '-', and beg",
        ),
        ({5: {}}, "rollout_gates.5: the name must have lower-case letters"),
        ({"x": "http"}, "rollout_gates.x is 'http', which is no mapping; give it at least a probe."),
        ({"x": None}, "rollout_gates.x is None, which is no mapping; give it at least a probe."),
        ({"x": {}}, "rollout_gates.x.probe is None; give a mapping with a type"),
        ({"x": {"probe": HTTP, "interval": 0}}, "rollout_gates.x.interval is 0; give a number of seconds"),
        ({"errors": {"timeout": 1}}, "rollout_gates.errors.timeout is 1, but a gate with initial_delay "),
        ({"x": {"probe": {"type": "icmp"}}}, "rollout_gates.x.probe.type is 'icmp'; give one of http,"),
        ({"x": {"probe": {**HTTP, "status": "ok"}}}, "rollout_gates.x.probe.status is 'ok'; give a status"),
        # What could only be found in the middle of the rollout is found before it.
        (
            {"x": {"probe": {"type": "http", "url": "http://$hsot/"}}},
            "rollout_gates.x.probe.url is 'http://$hsot/': $hsot is no known name; known are $address, $baseline, $h",
        ),
        (
            {"x": {"probe": {**PROMQL, "query": 'a{b=~"c$"}'}}},
            "rollout_gates.x.probe.query is 'a{b=~\"c$\"}': a dollar",
        ),
        (
            {"x": {"probe": {"type": "tcp", "address": "$host:http"}}},
            "rollout_gates.x.probe.address is 'localhost:http';",
        ),
        (
            {"x": {"probe": {"type": "haproxy", "measure": "errors", "max_ratio": 2}}},
            "rollout_gates.x.probe: max_ratio is 2; as a share of bad requests it must be at least 0 and below 1.",
        ),
        (
            {"x": {"probe": {"type": "haproxy", "measure": "errors", "alpha": 0.9}}},
            "rollout_gates.x.probe: alpha is 0.9; it must be above 0 and at most 0.5, 0.01 is usual.",
        ),
        (
            {"x": {"probe": {"type": "haproxy", "measure": "latency", "percentile": 100}}},
            "rollout_gates.x.probe: percentile is 100; it must be between 0 and 100.",
        ),
        (
            {"x": {"probe": {**PROMQL, "range": 60, "max_ratio": 0.5}}},
            "rollout_gates.x.probe: max_ratio is 0.5; as a multiple of the baseline's latency it must be at least 1.",
        ),
        (
            {"x": {"probe": {**PROMQL, "range": 60, "min_samples": 0.5}}},
            "rollout_gates.x.probe: min_samples is 0.5; it must be a whole number of requests, at least 1.",
        ),
    ],
)
def test_gates_that_are_refused(gates: Any, sentence: str) -> None:
    assert refused(rollout_gates.check_gates, gates, SERVICE).startswith(sentence)
