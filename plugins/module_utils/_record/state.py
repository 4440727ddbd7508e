# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one rollout: its hosts, their phases, and which change of phase is legal. No Ansible in here.

The record is written to the store before the step that it announces. A run that finds an unfinished record goes on from
it, together with what it sees on the hosts; so a phase may lag one step behind what was done, but never runs ahead.
Times are seconds since the epoch, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.urls import without_credentials

SCHEMA = 1

PENDING = "pending"
PREPARED = "prepared"
DRAINING = "draining"
DRAINED = "drained"
ACTIVATED = "activated"
HEALTHY = "healthy"
IN_SERVICE = "in_service"
DONE = "done"
ROLLED_BACK = "rolled_back"
FAILED = "failed"

# What may follow. A phase may always be entered again: a run that goes on after another one repeats the last step.
NEXT: dict[str, tuple[str, ...]] = {
    PENDING: (PREPARED, FAILED),
    PREPARED: (DRAINING, FAILED),
    # A drain that is given up puts the host back to where it was: prepared while going forward, done while going back.
    DRAINING: (DRAINED, PREPARED, DONE, FAILED),
    DRAINED: (DRAINING, ACTIVATED, PREPARED, DONE, ROLLED_BACK, FAILED),
    ACTIVATED: (DRAINING, HEALTHY, FAILED),
    HEALTHY: (DRAINING, IN_SERVICE, ROLLED_BACK, FAILED),
    IN_SERVICE: (DRAINING, DONE, ROLLED_BACK, FAILED),
    DONE: (DRAINING, FAILED),
    FAILED: (DRAINING, FAILED),
    ROLLED_BACK: (),
}
UNTOUCHED = (PENDING, PREPARED)
"""Phases in which a host still takes traffic with the version that it had before."""
OUT = (DRAINING, DRAINED, ACTIVATED, HEALTHY, FAILED)
"""Phases in which the rollout itself has taken a host out of traffic."""
UNDER_WAY = (DRAINING, DRAINED, ACTIVATED, HEALTHY, IN_SERVICE)
"""Phases in the middle of a host's turn."""

RUNNING = "running"
PAUSED = "paused"
ROLLING_BACK = "rolling_back"
HALTED = "halted"
FROZEN = "frozen"
UNFINISHED = (RUNNING, PAUSED, ROLLING_BACK, HALTED, FROZEN)
SUCCEEDED = "done"
REVERTED = "rolled_back"
BROKEN = "failed"
SUPERSEDED = "superseded"
FINISHED = (SUCCEEDED, REVERTED, BROKEN, SUPERSEDED)

FORWARD = "forward"
BACK = "back"


class IllegalTransition(Exception):
    """A defect of the engine: a host was to enter a phase that cannot follow the one it is in."""


@dataclass
class HostRecord:
    """One host of the rollout."""

    batch: int
    target: str
    """What this rollout lets it run: a version, with a configuration where it keeps them."""
    previous: str | None = None
    """What it ran before, to which a rollback goes."""
    left_out: bool = False
    """Whether an earlier rollout had left it out of traffic."""
    phase: str = PENDING
    history: list[list[Any]] = field(default_factory=list)
    """Every phase with the time at which it was entered."""
    drain_s: float = 0.0
    """How long its sessions took to end."""
    sessions: int = 0
    """Sessions that it had when its drain began, over all load balancers and their old workers."""
    killed: int = 0
    """Sessions that were shut down because they outlived the deadline."""
    stop_s: float = 0.0
    start_s: float = 0.0
    """How long its process took to stop, and from its start until it was ready."""
    observed_s: float = 0.0
    """How long gates and the minimum healthy time observed it, as they were asked to."""
    turn_s: float = 0.0
    """Wall time from the beginning of its drain to its end."""
    note: str = ""
    changes: str = ""
    """The names of the settings that its configuration changes; never their values."""
    down_at: list[str] = field(default_factory=list)
    """Load balancers that did not see it up before its turn, though nobody had taken it out there."""
    kept_at: list[str] = field(default_factory=list)
    """Load balancers where somebody else had taken it out when it left the rollout."""
    let_in_at: list[str] = field(default_factory=list)
    """Load balancers where the rollout has let it in since its drain, or where it had to stay in. Its phase may yet say
    that it is out, as others do not see it up or the store did not hear of it."""
    way_closed: str = ""
    """The migration of an earlier release, such as "expand of 3", that closes the host's way back."""

    @property
    def taken_out(self) -> bool:
        """Whether it was a rollout that took it out of traffic, if it is out."""
        return self.phase in OUT or (self.left_out and self.phase in UNTOUCHED)

    @property
    def overhead_s(self) -> float:
        """What the rollout itself cost: the turn without drain, stop, start and observation."""
        return max(0.0, self.turn_s - self.drain_s - self.stop_s - self.start_s - self.observed_s)


@dataclass
class Migration:
    """A step that a release carries, run once for all hosts."""

    command: str
    reversible: bool
    timeout: float
    state: str = "pending"
    """pending, running, done or failed."""
    host: str = ""
    output: str = ""

    @property
    def closes_way_back(self) -> bool:
        """Whether the way back is closed: it cannot be undone, and it ran or may have run."""
        return not self.reversible and self.state in ("running", "done", "failed")


