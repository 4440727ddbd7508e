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
BETTER = (0.1, 0.4)
"""Odds ratios on which "within the tolerance" is staked."""
BATCH_PART = 0.75
"""The part of the wealth that may be staked on one batch; the rest is kept for later ones."""
FIRST_STAKE = 0.85
"""The part of that which is staked at the first evidence."""
NEXT_STAKE = 0.03
"""The part of what is left of it that is staked anew at each later look: for what begins to go wrong in the middle."""

_ENUMERATED = 512
"""Up to so many possible tables all are added up; of more, evenly spaced ones."""
_SPREAD = 12
"""How many standard deviations around its peak a distribution is added up."""
_HIGHEST = 400.0
"""ln of the largest factor."""
_LARGEST = 1e100
"""Wealth is not counted beyond this: it is enough for every alpha, and times a factor it is still a number."""


def two_groups(bad_a: int, total_a: int, bad_b: int, total_b: int, odds: Sequence[float]) -> list[float]:
    """For each odds ratio of a to b: ln of how much more likely it makes this table than equal odds do.

    Given both totals and the number of bad ones. Where the true odds ratio is at most 1, the expectation of each factor
    above 1 is at most 1 (and the other way round), which is what makes it a fair bet. A table that can say nothing (no
    bad one, no good one, or one side empty) gives zeros. Of any size: some 500 terms are added up at most.
    """
    bad = bad_a + bad_b
    if min(total_a, total_b, bad, total_a + total_b - bad) <= 0:
        return [0.0] * len(odds)
    sums = _log_sums(bad, total_a, total_b, (1.0, *odds))
    return [bad_a * math.log(ratio) - (total - sums[0]) for ratio, total in zip(odds, sums[1:])]


def one_group(bad: int, total: int, share: float, odds: Sequence[float]) -> list[float]:
    """For each odds ratio: ln of how much more likely it makes ``bad`` of ``total`` than the odds of ``share`` do.

    ``share`` is above 0 and below 1. A fair bet against "at most ``share``" with odds above 1, and against "at least
    ``share``" with odds below 1.
    """
    return [bad * math.log(ratio) - total * math.log1p(share * (ratio - 1)) for ratio in odds]


def _log_sums(bad: int, total_a: int, total_b: int, odds: Sequence[float]) -> list[float]:
    """For each odds ratio ln of the sum of ``w(x) * ratio ** x`` over all tables; w(x) ways lead to x bad ones in a."""
    low, high = max(0, bad - total_b), min(bad, total_a)
    if high - low > _ENUMERATED:
        return [_spaced_sum(bad, total_a, total_b, ratio) for ratio in odds]
    ways = [1.0]
    for x in range(low, high):
        ways.append(ways[-1] * ((bad - x) * (total_a - x)) / ((x + 1) * (total_b - bad + x + 1)))
    sums = [_polynomial(ways, ratio) for ratio in odds]
    if math.inf in sums:
        return [_spaced_sum(bad, total_a, total_b, ratio) for ratio in odds]
    return [math.log(total) + low * math.log(ratio) for total, ratio in zip(sums, odds)]


def _polynomial(ways: Sequence[float], ratio: float) -> float:
    total = 0.0
    for number in reversed(ways):
        total = total * ratio + number
    return total


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(one - most) for one in logs))


def _spaced_sum(bad: int, total_a: int, total_b: int, ratio: float) -> float:
    """The same sum from evenly spaced terms: for so smooth a curve that is exact to far below what is of interest."""
    low, high = max(0, bad - total_b), min(bad, total_a)
    peak = _peak(bad, total_a, total_b, ratio)
    bend = sum(1 / max(1, n) for n in (bad - peak, total_a - peak, peak, total_b - bad + peak))
    deviation = max(1.0, bend**-0.5)
    stride = max(1, int(deviation / 4))
    reach = int(_SPREAD * deviation / stride) + 2
    places = (peak + stride * number for number in range(-reach, reach + 1))
    logs = [_log_ways(bad, total_a, total_b, x) + x * math.log(ratio) for x in places if low <= x <= high]
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


