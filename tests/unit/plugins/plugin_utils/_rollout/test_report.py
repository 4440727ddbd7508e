# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads: it fits one screen however big the estate is, and what matters is never cut off."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import NEVER, Gate, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan, report
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies, rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from hypothesis import given
from hypothesis import strategies as st

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
COLUMNS, LINES = 110, 45
EVIDENCE = "12 of 240 requests failed (5.0 %), baseline 1 of 2,310 (0.04 %), p = 2e-9"


def screen(text: str) -> list[str]:
    """The lines of a text that has to fit one screen."""
    lines = text.split("\n")
    assert max(map(len, lines)) <= COLUMNS, max(lines, key=len)
    assert len(lines) <= LINES, text
    assert not [line for line in lines if line != line.rstrip()]
    return lines


def line_of(text: str, start: str) -> str:
    """The one line that begins so, without the spaces in front."""
    found = [line.strip() for line in text.split("\n") if line.strip().startswith(start)]
    assert len(found) == 1, (start, text)
    return found[0]


def names(number: int, name: str = "app-{}") -> tuple[str, ...]:
    return tuple(name.format(one) for one in range(1, number + 1))


def settings(hosts: Sequence[str], gates: Mapping[str, Any] | None = None, **changes: Any) -> Settings:
    given_settings: dict[str, Any] = {
        "service": SERVICE,
        "hosts": tuple(hosts),
        "balancers": ("lb-1", "lb-2"),
        "backends": ("catalog", "catalog_api"),
        "gates": rollout_gates.check_gates(gates or {}, SERVICE),
    }
    return Settings(**{**given_settings, **changes})


def new_record(hosts: Sequence[str], batches: Sequence[policies.Share] = (1, "25%"), **changes: Any) -> Record:
    found = Record(
        "catalog-20261125T180000Z-ab12",
        "catalog",
        "1.5.0",
        "ops@controller",
        1_800_000_000.0,
        balancers=["lb-1", "lb-2"],
        weights=[10, 100],
        **changes,
    )
    left = list(hosts)
    for number, size in enumerate(plan.sizes(len(hosts), batches)):
        found.batches.append(left[:size])
        for host in left[:size]:
            found.hosts[host] = HostRecord(number, "1.5.0", "1.4.0")
        left = left[size:]
    return found


ROUTE = ("prepared", "draining", "drained", "activated", "healthy", "in_service", "in_service", "done")
BACK = ("draining", "drained", "activated", "healthy", "rolled_back")


def walk(record: Record, host: str, phases: Sequence[str] = ROUTE, begin: float = 0, step: float = 5) -> HostRecord:
    """Let a host go through phases, one each ``step`` seconds."""
    for number, phase in enumerate(phases):
        record.enter([host], phase, record.started_at + begin + step * number)
    one = record.hosts[host]
    one.drain_s, one.sessions, one.stop_s, one.start_s, one.observed_s, one.turn_s = 4.1, 12, 0.3, 1.2, 20.0, 28.0
    return one


