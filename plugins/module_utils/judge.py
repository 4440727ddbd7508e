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

import contextlib
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional, Union

from ansible_collections.mesops.platform.plugins.module_utils.sequential import (
    BETTER,
    WORSE,
    Wager,
    bets_on_one,
    bets_on_two,
)

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
    HOLD = "hold"
    """There is nothing to compare with: the other hosts are far outside what they were before. Never a success."""


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
        if not 0 <= self.bad <= self.total:
            raise JudgeError(
                f"{self.bad} of {self.total} requests cannot be bad; the first number must be between 0 and the second."
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


# ---------------------------------------------------------------------------------------------- judging again and again

MISSED = 0.05
"""The chance that "provably within the tolerance" is said of a release that is not."""
FEWEST = 5
"""So many bad requests at least make a failure: one request and its three retries prove nothing about a release."""
CLEARLY = math.log(1.5)
"""Errors are above ``max_ratio`` when what was seen lately is 1.5 times as likely to come from its own share of bad
requests as from the tolerated one: of releases just within the tolerance fewer are condemned so."""
TOLERATED_ODDS = WORSE[0]
"""Up to so many times the baseline's odds of a bad request, a release whose baseline fails as well is within the
tolerance."""
FAR = 3.0
"""A baseline is no baseline when it is more than so many times as bad as it was before the rollout."""
BEYOND_REASON = 0.1
"""A baseline of which nobody knows what it was before is none when more than this share of its requests is bad."""
LEAST_SHARE = 0.001
"""A smaller ``max_ratio`` counts as this one where there is no baseline: no finite number of requests proves zero."""
_LEAST_FACTOR = 1e-300
KEPT = 10
"""How many times more than is needed the proof of being within the tolerance may grow: what goes wrong later takes it
back at once."""


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Refuse a state that is none, in one sentence."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as why:
        raise JudgeError(
            f"What the record says of the evidence about {what} cannot be read ({why}); begin a new rollout."
        ) from why


class _Tally:
    """Counts that grow."""

    __slots__ = ("bad", "total")

    def __init__(self, pair: Sequence[int] = (0, 0)) -> None:
        counts = Counts(*(int(one) for one in pair))
        self.bad, self.total = counts.bad, counts.total

    def add(self, counts: Counts) -> None:
        """These came in."""
        self.bad += counts.bad
        self.total += counts.total

    def clear(self) -> None:
        """None of them counts any more."""
        self.bad = self.total = 0

    @property
    def counts(self) -> Counts:
        """As they are now."""
        return Counts(self.bad, self.total)

    @property
    def ratio(self) -> float:
        """The share of bad ones."""
        return self.bad / self.total if self.total else 0.0

    def is_above(self, allowed: float, by: float) -> bool:
        """Whether the share is above the allowed one; ``by``: ln of how much more likely it has to be."""
        ratio = self.ratio
        if ratio <= allowed:
            return False
        if not allowed or ratio == 1:
            return True
        good = (self.total - self.bad) * math.log((1 - ratio) / (1 - allowed))
        return self.bad * math.log(ratio / allowed) + good >= by


class _Track:
    """One measure of the canary: is it provably worse, is it provably within the tolerance?"""

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        given = state or {}
        self.worse = Wager(len(WORSE), state=given.get("worse"))
        self.within = Wager(2 * len(BETTER), KEPT / MISSED, given.get("within"))
        nothing = (0, 0)
        self.canary = _Tally(given.get("canary", nothing))
        """Since the batch began."""
        self.baseline = _Tally(given.get("baseline", nothing))
        self.recent = _Tally(given.get("recent", nothing))
        """The canary's since evidence last was in its favour: what is wrong now, undiluted by a good time before."""
        self.beside = _Tally(given.get("beside", nothing))
        """The baseline's since the same moment."""
        self._alone = _Tally(given.get("alone", nothing))
        """What the canary had while the baseline got no request at all."""
        self._lead = float(given.get("lead", 0.0))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        tallies = {
            "canary": self.canary,
            "baseline": self.baseline,
            "recent": self.recent,
            "beside": self.beside,
            "alone": self._alone,
        }
        pairs = {name: [tally.bad, tally.total] for name, tally in tallies.items()}
        return {"worse": self.worse.state(), "within": self.within.state(), "lead": self._lead, **pairs}

    def begin(self) -> None:
        """Other hosts from now on."""
        self.worse.begin()
        self.within.begin()
        for tally in (self.canary, self.baseline, self._alone):
            tally.clear()
        self._restart()

    def _restart(self) -> None:
        self.recent.clear()
        self.beside.clear()
        self._lead = 0.0

    def note(self, canary: Counts, baseline: Counts | None) -> None:
        """Count what came in."""
        self.canary.add(canary)
        if baseline is not None:
            self.baseline.add(baseline)

    def weigh(self, canary: Counts, baseline: Counts | None, allowed: float, enough: int) -> None:
        """Stake on what came in; ``allowed`` is the share of bad requests that is tolerated, above 0 and below 1.

        A baseline without a request says nothing; when the canary alone has ``enough`` meanwhile, it counts as none.
        """
        if baseline is None:
            self._stake_alone(canary, allowed)
        elif baseline.total:
            self._alone.clear()
            worse, better = bets_on_two(canary.bad, canary.total, baseline.bad, baseline.total)
            self._accuse(canary, baseline, worse)
            self.within.look([*bets_on_one(canary.bad, canary.total, allowed, BETTER), *better])
        else:
            self._alone.add(canary)
            if self._alone.total >= enough:
                self._stake_alone(self._alone.counts, allowed)

    def _stake_alone(self, canary: Counts, allowed: float) -> None:
        self._alone.clear()
        self._accuse(canary, None, bets_on_one(canary.bad, canary.total, allowed, WORSE))
        better = bets_on_one(canary.bad, canary.total, allowed, BETTER)
        self.within.look([*better, *better])

    def _accuse(self, canary: Counts, baseline: Counts | None, factors: Sequence[float]) -> None:
        self.worse.look(factors)
        self._lead += math.log(max(sum(factors) / len(factors), _LEAST_FACTOR))
        if self._lead <= 0:
            self._restart()
            return
        self.recent.add(canary)
        if baseline is not None:
            self.beside.add(baseline)

    def condemned(self, alpha: float, allowed: float, by: float = 0.0) -> bool:
        """Whether the canary is provably worse, and by what was seen lately worse than is tolerated."""
        return self.worse.wealth >= 1 / alpha and self.recent.bad >= FEWEST and self.recent.is_above(allowed, by)

    def forgo(self, before: Mapping[str, Any]) -> None:
        """Without a baseline: give back what was won against the canary in this look, and take nothing for it."""
        self.worse.forgo(before)
        self.within.begin()
        self._restart()

    @property
    def p(self) -> float:
        """How likely a good release ever has so much against it."""
        return min(1.0, 1 / self.worse.wealth)

    @property
    def cleared(self) -> bool:
        """Whether the canary is provably within the tolerance, as of now."""
        return self.within.wealth >= 1 / MISSED


class ErrorProcess:
    """Judges the share of bad requests of one gate's canary, look by look, for a whole rollout.

    Of all rollouts whose release fails no more often than the hosts beside it, at most ``alpha`` ever get a failure:
    over all looks, shares of traffic and batches together, and whatever the rate that both share does.

    - Failure: provably more often bad than the baseline in the same moments, and by what was seen lately above
      ``max_ratio``. Without a baseline: provably above ``max_ratio`` (or above what was usual, if that is more).
    - Success: provably at most ``max_ratio``, or provably at most 1.5 times the baseline's odds.
    - Hold: the baseline is provably beyond three times what it was before the rollout (and above ``max_ratio``); where
      that is not known, beyond a tenth. What is seen meanwhile is never held against the canary, or for it.
    - No data: fewer than ``min_samples`` requests, none of them bad. Inconclusive: all else.
    """

    def __init__(self, limits: ErrorLimits, alpha: float, state: Mapping[str, Any] | None = None) -> None:
        _check_common(alpha, limits.min_samples)
        given = state or {}
        self._limits = limits
        self._alpha = alpha
        with _readable("errors"):
            self._track = _Track(given.get("track"))
            self._hold = _Hold(alpha, given.get("hold"))

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on within the same budget, as JSON."""
        return {"track": self._track.state(), "hold": self._hold.state()}

    def begin(self) -> None:
        """Other hosts are the canary from now on: what was seen of earlier ones neither shields nor condemns them."""
        self._track.begin()
        self._hold.begin()

    def look(self, canary: Counts, baseline: Counts | None, usual: Counts | None = None) -> Judgement:
        """Judge after what came in since the last look.

        ``baseline``: the hosts beside the canary over the same time; None when there are none. ``usual``: what those
        hosts had before the rollout, all of it each time; None when nobody knows.
        """
        phase = self.take(canary, baseline, usual)
        known = self._known(usual)
        return Judgement(phase, self._text(phase, known), self._evidence(known))

    def take(self, canary: Counts, baseline: Counts | None, usual: Counts | None = None) -> Phase:
        """What ``look`` does, without the words."""
        known = self._known(usual)
        held = self._hold.on
        self._track.note(canary, baseline)
        if baseline is not None:
            self._hold.look(baseline, _too_bad(known, self._limits.max_ratio))
        before = self._track.worse.state() if self._hold.on else None
        if not held:
            allowed = _allowed(known, self._limits.max_ratio)
            self._track.weigh(canary, baseline, allowed, self._limits.min_samples)
        if before is not None:
            self._track.forgo(before)
        return self._phase()

    def _known(self, usual: Counts | None) -> Counts | None:
        """What was usual, if there is enough of it."""
        return usual if usual is not None and usual.total >= self._limits.min_samples else None

    def _phase(self) -> Phase:
        seen = self._track.canary
        if self._hold.on:
            return Phase.HOLD
        if self._track.condemned(self._alpha, self._limits.max_ratio, CLEARLY):
            return Phase.FAILURE
        if seen.total < self._limits.min_samples:
            return Phase.INCONCLUSIVE if seen.bad else Phase.NO_DATA
        return Phase.SUCCESS if self._track.cleared else Phase.INCONCLUSIVE

    def _text(self, phase: Phase, usual: Counts | None) -> str:
        """For instance "12 of 240 requests failed (5.0 %), baseline 1 of 2,310 (0.04 %), p = 3.1e-05"."""
        seen, others = self._track.canary, self._track.baseline
        parts = [_of("failed", seen) if seen.total else "no request"]
        if others.total:
            parts.append(f"baseline {_of('', others)}")
        if usual is not None and phase is Phase.HOLD:
            parts.append(f"before the rollout {_percent(usual.ratio)}")
        if not others.total or phase is Phase.SUCCESS:
            parts.append(f"tolerated {_percent(self._limits.max_ratio)}")
        parts.append(_conclusion(phase, self._track.p, self._limits.min_samples))
        return ", ".join(parts)

    def _evidence(self, usual: Counts | None) -> Evidence:
        seen, others = self._track.canary, self._track.baseline
        return {
            "bad": seen.bad,
            "total": seen.total,
            "ratio": seen.ratio,
            "recent_ratio": self._track.recent.ratio,
            "baseline_bad": others.bad if others.total else None,
            "baseline_total": others.total if others.total else None,
            "baseline_ratio": others.ratio if others.total else None,
            "usual_ratio": usual.ratio if usual else None,
            "max_ratio": self._limits.max_ratio,
            "alpha": self._alpha,
            "p": self._track.p,
        }


class _Hold:
    """Whether the baseline is provably so bad that it is none."""

    def __init__(self, alpha: float, state: Mapping[str, Any] | None) -> None:
        self._enough = 1 / alpha
        # A baseline that recovers needs as much proof for that as there was against it.
        self._wager = Wager(len(WORSE), self._enough**2, state)

    @property
    def on(self) -> bool:
        return self._wager.wealth >= self._enough

    def state(self) -> dict[str, Any]:
        return self._wager.state()

    def begin(self) -> None:
        self._wager.begin()

    def look(self, baseline: Counts, too_bad: float) -> None:
        self._wager.look(bets_on_one(baseline.bad, baseline.total, too_bad, WORSE))


def _allowed(usual: Counts | None, max_ratio: float) -> float:
    """The share of bad requests that a canary without a baseline may have."""
    before = (usual.bad + 1) / (usual.total + 2) if usual is not None else 0.0
    return max(LEAST_SHARE, max_ratio, before)


def _too_bad(usual: Counts | None, max_ratio: float) -> float:
    """The share of bad requests beyond which a baseline is none."""
    if usual is None:
        return max(BEYOND_REASON, max_ratio)
    return min(0.9, max(LEAST_SHARE, max_ratio, FAR * (usual.bad + 1) / (usual.total + 2)))


MEMORY = 2000
"""About so many of the newest response times tell what is normal."""
_FINENESS = 1.05
"""Response times within 5 % of each other are remembered as one."""
_FASTEST_MS = 0.01


class _Values:
    """Response times, remembered coarsely: how many there were in each range, the newest counting most."""

    def __init__(self, state: Mapping[str, float] | None) -> None:
        self._weights: dict[float, float] = {float(place): float(weight) for place, weight in (state or {}).items()}

    def state(self) -> dict[str, float]:
        return {f"{place:g}": round(weight, 2) for place, weight in self._weights.items()}

    @property
    def size(self) -> float:
        return math.fsum(self._weights.values())

    def add(self, values: Sequence[float]) -> None:
        kept = max(0.0, MEMORY - len(values)) / max(self.size, MEMORY)
        if kept < 1 and self._weights:
            self._weights = {place: weight * kept for place, weight in self._weights.items() if weight * kept > 0.01}
        for place, number in Counter(map(_place, values)).items():
            self._weights[place] = self._weights.get(place, 0.0) + number

    def quantile(self, percent: float) -> float:
        """The upper end of the range in which the percentile lies, in milliseconds; may be infinite."""
        below, wanted = 0.0, percent / 100 * self.size * (1 - 1e-9)
        for place in sorted(self._weights):
            below += self._weights[place]
            if below >= wanted:
                return float(_FASTEST_MS * _FINENESS**place)
        return math.inf


def _place(value: float) -> float:
    if math.isinf(value):
        return value
    return max(0, math.ceil(math.log(max(value, _FASTEST_MS) / _FASTEST_MS, _FINENESS)))


@dataclass(frozen=True)
class _Side:
    """The requests of the canary, or of the baseline: times of the answered ones and ages of the others."""

    answered: Sequence[float]
    waiting: Sequence[float]

    def above(self, threshold: float, owed: int) -> Counts:
        """Requests above a threshold and all of which that is known; ``owed`` of them were counted in the last look."""
        late = self.late(threshold) - owed
        bad = max(0, _above(self.answered, threshold) + late)
        return Counts(bad, max(bad, len(self.answered) + late))

    def late(self, threshold: float) -> int:
        """How many have waited for longer than the threshold."""
        return _above(self.waiting, threshold)


def _above(values: Sequence[float], threshold: float) -> int:
    return sum(value > threshold or value == math.inf for value in values)


def _measured(values: Sequence[float]) -> list[float]:
    """What is a measurement: infinite is one (as slow as can be), no number and a negative one are not."""
    return [value for value in values if value >= 0]


@dataclass(frozen=True)
class _Question:
    """One way of being too slow: more than ``allowed`` of the requests above ``threshold`` milliseconds."""

    name: str
    threshold: float
    allowed: float
    relative: bool
    """Whether the baseline's share above the threshold excuses the canary's."""


class LatencyProcess:
    """Judges the response times of one gate's canary, look by look, for a whole rollout.

    Three questions share ``alpha``: is the canary's percentile above ``max_ratio`` times the baseline's, is its median,
    and (where ``max_ms`` is set) is its percentile above that. A threshold is taken from what the baseline, or before
    that its hosts before the rollout, had shown until the look before. Then the requests of canary and baseline that
    are above it are counted and compared like bad ones (see ErrorProcess), so what slows both down moves nothing. Of
    all rollouts whose release is no slower than the hosts beside it, at most ``alpha`` ever get a failure.

    - Failure: provably more often above a threshold than the baseline, and by what was seen lately so often that the
      percentile itself is above it. For ``max_ms``, and without a baseline: provably so often.
    - Success: the percentile is provably below the threshold, and below ``max_ms``.
    - Hold: the baseline's own percentile is provably above three times what it was before the rollout (where that is
      not known: before the batch), or a tenth of its response times are infinite.
    - No data, inconclusive: as with errors.

    An infinite time is a very slow request, what is no number (or negative) is no measurement. A request without an
    answer counts as slow as soon as its age is above the threshold, since its time can only be more; younger ones
    say nothing yet. How many were counted so is remembered. At the next look they are among the answered or still among
    the waiting ones, and as many are taken off what is above the threshold then: each counts once.
    """

    def __init__(self, limits: LatencyLimits, alpha: float, state: Mapping[str, Any] | None = None) -> None:
        _check_common(alpha, limits.min_samples)
        self._limits = limits
        self._names = ["percentile", "median", *(["max_ms"] if limits.max_ms is not None else [])]
        self._alpha = alpha / len(self._names)
        with _readable("latency"):
            self._restore(state or {}, alpha)

    def _restore(self, given: Mapping[str, Any], alpha: float) -> None:
        tracks = given.get("tracks", {})
        self._tracks = {name: _Track(tracks.get(name)) for name in self._names}
        self._hold = _Hold(alpha, given.get("hold"))
        self._normal = _Values(given.get("normal"))
        """The baseline's times until the last look."""
        self._ours = _Values(given.get("ours"))
        """The canary's since the batch began, for the report."""
        usual = given.get("usual")
        self._usual: list[float] | None = None if usual is None else [float(one) for one in usual]
        """Percentile and median of the baseline's hosts before the rollout, or before this batch."""
        self._owed = {str(name): [int(one) for one in pair] for name, pair in given.get("owed", {}).items()}
        """Question to the waiting requests of canary and baseline that were counted already."""
        self._total = int(given.get("total", 0))
        """The canary's requests since the batch began that were answered."""

    def state(self) -> dict[str, Any]:
        """All that a later run needs to go on within the same budget, as JSON."""
        return {
            "tracks": {name: track.state() for name, track in self._tracks.items()},
            "hold": self._hold.state(),
            "normal": self._normal.state(),
            "ours": self._ours.state(),
            "usual": self._usual,
            "owed": self._owed,
            "total": self._total,
        }

    def begin(self) -> None:
        """Other hosts are the canary from now on: what was seen of earlier ones neither shields nor condemns them."""
        for track in self._tracks.values():
            track.begin()
        self._hold.begin()
        self._ours = _Values(None)
        self._usual = None
        self._owed = {}
        self._total = 0

    def look(
        self,
        canary: Sequence[float],
        baseline: Sequence[float] | None,
        usual: Sequence[float] | None = None,
        *,
        waiting: tuple[Sequence[float], Sequence[float]] = ((), ()),
    ) -> Judgement:
        """Judge after what was answered since the last look, in milliseconds.

        ``baseline``: the hosts beside the canary over the same time; None when there are none. ``usual``: what those
        hosts had before the rollout, all of it each time; None when nobody knows. ``waiting``: the ages of all requests
        of the canary and of the baseline that have no answer yet.
        """
        ours, theirs = _measured(canary), _measured(baseline or ())
        sides = (_Side(ours, _measured(waiting[0])), _Side(theirs, _measured(waiting[1])))
        self._remember_usual(usual)
        held = self._hold.on
        before = {name: track.worse.state() for name, track in self._tracks.items()}
        if baseline is not None:
            self._look_at_baseline(sides[1])
        for question in self._questions():
            counts = self._count(question.name, question.threshold, sides)
            others = counts[1] if baseline is not None and question.relative else None
            track = self._tracks[question.name]
            track.note(counts[0], counts[1] if baseline is not None else None)
            if not held:
                track.weigh(counts[0], others, question.allowed, self._limits.min_samples)
        if self._hold.on:
            for name, track in self._tracks.items():
                track.forgo(before[name])
        self._normal.add(theirs)
        self._ours.add(ours)
        self._total += len(ours)
        return self._judgement(bool(waiting[0]), baseline is None)

    def _remember_usual(self, usual: Sequence[float] | None) -> None:
        """Once for each batch: from what is given, else from what the baseline has shown since the rollout began."""
        if self._usual is not None:
            return
        percents = (self._limits.percentile, 50)
        ordered = sorted(_measured(usual or ()))
        found: list[float] = []
        if len(ordered) >= self._limits.min_samples:
            found = [percentile(ordered, percent) for percent in percents]
        elif self._normal.size >= 2 * self._limits.min_samples:
            found = [self._normal.quantile(percent) for percent in percents]
        if found and math.isfinite(max(found)):
            self._usual = found

    def _look_at_baseline(self, side: _Side) -> None:
        far, too_bad = math.inf, BEYOND_REASON
        if self._usual is not None:
            far, too_bad = FAR * self._usual[0] + self._limits.tolerance_ms, self._share
        self._hold.look(self._count("hold", far, (_Side((), ()), side))[1], too_bad)

    @property
    def _share(self) -> float:
        """The share of requests that may be above the percentile."""
        return 1 - self._limits.percentile / 100

    def _questions(self) -> list[_Question]:
        """What is asked in this look; thresholds are those of what was known before it."""
        found = []
        known = None
        if self._normal.size >= self._limits.min_samples:
            known = [self._normal.quantile(percent) for percent in (self._limits.percentile, 50)]
        elif self._usual is not None:
            known = self._usual
        if known is not None:
            for name, normal, allowed in (("percentile", known[0], self._share), ("median", known[1], 0.5)):
                threshold = max(self._limits.max_ratio * normal, normal + self._limits.tolerance_ms)
                if math.isfinite(threshold):
                    found.append(_Question(name, threshold, allowed, True))
        if self._limits.max_ms is not None:
            found.append(_Question("max_ms", self._limits.max_ms, self._share, False))
        return found

    def _count(self, name: str, threshold: float, sides: tuple[_Side, _Side]) -> tuple[Counts, Counts]:
        """Requests above the threshold and all, of both sides, each request once."""
        owed = self._owed.get(name, [0, 0])
        counts = [side.above(threshold, before) for side, before in zip(sides, owed)]
        self._owed[name] = [side.late(threshold) for side in sides]
        return counts[0], counts[1]

    def _judgement(self, waits: bool, alone: bool) -> Judgement:
        judged = self._judged(alone)
        guilty = [name for name in self._names if self._is_guilty(name)]
        worst = max(guilty or judged or ["percentile"], key=lambda name: self._tracks[name].worse.wealth)
        suspicious = waits or any(self._tracks[name].canary.bad for name in self._names if name != "median")
        if self._hold.on:
            phase = Phase.HOLD
        elif guilty:
            phase = Phase.FAILURE
        elif self._total < self._limits.min_samples:
            phase = Phase.INCONCLUSIVE if suspicious else Phase.NO_DATA
        else:
            cleared = bool(judged) and all(self._tracks[name].cleared for name in judged)
            phase = Phase.SUCCESS if cleared else Phase.INCONCLUSIVE
        return Judgement(phase, self._text(phase, worst, bool(judged)), self._evidence(worst))

    def _is_guilty(self, name: str) -> bool:
        """Whether a question is answered with "too slow".

        A threshold that many requests of the baseline exceed too is out of date: what is normal has changed since,
        and is about to be learned anew.
        """
        allowed = self._allowed(name)
        outdated = self._tracks[name].beside.ratio > min(2 * allowed, (1 + allowed) / 2)
        return not outdated and self._tracks[name].condemned(self._alpha, allowed)

    def _judged(self, alone: bool) -> list[str]:
        """The questions that a success has to answer: without a baseline there may be none to compare with."""
        comparable = not alone or self._tracks["percentile"].canary.total > 0
        return [name for name in self._names if name == "max_ms" or (name == "percentile" and comparable)]

    def _allowed(self, name: str) -> float:
        return 0.5 if name == "median" else self._share

    def _text(self, phase: Phase, name: str, comparable: bool) -> str:
        """For instance "p95 is 342 ms of 30 requests, baseline 123 ms, 12 of 15 requests too slow, provably worse"."""
        label = f"p{self._limits.percentile:g}"
        count = f"{self._total:,} requests"
        parts = [f"{label} is {_ms(self._ours.quantile(self._limits.percentile))} of {count}" if self._total else count]
        if self._normal.size:
            parts.append(f"baseline {_ms(self._normal.quantile(self._limits.percentile))}")
        track = self._tracks[name]
        if track.canary.bad:
            beside = f" beside {_of('', track.baseline)}" if name != "max_ms" and track.baseline.total else ""
            parts.append(f"{_of('too slow', track.canary)}{beside}")
        if phase is Phase.INCONCLUSIVE and not comparable:
            parts.append("there is no baseline and max_ms is not set, so there is nothing to compare with")
        else:
            parts.append(_conclusion(phase, track.p, self._limits.min_samples))
        return ", ".join(parts)

    def _evidence(self, name: str) -> Evidence:
        track, percent = self._tracks[name], self._limits.percentile
        return {
            "percentile": percent,
            "total": self._total,
            "canary_ms": _finite(self._ours.quantile(percent)),
            "canary_median_ms": _finite(self._ours.quantile(50)),
            "baseline_ms": _finite(self._normal.quantile(percent)),
            "baseline_median_ms": _finite(self._normal.quantile(50)),
            "usual_ms": _finite(self._usual[0]) if self._usual else None,
            "test": name,
            "slow": track.canary.bad,
            "slow_of": track.canary.total,
            "alpha": self._alpha,
            "p": track.p,
        }


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


# ---------------------------------------------------------------------------------------------------------------- words


def _conclusion(phase: Phase, p: float, needed: int) -> str:
    if phase is Phase.NO_DATA:
        return f"too few to judge, {needed} are needed"
    return {
        Phase.FAILURE: f"provably worse, p = {_probability(p)}",
        Phase.SUCCESS: "provably within the tolerance",
        Phase.HOLD: "the other hosts are far outside what is usual, so there is nothing to compare with",
    }.get(phase, "not enough to tell")


def _of(what: str, counts: Counts | _Tally) -> str:
    """For instance "12 of 240 requests failed (5.0 %)", or without a verb "12 of 240 (5.0 %)"."""
    verb = f" requests {what}" if what in ("failed", "too slow") else f" {what}" if what else ""
    return f"{counts.bad:,} of {counts.total:,}{verb} ({_percent(counts.ratio)})"


def _percent(ratio: float) -> str:
    percent = 100 * ratio
    return f"{percent:.1f} %" if percent >= 0.95 else f"{percent:.1g} %"


def _ms(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _probability(p: float) -> str:
    return f"{p:.2g}".replace("e-0", "e-") if p > 1e-99 else "0"
