# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the new release worse than what runs beside it? Judged look by look. No input or output in here.

The canary is the hosts that have just got the new release, the baseline the others, at the same time and under the same
traffic. One process for each gate judges a whole rollout: each look adds what came in since the last one, and may be
the last. What it proves, it proves for all looks together (see ``sequential``); what was not measured is never a
success.

``alpha`` is the chance that a good release is ever called worse, in all looks, at all shares of traffic and in all
batches of a rollout. Whoever has several processes divides it among them.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Optional, Union

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.sequential import (
    BETTER,
    WORSE,
    Wager,
    bets_on_one,
    bets_on_two,
)

Evidence = Mapping[str, Optional[Union[float, int, str]]]


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
                f"{self.bad} of {quantity(self.total, 'request')} cannot be bad; the first number must be between 0 "
                "and the second."
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
    """The chance that a good release is ever called worse, for the whole rollout and all its gates that compare."""
    min_samples: int = 20
    """Requests below which a side is not judged."""

    def __post_init__(self) -> None:
        _demand(
            0 <= self.max_ratio < 1,
            f"max_ratio is {self.max_ratio:g}; as a share of bad requests it must be at least 0 and below 1.",
        )
        _check_common(self.alpha, self.min_samples)


@dataclass(frozen=True)
class AnswerLimits(ErrorLimits):
    """How much larger than beside it the share of answers 3xx and 4xx may be; what clients ask for says what is usual.

    So large a difference takes little to prove; its budget is a small one of its own, on top of that of the others.
    """

    max_ratio: float = 0.25
    """The share that is tolerated on top of what the hosts beside it have."""
    alpha: float = 0.001


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


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values: the smallest that at least ``percent`` % do not exceed."""
    _demand(len(ordered) > 0, "no values have no percentile; give at least one.")
    # Rounded, lest 99.9 % of 1000 values be rank 1000 because 99.9 has no exact binary form.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[min(len(ordered), max(1, rank)) - 1]


# ---------------------------------------------------------------------------------------------- judging again and again

MISSED = 0.05
"""The chance that "provably within the tolerance" is said of a release that is not."""
FEWEST = 5
"""So many bad requests at least make a failure: one request and its three retries prove nothing about a release."""
CLEARLY = math.log(1.5)
"""Errors are above ``max_ratio`` when what was seen lately is 1.5 times as likely to come from its own share of bad
requests as from the tolerated one: of releases just within the tolerance fewer are condemned so."""
FAR = 3.0
"""A baseline is no baseline when it is more than so many times as bad as it was before the rollout."""
BEYOND_REASON = 0.1
"""A baseline of which nobody knows what it was before is none when more than this share of its requests is bad."""
MOST_SHARE = 0.95
"""A larger one that is tolerated counts as this: no finite number of requests proves more."""
LEAST_SHARE = 0.001
"""A smaller ``max_ratio`` counts as this one where there is no baseline: no finite number of requests proves zero."""
KEPT = 10
"""How many times more than is needed the proof of being within the tolerance may grow: what goes wrong later takes it
back at once."""
_LEAST_FACTOR = 1e-300


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
        self._alone = _Tally(given.get("alone", nothing))
        """What the canary had while the baseline got no request at all."""
        self._lead = float(given.get("lead", 0.0))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        tallies = {
            "canary": self.canary,
            "baseline": self.baseline,
            "recent": self.recent,
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
        self._lead = 0.0

    def note(self, canary: Counts, baseline: Counts | None) -> None:
        """Count what came in."""
        self.canary.add(canary)
        if baseline is not None:
            self.baseline.add(baseline)

    def weigh(
        self, seen: Counts, table: tuple[Counts, Counts] | None, allowed: float, enough: int, excused: bool = False
    ) -> None:
        """Stake on what came in of the canary.

        ``allowed``: the share of bad requests that is tolerated, above 0 and below 1. ``table``: requests of canary and
        baseline whose comparison accuses; None without a baseline. A baseline without a request says nothing; when the
        canary alone has ``enough`` meanwhile, it counts as none. ``excused``: being no worse than the baseline is
        within the tolerance, too.
        """
        if table is None:
            self._stake_alone(seen, allowed)
        elif table[1].total:
            self._alone.clear()
            worse, better = bets_on_two(table[0].bad, table[0].total, table[1].bad, table[1].total)
            self._accuse(seen, worse)
            alone = bets_on_one(seen.bad, seen.total, allowed, BETTER)
            self.within.look([*alone, *(better if excused else alone)])
        else:
            self._alone.add(seen)
            if self._alone.total >= enough:
                self._stake_alone(self._alone.counts, allowed)

    def _stake_alone(self, canary: Counts, allowed: float) -> None:
        self._alone.clear()
        self._accuse(canary, bets_on_one(canary.bad, canary.total, allowed, WORSE))
        better = bets_on_one(canary.bad, canary.total, allowed, BETTER)
        self.within.look([*better, *better])

    def _accuse(self, canary: Counts, factors: Sequence[float]) -> None:
        self.worse.look(factors)
        self._lead += math.log(max(sum(factors) / len(factors), _LEAST_FACTOR))
        if self._lead > 0:
            self.recent.add(canary)
        else:
            self._restart()

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

    said: ClassVar[str] = "failed"
    """What is said of a bad request."""

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
        allowed = self._allowed(known)
        self._track.note(canary, baseline)
        if baseline is not None:
            self._look_for_fire(baseline, known)
        before = self._track.worse.state() if self._hold.on else None
        if not held and self._comparable(known):
            table = None if baseline is None else (canary, baseline)
            self._track.weigh(canary, table, allowed, self._limits.min_samples, excused=True)
        if before is not None:
            self._track.forgo(before)
        return self._phase(known)

    def _look_for_fire(self, baseline: Counts, known: Counts | None) -> None:
        self._hold.look(baseline, _too_bad(known, self._limits.max_ratio))

    def _comparable(self, known: Counts | None) -> bool:
        """Whether there is anything to judge by; ``max_ratio`` alone is enough."""
        return True

    def _allowed(self, known: Counts | None) -> float:
        """The share of bad requests that a canary without a baseline may have."""
        before = (known.bad + 1) / (known.total + 2) if known is not None else 0.0
        return max(LEAST_SHARE, self._limits.max_ratio, before)

    def _most(self, known: Counts | None) -> float:
        """The share of bad requests up to which nothing is ever held against the canary."""
        return self._limits.max_ratio

    def _known(self, usual: Counts | None) -> Counts | None:
        """What was usual, if there is enough of it."""
        return usual if usual is not None and usual.total >= self._limits.min_samples else None

    def _phase(self, known: Counts | None) -> Phase:
        seen = self._track.canary
        if self._hold.on:
            return Phase.HOLD
        if self._track.condemned(self._alpha, self._most(known), CLEARLY):
            return Phase.FAILURE
        if seen.total < self._limits.min_samples:
            return Phase.INCONCLUSIVE if seen.bad else Phase.NO_DATA
        return Phase.SUCCESS if self._track.cleared else Phase.INCONCLUSIVE

    def _text(self, phase: Phase, usual: Counts | None) -> str:
        """For instance "12 of 240 requests failed (5.0 %), baseline 1 of 2,310 (0.04 %), p = 3.1e-05"."""
        seen, others = self._track.canary, self._track.baseline
        parts = [_of(self.said, seen) if seen.total else "no request"]
        if others.total:
            parts.append(f"baseline {_of('', others)}")
        if usual is not None and phase is Phase.HOLD:
            parts.append(f"before the rollout {_percent(usual.ratio)}")
        if not others.total or phase is Phase.SUCCESS:
            parts.append(f"tolerated {self._tolerance()}")
        parts.append(_conclusion(phase, self._track.p, self._limits.min_samples))
        return ", ".join(parts)

    def _tolerance(self) -> str:
        return _percent(self._limits.max_ratio)

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


class AnswerProcess(ErrorProcess):
    """Judges the share of answers 3xx and 4xx in the same way, where what clients ask for decides what is usual.

    ``max_ratio`` is tolerated on top of what the hosts beside the canary have had, or of what was usual; where neither
    is known nothing is said. A baseline that has many is none on fire.
    """

    said = "got 3xx or 4xx"

    def _look_for_fire(self, baseline: Counts, known: Counts | None) -> None:
        """What all hosts are asked is no fire."""

    def _comparable(self, known: Counts | None) -> bool:
        return known is not None or self._track.baseline.total > 0

    def _allowed(self, known: Counts | None) -> float:
        return min(MOST_SHARE, self._most(known))

    def _most(self, known: Counts | None) -> float:
        beside = self._track.baseline.ratio if self._track.baseline.total else known.ratio if known else 0.0
        return beside + self._limits.max_ratio

    def _tolerance(self) -> str:
        return f"{super()._tolerance()} more"


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


def _too_bad(usual: Counts | None, max_ratio: float) -> float:
    """The share of bad requests beyond which a baseline is none."""
    if usual is None:
        return max(BEYOND_REASON, max_ratio)
    return min(0.9, max(LEAST_SHARE, max_ratio, FAR * (usual.bad + 1) / (usual.total + 2)))


MEMORY = 2000
"""About so many of the newest response times tell what is normal."""
TAIL = 10
"""The percentile is proven where so many times fewer of the baseline's requests are: there a slow tail stands out."""
_PARTS = {"percentile": 3, "median": 1, "max_ms": 1}
"""How the questions about latency share alpha: what moves the median does so clearly that a small part is enough."""
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
    """One way of being too slow: more than ``allowed`` of the canary's requests above ``threshold`` milliseconds.

    The proof: more of the canary's requests are above ``ours`` than of the baseline's above ``theirs``, which is the
    same value before it was stretched by what is tolerated. None: the baseline does not matter.
    """

    name: str
    threshold: float
    allowed: float
    ours: float = 0.0
    theirs: float | None = None