def bets_on_two(bad_a: int, total_a: int, bad_b: int, total_b: int) -> tuple[list[float], list[float]]:
    """What the stakes on "a is worse than b" are multiplied by, and those on "a is within the tolerance of b".

    The first are fair where a's odds are at most b's (see WORSE), the second where they are at least ``WORSE[0]`` times
    as high (see BETTER).
    """
    odds = (*WORSE, *(WORSE[0] * ratio for ratio in BETTER))
    logs = two_groups(bad_a, total_a, bad_b, total_b, odds)
    worse, better = logs[: len(WORSE)], logs[len(WORSE) :]
    return _factors(worse), _factors([log - worse[0] for log in better])


def bets_on_one(bad: int, total: int, share: float, odds: Sequence[float]) -> list[float]:
    """What the stakes on some odds ratios (WORSE or BETTER) to the odds of ``share`` are multiplied by."""
    return _factors(one_group(bad, total, share, odds))


def _factors(logs: Sequence[float]) -> list[float]:
    return [math.exp(min(log, _HIGHEST)) for log in logs]


class Wager:
    """Wealth that is staked against an innocent explanation, a part at once and the rest little by little.

    It begins with 1 and is lost or multiplied; if the explanation is true, it ever exceeds ``1 / alpha`` with a chance
    of at most ``alpha``. What is staked later has not suffered from what was seen before, so a long good time does not
    shield what goes wrong after it. ``most``: wealth beyond this is given away, which lets the wager be lost again as
    quickly as it was won. ``state``: of a wager that is to go on; ValueError, KeyError or TypeError when it is none.
    """

    def __init__(self, kinds: int, most: float = _LARGEST, state: Mapping[str, Any] | None = None) -> None:
        nothing: Mapping[str, Any] = {"kept": 1.0, "cash": 0.0, "stakes": [0.0] * kinds, "fresh": True}
        given = nothing if state is None else state
        self._most = most
        self._kept = float(given["kept"])
        """For later batches."""
        self._cash = float(given["cash"])
        """For later looks at this one."""
        self._stakes = [float(one) for one in given["stakes"]]
        self._fresh = bool(given["fresh"])
        parts = (self._kept, self._cash, *self._stakes)
        if len(self._stakes) != kinds or not all(0 <= part < math.inf for part in parts):
            raise ValueError(f"a wager on {kinds} kinds of evidence cannot go on from {given!r}")

    @property
    def wealth(self) -> float:
        """All that there is, staked or not: the evidence against the innocent explanation."""
        return self._kept + self._cash + sum(self._stakes)

    def begin(self) -> None:
        """Another batch: take back what is staked. A gain is given away, a loss stays a loss."""
        self._kept = min(1.0, self.wealth)
        self._cash = 0.0
        self._stakes = [0.0] * len(self._stakes)
        self._fresh = True

    def look(self, factors: Sequence[float]) -> None:
        """Take new evidence: a factor for each kind of stake. What says nothing (all are 1) costs nothing."""
        if factors.count(1.0) == len(factors):
            return
        if self._fresh:
            self._cash = self._kept * BATCH_PART
            self._kept -= self._cash
        moved = self._cash * (FIRST_STAKE if self._fresh else NEXT_STAKE)
        self._fresh = False
        self._cash -= moved
        part = moved / len(self._stakes)
        self._stakes = [(stake + part) * factor for stake, factor in zip(self._stakes, factors)]
        self._shrink()

    def forgo(self, before: Mapping[str, Any]) -> None:
        """Give back what was won since ``before`` (a state); what was lost stays lost."""
        self._stakes = [min(now, then) for now, then in zip(self._stakes, before["stakes"])]

    def _shrink(self) -> None:
        wealth = self.wealth
        if wealth > self._most:
            part = self._most / wealth
            self._kept *= part
            self._cash *= part
            self._stakes = [stake * part for stake in self._stakes]

    def state(self) -> dict[str, Any]:
        """What another process needs to go on, as JSON."""
        return {"kept": self._kept, "cash": self._cash, "stakes": list(self._stakes), "fresh": self._fresh}
