# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the judge: whole rollouts, simulated look by look, of good releases and of bad ones.

The judge, the gate and its limits are the product's; only the requests are made up. Looks are taken when the rollout
takes them, which ``test_bench_judge.py`` compares with the rollout itself. A load balancer shares a steady load by
weight, so the number of requests between two looks is not random (a fraction of one is); which of them fail is.

Rollouts are simulated in lots of 500, kept in build/bench/judge.json and not simulated again unless the code has
changed, so a run that was broken off goes on. ``JUDGE_TRIALS`` says how many rollouts each cell shall have; with 0 the
page is made of those that are there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from pathlib import Path

import estate
from ansible_collections.mesops.platform.plugins.plugin_utils._gate import sequential, track
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.error_process import ErrorProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate, Verdict
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.latency_process import LatencyProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import ErrorLimits, LatencyLimits, limits_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from bench.shared import table

TRIALS = int(os.environ.get("JUDGE_TRIALS", "2000"))
LOT = 500
BUDGET = 0.01
WEIGHTS = (10, 100)
BATCHES = (1, "25%")
RATES = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
HOSTS = (2, 8)
LOADS = (10, 50, 200)
SOAKS = (10, 60, 300)
KNOWN = 100_000
"""Requests that the hosts had before the rollout."""
SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
ERRORS = rollout_gates.check_gates({}, SERVICE)["errors"]
LATENCY = rollout_gates.check_gates(
    {"latency": {"probe": {"type": "haproxy", "measure": "latency", "max_ratio": 1.5, "tolerance_ms": 20}, "count": 3}},
    SERVICE,
)["latency"]
"""The latency gate that docs/gates.md shows."""
TAIL = 0.0643
"""With so many requests ten times slower the 95th percentile of the lognormal distribution below is 3 times as high."""
POOL = 200_000
"""Response times that are drawn once and then used from a random place on."""


@dataclass(frozen=True)
class Cell:
    """One kind of rollout."""

    hosts: int
    load: float
    """Requests per second at the service."""
    soak: float
    """Seconds of observation."""
    bad: float
    """The new version's share of bad requests."""
    usual: float
    """The old version's."""
    fault: str = "errors"
    """What is wrong with the new version: errors, hangs, drops, slow, tail."""
    alpha: float = BUDGET
    batches: int = 99
    """How many batches are simulated: 1 where only the first is of interest."""


@dataclass
class Found:
    """How the rollouts of a cell ended."""

    trials: int = 0
    first: int = 0
    """Condemned before the second batch."""
    later: int = 0
    held: int = 0
    """Held at any look."""
    unsure: int = 0
    """Passed a share of traffic because the gate could not say, and never condemned."""

    @property
    def condemned(self) -> int:
        """At all."""
        return self.first + self.later


# -------------------------------------------------------------------------------------------------------------- looks


def share_looks(spec: GateSpec) -> Iterator[float]:
    """When a gate looks at a share of traffic, in seconds since it began, until its time is up."""
    at = spec.initial_delay
    while at < spec.timeout:
        yield at
        at += spec.interval


def soak_looks(spec: GateSpec, seconds: float) -> Iterator[float]:
    """When a gate looks while hosts are observed: at each interval, and at the end."""
    at = spec.initial_delay
    while at < seconds:
        yield at
        at += spec.interval
    yield seconds


def looks(spec: GateSpec, soak: float) -> Iterator[tuple[float, list[tuple[float, float]]]]:
    """For each share of traffic (1 is all): the looks at it, as the time and the seconds since the look before."""
    for percent in WEIGHTS:
        last = percent == WEIGHTS[-1]
        times = soak_looks(spec, soak) if last else share_looks(spec)
        before, found = 0.0, []
        for at in times:
            found.append((at, at - before))
            before = at
        yield percent / 100, found


def split(cell: Cell, seconds: float, share: float, done: int, batch: int) -> tuple[float, float, bool]:
    """Requests of the canary and of the baseline in some seconds, and whether the baseline runs the old version."""
    others = cell.hosts - done - batch
    weight = batch * share + cell.hosts - batch
    requests = cell.load * seconds / weight
    return requests * batch * share, requests * (others or done), others > 0


def whole(number: float) -> int:
    """A whole number whose mean is the given one."""
    return int(number) + (random.random() < number % 1)


