# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service is rolled out: what is refused, with which sentence, and what holds where nothing is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import PlanError, Service

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
HTTP = {"type": "http", "url": "http://127.0.0.1:$port/version"}
PROMQL = {"type": "promql", "url": "http://prometheus:9090", "query": "new", "baseline": "old", "max_ratio": 1.5}


def refused(check: Callable[..., Any], *arguments: Any) -> str:
    """The sentence with which something is refused."""
    with pytest.raises(PlanError) as why:
        check(*arguments)
    text = str(why.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("value", "least", "share"),
    [(1, 1, 1), ("2", 1, 2), ("25%", 1, "25%"), (" 100% ", 1, "100%"), (0, 0, 0), ("0%", 0, "0%"), (999999, 1, 999999)],
)
def test_shares(value: Any, least: int, share: policies.Share) -> None:
    assert policies.check_share(value, "rollout_batches", least) == share


@pytest.mark.parametrize(
    ("value", "least"),
    [
        (0, 1),
        ("0%", 1),
        ("101%", 0),
        (-1, 0),
        ("-5%", 0),
        (1.5, 1),
        (True, 1),
        (None, 0),
        ("%", 0),
        ("half", 1),
        ([], 1),
    ],
)
def test_shares_that_are_refused(value: Any, least: int) -> None:
    expected = f"rollout_batches is {value!r}; give a whole number from {least}, or a percentage such as 25%."
    assert refused(policies.check_share, value, "rollout_batches", least) == expected


@pytest.mark.parametrize("value", [1, 3600, "60", 1.5])
def test_numbers(value: Any) -> None:
    assert policies.check_number(value, "x", 1, 3600) == float(value)


@pytest.mark.parametrize("value", [0.9, 3601, "a", None, True, [], math.nan, math.inf, "nan", "5m"])
def test_numbers_that_are_refused(value: Any) -> None:
    assert refused(policies.check_number, value, "x", 1, 3600) == f"x is {value!r}; give a number from 1 to 3600."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30s", 30), ("5m", 300), ("1.5h", 5400), ("250ms", 0.25), ("500us", 0.0005), ("2d", 172800), (45, 45), ("0", 0)],
)
def test_times(value: Any, seconds: float) -> None:
    assert policies.seconds(value, "drain.deadline") == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "soon", "-5s", "5 s", True, None, "5m30s", "1e3"])
def test_times_that_are_refused(value: Any) -> None:
    expected = f"drain.deadline is {value!r}; give a time such as 30s or 5m."
    assert refused(policies.seconds, value, "drain.deadline") == expected


@pytest.mark.parametrize(("value", "weights"), [([10, 100], (10, 100)), ((100,), (100,)), (100, (100,))])
def test_weights(value: Any, weights: tuple[int, ...]) -> None:
    assert policies.check_weights(value) == weights


@pytest.mark.parametrize(
    "value",
    [[], [10], [100, 10], [10, 10, 100], [0, 100], [10, 101], ["10", 100], [10.5, 100], [True, 100], "all", None],
)
def test_weights_that_are_refused(value: Any) -> None:
    assert refused(policies.check_weights, value) == (
        f"rollout_weights is {value!r}; give rising whole percentages from 1 that end in 100, such as [10, 100]."
    )


def test_weights_may_come_from_the_command_line() -> None:
    assert policies.check_weights("25, 100") == (25, 100)


# -------------------------------------------------------------------------------------------------- with the service

EVERYTHING: dict[str, Any] = {
    "batches": [2, "50%"],
    "min_available": 1,
    "weights": [5, 100],
    "min_healthy_time": 60,
    "drain": {"deadline": "5m", "on_timeout": "kill", "condemned": "20s"},
    "gates": {"errors": {"enabled": False}},
    "prove_stop": True,
    "migrations": {"expand": {"command": "bin/migrate"}},
    "pause_timeout": 60,
    "backends": ["catalog-api", "catalog-web"],
}


def test_a_service_says_how_it_is_rolled_out() -> None:
    assert set(EVERYTHING) == set(policies.POLICY)
    found = policies.check_policy(EVERYTHING, {}, SERVICE)
    assert set(found.pop("gates")) == {"ready", "running", "answers", "up"}
    assert found.pop("migrations")["expand"]["command"] == "bin/migrate"
    assert found == {
        "batches": (2, "50%"),
        "min_available": 1,
        "weights": (5, 100),
        "min_healthy_time": 60,
        "drain_deadline": 300,
        "condemned_deadline": 20,
        "drain_on_timeout": "kill",
        "prove_stop": True,
        "pause_timeout": 60,
        "backends": ("catalog-api", "catalog-web"),
    }


