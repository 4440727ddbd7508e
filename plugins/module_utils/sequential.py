# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that may be looked at as often as one likes. Pure arithmetic: no input, no output, no clock.

A test for one look keeps its chance of a false alarm for that one look. Here evidence is a wager instead: somebody who
starts with 1 bets against the innocent explanation at odds that are fair if it is true. Then wealth ever reaches
``1 / alpha`` with a chance of at most ``alpha``, however often, when and for whatever reason one looks (Ville's
inequality). The odds are likelihood ratios of what came in since the last look:

- two groups: given how many failed in all, the number on one side has Fisher's noncentral hypergeometric distribution,
  which knows nothing of the rate that both share, so that rate may be anything and change from look to look;
- one group against a share: the binomial distribution.

Sources: Turner, Ly, Gruenwald, "Safe tests for 2x2 contingency tables" (arXiv 2106.02693); Lindon, Malek,
"Anytime-valid inference for multinomial count data" (NeurIPS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WORSE = (1.5, 3.0, 6.0, 12.0, 30.0)
"""Odds ratios on which "worse" is staked: little is lost between them, and less than 1.2 is held against nobody."""
FIRST_STAKE = 0.75
"""The part of the wealth that is staked at the first evidence of a batch."""
NEXT_STAKE = 0.03
"""The part of what is left that is staked anew at each later look: for what begins to go wrong in the middle."""

_ENUMERATED = 512
"""Up to so many possible tables all are added up; of more, evenly spaced ones."""
_SPREAD = 12
"""How many standard deviations around its peak a distribution is added up."""
_LARGEST = 1e12
"""Wealth is not counted beyond this: it is enough for every alpha, and stays a number."""


def two_groups(bad_a: int, total_a: int, bad_b: int, total_b: int, odds: Sequence[float]) -> list[float]:
    """For each odds ratio of a to b: ln of how much more likely it makes this table than equal odds do.

    Given both totals and the number of bad ones. Where the true odds ratio is at most 1, the expectation of each factor
    above 1 is at most 1 (and the other way round), which is what makes it a fair bet. A table that can say nothing (no
    bad one, no good one, or one side empty) gives zeros. Of any size: some 500 terms are added up at most.
    """
    bad = bad_a + bad_b
    if min(total_a, total_b, bad, total_a + total_b - bad) <= 0:
        return [0.0] * len(odds)
    sums = _log_sums(bad, total_a, total_b, [math.log(ratio) for ratio in (1.0, *odds)])
    return [bad_a * math.log(ratio) - (total - sums[0]) for ratio, total in zip(odds, sums[1:])]


def one_group(bad: int, total: int, share: float, odds: Sequence[float]) -> list[float]:
    """For each odds ratio: ln of how much more likely it makes ``bad`` of ``total`` than the odds of ``share`` do.

    ``share`` is above 0 and below 1. A fair bet against "at most ``share``" with odds above 1, and against "at least
    ``share``" with odds below 1.
    """
    return [bad * math.log(ratio) - total * math.log1p(share * (ratio - 1)) for ratio in odds]


def _log_sums(bad: int, total_a: int, total_b: int, slopes: Sequence[float]) -> list[float]:
    """ln of the sum of ``w(x) * exp(slope * x)`` over all tables; w(x) ways lead to x bad ones in a."""
    low, high = max(0, bad - total_b), min(bad, total_a)
    if high - low > _ENUMERATED:
        return [_spaced_sum(bad, total_a, total_b, slope) for slope in slopes]
    weights = [0.0]
    for x in range(low, high):
        step = ((bad - x) * (total_a - x)) / ((x + 1) * (total_b - bad + x + 1))
        weights.append(weights[-1] + math.log(step))
    return [_log_sum([weight + slope * x for x, weight in enumerate(weights, low)]) for slope in slopes]


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(one - most) for one in logs))


def _spaced_sum(bad: int, total_a: int, total_b: int, slope: float) -> float:
    """The same sum from evenly spaced terms: for so smooth a curve that is exact to far below what is of interest."""
    low, high = max(0, bad - total_b), min(bad, total_a)
    peak = _peak(bad, total_a, total_b, math.exp(slope))
    bend = sum(1 / max(1, n) for n in (bad - peak, total_a - peak, peak, total_b - bad + peak))
    deviation = max(1.0, bend**-0.5)
    stride = max(1, int(deviation / 4))
    reach = int(_SPREAD * deviation / stride) + 2
    places = (peak + stride * number for number in range(-reach, reach + 1))
    logs = [_log_ways(bad, total_a, total_b, x) + slope * x for x in places if low <= x <= high]
    return _log_sum(logs) + math.log(stride)


def _peak(bad: int, total_a: int, total_b: int, ratio: float) -> int:
    """The most likely number of bad ones in a."""
    low, high = max(0, bad - total_b), min(bad, total_a)
    while low < high:
        x = (low + high) // 2
        if ratio * (bad - x) * (total_a - x) > (x + 1) * (total_b - bad + x + 1):
            low = x + 1
        else:
            high = x
    return low


def _log_ways(bad: int, total_a: int, total_b: int, x: int) -> float:
    return _log_choose(total_a, x) + _log_choose(total_b, bad - x)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


class Wager:
    """Wealth that is staked against an innocent explanation, a part at once and the rest little by little.

    It begins with 1 and is lost or multiplied; if the explanation is true, it ever exceeds ``1 / alpha`` with a chance
    of at most ``alpha``. What is staked later has not suffered from what was seen before, so a long good time does not
    shield what goes wrong after it. ``most``: wealth beyond this is given away, which lets the wager be lost again as
    quickly as it was won.
    """

    def __init__(self, kinds: int, most: float = _LARGEST, state: Mapping[str, Any] | None = None) -> None:
        self._most = most
        self._cash = 1.0
        self._stakes = [0.0] * kinds
        self._fresh = True
        if state is not None:
            self._cash, self._fresh = float(state["cash"]), bool(state["fresh"])
            self._stakes = [float(one) for one in state["stakes"]]

    @property
    def wealth(self) -> float:
        """All that there is, staked or not: the evidence against the innocent explanation."""
        return self._cash + math.fsum(self._stakes)

    def begin(self) -> None:
        """Other hosts from now on: take back what is staked. A gain is given away, a loss stays a loss."""
        self._cash = min(1.0, self.wealth)
        self._stakes = [0.0] * len(self._stakes)
        self._fresh = True

    def look(self, logs: Sequence[float]) -> None:
        """Take new evidence: ln of the factor for each kind of stake. What says nothing (all zeros) costs nothing."""
        if not any(logs):
            return
        moved = self._cash * (FIRST_STAKE if self._fresh else NEXT_STAKE)
        self._fresh = False
        self._cash -= moved
        part = moved / len(self._stakes)
        pairs = zip(self._stakes, logs)
        self._stakes = [min(_LARGEST, (stake + part) * math.exp(min(log, 600.0))) for stake, log in pairs]
        self._shrink(self._most)

    def forgo(self, before: Mapping[str, Any]) -> None:
        """Give back what was won since ``before`` (a state); what was lost stays lost."""
        pairs = zip(self._stakes, before["stakes"])
        self._cash = min(self._cash, before["cash"])
        self._stakes = [min(now, then) for now, then in pairs]

    def _shrink(self, most: float) -> None:
        wealth = self.wealth
        if wealth > most:
            self._cash *= most / wealth
            self._stakes = [stake * most / wealth for stake in self._stakes]

    def state(self) -> dict[str, Any]:
        """What another process needs to go on, as JSON."""
        return {"cash": self._cash, "stakes": list(self._stakes), "fresh": self._fresh}
