# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the new release worse than what runs beside it? Exact tests where numbers are small. No input or output in here.

The canary is the hosts that have just got the new release, the baseline the others, at the same time and under the same
traffic. Every judgement asks two questions: is the canary beyond what the user tolerates (the effect), and is that more
than chance (the proof)? Beyond and proven is a failure, beyond and not proven is inconclusive and asks for more data,
not beyond is a success. What was not measured is never a success.

``alpha`` is the chance that one judgement calls a good release bad. A gate that judges again and again takes that
chance each time, which is why the default is 0.01 and not the customary 0.05.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Optional, Union

Evidence = Mapping[str, Optional[Union[float, int, str]]]

EXACT_PAIRS = 400
"""Up to so many pairs the Mann-Whitney test counts arrangements instead of approximating."""
THINNED = 200
"""The Hodges-Lehmann estimate compares at most so many values of each side."""
EXCUSED_RATIO = 1.5
"""Hosts that fail as well excuse a canary that fails at most so many times as often."""
_NEGLIGIBLE = 1e-20
"""A term that adds so little to a sum does not change it."""
_IMPOSSIBLE = 1e-300
"""A probability below this is 0: smaller floating-point numbers are not accurate any more."""


class JudgeError(ValueError):
    """Limits or counts that make no sense; the text is one sentence for the user."""


class Phase(Enum):
    """What one sample says."""

    SUCCESS = "success"
    FAILURE = "failure"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    """The sample could not be taken. No judgement of this file; it is what a probe reports."""
    NO_DATA = "no_data"


@dataclass(frozen=True)
class Judgement:
    """A phase, one line of evidence for a person, and the figures behind it."""

    phase: Phase
    text: str
    evidence: Evidence


