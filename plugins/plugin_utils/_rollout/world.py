# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout knows of the world outside, and how it acts on it. No Ansible in here.

``World`` is what the engine needs: the store, the load balancers, the nodes, the clock. The real one runs this
collection's modules; the one of the unit tests fails wherever it is told to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Seen
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server, Snapshot


class StoreLost(Exception):
    """The store gives no answer; the text says which and why."""


class LockLost(Exception):
    """Somebody else holds the lock of this service now."""


class BalancerTrouble(Exception):
    """A load balancer cannot be reached or does not obey."""


@dataclass(frozen=True)
class StoreView:
    """The store at the moment when the lock was taken."""

    record: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]] = ()
    fence: int = 0
    """The number of the lock, higher than that of every lock before it; hosts refuse a lower one."""


@dataclass(frozen=True)
class Control:
    """A flag that a person has set."""

    flag: str
    by: str = ""
    note: str = ""


@dataclass(frozen=True)
class Drained:
    """Where a drain stands."""

    done: bool
    left: Mapping[str, int] = field(default_factory=dict)
    """Sessions per host that have not ended, old workers included, over all load balancers."""
    begun: Mapping[str, int] = field(default_factory=dict)
    """Sessions per host when this call began."""
    waited_s: float = 0.0
    """Seconds for which this call waited for sessions to end."""
    killed: Mapping[str, int] = field(default_factory=dict)
    """Sessions per host that were shut down."""
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Load balancer to the hosts that somebody else has taken out there: they were left alone."""


@dataclass(frozen=True)
class Entered:
    """What came of putting hosts into traffic."""

    down: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Host to load balancer to why it is not up there."""
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Load balancer to the hosts that somebody else has taken out there: they were left alone."""


@dataclass(frozen=True)
class Prepared:
    """What came of installing the release on one host."""

    reason: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Activated:
    """What came of activating a version on one host."""

    reason: str = ""
    """Why it does not run; empty when it runs and is ready."""
    gate: str = "activation"
    """The gate that found the reason."""
    stop_s: float = 0.0
    start_s: float = 0.0
    killed: bool = False
    """Whether the old process had to be killed because it did not stop in time."""
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """First samples of gates of the stage ready, by gate name."""


@dataclass(frozen=True)
class Migrated:
    """Where a migration stands."""

    running: bool = False
    reason: str = ""
    """Why it failed; empty when it has not."""
    output: str = ""
    lost: str = ""
    """Why its host gives no answer, which says nothing about the migration."""

    @property
    def unknown(self) -> bool:
        """Whether it may still run."""
        return self.running or bool(self.lost)


@dataclass(frozen=True)
class SampleRequest:
    """One sample to take."""

    key: str
    probe: Mapping[str, Any]
    host: str
    """The host whose probe it is, or nothing when it is about the batch."""
    canary: Sequence[str]
    baseline: Sequence[str]
    in_traffic: bool = False
    """Whether only what was measured since the canary has traffic may count."""


@dataclass(frozen=True)
class Counted:
    """Requests of the canary and of the hosts beside it, since the look before."""

    canary: Seen
    baseline: Seen | None = None
    usual: Seen | None = None
    """What those hosts (the canary's own where there are no others) had before the rollout, all of it."""
    share: float = 0.0
    """How many of the baseline's requests the canary would have had for its weights (1: as many)."""


@dataclass(frozen=True)
class Timed:
    """Response times of the canary and of the hosts beside it since the look before, in milliseconds."""

    canary: Sequence[float]
    baseline: Sequence[float] | None = None
    waiting: tuple[Sequence[float], Sequence[float]] = ((), ())
    """How long requests of the canary and of the others have waited at least that wait at this moment."""


@dataclass(frozen=True)
class Taken:
    """One sample; with ``figures`` it is still to be judged, together with those before it."""

    phase: Phase
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    figures: Counted | Timed | None = None


Where = Mapping[str, Sequence[str]]
"""Load balancer to the hosts that are meant at it."""


class World(Protocol):
    """All that is outside. A method that takes ``save`` writes the record in the same round as it acts."""

    @property
    def control(self) -> Control | None:
        """The flag that the last write to the store has brought back."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def clock(self) -> float:
        """Seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Wait, and keep the lease meanwhile."""

    def open(self) -> StoreView:
        """Take the lock, or raise what says who has it."""

    def save(self, record: Record) -> None:
        """Write the record. Raises StoreLost or LockLost."""

    def store_error(self) -> Exception | None:
        """The error of a write that rode along with a step, once."""

    def clear_control(self) -> None:
        """Forget a flag that was obeyed."""

    def close(self, record: Record) -> None:
        """Write the final record and let go of the lock."""

    def release(self) -> None:
        """Let go of the lock; never raises."""

    def observe(self) -> Snapshot:
        """Look at nodes and load balancers. Raises BalancerTrouble."""

    def servers(self) -> Mapping[str, Mapping[str, Server]]:
        """Look at the load balancers alone: servers by load balancer and host. Raises BalancerTrouble."""

    def prepare(self, targets: Mapping[str, str]) -> dict[str, Prepared]:
        """Install versions on hosts without activating them; one that is there needs no artifact."""

    def migrate(self, host: str, version: str, name: str, migration: Migration) -> Migrated:
        """Begin a migration, or look at the one that was begun."""

    def look_at_migration(self, host: str, version: str, name: str, migration: Migration) -> Migrated:
        """Whether a migration runs; never begins one."""

    def drain(
        self,
        where: Where,
        *,
        patience: float,
        least: int,
        mine: Collection[str] = (),
        kill: bool = False,
        save: Record | None = None,
    ) -> Drained:
        """Take hosts out of traffic, and wait ``patience`` seconds at most for their sessions. Or BalancerTrouble.

        A server that is not in traffic was taken out by somebody else, unless its host is among ``mine``.
        """

    def activate(
        self, targets: Mapping[str, str], *, stop: bool = False, save: Record | None = None
    ) -> dict[str, Activated]:
        """Let hosts run versions; with ``stop`` also verify that the process stops when it is told to."""

    def enter(
        self, where: Where, percent: int, *, mine: Collection[str] = (), wait: bool = True, save: Record | None = None
    ) -> Entered:
        """Put hosts into traffic with a share of their weight, once they are seen up; ``mine`` as for ``drain``.

        Without ``wait`` they are let in as they are, and get traffic as soon as they are up.
        """

    def sample(self, requests: Sequence[SampleRequest], *, save: Record | None = None) -> dict[str, Taken]:
        """Take samples."""

    def prune(self, hosts: Sequence[str], protect: Collection[str]) -> None:
        """Remove old releases; never raises."""

    def tell(self, text: str, hosts: Sequence[str] = ()) -> None:
        """Show a person what happens."""
