# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Response times as the judge counts them: percentiles, what is slow, and what was normal until now. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import demand

MEMORY = 2000
"""About so many of the newest response times tell what is normal."""
_FINENESS = 1.05
"""Response times within 5 % of each other are remembered as one."""
_FASTEST_MS = 0.01


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values: the smallest that at least ``percent`` % do not exceed."""
    demand(len(ordered) > 0, "no values have no percentile; give at least one.")
    # Rounded, lest 99.9 % of 1000 values be rank 1000 because 99.9 has no exact binary form.
    rank = math.ceil(round(percent * len(ordered) / 100, 9))
    return ordered[min(len(ordered), max(1, rank)) - 1]


class Values:
    """Response times, remembered coarsely: how many there were in each range, the newest counting most."""

    def __init__(self, state: Mapping[str, float] | None) -> None:
        self._weights: dict[float, float] = {float(place): float(weight) for place, weight in (state or {}).items()}

    def state(self) -> dict[str, float]:
        """As JSON."""
        return {f"{place:g}": round(weight, 2) for place, weight in self._weights.items()}

    @property
    def size(self) -> float:
        """How many are remembered, older ones as parts."""
        return math.fsum(self._weights.values())

    def add(self, values: Sequence[float]) -> None:
        """These came in."""
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
class Side:
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


def measured(values: Sequence[float]) -> list[float]:
    """What is a measurement: infinite is one (as slow as can be), no number and a negative one are not."""
    return [value for value in values if value >= 0]
