# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout tells the telemetry: the text that node_exporter reads, and the line in the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import telemetry
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

FOUND: dict[str, Any] = {
    "service": "mes",
    "kind": "rollout",
    "id": "mes-1a",
    "version": "1.2.0",
    "status": "running",
    "reason": "",
    "by": "deploy@ci-7",
    "started_at": 1795000000.25,
    "ended_at": 0.0,
}


def test_a_rollout_under_way_has_no_end() -> None:
    labels = 'service="mes",kind="rollout",id="mes-1a",version="1.2.0"'
    assert telemetry.figures(FOUND).splitlines() == [
        f'mesops_rollout_status{{{labels},status="running"}} 1',
        f"mesops_rollout_started_timestamp_seconds{{{labels}}} 1795000000.250",
    ]
    ended = telemetry.figures({**FOUND, "status": "done", "ended_at": 1795000060.0}).splitlines()
    assert ended[2] == f"mesops_rollout_ended_timestamp_seconds{{{labels}}} 1795000060.000"


@given(st.text(max_size=30))
def test_any_version_can_be_read_back(version: str) -> None:
    families = list(text_string_to_metric_families(telemetry.figures({**FOUND, "version": version})))
    assert {sample.labels["version"] for family in families for sample in family.samples} == {version}


def test_the_line_carries_the_id_and_the_reason() -> None:
    found = json.loads(telemetry.line({**FOUND, "reason": "gate errors: 5 of 90"}))
    assert found["rollout_id"] == "mes-1a"
    assert found["reason"] == "gate errors: 5 of 90"
    assert "\n" not in telemetry.line({**FOUND, "reason": "a\nb"})


def test_the_file_of_a_service_is_replaced_and_its_place_is_not_made(tmp_path: Path) -> None:
    assert telemetry.write(str(tmp_path), FOUND)
    assert telemetry.write(str(tmp_path), {**FOUND, "status": "done"})
    (only,) = tmp_path.iterdir()
    assert only.name == "mesops-rollout-mes.prom"
    assert 'status="done"' in only.read_text()
    assert oct(only.stat().st_mode & 0o777) == "0o644"
    assert not telemetry.write(str(tmp_path / "none"), FOUND)


def test_the_end_stays_when_a_word_from_before_arrives_late(tmp_path: Path) -> None:
    telemetry.write(str(tmp_path), {**FOUND, "status": "done", "ended_at": 1795000060.0})
    assert telemetry.write(str(tmp_path), FOUND)
    assert 'status="done"' in (tmp_path / "mesops-rollout-mes.prom").read_text()
    telemetry.write(str(tmp_path), {**FOUND, "id": "mes-2b"})
    assert 'status="running"' in (tmp_path / "mesops-rollout-mes.prom").read_text()


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        telemetry.write(str(tmp_path), {"service": "mes", "ended_at": 1.0})
    assert list(tmp_path.iterdir()) == []
