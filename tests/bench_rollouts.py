# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of rollouts on the demo estate: many good releases in a row under load, each beside the steady state."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import estate
from bench_shared import table

from demo.load import windows

ROLLOUTS, REQUESTS = 20, 100_000
RATE, READS = 70, 0.8
STEADY_S = 120


def releases() -> list[Path]:
    """Notes of releases that nobody has seen before."""
    first = int(time.time())
    return [estate.build_release(version=f"1.{first + number}") for number in range(ROLLOUTS)]


def one(number: int, note: Path) -> list[dict[str, float]]:
    """Roll out one release; what its report says of each host's turn."""
    report = estate.BUILD / "bench" / f"rollout-{number}.json"
    recap = estate.roll_out(note, check=False, rollout_report=str(report))
    if recap.status != 0:
        raise estate.EstateError(f"rollout {number} did not end well:\n{recap.output[-6000:]}")
    return list(json.loads(report.read_text(encoding="utf-8"))["hosts"].values())


def measure() -> str:
    """Steady load, then rollout after rollout under the same load; the ledger decides what was lost."""
    estate.step("make demo", ["make", "demo"], log=estate.BUILD / "bench" / "demo.log")
    notes = releases()
    spans, turns = [], []
    with estate.load(rate=RATE, reads=READS, count=10_000_000) as run:
        time.sleep(10)
        steady = run.now()
        time.sleep(STEADY_S)
        for number, note in enumerate(notes, 1):
            begin = run.now()
            turns.append(one(number, note))
            spans.append((begin, run.now()))
        while run.now() * RATE < REQUESTS + RATE:
            time.sleep(1)
        run.stop()
    verdict, report = estate.audit(run), run.report
    print(report.table(), verdict.table(), sep="\n", file=sys.stderr)
    requests = run.log().requests
    calm = {percent: windows.latency(requests, percent, steady, spans[0][0]) for percent in (50, 95, 99)}
    during = {percent: windows.latency(requests, percent, spans[0][0], spans[-1][1]) for percent in (50, 95, 99)}
    each = sorted(windows.p99(requests, *span) / calm[99] for span in spans)
    middle = statistics.median(each)
    hosts = [host for turn in turns for host in turn]
    own = sorted(host["overhead_s"] for host in hosts)
    walls = [end - begin for begin, end in spans]
    return f"""## {ROLLOUTS} good releases in a row on the demo estate

Two load balancers, two nodes, {RATE} requests per second ({READS:.0%} reads) without a pause. The steady figures are
of the {STEADY_S} s before the first rollout. Latency counts from the scheduled start of each request.

{
        table(
            ["requests", "failed", "orders acknowledged", "lost", "doubled"],
            [[report.sent, report.failed, report.acknowledged, verdict.lost, verdict.doubled]],
        )
    }

{
        table(
            ["", "p50 ms", "p95 ms", "p99 ms"],
            [
                ["steady", *(f"{value:.1f}" for value in calm.values())],
                ["during rollouts", *(f"{value:.1f}" for value in during.values())],
                ["ratio", *(f"{during[percent] / value:.2f}" for percent, value in calm.items())],
            ],
        )
    }

The p99 of a single rollout was {each[0]:.2f} to {each[-1]:.2f} times the steady one, the median {middle:.2f}.

{
        table(
            ["per", "s, median", "least", "most"],
            [
                ["rollout, wall", *_spread(walls)],
                ["node: from drain to done", *_spread([host["turn_s"] for host in hosts])],
                ["node: drain", *_spread([host["drain_s"] for host in hosts])],
                ["node: the process's stop and start", *_spread([host["stop_s"] + host["start_s"] for host in hosts])],
                ["node: gates and minimum healthy time", *_spread([host["observed_s"] for host in hosts])],
                ["node: the rollout's own cost", *_spread(own)],
            ],
        )
    }
"""


def _spread(values: list[float]) -> list[str]:
    return [f"{value:.1f}" for value in (statistics.median(values), min(values), max(values))]
