# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of rollouts on the demo estate: many good releases in a row under load, each beside the steady state."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import estate
from bench.apart import machines_of_their_own, reached_by_ssh
from bench.shared import table

from demo import orders
from demo.load import windows
from demo.load.background import BackgroundLoad

ROLLOUTS, REQUESTS = 20, 100_000
RATE, READS = 70, 0.8
STEADY_S = 120
EQUAL_ROLLOUTS, EQUAL_STEADY_S = 2, 45
"""Rollouts whose controller and load share the machine with the hosts on equal terms, and the calm before them."""
Phases = list[float]
"""When the calm began, each rollout began, and the last one ended."""
PERCENTS = (50, 95, 99)


def releases() -> list[Path]:
    """Notes of releases that nobody has seen before."""
    first = int(time.time())
    return [estate.build_release(version=f"1.{first + number}") for number in range(ROLLOUTS + EQUAL_ROLLOUTS)]


def one(note: Path, inventory: Path) -> list[dict[str, float]]:
    """Roll out one release; what its report says of each host's turn. The inventory says how the hosts are reached."""
    report = estate.BUILD / "bench" / f"rollout-{note.stem}.json"
    recap = estate.roll_out(note, "-i", str(inventory), check=False, rollout_report=str(report))
    if recap.status != 0:
        raise estate.EstateError(f"{note.stem} was not rolled out well:\n{recap.output[-6000:]}")
    return list(json.loads(report.read_text(encoding="utf-8"))["hosts"].values())


def several(
    run: BackgroundLoad, notes: Sequence[Path], inventory: Path, calm_s: float
) -> tuple[Phases, list[dict[str, float]]]:
    """A calm, then rollout after rollout; each host's turn in every report."""
    phases = [run.now()]
    time.sleep(calm_s)
    turns = []
    for note in notes:
        phases.append(run.now())
        turns += one(note, inventory)
    return [*phases, run.now()], turns


def latencies(requests: Sequence[windows.Request], phases: Phases) -> tuple[list[float], list[float]]:
    """Percentiles of the calm, and of all rollouts together."""
    calm, first, *_others, end = phases
    spans = ((calm, first), (first, end))
    before, during = ([windows.latency(requests, percent, *span) for percent in PERCENTS] for span in spans)
    return before, during


def measure() -> str:
    """Steady load, then rollout after rollout under the same load; the ledger decides what was lost."""
    estate.step("make demo", ["make", "demo"], log=estate.BUILD / "bench" / "demo.log")
    notes, inventory = releases(), reached_by_ssh()
    with orders.load(rate=RATE, reads=READS, count=10_000_000) as run:
        with machines_of_their_own(run.pid):
            time.sleep(10)
            phases, hosts = several(run, notes[:ROLLOUTS], inventory, STEADY_S)
        time.sleep(10)
        equal, _hosts = several(run, notes[ROLLOUTS:], inventory, EQUAL_STEADY_S)
        while run.now() * RATE < REQUESTS + RATE:
            time.sleep(1)
        run.stop()
    verdict, report = orders.audit(run), run.report
    print(report.table(), verdict.table(), sep="\n", file=sys.stderr)
    requests = run.log().requests
    before, during = latencies(requests, phases)
    spans = list(zip(phases[1:], phases[2:], strict=False))
    each = sorted(windows.p99(requests, *span) / before[-1] for span in spans)
    own = sorted(host["overhead_s"] for host in hosts)
    return f"""## {ROLLOUTS} good releases in a row on the demo estate

Two load balancers, two nodes, {RATE} requests per second ({READS:.0%} reads) without a pause. The steady figures are
of the {STEADY_S} s before the first rollout. Latency counts from the scheduled start of each request.

{
        table(
            ["requests", "failed", "orders acknowledged", "lost", "doubled"],
            [[report.sent, report.failed, report.acknowledged, verdict.lost, verdict.doubled]],
        )
    }

Controller and load client belong to no host and share the machine with all of them. Here the kernel runs the load
client at once, and the controller, which reaches the hosts by SSH, only where no host wants the processor: as near as
one machine comes to a controller and clients on machines of their own.

{_percentiles(before, during)}

The p99 of a single rollout was {each[0]:.2f} to {each[-1]:.2f} times the steady one, the median {
        statistics.median(each):.2f}.

The same, {EQUAL_ROLLOUTS} more rollouts, with all of them on equal terms; what other work does to them is in the next
section.

{_percentiles(*latencies(requests, equal))}

{
        table(
            ["per", "s, median", "least", "most"],
            [
                ["rollout, wall", *_spread([end - begin for begin, end in spans])],
                ["node: from drain to done", *_spread([host["turn_s"] for host in hosts])],
                ["node: drain", *_spread([host["drain_s"] for host in hosts])],
                ["node: the process's stop and start", *_spread([host["stop_s"] + host["start_s"] for host in hosts])],
                ["node: gates and minimum healthy time", *_spread([host["observed_s"] for host in hosts])],
                ["node: the rollout's own cost", *_spread(own)],
            ],
        )
    }
"""


def _percentiles(before: Sequence[float], during: Sequence[float]) -> str:
    return table(
        ["", *(f"p{percent} ms" for percent in PERCENTS)],
        [
            ["steady", *(f"{value:.1f}" for value in before)],
            ["during rollouts", *(f"{value:.1f}" for value in during)],
            ["ratio", *(f"{late / value:.2f}" for late, value in zip(during, before, strict=True))],
        ],
    )


def _spread(values: list[float]) -> list[str]:
    return [f"{value:.1f}" for value in (statistics.median(values), min(values), max(values))]