# ---------------------------------------------------------------------------------------------------------- little ones


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (61.6, "1 min 2 s"),
        (3599.8, "1 h 0 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_clock_is_utc() -> None:
    assert report.clock(0) == "1970-01-01 00:00:00Z"


def test_clip() -> None:
    assert report.clip("x" * 20, 20) == "x" * 20
    assert report.clip("x" * 21, 20) == "x" * 19 + "…"
    assert report.clip("word word word", 6) == "word…"


def test_wrap_uses_the_whole_width() -> None:
    assert report.wrap(f"{'x' * 54} {'y' * 55}", "") == [f"{'x' * 54} {'y' * 55}"]
    assert report.wrap(f"{'x' * 55} {'y' * 55}", "  ") == [f"  {'x' * 55}", f"  {'y' * 55}"]


WORDS = st.lists(st.text("abc", min_size=1, max_size=30) | st.text("x", min_size=100, max_size=130), max_size=40)


@given(words=WORDS, head=st.sampled_from(["", "  ", "  batch 1: "]), most=st.integers(1, 5))
def test_wrap(words: list[str], head: str, most: int) -> None:
    lines = report.wrap(" ".join(words), head, most)
    assert 1 <= len(lines) <= most
    assert all(len(line) <= COLUMNS for line in lines)
    assert all(line.startswith(" " * len(head)) for line in lines[1:] if line)
    told = " ".join(lines)[len(head) :].split()
    if "…" not in " ".join(lines):
        assert told == words
    else:
        # What is missing is missing at the end, or in the middle of a word that is wider than the screen.
        assert len(words) > len(told) or any(len(word) > COLUMNS - len(head) for word in words) or "…" in told[-1]


@given(items=st.lists(st.text("abc-", min_size=1, max_size=40), max_size=60), most=st.integers(1, 4))
def test_listing_counts_what_it_leaves_out(items: list[str], most: int) -> None:
    lines = report.listing(items, "  head ", most)
    assert len(lines) <= most
    assert all(len(line) <= COLUMNS for line in lines)
    text = " ".join(line.strip() for line in lines)
    more = re.search(r"and (\d+) more$", text)
    shown = len(items) - int(more.group(1)) if more else len(items)
    assert text.removeprefix("head").strip() == " ".join(
        [*([", ".join(items[:shown])] if shown else []), *([more.group(0)] if more else [])]
    )


def test_table_lines_up() -> None:
    assert report.table([["host", "x"], ["app-1", "12"], ["a", "3"]]) == ["  host   x", "  app-1  12", "  a      3"]
    assert report.table([]) == []


def test_table_leaves_columns_out_in_the_order_given() -> None:
    rows = [["a", "b", "c"], ["x" * 50, "y" * 40, "z" * 40]]
    assert report.table(rows, ("b", "c"))[0].split() == ["a", "c"]
    assert report.table(rows, ("c", "b"))[0].split() == ["a", "b"]
    wide = [["a", "b", "c"], ["x" * 90, "y" * 40, "z" * 40]]
    assert report.table(wide, ("b", "c"))[0].split() == ["a"]
    assert all(len(line) <= COLUMNS for line in report.table([["a"], ["x" * 200]]))


def test_table_uses_the_whole_width() -> None:
    rows = [["a", "b"], ["x" * 50, "y" * 56]]
    assert report.table(rows, ("b",))[1] == f"  {'x' * 50}  {'y' * 56}"
    assert report.table([["a", "b"], ["x" * 51, "y" * 56]], ("b",))[1] == f"  {'x' * 51}"
    # A heading without anything below it is a table too.
    assert report.table([["a", "b"]]) == ["  a  b"]


def test_timeline_shows_the_last_steps() -> None:
    record = new_record(["app-1"])
    assert report.timeline(record.hosts["app-1"], record.started_at) == "-"
    walk(record, "app-1")
    # Two shares of traffic are one mark.
    assert report.timeline(record.hosts["app-1"], record.started_at) == "drain 5, active 15, in 25, done 35"
    walk(record, "app-1", BACK, begin=60)
    assert report.timeline(record.hosts["app-1"], record.started_at) == "done 35, drain 60, active 70, back 80"


# ------------------------------------------------------------------------------------------------------------ the plan

GATES: dict[str, Any] = {
    "version": {"stage": "ready", "probe": {"type": "http", "url": "http://127.0.0.1:$port/version"}},
    "order": {"probe": {"type": "http", "url": "http://127.0.0.1/orders", "body": {"a": 1}}, "count": 3, "interval": 2},
    "port": {"probe": {"type": "tcp", "address": "127.0.0.1:$port"}},
    "latency": {"probe": {"type": "haproxy", "measure": "latency"}},
    "bad": {"probe": {"type": "haproxy", "measure": "errors"}, "count": 2, "interval": 3, "timeout": 45},
    "alive": {"probe": {"type": "haproxy"}},
    "orders": {
        "probe": {
            "type": "promql",
            "url": "http://p:9090",
            "query": 'histogram_quantile(0.95,\n sum by (le) (rate(order_seconds_bucket{host=~"$hosts"}[1m])))',
            "baseline": "x",
            "max_ratio": 1.5,
        },
        "timeout": 120,
    },
    "stock": {"probe": {"type": "promql", "url": "http://p:9090", "query": "stock", "min": 5, "max": 100}},
    "replication": {"probe": {"type": "postgres", "endpoints": ["http://pg-1:8008"]}},
}


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        ("ready", "(ready): GET http://127.0.0.1:3000/readyz; 1 good, every 1 s, within 60 s"),
        ("running", "(ready): unit catalog.service runs, 0 restarts; 1 good, every 1 s, within 60 s"),
        ("bad", "(traffic): failed requests compared with the other hosts; 2 good, every 3 s, within 45 s"),
        ("version", "(ready): GET http://127.0.0.1:$port/version; 1 good, every 1 s, within 60 s"),
        ("order", "(traffic): POST http://127.0.0.1/orders; 3 good, every 2 s, within 60 s"),
        ("port", "(traffic): connect to 127.0.0.1:$port; 1 good, every 5 s, within 60 s"),
        ("latency", "(traffic): latency compared with the other hosts; 1 good, every 5 s, within 60 s"),
        ("alive", "(traffic): up at every load balancer; 1 good, every 5 s, within 60 s"),
        ("stock", "(traffic): at least 5 and at most 100: stock; 1 good, every 5 s, within 60 s"),
        ("replication", "(traffic): replication is healthy; 1 good, every 5 s, within 60 s"),
    ],
)
def test_gate_in_a_line(gate: str, text: str) -> None:
    spec = rollout_gates.check_gates(GATES, SERVICE)[gate]
    assert report.gate_line(spec) == f"  gate        {gate} {text}"