@lru_cache(100_000)
def _distribution(total: int, share: float) -> list[float]:
    """P(at most x of total)."""
    found, reached, chance = [], 0.0, math.exp(total * math.log1p(-share))
    for x in range(total + 1):
        reached += chance
        found.append(reached)
        if reached > 1 - 1e-13:
            break
        chance *= (total - x) / (x + 1) * share / (1 - share)
    return found


_counts = lru_cache(100_000)(Counts)


def draw(total: int, share: float) -> Counts:
    """Requests, some of them bad."""
    if not 0 < share < 1:
        return _counts(total if share else 0, total)
    return _counts(min(total, bisect(_distribution(total, share), random.random())), total)


# -------------------------------------------------------------------------------------------------------------- sides


class Errors:
    """Looks at counts."""

    spec = ERRORS

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._process = ErrorProcess(ErrorLimits(), cell.alpha)
        self._usual = Counts(round(cell.usual * KNOWN), KNOWN)
        self._waiting = 0

    def begin(self) -> None:
        """Another batch."""
        self._process.begin()
        self._waiting = 0

    def look(self, canary: float, baseline: float, old: bool) -> Phase:
        """One look after so many requests."""
        cell = self._cell
        ours = draw(whole(canary), cell.bad)
        if cell.fault == "hangs":
            # What hangs is counted at the second look that sees it waiting.
            ours, self._waiting = Counts(self._waiting, self._waiting), ours.total
        others = draw(whole(baseline), cell.usual if old else cell.bad)
        return self._process.take(ours, others, self._usual)


@lru_cache(4)
def _pool(fault: str) -> list[float]:
    """Response times in milliseconds, drawn once."""
    source = random.Random(fault)
    times = [source.lognormvariate(math.log(40), 0.5) for _ in range(POOL)]
    if fault == "slow":
        return [3 * one for one in times]
    if fault == "tail":
        return [10 * one if source.random() < TAIL else one for one in times]
    return times


def _times(fault: str, number: int) -> list[float]:
    begin = random.randrange(POOL - number)
    return _pool(fault)[begin : begin + number]


class Latency:
    """Looks at response times."""

    spec = LATENCY

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        limits = limits_of(LATENCY.probe)
        assert isinstance(limits, LatencyLimits)
        self._process = LatencyProcess(limits, cell.alpha)
        self._hung = 0

    def begin(self) -> None:
        """Another batch."""
        self._process.begin()
        self._hung = 0

    def look(self, canary: float, baseline: float, old: bool) -> Phase:
        """One look after so many requests."""
        fault = self._cell.fault
        others = _times("" if old else fault, whole(baseline))
        number = whole(canary)
        if fault == "hangs":
            self._hung += number
            return self._process.look([], others, waiting=([2000.0] * self._hung, ())).phase
        return self._process.look(_times(fault, number), others).phase


# ----------------------------------------------------------------------------------------------------------- rollouts


def rollout(cell: Cell, side: Errors | Latency, found: Found) -> None:
    """One whole rollout; how it ended is added to what was found."""
    found.trials += 1
    done, held, unsure = 0, False, False
    for number, batch in enumerate(plan.sizes(cell.hosts, BATCHES)[: cell.batches]):
        side.begin()
        for share, times in looks(side.spec, cell.soak):
            gate = Gate(side.spec, 0)
            for at, seconds in times:
                phase = side.look(*split(cell, seconds, share, done, batch))
                held = held or phase is Phase.HOLD
                if phase is Phase.FAILURE:
                    found.first += number == 0
                    found.later += number > 0
                    return
                if share < 1:
                    gate.note(phase, at)
                    if gate.verdict(at) is not None:
                        break
            unsure = unsure or (share < 1 and gate.verdict(side.spec.timeout) is not Verdict.PASSED)
        done += batch
    found.held += held
    found.unsure += unsure


def simulate(cell: Cell, kind: Callable[[Cell], Errors | Latency], lot: int, trials: int = LOT) -> Found:
    """One lot of rollouts of one cell; the same ones every time."""
    # The same small tables come again and again; what they are worth is worked out once.
    for name in ("bets_on_two", "bets_on_one"):
        setattr(track, name, lru_cache(300_000)(getattr(sequential, name)))
    random.seed(repr((cell, kind.__name__, lot)))
    found = Found()
    for _trial in range(trials):
        rollout(cell, kind(cell), found)
    return found


def _simulate(kind: Callable[[Cell], Errors | Latency], cell: Cell, lot: int) -> Found:
    return simulate(cell, kind, lot)


