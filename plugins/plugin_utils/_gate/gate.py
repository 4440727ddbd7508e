# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From samples to a verdict: when a gate passes, when it fails, and how long it may take. No Ansible in here.

Fields of a gate are those of Argo's AnalysisTemplate where they mean the same. Three things differ:

- ``count`` counts successes, not measurements, so a gate of which every sample was bad cannot succeed.
- A gate that ends without a sample, or without enough of them, is inconclusive. It never passes.
- Where several verdicts would apply, failed comes before error, error before bad baseline, that before inconclusive,
  and passed comes last.

Samples are noted with the time at which they were taken; the time itself is passed in, and all of it is in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase

MEASUREMENTS = 10
"""How many samples a report shows."""
# Sums of clock differences are a hair short of what they should be.
_HAIR = 1e-6


class Verdict(Enum):
    """How a gate ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    BAD_BASELINE = "without a baseline"
    """The hosts to compare with are in trouble themselves: nothing can be said of the release, whatever it does."""


_PRECEDENCE = (Verdict.FAILED, Verdict.ERROR, Verdict.BAD_BASELINE, Verdict.INCONCLUSIVE)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for several gates: the worst. No gates at all have nothing to object, so they pass."""
    given = set(verdicts)
    return next((verdict for verdict in _PRECEDENCE if verdict in given), Verdict.PASSED)


