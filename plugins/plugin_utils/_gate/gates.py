# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From samples to a verdict: when a gate passes, when it fails, and how long it may take. No Ansible in here.

A gate is data. Its fields are those of Argo's AnalysisTemplate where they mean the same. Three things differ:

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
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import Phase

READY, TRAFFIC = "ready", "traffic"
NEVER = 10**9
"""A ``count`` with which a gate only observes: it can fail, but it is never through."""
MEASUREMENTS = 10
"""How many samples a report shows."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "stage": (TRAFFIC, READY),
    "on_no_data": ("wait", "inconclusive", "failed"),
    "on_inconclusive": ("rollback", "pause", "continue"),
    "on_error": ("rollback", "continue"),
    "on_bad_baseline": ("halt", "pause"),
}
_KEYS = (
    "stage",
    "probe",
    "interval",
    "count",
    "initial_delay",
    "failure_limit",
    "consecutive_error_limit",
    "inconclusive_limit",
    "for",
    "timeout",
    "on_no_data",
    "on_inconclusive",
    "on_error",
    "on_bad_baseline",
    "both",
    "enabled",
)
_MOST = 10**6
# Sums of clock differences are a hair short of what they should be.
_HAIR = 1e-6


class GateError(ValueError):
    """A gate's description is not usable; the text is one sentence for the user."""


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


@dataclass(frozen=True)
class GateSpec:
    """When a gate samples, and what it makes of the samples."""

    name: str
    probe: Mapping[str, Any]
    """What is sampled: a mapping with a ``type``, whose other keys are that type's business."""
    stage: str = TRAFFIC
    """``ready``: before the host gets traffic, ``traffic``: while it has some."""
    interval: float = 5
    """Seconds between samples."""
    count: int = 1
    """Successes that are needed in all."""
    initial_delay: float = 0
    """Seconds before the first sample."""
    failure_limit: int = 0
    """Failures that are forgiven; -1: all of them, until the timeout."""
    consecutive_error_limit: int = 4
    """Samples in a row that may be impossible to take; -1: all of them, until the timeout."""
    inconclusive_limit: int = -1
    """Inconclusive samples that are forgiven; -1: all of them, until the timeout."""
    hold: float = 0
    """``for`` in the inventory: how many seconds the last successes must have lasted without a break."""
    timeout: float = 60
    """Seconds from the start within which it has to pass."""
    on_no_data: str = "wait"
    """What a sample without data counts as: nothing (``wait``), ``inconclusive`` or ``failed``. Never a success."""
    on_inconclusive: str = "rollback"
    """What the rollout does then: ``rollback``, ``pause`` or ``continue``."""
    on_error: str = "rollback"
    """What the rollout does then: ``rollback`` or ``continue``."""
    on_bad_baseline: str = "halt"
    """What the rollout does when the hosts to compare with are in trouble until the timeout: ``halt`` or ``pause``."""
    both: bool = False
    """Whether hosts that go back have to pass it too; it is about the service then, and not about one version."""
    enabled: bool = True
    failure_window: int = 0
    """Of how many of the last samples ``failure_limit`` counts the failures; 0: of all. Not to be set by a user."""
    passive: bool = False
    """Whether it holds up nobody: it ends undecided when all others of its stage have. Not to be set by a user."""

    @classmethod
    def parse(cls, name: str, raw: Mapping[str, Any], place: str) -> GateSpec:
        """Read a gate from the inventory, or raise GateError; ``place`` says where it stands there.

        The probe is only looked at so far as to see that it is a mapping with a type.
        """
        if not isinstance(raw, Mapping):
            raise GateError(f"{place} is no mapping; give it at least a probe.")
        for key in raw:
            if key not in _KEYS:
                raise GateError(f"{place} has the unknown key {key!r}; a gate has {', '.join(_KEYS)}.")
        probe = raw.get("probe")
        if not isinstance(probe, Mapping) or not isinstance(probe.get("type"), str):
            wanted = "a mapping with a type, for instance type: http"
            raise GateError(scalars.refusal(f"{place}.probe", repr(probe), wanted))
        for key in ("enabled", "both"):
            scalars.BOOLEAN.of(raw.get(key, True), f"{place}.{key}", GateError)
        words = {key: _word(raw, key, place) for key in _CHOICES}
        spec = cls(
            name=name,
            probe=probe,
            interval=_seconds(raw, "interval", 1 if words["stage"] == READY else 5, place, above=True),
            count=_whole(raw, "count", 1, place, least=1),
            initial_delay=_seconds(raw, "initial_delay", 0, place),
            failure_limit=_whole(raw, "failure_limit", 0, place),
            consecutive_error_limit=_whole(raw, "consecutive_error_limit", 4, place),
            inconclusive_limit=_whole(raw, "inconclusive_limit", -1, place),
            hold=_seconds(raw, "for", 0, place),
            timeout=_seconds(raw, "timeout", 60, place, above=True),
            both=raw.get("both", False),
            enabled=raw.get("enabled", True),
            failure_window=0,
            passive=False,
            **words,
        )
        earliest = spec.initial_delay + spec.interval * max(spec.count - 1, math.ceil(spec.hold / spec.interval))
        if spec.timeout <= earliest:
            raise GateError(
                f"{place}.timeout is {spec.timeout:g}, but a gate with initial_delay {spec.initial_delay:g}, interval "
                f"{spec.interval:g}, count {spec.count} and for {spec.hold:g} cannot pass before {earliest:g} s; "
                "make the timeout longer than that."
            )
        return spec


def _word(raw: Mapping[str, Any], key: str, place: str) -> str:
    choices = _CHOICES[key]
    return scalars.choice(choices).of(raw.get(key, choices[0]), f"{place}.{key}", GateError)


def _seconds(raw: Mapping[str, Any], key: str, default: float, place: str, above: bool = False) -> float:
    rule = scalars.number(0, _MOST, "a number of seconds", above=above)
    return rule.of(raw.get(key, default), f"{place}.{key}", GateError)


def _whole(raw: Mapping[str, Any], key: str, default: int, place: str, least: int = -1) -> int:
    rule = scalars.integer(least, _MOST)
    hint = "; -1 means no limit" if least < 0 else ""
    return replace(rule, wanted=rule.wanted + hint).of(raw.get(key, default), f"{place}.{key}", GateError)


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