# -------------------------------------------------------------------------------------------------------------- cells


def interval(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson), from the binomial distribution itself."""

    def at_most(share: float, x: int) -> float:
        logs = [
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(share)
            + (trials - k) * math.log1p(-share)
            for k in range(x + 1)
        ]
        return math.fsum(map(math.exp, logs))

    def solve(holds: Callable[[float], bool]) -> float:
        low, high = 1e-9, 1 - 1e-9
        for _step in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    low = solve(lambda share: 1 - at_most(share, hits - 1) < 0.025) if hits else 0.0
    high = solve(lambda share: at_most(share, hits) > 0.025) if hits < trials else 1.0
    return low, high


class Results:
    """What was simulated, kept on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, list[int]] = json.loads(path.read_text()) if path.exists() else {}
        judge = Path(str(sequential.__file__)).parent
        sources = [*sorted(judge.glob("*.py")), Path(str(plan.__file__)), Path(__file__)]
        self._code = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]

    def _key(self, cell: Cell, kind: Callable[[Cell], Errors | Latency], lot: int) -> str:
        return f"{self._code} {kind.__name__} {astuple(cell)} {lot}"

    def all(self, cells: Sequence[Cell], kind: Callable[[Cell], Errors | Latency]) -> list[Found]:
        """The results of some cells, in their order; lots that are not there yet are simulated, on all processors."""
        wanted = [(cell, lot) for lot in range(math.ceil(TRIALS / LOT)) for cell in cells]
        missing = [(cell, lot) for cell, lot in wanted if self._key(cell, kind, lot) not in self._found]
        if missing:
            with ProcessPoolExecutor() as pool:
                lots = pool.map(partial(_simulate, kind), *zip(*missing, strict=True))
                for (cell, lot), found in zip(missing, lots, strict=True):
                    self._keep(self._key(cell, kind, lot), found)
        return [self._sum(cell, kind) for cell in cells]

    def _keep(self, key: str, found: Found) -> None:
        self._found[key] = list(astuple(found))
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._found), encoding="utf-8")
        beside.replace(self._path)

    def _sum(self, cell: Cell, kind: Callable[[Cell], Errors | Latency]) -> Found:
        lots: list[list[int]] = []
        while (key := self._key(cell, kind, len(lots))) in self._found:
            lots.append(self._found[key])
        return Found(*map(sum, zip(*lots, strict=True)))


def percent(hits: int, trials: int) -> str:
    """A share of rollouts, for instance "0.15"."""
    return f"{100 * hits / trials:.2f}".rstrip("0").rstrip(".")


def between(hits: int, trials: int) -> str:
    """The same with its interval."""
    low, high = interval(hits, trials)
    return f"{percent(hits, trials)} ({100 * low:.2f} to {100 * high:.2f})"


def measure() -> str:
    """Simulate; no host takes part."""
    directory = estate.BUILD / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    results = Results(directory / "judge.json")
    # The quick ones first.
    tables = {part.__name__: part(results) for part in (bad, frontier, slower, latency, good)}
    return f"""## The judge: simulated rollouts

Whole rollouts, look by look as a rollout takes them: batches of one host and then a quarter,
10 % of the weight until the gate has a verdict (`errors`: looks every {ERRORS.interval:g} s, at most
{ERRORS.timeout:g} s), then all of it for the observation. One budget of {100 * BUDGET:g} % for a whole
rollout. Intervals are of 95 %. The last column says how many rollouts a cell has; 2,000 are wanted, and what was
broken off has fewer.

### Good releases rolled back, %

Old and new version fail at the same rate; the default gate `errors` alone.

{tables["good"]}

### Bad releases found before the second host, %

Two hosts, 50 requests per second, the old version without a fault. Found means condemned, and so rolled back, while the
first host is judged; what the gate could not say and went on with is not found. The budget is for one gate, and in
brackets for each of two.

{tables["bad"]}

### Where it ends

What is hard to tell from what is tolerated (1 %): two hosts, 50 requests per second, the old version without a fault.
A release that fails more than the hosts beside it, but no more than tolerated, is good by the rule; to condemn it
nevertheless is no false alarm that the budget counts, but the price of finding 2 % within 30 s.

{tables["frontier"]}

With less traffic, the same bad releases:

{tables["slower"]}

### Latency

The gate `latency` of the page on gates, for which half of the budget is left; response times are lognormal (median
40 ms, p95 91 ms). "3 times slower": all of them; "slow tail": {100 * TAIL:g} % of them ten times slower, p95 3 times.

{tables["latency"]}
"""


