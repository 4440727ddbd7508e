# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges response times: is the canary slower than is tolerated? No input or output in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Evidence, Judgement, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import LatencyLimits, check_certainty
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.response_times import (
    Side,
    Values,
    measured,
    percentile,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.track import (
    BEYOND_REASON,
    FAR,
    Hold,
    Track,
    readable,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.words import conclusion, milliseconds, share

TAIL = 10
"""The percentile is compared where so many times fewer of the baseline's requests are: there a slow tail stands out."""
_PARTS = {"percentile": 3, "median": 1, "max_ms": 1}
"""How the questions about latency share alpha: what moves the median does so clearly that a small part is enough."""


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
        check_certainty(alpha, limits.min_samples)
        self._limits = limits
        self._names = ["percentile", "median", *(["max_ms"] if limits.max_ms is not None else [])]
        whole = sum(_PARTS[name] for name in self._names)
        self._alphas = {name: alpha * _PARTS[name] / whole for name in self._names}
        with readable("latency"):
            self._restore(state or {}, alpha)

    def _restore(self, given: Mapping[str, Any], alpha: float) -> None:
        tracks = given.get("tracks", {})
        self._tracks = {name: Track(tracks.get(name)) for name in self._names}
        self._hold = Hold(alpha, given.get("hold"))
        self._normal = Values(given.get("normal"))
        """The baseline's times until the last look."""
        self._ours = Values(given.get("ours"))
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
        self._ours = Values(None)
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
        ours, theirs = measured(canary), measured(baseline or ())
        sides = (Side(ours, measured(waiting[0])), Side(theirs, measured(waiting[1])))
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

    def _ask(self, question: _Question, sides: tuple[Side, Side], alone: bool, held: bool) -> None:
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
        ordered = sorted(measured(usual or ()))
        found: list[float] = []
        if len(ordered) >= self._limits.min_samples:
            found = [percentile(ordered, percent) for percent in self._percents]
        elif self._normal.size >= 2 * self._limits.min_samples:
            found = [self._normal.quantile(percent) for percent in self._percents]
        self._usual = _usable(found)

    @property
    def _percents(self) -> tuple[float, float, float]:
        """Of interest: the percentile, the median, and where the percentile is compared."""
        return (self._limits.percentile, 50, 100 - (100 - self._limits.percentile) / TAIL)

    def _look_at_baseline(self, side: Side) -> None:
        far, too_bad = math.inf, BEYOND_REASON
        if self._usual is not None:
            far, too_bad = FAR * self._usual[0] + self._limits.tolerance_ms, self._share
        self._hold.look(self._count("hold", (far, far), (Side((), ()), side))[1], too_bad)

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

    def _count(self, name: str, thresholds: tuple[float, float], sides: tuple[Side, Side]) -> tuple[Counts, Counts]:
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
        parts = [
            f"{label} is {milliseconds(self._ours.quantile(self._limits.percentile))} of {count}"
            if self._total
            else count
        ]
        if self._normal.size:
            parts.append(f"baseline {milliseconds(self._normal.quantile(self._limits.percentile))}")
        track = self._tracks[name]
        if track.canary.bad:
            beside = f" beside {share('', track.baseline)}" if name != "max_ms" and track.baseline.total else ""
            parts.append(f"{share('too slow', track.canary)}{beside}")
        if phase is Phase.INCONCLUSIVE and not comparable:
            parts.append("there is no baseline and max_ms is not set, so there is nothing to compare with")
        else:
            parts.append(conclusion(phase, track.p, self._limits.min_samples))
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
