# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One measure, look after look: is the canary provably worse, is it within the tolerance, is the baseline none? Pure.

What is staked, and at which odds, is said in ``sequential``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.sequential import (
    BETTER,
    WORSE,
    Wager,
    bets_on_one,
    bets_on_two,
)

MISSED = 0.05
"""The chance that "provably within the tolerance" is said of a release that is not."""
FEWEST = 5
"""So many bad requests at least make a failure: one request and its three retries prove nothing about a release."""
FAR = 3.0
"""A baseline is no baseline when it is more than so many times as bad as it was before the rollout."""
BEYOND_REASON = 0.1
"""A baseline of which nobody knows what it was before is none when more than this share of its requests is bad."""
KEPT = 10
"""How many times more than is needed the proof of being within the tolerance may grow: what goes wrong later takes it
back at once."""
_LEAST_FACTOR = 1e-300


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Refuse a state that is none, in one sentence."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as why:
        raise JudgeError(
            f"What the record says of the evidence about {what} cannot be read ({why}); begin a new rollout."
        ) from why


class Tally:
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


class Track:
    """One measure of the canary: is it provably worse, is it provably within the tolerance?"""

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        given = state or {}
        self.worse = Wager(len(WORSE), state=given.get("worse"))
        self.within = Wager(2 * len(BETTER), KEPT / MISSED, given.get("within"))
        nothing = (0, 0)
        self.canary = Tally(given.get("canary", nothing))
        """Since the batch began."""
        self.baseline = Tally(given.get("baseline", nothing))
        self.recent = Tally(given.get("recent", nothing))
        """The canary's since evidence last was in its favour: what is wrong now, undiluted by a good time before."""
        self._alone = Tally(given.get("alone", nothing))
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


class Hold:
    """Whether the baseline is provably so bad that it is none."""

    def __init__(self, alpha: float, state: Mapping[str, Any] | None) -> None:
        self._enough = 1 / alpha
        # A baseline that recovers needs as much proof for that as there was against it.
        self._wager = Wager(len(WORSE), self._enough**2, state)

    @property
    def on(self) -> bool:
        """Whether it is none as of now."""
        return self._wager.wealth >= self._enough

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return self._wager.state()

    def begin(self) -> None:
        """Other hosts from now on."""
        self._wager.begin()

    def look(self, baseline: Counts, too_bad: float) -> None:
        """Stake on what came in; ``too_bad``: the share of bad requests beyond which a baseline is none."""
        self._wager.look(bets_on_one(baseline.bad, baseline.total, too_bad, WORSE))
