# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert says what a person needs, and has a case in tests/rules that fires and one that does not.

The cases are run by promtool in the scenario `telemetry`, on the Prometheus of the hosts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "roles/prometheus/files/rules").glob("*.yml")), *sorted((ROOT / "demo/rules").glob("*.yml"))]
ALERTS = {
    rule["alert"]: rule
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def rule_file_of(path: Path) -> str:
    """The rule file that a test file is about: "services" for services.test.yml and for services-budget.test.yml."""
    return path.name.removesuffix(".test.yml").partition("-")[0]


def cases() -> list[dict[str, Any]]:
    """All cases of all test files, each of which names the rule file of its own name up to a dash."""
    found: list[dict[str, Any]] = []
    for path in sorted((ROOT / "tests/rules").glob("*.test.yml")):
        content = yaml.safe_load(path.read_text())
        (rules,) = content["rule_files"]
        assert (path.parent / rules).resolve() in FILES
        assert Path(rules).stem == rule_file_of(path)
        found += [case for test in content["tests"] for case in test["alert_rule_test"]]
    return found


def test_every_rule_file_has_cases() -> None:
    tested = {rule_file_of(path) for path in (ROOT / "tests/rules").glob("*.test.yml")}
    assert {path.stem for path in FILES} == tested
    assert len(ALERTS) > 30


def test_groups_and_alerts_have_names_of_their_own() -> None:
    groups = [group["name"] for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    alerts = [name for path in FILES for name in re.findall(r"- alert: (\w+)", path.read_text())]
    assert len(set(groups)) == len(groups)
    assert len(set(alerts)) == len(alerts)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_has_a_case_that_fires_and_one_that_does_not(name: str) -> None:
    outcomes = {bool(case["exp_alerts"]) for case in cases() if case["alertname"] == name}
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_says_what_who_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"].get("audience", "operators") == "operators"
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["description"].endswith(".")
    assert not rule["annotations"]["summary"].endswith(".")