def test_long_query_is_cut_but_not_the_numbers() -> None:
    line = report.gate_line(rollout_gates.check_gates(GATES, SERVICE)["orders"])
    assert line.startswith("  gate        orders (traffic): at most 1.5 times its baseline: histogram")
    assert line.endswith("…; 1 good, every 5 s, within 120 s")
    assert len(line) <= COLUMNS


def test_plan_says_what_would_happen() -> None:
    hosts = names(3)
    record = new_record(hosts, excluded=["app-9"], kept_out={"lb-1": ["app-2"]})
    wanted = settings(
        hosts,
        {"errors": {"count": 6}},
        excluded=("app-9",),
        min_available="50%",
        drain_deadline=90.0,
        drain_on_timeout="kill",
        min_healthy_time=15.0,
        migrations={"expand": {"command": "bin/up", "reversible": True}, "contract": {"command": "bin/down"}},
    )
    text = report.plan_text(record, wanted, {}, ["now         ready/app-1: success, ready", "locked      by ops"])
    lines = screen(text)
    assert lines[0] == "Plan: rollout of catalog to 1.5.0, 3 hosts, 3 batches"
    assert line_of(text, "batch 1:") == "batch 1: app-1 1.4.0 -> 1.5.0"
    assert line_of(text, "batch 3:") == "batch 3: app-3 1.4.0 -> 1.5.0"
    assert line_of(text, "balancers") == "balancers   lb-1, lb-2"
    assert line_of(text, "backends") == "backends    catalog, catalog_api"
    assert line_of(text, "capacity") == "capacity    at least 2 of 4 servers stay available at each of them"
    assert line_of(text, "drain") == "drain       at most 90 s, then kill"
    assert line_of(text, "weights") == "weights     10 % -> 100 %, then observed for 15 s"
    assert line_of(text, "expand") == "expand      bin/up (can be undone)"
    assert line_of(text, "contract") == "contract    bin/down (cannot be undone: then failure freezes)"
    assert "; 6 good, every " in line_of(text, "gate        errors")
    assert line_of(text, "left out") == "left out    they keep their version: app-9"
    assert line_of(text, "kept out") == "kept out    at lb-1, taken out by somebody else and left so: app-2"
    assert lines[-2:] == ["  now         ready/app-1: success, ready", "  locked      by ops"]


