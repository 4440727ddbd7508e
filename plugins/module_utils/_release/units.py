# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a systemd unit run the current release, and verify that it is ready, and that it stops. No Ansible in here.

Everything that touches the machine is passed in: ``run`` (a command), ``sample`` (one probe), ``clock`` (seconds of the
monotonic clock that systemd uses too) and ``sleep``. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "MainPID",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "InactiveEnterTimestampMonotonic",
    "TimeoutStopUSec",
    "NeedDaemonReload",
)
ABSENT = (None, "not-found", "masked", "error", "bad-setting")
CRASHES = 3
"""So many automatic restarts within one wait are a crash loop, and waiting longer is pointless."""
JOURNAL_LINES = 4


class NotReady(Exception):
    """The release is active but does not serve; ``gate`` is the probe, or the step, that found out."""

    def __init__(self, gate: str, text: str) -> None:
        super().__init__(text)
        self.gate = gate


@dataclass(frozen=True)
class Unit:
    """What systemd says of the service's unit."""

    exists: bool = False
    pid: int = 0
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    restarts: int = 0
    status: int = 0
    started_at: float = 0.0
    """When its process started, in seconds of the monotonic clock; 0 when it never did."""
    stopped_at: float = 0.0
    needs_reload: bool = False
    """Whether its file is another one than systemd has read."""

    def is_stale(self, running: str | None, current: str, swapped_at: float) -> bool:
        """Whether its process is not on the current release; when that cannot be seen, the times decide."""
        if self.pid == 0 or running is not None:
            return running != current
        return swapped_at > self.started_at

    def configuration(self, told: str, active: str, changed_at: float) -> str:
        """The configuration that its process was started with, or nothing when it is unknown or there is no process.

        ``told`` is what the process says of it. One that was started before configurations were kept says nothing; it
        has the active one if that has not changed since.
        """
        if self.pid == 0 or self.needs_reload:
            return ""
        return told or (active if changed_at <= self.started_at else "")


def unit_of(found: Mapping[str, str]) -> Unit:
    """A unit from its properties."""

    def number(key: str) -> int:
        value = found.get(key, "")
        return int(value) if value.isdigit() else 0

    return Unit(
        exists=found.get("LoadState") not in ABSENT,
        pid=number("MainPID"),
        active=found.get("ActiveState", "inactive"),
        sub=found.get("SubState", "dead"),
        result=found.get("Result", "success"),
        restarts=number("NRestarts"),
        status=number("ExecMainStatus"),
        started_at=number("ExecMainStartTimestampMonotonic") / 1e6,
        stopped_at=number("InactiveEnterTimestampMonotonic") / 1e6,
        needs_reload=found.get("NeedDaemonReload") == "yes",
    )


@dataclass(frozen=True)
class Ready:
    """How it is verified that a release serves."""

    until: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Probes by name that have to pass, all in the same round, before the timeout."""
    once: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Probes by name of which one sample is taken then, whatever it says."""
    timeout: float = 60.0
    interval: float = 0.1
    prove_stop: bool = False


@dataclass
class Started:
    """How it went."""

    restarted: bool = False
    stop_s: float = 0.0
    start_s: float = 0.0
    killed: bool = False
    """Whether the old process did not stop before its deadline and was killed."""
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """The few things that touch the host."""

    run: Run
    sample: Callable[[Mapping[str, Any]], dict[str, Any]]
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Runner:
    """One unit of one host."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    def read(self) -> Unit:
        """Ask systemd; a host without systemd has no unit."""
        try:
            return unit_of(systemd.show(self.machine.run, self.name, PROPERTIES))
        except systemd.Unanswered:
            return Unit()

    def restart(self, unit: Unit, version: str, started: Started) -> None:
        """Let the unit run the current release."""
        if unit.active == "failed":
            self.machine.run(["systemctl", "reset-failed", "--", self.name])
        elif unit.pid or unit.active != "inactive":
            # Also one that waits between two crashes: only a stop ends its count of restarts, and the wait.
            self._stop(started)
        if unit.needs_reload:
            self._reload()
        begin = self.machine.clock()
        rc, out, err = self.machine.run(["systemctl", "start", "--", self.name])
        if rc != 0:
            reason = " ".join((err or out).split())
            raise NotReady(
                "activation",
                f"release {version} is active but {self.name} does not start on it: {reason} {self.journal()}".strip(),
            )
        started.restarted = True
        started.start_s = self.machine.clock() - begin

    def _reload(self) -> None:
        rc, out, err = self.machine.run(["systemctl", "daemon-reload"])
        if rc != 0:
            raise Refused(f"systemd does not read {self.name} again: {' '.join((err or out).split())}")

    def _stop(self, started: Started) -> None:
        begin = self.machine.clock()
        rc, out, err = self.machine.run(["systemctl", "stop", "--", self.name])
        if rc != 0:
            raise Refused(f"{self.name} cannot be stopped: {' '.join((err or out).split())}")
        started.stop_s = self.machine.clock() - begin
        started.killed = self.read().result == "timeout"

    def wait_ready(self, ready: Ready, version: str, started: Started) -> None:
        """Sample the probes until all of them pass; a unit that is down for good ends the wait early."""
        begin = self.machine.clock()
        # What happened to a process that was left running is no matter of this wait.
        before = 0 if started.restarted else None
        while True:
            found = {name: self.machine.sample(probe) for name, probe in ready.until.items()}
            bad = next((name for name, sample in found.items() if sample["phase"] != "success"), None)
            if bad is None:
                break
            unit = self.read()
            text = str(found[bad]["text"])
            if unit.active in ("failed", "inactive"):
                raise NotReady(bad, self._story(version, f"ended ({unit.result}, exit status {unit.status})", text))
            before = unit.restarts if before is None else before
            if (died := unit.restarts - before) >= CRASHES:
                what = f"died {quantity(died, 'time')} (exit status {unit.status})"
                raise NotReady(bad, self._story(version, what, text))
            if self.machine.clock() - begin >= ready.timeout:
                raise NotReady(bad, self._story(version, f"is not ready after {ready.timeout:g} s", text))
            self.machine.sleep(ready.interval)
        started.start_s += self.machine.clock() - begin
        for name, probe in ready.once.items():
            found[name] = self.machine.sample(probe)
        started.samples = found

    def prove_stop(self, ready: Ready, version: str, started: Started) -> None:
        """Stop the unit as the next rollout will, and start it again; one that has to be killed is not fit to stay."""
        proof = Started()
        self._stop(proof)
        if proof.killed:
            raise NotReady(
                "stops",
                f"release {version} ignored SIGTERM: {self.name} had to be killed after {proof.stop_s:.0f} s",
            )
        self.restart(Unit(), version, proof)
        self.wait_ready(ready, version, proof)
        started.samples = proof.samples
        started.start_s += proof.stop_s + proof.start_s

    def _story(self, version: str, what: str, text: str) -> str:
        return f"release {version} {what}: {text}. {self.journal()}".strip()

    def journal(self) -> str:
        """The last words of the unit."""
        told = systemd.journal(self.machine.run, self.name, JOURNAL_LINES)
        words = " | ".join(line.strip()[:200] for line in told.splitlines() if line.strip())
        return f"Its journal ends with: {words}" if words else ""
