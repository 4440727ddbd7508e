# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to the estate, as those see it who watch over the promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from simulations.estate import Estate
from simulations.stores import Client
from simulations.story import Command


@dataclass(frozen=True)
class Plan:
    """What a decision says that a run does."""

    refusal: str = ""
    kind: str = ""
    direction: str = ""
    fresh: bool = True
    version: str = ""
    batches: tuple[tuple[str, ...], ...] = ()
    versions: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """By host: what it is to run, and what it goes back to."""
    phases: Mapping[str, str] = field(default_factory=dict)
    kept_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    @classmethod
    def of(cls, decision: Decision) -> Plan:
        """A decision as it is before the run changes its record."""
        record = decision.record
        return cls(
            kind=record.kind,
            direction=record.direction,
            fresh=decision.fresh,
            version=record.version,
            batches=tuple(tuple(batch) for batch in record.batches),
            versions={host: (one.target, one.previous) for host, one in record.hosts.items()},
            phases={host: one.phase for host, one in record.hosts.items()},
            kept_out={name: tuple(hosts) for name, hosts in record.kept_out.items()},
            told=tuple(decision.told),
        )


@dataclass
class Run:
    """One run of a command."""

    number: int
    command: Command
    service: str
    settings: Settings
    client: Client
    began_at: float
    in_traffic: dict[tuple[str, str], bool]
    """By load balancer and host: whether it took its whole share when the run began."""
    record: Record | None = None
    refusal: str = ""
    killed: bool = False
    ended_at: float | None = None
    changed: bool = False
    paused_s: float = 0.0
    """How long its controller stood still."""
    troubled: set[str] = field(default_factory=set)
    """Hosts and load balancers with which something went wrong that is not the release's fault."""
    flags: list[tuple[float, str]] = field(default_factory=list)
    """What people have asked of it, and when."""
    abort_known_at: float | None = None
    """Since when the store has told it of a person's abort."""
    defect: str = ""
    """The traceback of an error that nobody expected."""
    warned: bool = False
    """Whether it had been told that its lock is lost when it began what it does now."""
    deaf_at: float = -1.0
    """When a load balancer's answer last did not reach it."""
    drained_at: dict[str, float] = field(default_factory=dict)
    """By host: when it last took it out of traffic."""
    took_out: set[tuple[str, str]] = field(default_factory=set)
    """Load balancers and hosts where it has taken traffic away and not given it back."""
    operations: list[str] = field(default_factory=list)
    planned: Plan | None = None
    """What check mode said when the run began; nothing where that means nothing, as something happened meanwhile."""
    decided: Plan | None = None
    """What the run itself decided."""

    @property
    def troubles(self) -> bool:
        """Whether anything went wrong with its operations."""
        return bool(self.command.troubles)

    def flag(self, name: str) -> float | None:
        """When a person first gave a flag."""
        return next((at for at, flag in self.flags if flag == name), None)


@dataclass(frozen=True)
class Act:
    """Something that a run has done."""

    run: Run
    estate: Estate
    at: float


@dataclass(frozen=True)
class TakenOut(Act):
    """A server gets no new sessions at a load balancer."""

    balancer: str
    host: str
    served: bool
    """Whether it took traffic there before."""
    well: bool
    """Whether its process does what it should."""
    left: int
    """How many servers take traffic there now."""


@dataclass(frozen=True)
class PutIn(Act):
    """A server gets sessions at a load balancer."""

    balancer: str
    host: str
    percent: int
    was: str
    """Its administrative state before."""
    by_person: bool
    """Whether a person had taken it out."""
    person_at: float
    """When."""


@dataclass(frozen=True)
class Switched(Act):
    """A host was told to run a version."""

    host: str
    version: str
    before: str | None
    serving: tuple[str, ...]
    """The load balancers where it took traffic."""


@dataclass(frozen=True)
class Migrates(Act):
    """A migration was begun or looked at."""

    host: str
    version: str
    step: str
    begun: bool
    """Whether it was begun now, and not only looked at."""


@dataclass(frozen=True)
class Slept(Act):
    """A run waits, and looks at nothing."""

    seconds: float


@dataclass(frozen=True)
class Ended(Act):
    """A run has ended."""


@dataclass(frozen=True)
class Story:
    """All is over, everything works again, and the last command has been given as often as it may be needed."""

    estate: Estate
    runs: tuple[Run, ...]
    last: tuple[Run, ...]
    """The runs of the last command of each service."""
    open_records: dict[str, Any]


Watched = Act | Story
