# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gates that compare have seen in the whole rollout, and what it says. No Ansible in here.

Each such gate has one process of the judge for the whole rollout: over all looks, shares of traffic and batches
together it calls a good release bad with a chance of at most its part of ``alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.error_process import AnswerProcess, ErrorProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Judgement, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.latency_process import LatencyProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import (
    AnswerLimits,
    ErrorLimits,
    LatencyLimits,
    limits_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Seen
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Counted, Taken, Timed

SOME = 10
"""Where so many requests were to be expected and hardly any came, or fewer came, more time may bring what tells."""
BUSY = 100
"""Where so many requests were to be expected and none came, that is no lack of traffic. Fewer say nothing: HAProxy
takes turns, and a server in slow start begins with a hundredth of its weight and waits for its first turn as long."""
MANY_WAIT = 0.1
"""The share of requests that may wait at any moment of a canary that is within its tolerance."""
MOST_WAIT = 0.5
"""The same where there are no hosts to compare with."""


@dataclass
class _Gate:
    """One gate that compares."""

    process: ErrorProcess | LatencyProcess
    objects: bool = True
    """Whether it may object although the evidence is too little."""
    canary: Seen = field(default_factory=Seen)
    """All that was seen of the batch."""
    baseline: Seen = field(default_factory=Seen)
    expected: float = 0.0
    """How many requests were the canary's share, by what the others were sent."""
    judged: tuple[Seen, Seen] = (Seen(), Seen())
    """What of both has been judged."""
    held_back: bool = False
    """Whether the last look is still to be judged, together with the next."""

    def begin(self) -> None:
        """Other hosts are the canary from now on."""
        self.process.begin()
        self.canary = self.baseline = Seen()
        self.expected = 0.0
        self.judged, self.held_back = (Seen(), Seen()), False

    def add(self, figures: Counted) -> None:
        """What came in since the last look; how many wait is no sum."""
        self.canary += replace(figures.canary, waiting=0)
        self.baseline += replace(figures.baseline or Seen(), waiting=0)
        self.expected += figures.share * (figures.baseline or Seen()).sent


@dataclass(frozen=True)
class Objection:
    """Why a rollout does not go on although a gate would let it."""

    text: str
    blames: bool
    """Whether it speaks against the release."""


class Evidence:
    """All gates that compare, for a whole rollout."""

    def __init__(self, gates: Mapping[str, GateSpec], state: dict[str, Any]) -> None:
        self._state = state
        limits = {name: limits_of(spec.probe) for name, spec in gates.items()}
        comparing = {name: one for name, one in limits.items() if one is not None}
        # Answers have a small budget of their own, and without a proof they are no objection.
        strong = [name for name, one in comparing.items() if not isinstance(one, AnswerLimits)]
        self._gates = {
            name: _Gate(
                _process(one, one.alpha / (len(strong) if name in strong else 1), state.get(name)),
                objects=name in strong,
            )
            for name, one in comparing.items()
        }

    def begin(self) -> None:
        """Other hosts are the canary from now on."""
        for gate in self._gates.values():
            gate.begin()

    def judge(self, name: str, taken: Taken) -> Taken:
        """Judge what came in since the last sample of a gate; a sample without figures speaks for itself."""
        gate, figures = self._gates.get(name), taken.figures
        if figures is None:
            return taken
        if gate is None:
            return Taken(Phase.ERROR, f"gate {name} gave numbers that nobody judges")
        judged = _times(gate, figures) if isinstance(figures, Timed) else _requests(gate, figures)
        self._state[name] = {"judge": type(gate.process).__name__, "seen": gate.process.state()}
        return Taken(judged.phase, judged.text, judged.evidence)

    def lacks_traffic(self, name: str) -> bool:
        """Whether less than a tenth of its share came to the canary, although the others are busy."""
        gate = self._gates.get(name)
        return gate is not None and gate.expected >= SOME and gate.canary.sent < gate.expected / 10

    def hardly_knows(self, name: str) -> bool:
        """Whether too little came to the canary to blame it, and most of that has failed."""
        objection = self.objection(name)
        return objection is not None and objection.blames and self._gates[name].canary.sent < SOME

    def objection(self, name: str) -> Objection | None:
        """What speaks against going on when a gate cannot say anything and would let it pass."""
        gate = self._gates.get(name)
        if gate is None or not gate.objects:
            return None
        seen = gate.canary
        if seen.sent and (seen.bad > seen.good or not seen.good):
            return Objection(
                f"only {seen.good:,} of {quantity(max(seen.sent, seen.total), 'request')} got a good answer", True
            )
        if not seen.sent and gate.expected >= BUSY:
            others = f"the others were sent {gate.baseline.sent:,}"
            return Objection(
                f"not one request came to it, while {others} and some {gate.expected:.0f} were its share", False
            )
        return None


_PROCESSES = {ErrorLimits: ErrorProcess, AnswerLimits: AnswerProcess, LatencyLimits: LatencyProcess}


def _process(
    limits: ErrorLimits | LatencyLimits, alpha: float, state: Mapping[str, Any] | None
) -> ErrorProcess | LatencyProcess:
    """The process of a gate, with what it has seen in an earlier run.

    What is not of its kind, because the gate has changed meanwhile or somebody else has written it, is not known.
    """
    kind: Any = _PROCESSES[type(limits)]
    known = isinstance(state, Mapping) and state.get("judge") == kind.__name__
    found: ErrorProcess | LatencyProcess
    try:
        found = kind(limits, alpha, state["seen"] if state is not None and known else None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        found = kind(limits, alpha)
    return found


def _times(gate: _Gate, figures: Timed) -> Judgement:
    return cast(LatencyProcess, gate.process).look(figures.canary, figures.baseline, waiting=figures.waiting)


def _requests(gate: _Gate, figures: Counted) -> Judgement:
    gate.add(figures)
    waits = _waits(figures)
    if waits and not gate.held_back:
        # What is sent and hangs is known one look later than what the others answer meanwhile: judged together.
        gate.held_back = True
        return Judgement(Phase.INCONCLUSIVE, _waiting_text(figures), {})
    gate.held_back = False
    before, gate.judged = gate.judged, (gate.canary, gate.baseline)
    canary, baseline = (now - then for now, then in zip(gate.judged, before))
    if figures.baseline is None:
        ours, theirs = _excess(before[0], gate.canary, figures.usual or Seen()), None
    else:
        ours, theirs = _counts(canary), _counts(baseline)
    usual = figures.usual
    process = cast(ErrorProcess, gate.process)
    judged = process.look(ours, theirs, _counts(usual) if usual is not None and usual.total else None)
    if judged.phase is Phase.SUCCESS and waits:
        return Judgement(Phase.INCONCLUSIVE, f"{_waiting_text(figures)}; {judged.text}", judged.evidence)
    if judged.phase is Phase.NO_DATA and not gate.canary.sent:
        return Judgement(Phase.NO_DATA, "no request was sent to it", judged.evidence)
    return judged


def _waiting_text(figures: Counted) -> str:
    return f"{quantity(figures.canary.waiting, 'request')} still without an answer"


def _counts(seen: Seen) -> Counts:
    return Counts(seen.bad, seen.total)


def _excess(before: Seen, now: Seen, usual: Seen) -> Counts:
    """What came in, where there are no other hosts: clients that give up count as far as there are more than usual.

    Twice as many are allowed, for chance; and as many may wait as did before the rollout.
    """

    def beyond(seen: Seen) -> int:
        ratio = usual.given_up / usual.total if usual.total else 0.0
        return max(0, seen.given_up - math.ceil(2 * ratio * seen.total) - 2 * usual.waiting)

    given_up = max(0, beyond(now) - beyond(before))
    failed, good = now.failed - before.failed, now.good - before.good
    return Counts(failed + given_up, failed + given_up + good)


def _waits(figures: Counted) -> bool:
    """Whether so many requests wait that those which were answered say little: a release may begin to hang."""
    most = MOST_WAIT
    if figures.baseline is not None:
        most = max(MANY_WAIT, 2 * _waiting_share(figures.baseline))
    return figures.canary.waiting > 1 and _waiting_share(figures.canary) > most


def _waiting_share(seen: Seen) -> float:
    return seen.waiting / (seen.waiting + seen.total) if seen.waiting else 0.0