class Gate:
    """One run of a gate: takes samples, gives a verdict once, and keeps it.

    While ``verdict(now)`` is None: wait until ``due(now)``, ask for the verdict again, take a sample and ``note`` it.
    A sample that was under way when the time ran out still counts.
    """

    def __init__(self, spec: GateSpec, started_at: float) -> None:
        self.spec = spec
        self.started_at = started_at
        self.ended_at: float | None = None
        self.reason = ""
        """Why the verdict is what it is, in one sentence."""
        self.prolonged = False
        """Whether it has got its time a second time."""
        self._verdict: Verdict | None = None
        self._samples = dict.fromkeys(Phase, 0)
        self._counted = dict.fromkeys(Phase, 0)
        self._texts: dict[Phase, str] = {}
        self._measurements: deque[dict[str, Any]] = deque(maxlen=MEASUREMENTS)
        self._latest: deque[bool] = deque(maxlen=spec.failure_window or None)
        """Whether the last samples failed, as many as ``failure_limit`` looks at."""
        self._errors_in_row = 0
        self._failed_since_success = False
        self._last_counted: Phase | None = None
        self._last_at: float | None = None
        self._run_until: float | None = None
        self._held = 0.0

    @property
    def _deadline(self) -> float:
        return self.started_at + self._time

    @property
    def _time(self) -> float:
        return self.spec.timeout * (2 if self.prolonged else 1)

    def due(self, now: float) -> float:
        """When something is to be done: the next sample, or the timeout if that is earlier. Infinity after the verdict.

        Never less than the interval after the sample before, not even after an error. What is overdue is due ``now``.
        """
        if self._verdict is not None:
            return math.inf
        sample = self.started_at + self.spec.initial_delay
        if self._last_at is not None:
            sample = max(sample, self._last_at + self.spec.interval)
        return max(now, min(sample, self._deadline))

    def note(self, phase: Phase, now: float, text: str = "", evidence: Mapping[str, Any] | None = None) -> None:
        """Take a sample into account; after the verdict it changes nothing."""
        if self._verdict is not None:
            return
        self._samples[phase] += 1
        self._measurements.append(
            {"at": round(now, 3), "phase": phase.value, "text": text, "evidence": dict(evidence or {})}
        )
        counted = self._meaning(phase)
        self._errors_in_row = self._errors_in_row + 1 if phase is Phase.ERROR else 0
        self._counted[counted] += 1
        self._texts[counted] = text
        if self.spec.failure_window:
            self._latest.append(counted is Phase.FAILURE)
        self._track_run(counted, now)
        self._last_at = now
        if counted is not Phase.NO_DATA:
            self._last_counted = counted
        if counted is Phase.FAILURE:
            self._failed_since_success = True
        elif counted is Phase.SUCCESS:
            self._failed_since_success = False
        self._decide(counted, now)

    def _meaning(self, phase: Phase) -> Phase:
        if phase is Phase.NO_DATA:
            return {"failed": Phase.FAILURE, "inconclusive": Phase.INCONCLUSIVE}.get(self.spec.on_no_data, phase)
        return phase

    def _track_run(self, counted: Phase, now: float) -> None:
        """Add up the time between successes. Another phase breaks the run; time without data only does not count."""
        if counted is Phase.SUCCESS:
            if self._run_until is not None:
                self._held += max(0.0, now - self._run_until)
            self._run_until = now
            return
        self._run_until = None
        if counted is not Phase.NO_DATA:
            self._held = 0.0

    def _decide(self, counted: Phase, now: float) -> None:
        """Look at the limits. One sample moves one counter, so the order of precedence never has to choose here."""
        spec, text = self.spec, self._texts[counted]
        failures, unsure = self._counted[Phase.FAILURE], self._counted[Phase.INCONCLUSIVE]
        total = sum(self._samples.values())
        if spec.failure_window:
            failures, total = sum(self._latest), len(self._latest)
        absent = " or had no data" if self._samples[Phase.NO_DATA] and spec.on_no_data != "wait" else ""
        if 0 <= spec.failure_limit < failures:
            limit = f"failure_limit is {spec.failure_limit}"
            what = f"{failures:,} of {quantity(total, 'sample')} failed{absent}"
            self._end(Verdict.FAILED, now, f"{what} and {limit}", text)
        elif 0 <= spec.consecutive_error_limit < self._errors_in_row:
            limit = f"consecutive_error_limit is {spec.consecutive_error_limit}"
            what = f"{quantity(self._errors_in_row, 'sample')} in a row could not be taken"
            self._end(Verdict.ERROR, now, f"{what} and {limit}", text)
        elif 0 <= spec.inconclusive_limit < unsure:
            limit = f"inconclusive_limit is {spec.inconclusive_limit}"
            what = f"{unsure:,} of {quantity(total, 'sample')} {_were(unsure)} inconclusive{absent}"
            self._end(Verdict.INCONCLUSIVE, now, f"{what} and {limit}", text)
        elif counted is Phase.SUCCESS and self.successes >= spec.count and self._held + _HAIR >= spec.hold:
            self._end(Verdict.PASSED, now, self._progress(), text)

    @property
    def sampled(self) -> bool:
        """Whether it has taken a sample."""
        return any(self._samples.values())

    @property
    def successes(self) -> int:
        """How many samples were a success."""
        return self._counted[Phase.SUCCESS]

    @property
    def holds(self) -> bool:
        """Whether, by the last sample that says anything, the hosts to compare with are in trouble themselves."""
        return self._last_counted is Phase.HOLD

    def overdue(self, now: float) -> bool:
        """Whether its time is up, and it has no verdict yet."""
        return self._verdict is None and now >= self._deadline

    def verdict(self, now: float) -> Verdict | None:
        """The verdict, or None as long as the gate goes on. Once given it does not change."""
        if self.overdue(now):
            self.conclude(now, f"it did not pass within {self._time:g} s")
        return self._verdict

    def conclude(self, now: float, why: str) -> Verdict:
        """The verdict, if there is none yet one for what was seen until now, which is not enough to pass."""
        if self._verdict is not None:
            return self._verdict
        if self.holds:
            verdict, phase = Verdict.BAD_BASELINE, Phase.HOLD
        elif self._failed_since_success:
            verdict, phase = Verdict.FAILED, Phase.FAILURE
        elif self._last_counted is Phase.ERROR:
            verdict, phase = Verdict.ERROR, Phase.ERROR
        else:
            verdict, phase = Verdict.INCONCLUSIVE, self._last_counted or Phase.NO_DATA
        self._end(verdict, now, f"{why}: {self._progress()}", self._texts.get(phase, ""))
        return verdict

    def _end(self, verdict: Verdict, now: float, reason: str, text: str) -> None:
        self._verdict = verdict
        self.ended_at = now
        self.reason = f"{reason}: {text}" if text else reason

    def _progress(self) -> str:
        """For instance "4 of 12 samples succeeded (5 needed), 3 failed, 5 had no data"."""
        spec, total = self.spec, sum(self._samples.values())
        if total == 0:
            return "no sample was taken"
        successes = self.successes
        needed = f" ({spec.count} needed)" if successes < spec.count < NEVER else ""
        parts = [f"{successes:,} of {quantity(total, 'sample')} succeeded{needed}"]
        words = {
            Phase.FAILURE: "failed",
            Phase.ERROR: "could not be taken",
            Phase.INCONCLUSIVE: f"{_were(self._samples[Phase.INCONCLUSIVE])} inconclusive",
            Phase.HOLD: "had a baseline in trouble",
            Phase.NO_DATA: "had no data",
        }
        for phase, word in words.items():
            if self._samples[phase]:
                parts.append(f"{self._samples[phase]:,} {word}")
        if spec.hold:
            parts.append(f"without a break for {round(self._held, 1):g} of {spec.hold:g} s")
        return ", ".join(parts)

    def report(self) -> dict[str, Any]:
        """What happened, as JSON; times are those of the clock that the gate was given."""
        return {
            "name": self.spec.name,
            "stage": self.spec.stage,
            "verdict": self._verdict.value if self._verdict else None,
            "reason": self.reason or self._progress(),
            "samples": {phase.value: number for phase, number in self._samples.items()},
            "started": round(self.started_at, 3),
            "ended": None if self.ended_at is None else round(self.ended_at, 3),
            "measurements": [dict(one) for one in self._measurements],
        }

    def line(self) -> str:
        """One short line for a person who waits, for instance "errors 3/5 ok, 12 of 240 requests failed (5.0 %)"."""
        spec, successes = self.spec, self.successes
        parts = [f"{spec.name} {successes}{f'/{spec.count}' if spec.count < NEVER else ''} ok"]
        if spec.hold:
            parts.append(f"{round(self._held, 1):g}/{spec.hold:g} s")
        if self._measurements and self._measurements[-1]["text"]:
            parts.append(self._measurements[-1]["text"])
        return ", ".join(parts)


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