def test_one_run_may_differ_and_what_it_says_takes_the_whole_place() -> None:
    given = {
        "drain": {"deadline": "5m", "on_timeout": "kill"},
        "min_healthy_time": 60,
        "gates": {"running": {"count": 2}},
    }
    overrides = {
        "drain": {"deadline": "9s"},
        "gates": {"errors": {"enabled": False}},
        "weights": "100",
        "batches": None,
    }
    found = policies.check_policy(given, overrides, SERVICE)
    assert (found["drain_deadline"], found["drain_on_timeout"], found["min_healthy_time"]) == (9, "fail", 60)
    assert (found["weights"], found["backends"]) == ((100,), ("catalog",))
    assert set(found["gates"]) == {"ready", "running", "answers", "up"}
    assert found["gates"]["running"].count == 1
    assert refused(policies.check_policy, {"weights": [7]}, {}, SERVICE).startswith(
        "app_services.catalog.rollout.weights is [7];"
    )
    assert refused(policies.check_policy, {"weights": [7]}, {"weights": "8"}, SERVICE).startswith(
        "rollout_weights is '8';"
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"min_healty_time": 5}, "app_services.catalog.rollout has unknown keys min_healty_time; known are batches,"),
        ({"batches": []}, "app_services.catalog.rollout.batches is empty; give at least one size"),
        ({"min_available": "half"}, "app_services.catalog.rollout.min_available is 'half'; give a whole number"),
        ({"drain": {"deadline": "soon"}}, "app_services.catalog.rollout.drain.deadline is 'soon'; give a time such as"),
        ({"drain": {"on_timeout": "hope"}}, "app_services.catalog.rollout.drain.on_timeout is 'hope'; give one of"),
        ({"drain": {"dead_line": 5}}, "app_services.catalog.rollout.drain has the unknown keys dead_line; known are"),
        ({"drain": "5m"}, "app_services.catalog.rollout.drain is '5m'; give a mapping such as {deadline: 60s,"),
        ({"gates": {"x": {}}}, "app_services.catalog.rollout.gates.x.probe is None; give a mapping"),
        ({"gates": []}, "app_services.catalog.rollout.gates is [], which is no mapping of gate names"),
        ({"prove_stop": "perhaps"}, "app_services.catalog.rollout.prove_stop is 'perhaps'; give true or false."),
        ({"migrations": {"x": {}}}, "app_services.catalog.rollout.migrations has the unknown step 'x'"),
        ({"pause_timeout": 0}, "app_services.catalog.rollout.pause_timeout is 0; give a number from 1"),
        ({"backends": []}, "app_services.catalog.rollout.backends is []; give a list of names."),
        ({"backends": [7]}, "app_services.catalog.rollout.backends is [7]; give a list of names."),
    ],
)
def test_mistakes_name_the_place_in_the_service(given: Any, sentence: str) -> None:
    (text,) = policies.policy_errors(given, SERVICE)
    assert text.startswith(sentence)
    assert text.endswith(".")
    if not sentence.startswith("app_services.catalog.rollout has"):
        assert refused(policies.check_policy, given, {}, SERVICE) == text


def test_every_mistake_of_a_service_is_named() -> None:
    assert len(policies.policy_errors({"weights": 3, "batches": [], "x": 1, "gates": None}, SERVICE)) == 3


def test_migrations() -> None:
    assert policies.check_migrations({}, "m") == {}
    given_steps = {"contract": {"command": " bin/x --all "}, "expand": {"command": "bin/y", "timeout": 5}}
    assert policies.check_migrations(given_steps, "m") == {
        "contract": {"command": "bin/x --all", "reversible": False, "timeout": 300.0},
        "expand": {"command": "bin/y", "reversible": True, "timeout": 5.0},
    }
    whole = {"command": "bin/x", "reversible": False, "timeout": 60.0}
    assert policies.check_migrations({"expand": whole}, "m") == {"expand": whole}
    turned = {"contract": {"command": "bin/x", "reversible": True}, "expand": {"command": "bin/y", "reversible": False}}
    found = policies.check_migrations(turned, "m")
    assert {name: step["reversible"] for name, step in found.items()} == {"contract": True, "expand": False}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (["expand"], "m is ['expand']; give a mapping with expand and contract."),
        ({"before": {}}, "m has the unknown step 'before'; a release may carry expand and contract."),
        ({"expand": "bin/x"}, "m.expand is 'bin/x'; give a mapping with command, reversible and timeout."),
        ({"expand": None}, "m.expand is None; give a mapping with command, reversible and timeout."),
        (
            {"expand": {"command": "bin/x", "user": "root"}},
            "m.expand is {'command': 'bin/x', 'user': 'root'}; give a mapping with command, reversible and timeout.",
        ),
        (
            {"expand": {}},
            "m.expand.command is None; give one line that begins with a path in the release, such as bin/migrate.",
        ),
        ({"expand": {"command": "/bin/sh"}}, "m.expand.command is '/bin/sh'; give one line that begins with a path in"),
        ({"expand": {"command": "../x"}}, "m.expand.command is '../x'; give one line that begins with a path in the"),
        ({"expand": {"command": "bin/x\ny"}}, "m.expand.command is 'bin/x\\ny'; give one line that begins with a path"),
        (
            {"expand": {"command": "bin/x", "reversible": "yes"}},
            "m.expand.reversible is 'yes'; give true or false.",
        ),
        ({"expand": {"command": "bin/x", "timeout": 0}}, "m.expand.timeout is 0; give a number from 1 to 86400."),
    ],
)
def test_migrations_that_are_refused(value: Any, sentence: str) -> None:
    assert refused(policies.check_migrations, value, "m").startswith(sentence)


