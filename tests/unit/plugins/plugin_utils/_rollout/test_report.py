# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout: it fits one screen however big the estate is, and what went wrong comes first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Migration
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import layout, report
from screens import BACK, line_of, names, new_record, screen, walk

EVIDENCE = "12 of 240 requests failed (5.0 %), baseline 1 of 2,310 (0.04 %), p = 2e-9"


def test_timeline_shows_the_last_steps() -> None:
    record = new_record(["app-1"])
    assert report.timeline(record.hosts["app-1"], record.started_at) == "-"
    walk(record, "app-1")
    # Two shares of traffic are one mark.
    assert report.timeline(record.hosts["app-1"], record.started_at) == "drain 5, active 15, in 25, done 35"
    walk(record, "app-1", BACK, begin=60)
    assert report.timeline(record.hosts["app-1"], record.started_at) == "done 35, drain 60, active 70, back 80"


def failed_gate(**more: Any) -> dict[str, Any]:
    reason = f"1 of 3 samples failed and failure_limit is 0: {EVIDENCE}"
    return {"name": "errors", "verdict": "failed", "reason": reason, "measurements": [], **more}


def passed_gate(name: str, host: str = "", verdict: str | None = "passed") -> dict[str, Any]:
    return {"name": name, "host": host, "verdict": verdict, "reason": "1 of 1 sample succeeded: ready"}


def test_report_of_a_good_rollout() -> None:
    record = new_record(names(3), status=state.SUCCEEDED, ended_at=1_800_000_105.0)
    for number, host in enumerate(record.hosts):
        walk(record, host, begin=30 * number)
    record.hosts["app-2"].killed = 3
    record.hosts["app-2"].note = "its process did not stop in time and was killed"
    record.migrations = {"expand": Migration("bin/catalog migrate", True, 300, state="done", host="app-1")}
    record.gates = [*(passed_gate("ready", host) for host in record.hosts), passed_gate("errors")]
    text = report.summary(record, 1_900_000_000.0)
    lines = screen(text)
    assert lines[1] == "DONE: rollout of catalog to 1.5.0, 1 min 45 s, catalog-20261125T180000Z-ab12"
    heads = ["host", "batch", "before", "phase", "drain", "sessions", "stop", "start", "own cost", "timeline (s)"]
    found = re.split(r"\s{2,}", line_of(text, "host "))
    # One line for each, whatever has no room.
    assert [head for head in heads if head in found] == found
    assert {"host", "before", "phase", "drain", "sessions", "start", "timeline (s)"} <= set(found)
    row = dict(zip(found, re.split(r"\s{2,}", line_of(text, "app-2  "))))
    assert row["sessions"] == "12, 3 killed"
    assert row["own cost"] == "2.4 s"
    assert row["timeline (s)"] == "drain 35, active 45, in 55, done 65"
    assert line_of(text, "app-2:") == "app-2: its process did not stop in time and was killed"
    assert line_of(text, "expand:") == "expand: done on app-1, bin/catalog migrate"
    assert line_of(text, "passed        ready") == "passed        ready on 3 hosts: 1 of 1 sample succeeded: ready"
    assert line_of(text, "passed        errors") == "passed        errors: 1 of 1 sample succeeded: ready"
    assert "How to go on" not in text


def test_report_of_a_bad_release_names_gate_evidence_and_advice() -> None:
    record = new_record(names(4), status=state.REVERTED, ended_at=1_800_000_090.0)
    record.reason = f"gate errors failed: 1 of 3 samples failed and failure_limit is 0: {EVIDENCE}"
    record.advice = "Every host runs what it ran before. Correct the release and give it a new version."
    walk(record, "app-1")
    walk(record, "app-1", BACK, begin=60)
    record.gates = [passed_gate("ready", "app-1"), failed_gate(), passed_gate("running", "app-1", None)]
    text = report.summary(record, 0)
    screen(text)
    flat = " ".join(text.split())
    assert flat.startswith("ROLLED BACK: rollout of catalog to 1.5.0, 1 min 30 s, catalog-2026")
    assert f"gate errors failed: 1 of 3 samples failed and failure_limit is 0: {EVIDENCE}" in flat
    assert (
        f"gates failed errors: 1 of 3 samples failed and failure_limit is 0: {EVIDENCE} passed ready on app-1" in flat
    )
    assert "held running on app-1: 1 of 1" in flat
    assert line_of(text, "How to go on") == f"How to go on: {record.advice}"
    # The host that was touched comes first.
    assert re.search(r"timeline \(s\)\n  app-1 .*1\.4\.0 +rolled_back .*back 80\n", text)