def test_plan_of_a_first_release_and_of_a_manifest() -> None:
    record = new_record(["app-1"])
    record.hosts["app-1"].previous = None
    manifest = {"migrations": {"expand": {"command": "bin/up", "reversible": False}}}
    text = report.plan_text(record, settings(["app-1"]), manifest, [])
    assert line_of(text, "batch 1:") == "batch 1: app-1 nothing -> 1.5.0"
    assert line_of(text, "expand") == "expand      bin/up (cannot be undone: then failure freezes)"
    # What the inventory says takes the place of what the release says.
    own = settings(["app-1"], migrations={"expand": {"command": "bin/own"}})
    assert line_of(report.plan_text(record, own, manifest, []), "expand") == "expand      bin/own (can be undone)"


@pytest.mark.parametrize("batches", [(1,), (1, "25%"), ("100%",), (7,)])
@pytest.mark.parametrize("name", ["app-{}", "catalog-node-{}.hall-3.plant.example.com"])
def test_plan_of_fifty_hosts_fits_one_screen(batches: tuple[policies.Share, ...], name: str) -> None:
    hosts = names(50, name)
    many = {f"query-{number}": GATES["orders"] for number in range(20)}
    record = new_record(
        hosts,
        batches,
        excluded=list(names(30, "left-out-{}.hall-3.plant.example.com")),
        kept_out={f"lb-{number}": list(hosts) for number in range(1, 6)},
    )
    record.balancers = list(names(12, "balancer-{}.hall-3.plant.example.com"))
    wanted = settings(
        hosts,
        {**GATES, **many},
        backends=names(12, "catalog_backend_{}"),
        migrations={"expand": {"command": "bin/up " + "x" * 200}, "contract": {"command": "bin/down"}},
    )
    facts = ["now         query: failure, " + "x" * 300] * 40
    text = report.plan_text(record, wanted, {}, facts)
    screen(text)
    # Every host is either named or counted.
    shown = text.count(" -> 1.5.0")
    counted = sum(map(int, re.findall(r"  batch .*? and (\d+) more$", text.replace("\n           ", " "), re.M)))
    rest = re.search(r"and (\d+) more batches with (\d+) hosts", text)
    assert shown + counted + (int(rest.group(2)) if rest else 0) == 50
    assert re.search(r"and \d+ more gates", text)
    assert re.search(r"and \d+ more samples", text)
    assert re.search(r"left out .*and \d+ more", text.replace("\n", " "))
    assert "and 3 more load balancers" in text


# ---------------------------------------------------------------------------------------------------------- the report


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
    record.migrations = {"expand": Migration("bin/catalog migrate", state="done", host="app-1")}
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
    # What passed needs no more than a line, and nothing is left out.
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
    record.migrations = {name: Migration("bin/x " + "y" * 200, host=hosts[0]) for name in ("expand", "contract")}
    text = report.summary(record, 0)
    screen(text)
    rows = text.split("\n  host")[1].split("\n")[1:]
    assert re.match(rf"  {re.escape(report.clip(hosts[45], report.NAME_WIDTH))} .*\bfailed\b", rows[0])
    assert f"{report.clip(hosts[45], 100)}: disk full" in text
    assert "3 killed" in text
    assert "and 34 more hosts: 15 done, 19 pending" in text
    # The newest evidence is the first.
    assert re.search(r"\n  gates\n +failed +bad-29 on ", text)
    evidence = text.split("\n  gates\n")[1].split("\n\n")[0].split("\n")
    shown = [line for line in evidence if re.match(r"    (failed|passed) ", line)]
    assert evidence[-1] == f"    and {60 - len(shown)} more"
    assert 4 <= len(shown) <= len(evidence) - 1 <= report.EVIDENCE_LINES
    assert "How to go on: " in text


