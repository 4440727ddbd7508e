# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory may say of a gate, and one sentence for each mistake."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, GateError, GateSpec

PROBE = {"type": "http", "url": "http://127.0.0.1:8080/readyz"}


def spec(**fields: Any) -> GateSpec:
    return GateSpec.parse("errors", {"probe": PROBE, **fields}, "rollout_gates.errors")


def test_defaults() -> None:
    found = spec()
    assert found == GateSpec(
        name="errors",
        probe=PROBE,
        stage="traffic",
        interval=5,
        count=1,
        initial_delay=0,
        failure_limit=0,
        consecutive_error_limit=4,
        inconclusive_limit=-1,
        hold=0,
        timeout=60,
        on_no_data="wait",
        on_inconclusive="rollback",
        on_error="rollback",
        enabled=True,
    )
    assert GateSpec("errors", PROBE) == found
    assert spec(stage="ready").interval == 1
    assert spec(stage="ready", interval=3).interval == 3


def test_defaults_on_the_page_are_those_of_the_code() -> None:
    """A default of another stage stands behind a semicolon."""
    page = (Path(__file__).parents[5] / "docs/gates.md").read_text(encoding="utf-8")
    rows = page.partition("\n| key | default | meaning |\n")[2].partition("\n\n")[0]
    said = {key: yaml.safe_load(value.strip("` ")) for key, value in re.findall(r"^\| `(\w+)` \| ([^|;]+)", rows, re.M)}
    assert said.pop("probe") == "required"
    assert {"interval", "timeout", "on_error", "for", "both"} <= set(said)
    assert spec(**said) == spec()


def test_every_field_is_read() -> None:
    fields = {
        "stage": "ready",
        "interval": 0.5,
        "count": 3,
        "initial_delay": 2,
        "failure_limit": -1,
        "consecutive_error_limit": 7,
        "inconclusive_limit": 2,
        "timeout": 90,
        "on_no_data": "failed",
        "on_inconclusive": "pause",
        "on_error": "continue",
        "enabled": False,
    }
    found = spec(**fields, **{"for": 30})
    assert {key: getattr(found, key) for key in fields} == fields
    assert found.hold == 30
    assert found.probe is PROBE


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"intervall": 5}, r"errors has the unknown key 'intervall'; a gate has stage, probe, .*enabled\."),
        ({"hold": 5}, "unknown key 'hold'"),
        ({"probe": None}, r"errors\.probe is None; give a mapping with a type"),
        ({"probe": {"url": "x"}}, "give a mapping with a type"),
        ({"probe": "http"}, "give a mapping with a type"),
        ({"stage": "later"}, r"errors\.stage is 'later'; give one of traffic, ready\."),
        ({"stage": ["ready"]}, "give one of traffic, ready"),
        ({"on_no_data": "success"}, r"on_no_data is 'success'; give one of wait, inconclusive, failed\."),
        ({"on_inconclusive": "wait"}, "give one of rollback, pause, continue"),
        ({"on_error": "pause"}, "give one of rollback, continue"),
        ({"enabled": "no"}, r"enabled is 'no'; give true or false\."),
        ({"interval": 0}, r"interval is 0; give a number of seconds above 0"),
        ({"interval": "5"}, "interval is '5'; give a number of seconds"),
        ({"interval": True}, "interval is True"),
        ({"interval": math.inf}, "interval is inf"),
        ({"initial_delay": -1}, "initial_delay is -1; give a number of seconds from 0 to 1000000"),
        ({"for": -1}, "for is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": math.nan}, "timeout is nan"),
        ({"count": 0}, r"count is 0; give a whole number from 1 to 1000000\."),
        ({"count": 1.5}, "count is 1.5; give a whole number"),
        ({"count": NEVER}, "count is 1000000000; give a whole number"),
        (
            {"failure_limit": -2},
            r"failure_limit is -2; give a whole number from -1 to 1000000; -1 means no limit\.",
        ),
        ({"consecutive_error_limit": None}, "consecutive_error_limit is None"),
        ({"inconclusive_limit": True}, "inconclusive_limit is True"),
        ({"timeout": 30, "initial_delay": 10, "for": 20}, "cannot pass before 30 s; make the timeout longer than that"),
        ({"timeout": 30, "for": 28}, "for 28 cannot pass before 30 s"),
        ({"count": 13}, "count 13 and for 0 cannot pass before 60 s"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GateError, match=sentence) as why:
        spec(**fields)
    text = str(why.value)
    assert text.startswith("rollout_gates.errors")
    assert text.endswith(".")
    assert "\n" not in text


def test_a_gate_that_is_no_mapping_or_has_no_probe_is_refused() -> None:
    with pytest.raises(GateError, match=r"^rollout_gates\.x is no mapping; give it at least a probe\.$"):
        GateSpec.parse("x", ["http"], "rollout_gates.x")  # type: ignore[arg-type]
    with pytest.raises(GateError, match=r"^rollout_gates\.x\.probe is None"):
        GateSpec.parse("x", {}, "rollout_gates.x")