@dataclass(frozen=True)
class Counts:
    """How many requests there were, and how many of them were bad."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        _demand(
            0 <= self.bad <= self.total,
            f"{self.bad} of {self.total} requests cannot be bad; the first number must be between 0 and the second.",
        )

    @property
    def ratio(self) -> float:
        """The share of bad requests, 0 when there were none at all."""
        return self.bad / self.total if self.total else 0.0


@dataclass(frozen=True)
class ErrorLimits:
    """What share of bad requests is tolerated, and how sure a failure has to be."""

    max_ratio: float = 0.01
    """The share of bad requests that is always tolerated (0.01 is one in a hundred)."""
    alpha: float = 0.01
    min_samples: int = 20
    """Requests below which a side is not judged."""

    def __post_init__(self) -> None:
        _demand(
            0 <= self.max_ratio < 1,
            f"max_ratio is {self.max_ratio:g}; as a share of bad requests it must be at least 0 and below 1.",
        )
        _check_common(self.alpha, self.min_samples)


@dataclass(frozen=True)
class LatencyLimits:
    """How much slower is tolerated, and how sure a failure has to be."""

    percentile: float = 95
    max_ratio: float = 1.5
    """How many times as slow as the baseline is tolerated."""
    max_ms: float | None = None
    """A limit for the percentile whatever the baseline is, in milliseconds."""
    alpha: float = 0.01
    min_samples: int = 50
    """Requests below which a side is not judged."""
    tolerance_ms: float = 5
    """Differences up to this never count, in milliseconds."""

    def __post_init__(self) -> None:
        _demand(0 < self.percentile < 100, f"percentile is {self.percentile:g}; it must be between 0 and 100.")
        _demand(
            1 <= self.max_ratio < math.inf,
            f"max_ratio is {self.max_ratio:g}; as a multiple of the baseline's latency it must be at least 1.",
        )
        _demand(
            0 <= self.tolerance_ms < math.inf,
            f"tolerance_ms is {self.tolerance_ms:g}; it must be a number of milliseconds that is not negative.",
        )
        if self.max_ms is not None:
            _demand(0 < self.max_ms < math.inf, f"max_ms is {self.max_ms:g}; it must be above 0, or left out.")
        _check_common(self.alpha, self.min_samples)


def _check_common(alpha: float, min_samples: int) -> None:
    _demand(0 < alpha <= 0.5, f"alpha is {alpha:g}; it must be above 0 and at most 0.5, 0.01 is usual.")
    _demand(
        min_samples >= 1 and min_samples == int(min_samples),
        f"min_samples is {min_samples:g}; it must be a whole number of requests, at least 1.",
    )


def _demand(holds: bool, sentence: str) -> None:
    if not holds:
        raise JudgeError(sentence)


# ----------------------------------------------------------------------------------------------------------- statistics


def _upper_tail(at: int, low: int, high: int, mode: int, step: Callable[[int], float]) -> float:
    """P(X >= at) of a distribution on ``low`` to ``high`` with one peak, from ``step(x)`` = P(x + 1) / P(x).

    All terms are taken relative to the peak and only ever added, so nothing cancels and no logarithm of a factorial is
    needed. Terms too small to matter are not visited: some 40 standard deviations remain, however long the range is.
    """
    if at <= low:
        return 1.0
    if at > high:
        return 0.0
    total = 1.0
    tail = 1.0 if mode >= at else 0.0
    weight, position = 1.0, mode
    while position < high:
        weight *= step(position)
        position += 1
        total += weight
        if position >= at:
            tail += weight
            if weight < tail * _NEGLIGIBLE:
                break
        if weight < total * _IMPOSSIBLE:
            break
    weight, position = 1.0, mode
    while position > low and weight > total * _NEGLIGIBLE:
        position -= 1
        weight /= step(position)
        total += weight
        if position >= at:
            tail += weight
    return min(1.0, tail / total)


def fisher_greater(bad_a: int, total_a: int, bad_b: int, total_b: int) -> float:
    """How likely ``a`` has at least so many of all bad ones by chance alone (Fisher's exact test, one-sided)."""
    Counts(bad_a, total_a), Counts(bad_b, total_b)
    both, bad = total_a + total_b, bad_a + bad_b
    good = both - bad
    low, high = max(0, total_a - good), min(total_a, bad)
    mode = min(high, max(low, (total_a + 1) * (bad + 1) // (both + 2)))

    def step(x: int) -> float:
        return ((bad - x) * (total_a - x)) / ((x + 1) * (good - total_a + x + 1))

    return _upper_tail(bad_a, low, high, mode, step)


def binomial_greater(bad: int, total: int, share: float) -> float:
    """How likely at least ``bad`` of ``total`` are bad if each is with the probability ``share`` (exact, one-sided)."""
    Counts(bad, total)
    _demand(0 <= share <= 1, f"the share is {share:g}; it must be between 0 and 1.")
    if share in (0, 1) or bad == 0:
        return 1.0 if bad == 0 or share == 1 else 0.0
    odds = share / (1 - share)
    mode = min(total, int((total + 1) * share))
    return _upper_tail(bad, 0, total, mode, lambda x: (total - x) / (x + 1) * odds)


@dataclass(frozen=True)
class MannWhitney:
    """The outcome of a Mann-Whitney test."""

    u: float
    """Pairs in which the canary's value is the greater one; a tie counts half."""
    p: float
    exact: bool


def mann_whitney_greater(canary: Sequence[float], baseline: Sequence[float]) -> MannWhitney:
    """Test whether the canary's values tend to be greater than the baseline's (one-sided).

    Exact for few values without ties, else by the normal approximation with corrections for ties and continuity.
    """
    n, m = len(canary), len(baseline)
    _demand(n > 0 and m > 0, f"{n} values cannot be compared with {m}; each side needs at least one.")
    ours, theirs = Counter(canary), Counter(baseline)
    u, below, ties = 0.0, 0, 0
    for value in sorted(ours.keys() | theirs.keys()):
        mine, others = ours[value], theirs[value]
        u += mine * (below + others / 2)
        below += others
        ties += (mine + others) ** 3 - (mine + others)
    if n * m <= EXACT_PAIRS and not ties:
        ways = _arrangements(min(n, m), max(n, m))
        return MannWhitney(u, sum(ways[int(u) :]) / sum(ways), True)
    both = n + m
    variance = n * m / 12 * (both + 1 - ties / (both * (both - 1)))
    if variance <= 0:
        return MannWhitney(u, 1.0, False)
    z = (u - n * m / 2 - 0.5) / math.sqrt(variance)
    return MannWhitney(u, math.erfc(z / math.sqrt(2)) / 2, False)


def _arrangements(n: int, m: int) -> list[int]:
    """For each U from 0 to n * m: how many orders of n and m different values have it (the Gaussian binomial)."""
    ways = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            ways[u] -= ways[u - m - i]
        for u in range(i, n * m + 1):
            ways[u] += ways[u - i]
    return ways


def hodges_lehmann(canary: Sequence[float], baseline: Sequence[float]) -> float:
    """By how much the canary's values are greater: the median of all differences between one and the other.

    Of a side with more than 200 values only 200 evenly spaced quantiles are compared, so the work is bounded and the
    answer the same every time.
    """
    _demand(
        len(canary) > 0 and len(baseline) > 0,
        f"{len(canary)} values cannot be compared with {len(baseline)}; each side needs at least one.",
    )
    ours, theirs = _thin(sorted(canary)), _thin(sorted(baseline))
    return statistics.median(mine - other for mine in ours for other in theirs)


def _thin(ordered: Sequence[float]) -> Sequence[float]:
    size = len(ordered)
    if size <= THINNED:
        return ordered
    return [ordered[(2 * i + 1) * size // (2 * THINNED)] for i in range(THINNED)]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values: the smallest that at least ``percent`` % do not exceed."""
    _demand(len(ordered) > 0, "no values have no percentile; give at least one.")
    # Rounded, lest 99.9 % of 1000 values be rank 1000 because 99.9 has no exact binary form.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[min(len(ordered), max(1, rank)) - 1]


# ----------------------------------------------------------------------------------------------------------- judgements


def judge_errors(canary: Counts, baseline: Counts | None, limits: ErrorLimits) -> Judgement:
    """Judge the share of bad requests.

    - Within ``max_ratio``: success, whatever the baseline.
    - Above it, and more often bad than the baseline (Fisher's exact test): failure.
    - Above it, and the baseline is within ``max_ratio``, is too small, or does not exist: nothing excuses the canary,
      so it fails when its share is provably above ``max_ratio`` (binomial test), else it is inconclusive. Without this
      a small faultless baseline would protect a canary that fails when there is no baseline at all.
    - Above it, but the baseline is bad too: success with a note, for the trouble is not the release's. That is believed
      only if the baseline is provably above ``max_ratio`` and the canary at most 1.5 times as bad; one failed
      request among twenty on the other hosts does not excuse 15 % on the new ones. Else inconclusive.
    - Fewer than ``min_samples`` requests: no data, unless the failures suffice already, that is even if all requests
      that are still missing turned out well. Ten failures of ten need not wait for ten more.
    """
    usable = baseline if baseline is not None and baseline.total >= limits.min_samples else None
    filled = Counts(canary.bad, max(canary.total, limits.min_samples))
    phase, test, p = _weigh_errors(filled, usable, limits)
    parts = [_of("failed", canary) if canary.total else "no request"]
    if canary.total < limits.min_samples and phase is not Phase.FAILURE:
        phase, test, p = Phase.NO_DATA, None, None
        parts.append(f"too few to judge, {limits.min_samples} are needed")
    elif usable is not None:
        parts.append(f"baseline {_of('', usable)}")
    if (usable is None or test == "binomial") and phase is not Phase.NO_DATA:
        parts.append(f"tolerated {_percent(limits.max_ratio)}")
    if p is not None:
        parts.append(f"p = {_probability(p)}")
    if phase is Phase.INCONCLUSIVE:
        parts.append("not enough to tell")
    elif phase is Phase.SUCCESS and p is not None:
        parts.append("the other hosts are as bad, so it is not the release")
    evidence = {
        "bad": canary.bad,
        "total": canary.total,
        "ratio": canary.ratio,
        "baseline_bad": baseline.bad if baseline else None,
        "baseline_total": baseline.total if baseline else None,
        "baseline_ratio": baseline.ratio if baseline else None,
        "max_ratio": limits.max_ratio,
        "test": test,
        "p": p,
    }
    return Judgement(phase, ", ".join(parts), evidence)


def _weigh_errors(
    canary: Counts, baseline: Counts | None, limits: ErrorLimits
) -> tuple[Phase, str | None, float | None]:
    """Phase, the test that decided, and its p-value."""
    if canary.ratio <= limits.max_ratio:
        return Phase.SUCCESS, None, None
    if baseline is not None:
        p = fisher_greater(canary.bad, canary.total, baseline.bad, baseline.total)
        if p < limits.alpha:
            return Phase.FAILURE, "fisher", p
        if baseline.ratio > limits.max_ratio:
            proven = binomial_greater(baseline.bad, baseline.total, limits.max_ratio) < limits.alpha
            excused = proven and canary.ratio <= EXCUSED_RATIO * baseline.ratio
            return Phase.SUCCESS if excused else Phase.INCONCLUSIVE, "fisher", p
    p = binomial_greater(canary.bad, canary.total, limits.max_ratio)
    return Phase.FAILURE if p < limits.alpha else Phase.INCONCLUSIVE, "binomial", p


@dataclass(frozen=True)
class _Check:
    """One way to be too slow: whether the canary is, and how likely that is chance."""

    name: str
    beyond: bool
    p: float
    text: str


def judge_latency(canary: Sequence[float], baseline: Sequence[float] | None, limits: LatencyLimits) -> Judgement:
    """Judge response times in milliseconds; values that are no finite number do not count.

    Three checks, each of which suffices to fail:

    - absolute: the canary's percentile is above ``max_ms``, and the share of slower requests is provably larger than
      the percentile allows (binomial test). The baseline does not excuse it: a limit in milliseconds is a promise.
    - exceedance: the canary's percentile is above a threshold of ``max_ratio`` times the baseline's, and more of its
      requests are above that threshold than of the baseline's (Fisher's exact test). It finds a slow minority, which
      leaves the median alone and which a Mann-Whitney test therefore does not see.
    - shift: the canary is slower all over (Mann-Whitney test), by more than ``max_ratio`` allows for the median. It
      finds what a percentile of few values cannot prove.

    Differences up to ``tolerance_ms`` never count against a baseline. A canary that is beyond a limit which no test
    proves is inconclusive, not a success: more data will tell. A baseline with fewer than ``min_samples`` values is
    none; then ``max_ms`` judges alone, and without it there is nothing to judge by, which is inconclusive as well.
    """
    ours = sorted(value for value in canary if math.isfinite(value))
    theirs = sorted(value for value in baseline or () if math.isfinite(value))
    n, m = len(ours), len(theirs)
    label = f"p{limits.percentile:g}"
    evidence: dict[str, float | int | str | None] = {
        "percentile": limits.percentile,
        "total": n,
        "canary_ms": percentile(ours, limits.percentile) if ours else None,
        "canary_median_ms": statistics.median(ours) if ours else None,
        "baseline_total": m,
        "baseline_ms": percentile(theirs, limits.percentile) if theirs else None,
        "baseline_median_ms": statistics.median(theirs) if theirs else None,
        "test": None,
        "p": None,
    }
    if n < limits.min_samples:
        count = f"{n:,} requests" if n else "no request"
        return Judgement(Phase.NO_DATA, f"{count}, too few to judge, {limits.min_samples} are needed", evidence)
    head = f"{label} is {_ms(percentile(ours, limits.percentile))} of {n:,} requests"
    checks: list[_Check] = []
    if limits.max_ms is not None:
        checks.append(_absolute(ours, limits, limits.max_ms))
    if m >= limits.min_samples:
        head += f", baseline {_ms(percentile(theirs, limits.percentile))} of {m:,}"
        checks += [_exceedance(ours, theirs, limits), _shift(ours, theirs, limits)]
    for check in checks:
        evidence[f"{check.name}_p"] = check.p
    if not checks:
        few = f"the baseline has {m:,} requests, {limits.min_samples} are needed" if m else "there is no baseline"
        return Judgement(Phase.INCONCLUSIVE, f"{head}, but {few}, and max_ms is not set", evidence)
    beyond = [check for check in checks if check.beyond]
    if not beyond:
        allowed = f", allowed {limits.max_ms:g} ms" if limits.max_ms is not None else ""
        return Judgement(Phase.SUCCESS, head + allowed, evidence)
    worst = min(beyond, key=lambda check: check.p)
    proven = worst.p < limits.alpha
    evidence.update(test=worst.name, p=worst.p)
    text = f"{head}; {worst.text}, p = {_probability(worst.p)}{'' if proven else ', not enough to tell'}"
    return Judgement(Phase.FAILURE if proven else Phase.INCONCLUSIVE, text, evidence)


def _absolute(ours: Sequence[float], limits: LatencyLimits, most: float) -> _Check:
    above = Counts(sum(value > most for value in ours), len(ours))
    p = binomial_greater(above.bad, above.total, 1 - limits.percentile / 100)
    return _Check("absolute", percentile(ours, limits.percentile) > most, p, _of(f"above {_ms(most)}", above))


def _exceedance(ours: Sequence[float], theirs: Sequence[float], limits: LatencyLimits) -> _Check:
    normal = percentile(theirs, limits.percentile)
    threshold = max(limits.max_ratio * normal, normal + limits.tolerance_ms)
    above = Counts(sum(value > threshold for value in ours), len(ours))
    usual = Counts(sum(value > threshold for value in theirs), len(theirs))
    p = fisher_greater(above.bad, above.total, usual.bad, usual.total)
    text = f"{_of(f'above {_ms(threshold)}', above)}, baseline {_of('', usual)}"
    return _Check("exceedance", percentile(ours, limits.percentile) > threshold, p, text)


def _shift(ours: Sequence[float], theirs: Sequence[float], limits: LatencyLimits) -> _Check:
    shift = hodges_lehmann(ours, theirs)
    allowed = max(limits.tolerance_ms, (limits.max_ratio - 1) * statistics.median(theirs))
    p = mann_whitney_greater(ours, theirs).p
    return _Check("shift", shift > allowed, p, f"typically {_ms(shift)} slower, allowed {_ms(allowed)}")


# ---------------------------------------------------------------------------------------------------------------- words


def _of(what: str, counts: Counts) -> str:
    """For instance "12 of 240 requests failed (5.0 %)", or without a verb "12 of 240 (5.0 %)"."""
    verb = f" requests {what}" if what == "failed" else f" {what}" if what else ""
    return f"{counts.bad:,} of {counts.total:,}{verb} ({_percent(counts.ratio)})"


def _percent(ratio: float) -> str:
    percent = 100 * ratio
    return f"{percent:.1f} %" if percent >= 0.95 else f"{percent:.1g} %"


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _probability(p: float) -> str:
    return f"{p:.2g}".replace("e-0", "e-") if p > 1e-99 else "0"