# --------------------------------------------------------------------------------------------------------------- gates


def test_default_gates() -> None:
    found = policies.check_gates({}, SERVICE)
    assert list(found) == ["ready", "running", "errors", "answers", "up"]
    assert found["ready"].probe["url"] == "http://127.0.0.1:3000/readyz"
    assert (found["ready"].stage, found["ready"].failure_limit, found["ready"].timeout) == ("ready", -1, 60)
    assert (found["running"].stage, found["running"].failure_limit) == ("ready", 0)
    assert (found["errors"].stage, found["errors"].on_inconclusive) == ("traffic", "continue")
    assert (found["errors"].on_bad_baseline, found["up"].probe["measure"]) == ("halt", "state")


def test_gate_of_the_same_name_changes_some_keys() -> None:
    found = policies.check_gates({"errors": {"count": 5}, "ready": {"timeout": 90}}, SERVICE)
    assert (found["errors"].count, found["errors"].on_inconclusive) == (5, "continue")
    assert found["errors"].probe == policies.default_gates(SERVICE)["errors"]["probe"]
    assert (found["ready"].timeout, found["ready"].failure_limit) == (90, -1)
    assert found["errors"].name == "errors"


def test_gate_of_the_same_name_replaces_the_whole_probe() -> None:
    found = policies.check_gates({"ready": {"probe": {"type": "tcp", "address": "127.0.0.1:$port"}}}, SERVICE)
    assert found["ready"].probe == {"type": "tcp", "address": "127.0.0.1:$port"}


def test_gates_are_taken_away_and_added() -> None:
    given_gates = {"running": {"enabled": False}, "version": {"stage": "ready", "probe": HTTP}}
    found = policies.check_gates(given_gates, SERVICE)
    assert list(found) == ["ready", "errors", "answers", "up", "version"]
    # What is taken away may be as wrong as it likes, but it still has to be a gate.
    assert "x" not in policies.check_gates({"x": {"enabled": False, "probe": {"type": "?"}}}, SERVICE)
    assert refused(policies.check_gates, {"x": {"enabled": False}}, SERVICE).startswith(
        "rollout_gates.x.probe is None;"
    )


def test_null_is_as_good_as_not_written() -> None:
    probe = {**HTTP, "timeout": None, "status": None}
    assert policies.check_gates({"version": {"probe": probe}}, SERVICE)["version"].probe == HTTP


def test_a_gate_that_cannot_see_the_new_version_alone_in_time_is_refused() -> None:
    def gates(window: str, **more: Any) -> dict[str, Any]:
        probe = {"type": "promql", "url": "http://p", "query": f"rate(a[{window}])", "max": 1}
        return {"slow": {"probe": probe, "interval": 10, "count": 3, "timeout": 120, **more}}

    assert policies.check_gates(gates("1m"), SERVICE)["slow"].timeout == 120
    assert policies.check_gates(gates("5m", stage="ready"), SERVICE), (
        "before there is traffic, it is about something else"
    )
    assert refused(policies.check_gates, gates("5m"), SERVICE) == (
        "rollout_gates.slow.timeout is 120, but its query looks back 300 s, which must not reach to the version "
        "before, so it cannot pass before 320 s; make the timeout longer, or the window shorter."
    )


def test_checking_gates_changes_neither_them_nor_the_defaults() -> None:
    given_gates = {"errors": {"timeout": 70}}
    policies.check_gates(given_gates, SERVICE)
    assert given_gates == {"errors": {"timeout": 70}}
    assert (
        policies.check_gates({}, SERVICE)["errors"].timeout
        == policies.default_gates(SERVICE)["errors"]["timeout"]
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
    assert refused(policies.check_gates, gates, SERVICE).startswith(sentence)


# ------------------------------------------------------------------------------------------------------------- batches


def test_environment_file() -> None:
    assert SERVICE.environment_file == "/etc/default/catalog"