def good(results: Results) -> str:
    """The table of good releases."""
    kinds = [(hosts, load, soak) for soak in SOAKS for hosts in HOSTS for load in LOADS]
    found = {kind: results.all([Cell(*kind, rate, rate) for rate in RATES], Errors) for kind in kinds}
    rows = [(*kind, *(percent(one.condemned, one.trials) for one in row), least(row)) for kind, row in found.items()]
    cells = [one for row in found.values() for one in row]
    condemned, held = (sum(getattr(one, name) for one in cells) for name in ("condemned", "held"))
    worst, everything = max(cells, key=lambda one: one.condemned / one.trials), sum(one.trials for one in cells)
    head = ("hosts", "requests/s", "observed, s", *(f"{100 * rate:g} %" for rate in RATES), "rollouts in each cell")
    return f"""{table(head, rows)}

The worst cell: {between(worst.condemned, worst.trials)} %. All {len(cells)} together, {everything:,} rollouts:
{between(condemned, everything)} %; held, because the others seemed to be far outside what is usual:
{between(held, everything)} %."""


def least(row: Sequence[Found]) -> str:
    """How many rollouts each cell of a row has."""
    return f"{min(one.trials for one in row):,}"


def bad(results: Results) -> str:
    """The table of bad releases."""
    wanted = (
        ("5 % errors", 10, 0.05, "errors", "99"),
        ("2 % errors", 30, 0.02, "errors", "95"),
        ("drops every connection", 10, 1.0, "drops", "100"),
        ("hangs every request", 10, 1.0, "hangs", "100"),
    )
    rows = []
    for name, soak, share, fault, goal in wanted:
        cells = [Cell(2, 50, soak, share, 0.0, fault, alpha, 1) for alpha in (BUDGET, BUDGET / 2)]
        alone, half = results.all(cells, Errors)
        shares = f"{between(alone.first, alone.trials)} [{percent(half.first, half.trials)}]"
        rows.append((name, soak, goal, shares, least([alone, half])))
    return table(("the new version", "observed, s", "wanted", "found", "rollouts"), rows)


def frontier(results: Results) -> str:
    """Condemned in the first batch, by true share of bad requests and time of observation."""
    shares = (0.002, 0.005, 0.009, 0.012, 0.015, 0.02, 0.03, 0.05)
    rows = []
    for soak in (10, 30, 60, 300):
        found = results.all([Cell(2, 50, soak, share, 0.0, batches=1) for share in shares], Errors)
        rows.append((soak, *(percent(one.first, one.trials) for one in found), least(found)))
    return table(("observed, s", *(f"{100 * share:g} %" for share in shares), "rollouts in each cell"), rows)


def slower(results: Results) -> str:
    """Found in the first batch with less traffic, and with more hosts."""
    shares = (0.02, 0.05, 0.1, 1.0)
    rows = []
    for hosts, load, soak in ((2, 10, 10), (2, 10, 60), (8, 50, 10), (8, 50, 60), (8, 200, 30)):
        found = results.all([Cell(hosts, load, soak, share, 0.0, batches=1) for share in shares], Errors)
        rows.append((hosts, load, soak, *(percent(one.first, one.trials) for one in found), least(found)))
    head = ("hosts", "requests/s", "observed, s", *(f"{100 * share:g} %" for share in shares))
    return table((*head, "rollouts in each cell"), rows)


def latency(results: Results) -> str:
    """Good and bad releases at the latency gate."""
    rows = []
    for hosts, load, soak in ((2, 10, 10), (2, 50, 10), (2, 200, 10), (8, 50, 10), (2, 50, 60)):
        kinds = [("", 99), ("slow", 1), ("tail", 1), ("hangs", 1)]
        cells = [Cell(hosts, load, soak, 0.0, 0.0, fault, BUDGET / 2, batches) for fault, batches in kinds]
        fine, *faulty = results.all(cells, Latency)
        goods = (percent(fine.condemned, fine.trials), percent(fine.unsure, fine.trials))
        shares = (percent(one.first, one.trials) for one in faulty)
        rows.append((hosts, load, soak, *goods, *shares, least([fine, *faulty])))
    head = ("hosts", "requests/s", "observed, s", "good: rolled back", "good: could not say in time")
    return table((*head, "3 times slower: found", "slow tail: found", "hangs: found", "rollouts in each cell"), rows)