def test_what_a_gate_has_said_before_is_not_repeated() -> None:
    alike = [failed_gate(verdict="inconclusive", reason="no request was sent") for _batch in range(3)]
    text = report.summary(new_record(names(3), gates=[*alike, failed_gate(host="app-2")]), 0)
    flat = " ".join(text.split())
    assert flat.count("no request was sent") == 1
    assert "inconclusive errors: no request was sent (said 3 times)" in flat
    assert "failed errors on app-2: 1 of 3" in flat
    assert flat.index("errors on app-2") < flat.index("no request was sent")


def test_gate_that_saw_nothing_is_not_said_to_have_held() -> None:
    def said(*phases: Phase) -> str:
        gate = Gate(GateSpec("numbers", {"type": "promql"}, count=NEVER, failure_limit=-1, inconclusive_limit=-1), 0.0)
        for second, phase in enumerate(phases):
            gate.note(phase, float(second))
        return report.summary(new_record(["app-1"], gates=[gate.report()]), 0)

    assert "saw nothing   numbers: 0 of 2 samples succeeded, 2 had no data" in said(Phase.NO_DATA, Phase.NO_DATA)
    assert "numbers" not in said()
    assert "undecided     numbers: 0 of 2" in said(Phase.INCONCLUSIVE, Phase.NO_DATA)
    assert "held          numbers: 1 of 2" in said(Phase.NO_DATA, Phase.SUCCESS)


def test_evidence_without_a_reason_is_the_last_measurement() -> None:
    measurements = [{"text": "connection refused"}, {"text": "ready"}]
    record = new_record(["app-1"], gates=[{"name": "ready", "verdict": None, "measurements": measurements}])
    assert line_of(report.summary(record, 0), "held") == "held          ready: ready"
    record.gates = [{"name": "ready", "verdict": None}, {"name": "long", "verdict": "passed", "reason": "word " * 50}]
    text = report.summary(record, 0)
    assert line_of(text, "held") == "held          ready:"
    # What passed needs no more than a line, and nothing is missing.
    assert line_of(text, "passed").endswith("…")
    assert "more" not in text


def test_hosts_are_in_the_order_of_the_need_for_a_look() -> None:
    record = new_record(names(5))
    phases = {"app-1": "done", "app-3": "failed", "app-4": "rolled_back", "app-5": "prepared"}
    for host, phase in phases.items():
        record.hosts[host].phase = phase
    found = [line.split()[:4] for line in report.summary(record, 0).split("\n") if line.startswith("  app-")]
    assert found == [
        ["app-3", "3", "1.4.0", "failed"],
        ["app-4", "4", "1.4.0", "rolled_back"],
        ["app-1", "1", "1.4.0", "done"],
        ["app-2", "2", "1.4.0", "pending"],
        ["app-5", "5", "1.4.0", "prepared"],
    ]


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (state.RUNNING, "RUNNING: "),
        (state.HALTED, "HALTED: "),
        (state.ROLLING_BACK, "HALTED WHILE ROLLING BACK: "),
        (state.FROZEN, "FROZEN: "),
        (state.BROKEN, "FAILED: "),
        (state.PAUSED, "PAUSED: "),
        (state.SUPERSEDED, "SUPERSEDED: "),
    ],
)
def test_every_outcome_has_a_word(status: str, head: str) -> None:
    assert set(report.OUTCOMES) == {*state.UNFINISHED, *state.FINISHED}
    record = new_record(["app-1"], status=status)
    text = report.summary(record, 1_800_000_010.0)
    assert text.strip().startswith(f"{head}rollout of catalog to 1.5.0, 10.0 s,")