# ---------------------------------------------------------------------------------------------------------- the status


def server(status: str = "UP", weight: int = 100, sessions: int = 3, admin: str = "ready") -> dict[str, Any]:
    return {
        "status": status,
        "weight": weight,
        "weight_configured": 100,
        "sessions": sessions,
        "sessions_old_workers": 1,
        "admin": admin,
    }


def status_of(hosts: Sequence[str], **changes: Any) -> dict[str, Any]:
    node = {"current": "1.5.0", "running": "1.5.0", "previous": "1.4.0", "reason": ""}
    base: dict[str, Any] = {
        "nodes": {host: dict(node) for host in hosts},
        "servers": {name: {host: server() for host in hosts} for name in ("lb-1", "lb-2")},
        "lock": {},
        "open_record": {},
        "history": [],
        "store_reason": "",
        "replication": {},
    }
    return {**base, **changes}


def test_status_of_a_healthy_service() -> None:
    record = new_record(names(2), status=state.SUCCEEDED, ended_at=1_800_000_030.0)
    found = status_of(
        names(2),
        history=[record.to_dict()],
        replication={"phase": "success", "text": "pg-1 leads, 1 standby streams"},
    )
    assert screen(report.status_text("catalog", found, 5)) == [
        "",
        "catalog",
        "",
        "  host   current  running  previous  lb-1            lb-2",
        "  app-1  1.5.0    1.5.0    1.4.0     UP, 4 sessions  UP, 4 sessions",
        "  app-2  1.5.0    1.5.0    1.4.0     UP, 4 sessions  UP, 4 sessions",
        "",
        "  lock         free",
        "  replication  healthy: pg-1 leads, 1 standby streams",
        "",
        "  last rollouts",
        "    2027-01-15 08:00:00Z  rollout to 1.5.0: done (30.0 s), 2 hosts, by ops@controller",
    ]


def test_status_in_the_middle_of_a_rollout() -> None:
    record = new_record(names(2), advice="Run the same command again to go on.")
    walk(record, "app-1", ROUTE[:6])
    found = status_of(
        names(2), lock={"summary": "ops@controller, rollout of catalog 1.5.0"}, open_record=record.to_dict()
    )
    found["servers"]["lb-2"]["app-1"] = server(weight=10, sessions=0)
    found["servers"]["lb-1"]["app-2"] = server("DRAIN", admin="drain")
    found["replication"] = {"phase": "failure", "text": "0 members lead, not one"}
    text = report.status_text("catalog", found, 5)
    screen(text)
    assert line_of(text, "app-1  ").endswith("UP, 4 sessions     UP 10 %, 1 session")
    assert "DRAIN, 4 sessions" in line_of(text, "app-2  ")
    assert line_of(text, "lock") == "lock         ops@controller, rollout of catalog 1.5.0"
    assert line_of(text, "unfinished").startswith("unfinished   2027-01-15 08:00:00Z  rollout to 1.5.0: running (unfin")
    assert line_of(text, "app-1 in_service") == "app-1 in_service, app-2 pending"
    assert line_of(text, "Run the same") == "Run the same command again to go on."
    assert line_of(text, "replication") == "replication  failure: 0 members lead, not one"