class LatencyProcess:
    """Judges the response times of one gate's canary, look by look, for a whole rollout.

    Three questions share ``alpha``: is the canary's percentile above ``max_ratio`` times the baseline's (and at least
    ``tolerance_ms`` more), is its median, and (where ``max_ms`` is set) is its percentile above that. What is normal is
    taken from what the baseline, or before that its hosts before the rollout, had shown until the look before. Then the
    canary's requests above the stretched value are compared with the baseline's above the value itself, like bad ones
    (see ErrorProcess): a canary that is slower by no more than is tolerated is above it no more often, however much
    both slow down meanwhile. The percentile's proof is taken where a tenth as many of the baseline's requests are
    (at p99.5 for the percentile 95), for there a slow tail stands out. Of all rollouts whose release is slower by no
    more than is tolerated, at most ``alpha`` ever get a failure.

    - Failure: provably more often above it, and by what was seen lately the percentile itself (or the median) is above
      its threshold. For ``max_ms``, and without a baseline: provably so often.
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
        whole = sum(_PARTS[name] for name in self._names)
        self._alphas = {name: alpha * _PARTS[name] / whole for name in self._names}
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
        """The baseline's percentiles of interest before the rollout, or before this batch."""
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
            self._ask(question, sides, baseline is None, held)
        if self._hold.on:
            for name, track in self._tracks.items():
                track.forgo(before[name])
        self._normal.add(theirs)
        self._ours.add(ours)
        self._total += len(ours)
        return self._judgement(bool(waiting[0]), baseline is None)

    def _ask(self, question: _Question, sides: tuple[_Side, _Side], alone: bool, held: bool) -> None:
        track, name = self._tracks[question.name], question.name
        seen, others = self._count(name, (question.threshold, question.threshold), sides)
        table = None
        if question.theirs is not None:
            table = self._count(f"{name}, compared", (question.ours, question.theirs), sides)
        track.note(seen, None if alone else others)
        if not held:
            track.weigh(seen, None if alone else table, question.allowed, self._limits.min_samples)

    def _remember_usual(self, usual: Sequence[float] | None) -> None:
        """Once for each batch: from what is given, else from what the baseline has shown since the rollout began."""
        if self._usual is not None:
            return
        ordered = sorted(_measured(usual or ()))
        found: list[float] = []
        if len(ordered) >= self._limits.min_samples:
            found = [percentile(ordered, percent) for percent in self._percents]
        elif self._normal.size >= 2 * self._limits.min_samples:
            found = [self._normal.quantile(percent) for percent in self._percents]
        self._usual = _usable(found)

    @property
    def _percents(self) -> tuple[float, float, float]:
        """Of interest: the percentile, the median, and where the percentile is proven."""
        return (self._limits.percentile, 50, 100 - (100 - self._limits.percentile) / TAIL)

    def _look_at_baseline(self, side: _Side) -> None:
        far, too_bad = math.inf, BEYOND_REASON
        if self._usual is not None:
            far, too_bad = FAR * self._usual[0] + self._limits.tolerance_ms, self._share
        self._hold.look(self._count("hold", (far, far), (_Side((), ()), side))[1], too_bad)

    @property
    def _share(self) -> float:
        """The share of requests that may be above the percentile."""
        return 1 - self._limits.percentile / 100

    def _questions(self) -> list[_Question]:
        """What is asked in this look; thresholds are those of what was known before it."""
        found = []
        known = self._usual
        if self._normal.size >= self._limits.min_samples:
            known = _usable([self._normal.quantile(percent) for percent in self._percents])
        if known is not None:
            normal, median, tail = known
            found.append(_Question("percentile", self._stretch(normal), self._share, self._stretch(tail), tail))
            found.append(_Question("median", self._stretch(median), 0.5, self._stretch(median), median))
        if self._limits.max_ms is not None:
            found.append(_Question("max_ms", self._limits.max_ms, self._share))
        return found

    def _stretch(self, normal: float) -> float:
        """The slowest that is tolerated in the place of a value of the baseline."""
        return max(self._limits.max_ratio * normal, normal + self._limits.tolerance_ms)

    def _count(self, name: str, thresholds: tuple[float, float], sides: tuple[_Side, _Side]) -> tuple[Counts, Counts]:
        """Requests above their side's threshold and all, of both sides, each request once."""
        owed = self._owed.get(name, [0, 0])
        counts = [side.above(most, before) for side, most, before in zip(sides, thresholds, owed)]
        self._owed[name] = [side.late(most) for side, most in zip(sides, thresholds)]
        return counts[0], counts[1]

    def _judgement(self, waits: bool, alone: bool) -> Judgement:
        judged = self._judged(alone)
        guilty = [
            name for name, track in self._tracks.items() if track.condemned(self._alphas[name], self._allowed(name))
        ]
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

    def _judged(self, alone: bool) -> list[str]:
        """The questions that a success has to answer: without a baseline there may be none to compare with."""
        comparable = not alone or self._tracks["percentile"].canary.total > 0
        return [name for name in self._names if name == "max_ms" or (name == "percentile" and comparable)]

    def _allowed(self, name: str) -> float:
        return 0.5 if name == "median" else self._share

    def _text(self, phase: Phase, name: str, comparable: bool) -> str:
        """For instance "p95 is 342 ms of 30 requests, baseline 123 ms, 12 of 15 requests too slow, provably worse"."""
        label = f"p{self._limits.percentile:g}"
        count = quantity(self._total, "request")
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
            "alpha": self._alphas[name],
            "p": track.p,
        }


def _usable(percentiles: Sequence[float]) -> list[float] | None:
    """Percentile, median and tail to compare with; an infinite tail is replaced by the percentile."""
    if not percentiles or not math.isfinite(max(percentiles[:2])):
        return None
    normal, median, tail = percentiles
    return [normal, median, tail if math.isfinite(tail) else normal]


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
    total = quantity(counts.total, "request") if what else f"{counts.total:,}"
    return f"{counts.bad:,} of {total}{f' {what}' if what else ''} ({_percent(counts.ratio)})"


def _percent(ratio: float) -> str:
    percent = 100 * ratio
    return f"{percent:.1f} %" if percent >= 0.95 else f"{percent:.1g} %"


def _ms(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _probability(p: float) -> str:
    return f"{p:.2g}".replace("e-0", "e-") if p > 1e-99 else "0"