def test_report_of_different_targets_names_them() -> None:
    record = new_record(names(2), kind="rollback")
    record.hosts["app-1"].target = "1.3.0"
    text = report.summary(record, 0)
    assert "1.4.0 -> 1.3.0" in text
    assert "1.4.0 -> 1.5.0" in text


def test_report_without_hosts_is_short() -> None:
    lines = screen(report.summary(new_record([], reason="prepare: the archive is damaged"), 1_800_000_000.0))
    assert lines[2:] == ["  prepare: the archive is damaged"]


@pytest.mark.parametrize("name", ["app-{}", "catalog-node-{}.hall-3.plant.example.com"])
@pytest.mark.parametrize("status", [state.SUCCEEDED, state.BROKEN, state.ROLLING_BACK])
def test_report_of_fifty_hosts_fits_one_screen_and_shows_trouble_first(name: str, status: str) -> None:
    hosts = names(50, name)
    record = new_record(hosts, status=status)
    for number, host in enumerate(hosts[:30]):
        walk(record, host, begin=4000 * number)
        record.hosts[host].killed = 3
        record.hosts[host].sessions = 1234
        record.hosts[host].note = "its process did not stop in time and was killed " * 3
        record.gates.append(passed_gate(f"gate-{number}", host))
        record.gates.append({**failed_gate(), "name": f"bad-{number}", "host": host})
    # The one that stays out of traffic is in the last batch but one.
    walk(record, hosts[45], ("prepared", "draining", "failed"))
    record.hosts[hosts[45]].note = "disk full"
    record.hosts[hosts[1]].target = "1.4.0-hotfix.2026.11.25.build.7"
    record.reason = "; ".join(f"{host}: no route to host" for host in hosts)
    record.advice = f"{', '.join(hosts)} could not be brought back and stays out of traffic."
    record.migrations = {
        name: Migration("bin/x " + "y" * 200, True, 300, host=hosts[0]) for name in ("expand", "contract")
    }
    text = report.summary(record, 0)
    screen(text)
    rows = text.split("\n  host")[1].split("\n")[1:]
    assert re.match(rf"  {re.escape(layout.clip(hosts[45], layout.NAME_WIDTH))} .*\bfailed\b", rows[0])
    assert f"{layout.clip(hosts[45], 100)}: disk full" in text
    assert "3 killed" in text
    assert "and 34 more hosts: 15 done, 19 pending" in text
    # The newest evidence is the first.
    assert re.search(r"\n  gates\n +failed +bad-29 on ", text)
    evidence = text.split("\n  gates\n")[1].split("\n\n")[0].split("\n")
    shown = [line for line in evidence if re.match(r"    (failed|passed) ", line)]
    assert evidence[-1] == f"    and {60 - len(shown)} more"
    assert 4 <= len(shown) <= len(evidence) - 1 <= report.EVIDENCE_LINES
    assert "How to go on: " in text


def test_hosts_that_others_keep_out_and_those_that_left_have_their_own_place() -> None:
    record = new_record(names(3), kept_out={"lb-1": ["app-2"], "lb-2": ["app-2", "app-3"]}, status=state.SUCCEEDED)
    record.left = {"app-9": HostRecord(0, "2", "1", phase=state.DRAINED)}
    lines = report.summary(record, 0).splitlines()
    assert lines[1].startswith("DONE, BUT NOT ALL IN TRAFFIC: ")
    assert any(
        line.startswith("  kept out    app-2 at lb-1 and lb-2, app-3 at lb-2, by somebody else") for line in lines
    )
    assert any(line.startswith("  has left    app-9 (drained)") for line in lines)
    many = new_record(names(150), kept_out={f"lb-{number}": list(names(150)) for number in range(5)})
    assert len(report.summary(many, 0).splitlines()) <= 45