def test_status_of_what_is_silent() -> None:
    found = status_of(names(3), store_reason="etcd: no answer from 3 endpoints", lock={"unknown": 1})
    found["nodes"]["app-2"] = {"current": None, "running": None, "previous": None, "reason": "no route to host"}
    found["nodes"]["app-3"].update(current=None, running=None, previous=None)
    found["servers"]["lb-2"] = {"": {"reason": "cannot connect to its socket"}}
    text = report.status_text("catalog", found, 5)
    screen(text)
    assert line_of(text, "app-2 ") == "app-2  no answer                     UP, 4 sessions  no answer"
    assert line_of(text, "app-3 ") == "app-3  -          -        -         UP, 4 sessions  no answer"
    assert line_of(text, "app-2:") == "app-2: no route to host"
    assert line_of(text, "lb-2:") == "lb-2: cannot connect to its socket"
    assert line_of(text, "lock") == "lock         held by somebody"
    assert line_of(text, "store") == "store        gives no answer: etcd: no answer from 3 endpoints"


def test_host_that_is_no_server_has_a_dash() -> None:
    found = status_of(names(2))
    del found["servers"]["lb-1"]["app-2"]
    assert re.search(r"app-2 .*1\.4\.0 +-  +UP", report.status_text("catalog", found, 5))


@pytest.mark.parametrize("name", ["app-{}", "catalog-node-{}.hall-3.plant.example.com"])
def test_status_of_fifty_hosts_fits_one_screen_and_shows_trouble_first(name: str) -> None:
    hosts = names(50, name)
    record = new_record(hosts, advice="Run the same command again, or revert. " * 5, reason="halted " * 50)
    found = status_of(
        hosts,
        open_record=record.to_dict(),
        history=[record.to_dict()] * 9,
        replication={"phase": "success", "text": "x" * 200},
        store_reason="etcd gives no answer " * 20,
        lock={"summary": "ops " * 50},
    )
    found["nodes"][hosts[40]]["reason"] = "no route to host " * 10
    found["servers"]["lb-1"][hosts[45]] = server("DOWN", admin="maint")
    found["nodes"][hosts[47]]["running"] = None
    found["servers"]["lb-2"][hosts[49]] = server(weight=10)
    text = report.status_text("catalog", found, 5)
    lines = text.split("\n")
    assert max(map(len, lines)) <= COLUMNS
    # Everything at once is longer than a screen; what is asked for without trouble is not.
    screen(report.status_text("catalog", {**found, "open_record": {}, "store_reason": "", "lock": {}}, 5))
    rows = text.split("\n  host")[1].split("\n")[1:]
    first = [report.clip(hosts[number], report.NAME_WIDTH) for number in (40, 45, 47, 49)]
    assert [row.split()[0] for row in rows[:4]] == first
    assert "and 37 more hosts" in text


def test_status_names_the_load_balancers_for_which_there_is_no_room() -> None:
    found = status_of(names(2))
    found["servers"] = {f"balancer-{number}": {host: server() for host in names(2)} for number in range(1, 9)}
    text = report.status_text("catalog", found, 5)
    screen(text)
    shown = re.findall(r"balancer-\d", line_of(text, "host"))
    hidden = re.findall(r"balancer-\d", line_of(text, "no room for"))
    assert sorted(shown + hidden) == sorted(found["servers"])
    assert shown == [f"balancer-{number}" for number in range(1, len(shown) + 1)]
    assert len(shown) >= 3


def test_status_of_as_many_hosts_as_there_is_room_for() -> None:
    text = report.status_text("catalog", status_of(names(report.NODES_SHOWN)), 5)
    assert "more" not in text
    assert "and 1 more host" in report.status_text("catalog", status_of(names(report.NODES_SHOWN + 1)), 5)


def test_history_is_as_long_as_asked_for() -> None:
    record = new_record(["app-1"], status=state.REVERTED, reason="gate errors failed")
    found = status_of(["app-1"], history=[record.to_dict()] * 9)
    assert report.status_text("catalog", found, 3).count("rollout to 1.5.0: rolled back") == 3
    assert report.status_text("catalog", found, 20).count("by ops@controller; gate") == 9


def test_gate_texts_need_no_more_than_a_type() -> None:
    for kind in ("http", "tcp", "systemd", "haproxy", "promql", "postgres"):
        assert report.gate_line(GateSpec("x", {"type": kind})).startswith("  gate        x (traffic): ")


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
