# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges shares of requests: those that failed, and those that were answered 3xx or 4xx. No input or output in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Evidence, Judgement, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import ErrorLimits, check_certainty
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.track import (
    BEYOND_REASON,
    FAR,
    Hold,
    Track,
    readable,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.words import conclusion, percent, share

CLEARLY = math.log(1.5)
"""Errors are above ``max_ratio`` when what was seen lately is 1.5 times as likely to come from its own share of bad
requests as from the tolerated one: of releases just within the tolerance fewer are condemned so."""
MOST_SHARE = 0.95
"""A larger one that is tolerated counts as this: no finite number of requests proves more."""
LEAST_SHARE = 0.001
"""A smaller ``max_ratio`` counts as this one where there is no baseline: no finite number of requests proves zero."""


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
        check_certainty(alpha, limits.min_samples)
        given = state or {}
        self._limits = limits
        self._alpha = alpha
        with readable("errors"):
            self._track = Track(given.get("track"))
            self._hold = Hold(alpha, given.get("hold"))

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
        parts = [share(self.said, seen) if seen.total else "no request"]
        if others.total:
            parts.append(f"baseline {share('', others)}")
        if usual is not None and phase is Phase.HOLD:
            parts.append(f"before the rollout {percent(usual.ratio)}")
        if not others.total or phase is Phase.SUCCESS:
            parts.append(f"tolerated {self._tolerance()}")
        parts.append(conclusion(phase, self._track.p, self._limits.min_samples))
        return ", ".join(parts)

    def _tolerance(self) -> str:
        return percent(self._limits.max_ratio)

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


def _too_bad(usual: Counts | None, max_ratio: float) -> float:
    """The share of bad requests beyond which a baseline is none."""
    if usual is None:
        return max(BEYOND_REASON, max_ratio)
    return min(0.9, max(LEAST_SHARE, max_ratio, FAR * (usual.bad + 1) / (usual.total + 2)))