@dataclass
class Record:
    """One rollout, whole."""

    id: str
    service: str
    version: str
    by: str
    started_at: float
    kind: str = "rollout"
    """rollout or rollback."""
    status: str = RUNNING
    direction: str = FORWARD
    reason: str = ""
    """Why it does not go forward any more."""
    condemned: bool = False
    """Whether what it goes back from was judged bad, and not only given up by a person."""
    advice: str = ""
    """How to go on."""
    configuration_only: bool = False
    """Whether it changes the configuration of the version that runs."""
    checksum: str = ""
    artifact: str = ""
    updated_at: float = 0.0
    ended_at: float = 0.0
    resumed: int = 0
    batches: list[list[str]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    balancers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The load balancers of earlier runs of it, where it may have taken servers out as well."""
    hosts: dict[str, HostRecord] = field(default_factory=dict)
    kept_out: dict[str, list[str]] = field(default_factory=dict)
    """Load balancer to servers that somebody else had taken out of traffic before: they are left so."""
    excluded: list[str] = field(default_factory=list)
    left: dict[str, HostRecord] = field(default_factory=dict)
    """Hosts that took part until they were excluded or left the inventory, as they were then."""
    migrations: dict[str, Migration] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the gates that compare have seen, by name: a run that goes on has no new chances of a false alarm."""
    events: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """A record is read by more people than the ones who may fetch the artifact."""
        self.artifact = without_credentials(self.artifact)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in FINISHED

    @property
    def frozen_by(self) -> str:
        """The migration that closes the way back, of this release or for a host that it has touched; or nothing."""
        own = [name for name, step in self.migrations.items() if step.closes_way_back]
        earlier = [self.hosts[host].way_closed for batch in self.touched() for host in batch]
        return next((one for one in own + earlier if one), "")

    @property
    def replaceable(self) -> bool:
        """Whether another version may take its place: its way back is closed, and it does nothing any more."""
        migrating = any(step.state == "running" for step in self.migrations.values())
        return self.status == FROZEN or bool(self.status == HALTED and self.frozen_by and not migrating)

    def phase(self, host: str) -> str:
        """The phase of a host."""
        return self.hosts[host].phase

    def enter(self, names: Iterable[str], phase: str, at: float) -> None:
        """Let hosts enter a phase."""
        for name in names:
            host = self.hosts[name]
            if phase != host.phase and phase not in NEXT[host.phase]:
                raise IllegalTransition(f"{name} cannot go from {host.phase} to {phase}")
            host.phase = phase
            host.history.append([phase, round(at, 3)])

    def withdraw(self, before: Mapping[str, HostRecord]) -> None:
        """Take back the phase that hosts have entered last, for the step that it announces was not begun."""
        for name, kept in before.items():
            host = self.hosts[name]
            host.phase, host.let_in_at = kept.phase, kept.let_in_at
            host.history.pop()

    def event(self, at: float, text: str) -> None:
        """Note what happened, for the report."""
        self.events.append({"at": round(at, 3), "text": text})

    def touched(self) -> list[list[str]]:
        """Hosts that a rollback has to visit, the newest batch first."""
        found = [
            [name for name in batch if self.phase(name) not in (*UNTOUCHED, ROLLED_BACK)]
            for batch in reversed(self.batches)
        ]
        return [batch for batch in found if batch]

    def bring(self, steps: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the migrations of the release, checked: what they run and whether it can be undone.

        What is on record says how far they are. One that the release does not carry is not begun, and one that was
        once said to be for ever stays so.
        """
        before = self.migrations
        self.migrations = {name: step for name, step in before.items() if step.state != "pending"}
        for name, given in steps.items():
            step = Migration(**given)
            if name in before:
                lasting = replace(before[name], command=step.command, timeout=step.timeout)
                step = replace(lasting, reversible=step.reversible and lasting.reversible)
            self.migrations[name] = step

    def unfinished(self, batch: Sequence[str]) -> list[str]:
        """Hosts of a batch that are not done."""
        return [name for name in batch if self.phase(name) != DONE]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with what a reader would otherwise have to compute."""
        data = asdict(self)
        for name, host in self.hosts.items():
            data["hosts"][name]["overhead_s"] = round(host.overhead_s, 3)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Read a record back; keys that this version does not know are ignored."""
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"record {data.get('id')!r} has schema {data.get('schema')!r}, but this version of the collection "
                f"knows {SCHEMA}; finish it with the version that began it"
            )
        values = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        values["hosts"] = {name: _load(HostRecord, one) for name, one in data.get("hosts", {}).items()}
        values["left"] = {name: _load(HostRecord, one) for name, one in data.get("left", {}).items()}
        values["migrations"] = {name: _load(Migration, one) for name, one in data.get("migrations", {}).items()}
        return cls(**values)


def _load(kind: Any, data: Mapping[str, Any]) -> Any:
    return kind(**{one.name: data[one.name] for one in fields(kind) if one.name in data})
