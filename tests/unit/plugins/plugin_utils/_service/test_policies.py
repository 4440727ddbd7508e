# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service is rolled out: what is refused, with which sentence, and what holds where nothing is said."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from refusals import refused

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")


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
    assert policies.check_drain({"deadline": value}, "drain").deadline == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "soon", "-5s", "5 s", True, None, "5m30s", "1e3"])
def test_times_that_are_refused(value: Any) -> None:
    expected = f"drain.deadline is {value!r}; give a time such as 30s or 5m."
    assert refused(policies.check_drain, {"deadline": value}, "drain") == expected


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
            "m.expand.command is None; give one line of at most 4096 characters that begins with a plain path in",
        ),
        (
            {"expand": {"command": "/bin/sh"}},
            "m.expand.command is '/bin/sh'; give one line of at most 4096 char",
        ),
        (
            {"expand": {"command": "../x"}},
            "m.expand.command is '../x'; give one line of at most 4096 characters that begins with a",
        ),
        (
            {"expand": {"command": "bin/x\ny"}},
            "m.expand.command is 'bin/x\\ny'; give one line of at most 4096 char",
        ),
        (
            {"expand": {"command": "bin/x", "reversible": "yes"}},
            "m.expand.reversible is 'yes'; give true or false.",
        ),
        ({"expand": {"command": "bin/x", "timeout": 0}}, "m.expand.timeout is 0; give a number from 1 to 86400."),
    ],
)
def test_migrations_that_are_refused(value: Any, sentence: str) -> None:
    assert refused(policies.check_migrations, value, "m").startswith(sentence)
