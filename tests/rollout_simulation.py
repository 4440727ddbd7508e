# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An estate in memory, and a world on it that can be killed, blinded or robbed of a host at any single operation.

The estate outlives the world, as hosts outlive a controller. Whatever happens, it watches two promises at every
change: a host that does not serve never gets into traffic, and never fewer servers than asked stay available because
of a drain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import snapshot, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.engine import Engine
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@dataclass
class Host:
    """A host of the service."""

    current: str | None = "1"
    running: str | None = "1"
    previous: str | None = None
    installed: set[str] = field(default_factory=lambda: {"1"})
    alive: bool = True
    full: bool = False
    """Whether its disk is full: nothing can be installed or activated."""


@dataclass
class Server:
    """A host at one load balancer."""

    admin: str = "ready"
    percent: int = 100
    sessions: int = 0


@dataclass
class Estate:
    """Everything that is still there when the controller is not."""

    hosts: dict[str, Host]
    balancers: dict[str, dict[str, Server]]
    dead_balancers: set[str] = field(default_factory=set)
    cut_off: set[tuple[str, str]] = field(default_factory=set)
    """Load balancers and the hosts that each of them cannot reach."""
    store_down: bool = False
    lock: str | None = None
    open_record: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    control: world.Control | None = None
    bad: dict[str, str] = field(default_factory=dict)
    """What is wrong with a version: never-ready, errors, dies, no-answer (a traffic gate has no data)."""
    wanted: str = ""
    """The digest of the configuration that the inventory has, on every host; none are kept when it is empty."""
    changes: str = ""
    migrated: list[str] = field(default_factory=list)
    time: float = 1000.0
    least: int = 0
    broken_promises: list[str] = field(default_factory=list)
    most_out: int = 0

    @classmethod
    def of(cls, hosts: int = 3, balancers: int = 2) -> Estate:
        """A healthy estate on version 1."""
        names = [f"app-{number}" for number in range(1, hosts + 1)]
        return cls(
            {name: Host() for name in names},
            {f"lb-{number}": {name: Server() for name in names} for number in range(1, balancers + 1)},
        )

    def serves(self, host: str) -> bool:
        """Whether a host answers its readiness path."""
        one = self.hosts[host]
        return one.alive and one.running is not None and self.bad.get(one.running) != "never-ready"

    def sees(self, balancer: str, host: str) -> bool:
        """Whether a load balancer's own checks see a host up."""
        return self.serves(host) and (balancer, host) not in self.cut_off

    def in_service(self, host: str) -> bool:
        """Whether a host takes its whole share of traffic everywhere."""
        servers = [found[host] for found in self.balancers.values()]
        return self.serves(host) and all(one.admin == "ready" and one.percent == 100 for one in servers)

    def available(self, balancer: str) -> int:
        """How many hosts take traffic at a load balancer."""
        found = self.balancers[balancer]
        return sum(one.admin == "ready" and self.sees(balancer, host) for host, one in found.items())


def settings(estate: Estate, version: str = "2", **changes: Any) -> Settings:
    """What a user asks for."""
    gates = changes.pop("gates", {})
    given: dict[str, Any] = {
        "service": SERVICE,
        "hosts": tuple(estate.hosts),
        "balancers": tuple(estate.balancers),
        "backends": ("catalog",),
        "version": version,
        "artifact": "catalog.tar.gz",
        "checksum": "sha256:" + "0" * 64,
        "min_available": 1,
        "min_healthy_time": 6.0,
        "gates": rollout_gates.check_gates(gates, SERVICE),
    }
    return Settings(**{**given, **changes})


class World:
    """Implements ``world.World`` on an estate; ``trouble`` is called before and after each operation."""

    def __init__(
        self, estate: Estate, wanted: Settings, trouble: Callable[[int, str, str], None] | None = None
    ) -> None:
        self.estate = estate
        self.settings = wanted
        self.control: world.Control | None = None
        self.said: list[str] = []
        self.operations: list[str] = []
        self._trouble = trouble
        self._token = f"token-{id(self)}"
        self._error: Exception | None = None

    # Every operation goes through here: it may fail before it has done anything, or die right after.
    def _operation(self, name: str, act: Callable[[], Any], seconds: float = 0.4) -> Any:
        number = len(self.operations)
        self.operations.append(name)
        if self._trouble:
            self._trouble(number, name, "before")
        self.estate.time += seconds
        result = act()
        if self._trouble:
            self._trouble(number, name, "after")
        return result

    def now(self) -> float:
        return self.estate.time

    def clock(self) -> float:
        return self.estate.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.estate.time += seconds

    def tell(self, text: str, hosts: Sequence[str] = ()) -> None:
        self.said.append(f"{','.join(hosts)} {text}".strip())

    # ------------------------------------------------------------------------------------------------------------ store

    def open(self) -> world.StoreView:
        def act() -> world.StoreView:
            self._reach_store()
            if self.estate.lock not in (None, self._token):
                raise PlanError("catalog is locked")
            self.estate.lock = self._token
            self.control = self.estate.control
            return world.StoreView(copy.deepcopy(self.estate.open_record), copy.deepcopy(self.estate.history))

        found: world.StoreView = self._operation("open", act)
        return found

    def _reach_store(self) -> None:
        if self.estate.store_down:
            raise world.StoreLost("the store is down")

    def _write(self, record: Record) -> None:
        self._reach_store()
        if self.estate.lock != self._token:
            raise world.LockLost("somebody else has the lock")
        data = copy.deepcopy(record.to_dict())
        if record.finished:
            self.estate.history.insert(0, data)
            self.estate.open_record = None
        else:
            self.estate.open_record = data
        self.control = self.estate.control

    def save(self, record: Record) -> None:
        self._operation("save", lambda: self._write(record))

    def store_error(self) -> Exception | None:
        error, self._error = self._error, None
        return error

    def clear_control(self) -> None:
        self.control = self.estate.control = None

    def close(self, record: Record) -> None:
        def act() -> None:
            self._write(record)
            self.estate.lock = self.estate.control = None

        self._operation("close", act)

    def release(self) -> None:
        if self.estate.lock == self._token:
            self.estate.lock = None

    def _ride_along(self, record: Record | None) -> None:
        if record is not None:
            try:
                self._write(record)
            except (world.StoreLost, world.LockLost) as error:
                self._error = error

    # ---------------------------------------------------------------------------------------------------------- looking

    def observe(self) -> snapshot.Snapshot:
        def act() -> snapshot.Snapshot:
            self._obey(self.settings.balancers)
            nodes = {
                name: snapshot.Node(
                    one.current, one.previous, one.running, wanted=self.estate.wanted, changes=self.estate.changes
                )
                if one.alive
                else snapshot.Node(reason="no route to host")
                for name, one in self.estate.hosts.items()
                if name in self.settings.hosts
            }
            return snapshot.Snapshot(nodes, self._servers())

        found: snapshot.Snapshot = self._operation("observe", act)
        return found

    def servers(self) -> dict[str, dict[str, snapshot.Server]]:
        def act() -> dict[str, dict[str, snapshot.Server]]:
            self._obey(self.settings.balancers)
            return self._servers()

        found: dict[str, dict[str, snapshot.Server]] = self._operation("servers", act)
        return found

    def _servers(self) -> dict[str, dict[str, snapshot.Server]]:
        return {
            name: {
                host: snapshot.Server(one.admin, self.estate.sees(name, host), one.percent, "L4TOUT")
                for host, one in self.estate.balancers[name].items()
            }
            for name in self.settings.balancers
        }

    def _obey(self, balancers: Collection[str]) -> None:
        dead = sorted(self.estate.dead_balancers & set(balancers))
        if dead:
            raise world.BalancerTrouble(f"load balancer {', '.join(dead)} gives no answer")

    # ------------------------------------------------------------------------------------------------------------ nodes

    def prepare(self, targets: Mapping[str, str]) -> dict[str, world.Prepared]:
        def act() -> dict[str, world.Prepared]:
            found = {}
            for name, version in targets.items():
                host = self.estate.hosts[name]
                reason = "no route to host" if not host.alive else "no room" if host.full else ""
                if self.estate.bad.get(version) == "corrupt":
                    reason = "the archive is damaged"
                if not reason:
                    host.installed.add(version)
                found[name] = world.Prepared(reason)
            return found

        answer: dict[str, world.Prepared] = self._operation("prepare", act)
        return answer

    def activate(
        self, targets: Mapping[str, str], *, stop: bool = False, save: Record | None = None
    ) -> dict[str, world.Activated]:
        def act() -> dict[str, world.Activated]:
            self._ride_along(save)
            return {name: self._activate(name, version, stop) for name, version in targets.items()}

        answer: dict[str, world.Activated] = self._operation("activate", act, 2)
        return answer

    def _activate(self, name: str, version: str, stop: bool) -> world.Activated:
        host, fault = self.estate.hosts[name], self.estate.bad.get(version)
        if not host.alive:
            return world.Activated("no route to host", "unreachable")
        if host.current != version and host.full:
            return world.Activated("no space left on device")
        if version not in host.installed:
            return world.Activated(f"version {version} is not installed")
        if host.current != version:
            host.previous = host.current
        host.current = host.running = version
        if fault == "never-starts":
            host.running = None
        if fault in ("never-starts", "never-ready"):
            return world.Activated(f"release {version} is not ready after 60 s", "gate ready")
        if fault == "ignores-sigterm" and stop:
            return world.Activated(f"release {version} ignored SIGTERM", "gate stops")
        good = {"phase": "success", "text": "fine"}
        return world.Activated(stop_s=0.5, start_s=1.0, samples={"ready": good, "running": good})

    def migrate(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        def act() -> world.Migrated:
            if not self.estate.hosts[host].alive:
                return world.Migrated(lost="no route to host")
            if self.estate.bad.get(version) == f"{name}-fails":
                return world.Migrated(reason="exit status 1")
            self.estate.migrated.append(name)
            return world.Migrated(output="done")

        answer: world.Migrated = self._operation(f"migrate {name}", act)
        return answer

    def look_at_migration(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        lost = "" if self.estate.hosts[host].alive else "no route to host"
        answer: world.Migrated = self._operation("look at migration", lambda: world.Migrated(lost=lost))
        return answer

    def prune(self, hosts: Sequence[str], protect: Collection[str]) -> None:
        self._operation("prune", lambda: None)

    # -------------------------------------------------------------------------------------------------------- balancers

    def drain(
        self,
        where: world.Where,
        *,
        patience: float,
        least: int,
        mine: Collection[str] = (),
        kill: bool = False,
        save: Record | None = None,
    ) -> world.Drained:
        def act() -> world.Drained:
            self._ride_along(save)
            kept = self._left_alone(where, mine)
            for balancer, hosts in where.items():
                if balancer not in self.estate.dead_balancers:
                    self._take_out(balancer, [host for host in hosts if host not in kept.get(balancer, ())], least)
            self._obey(where)
            left: dict[str, int] = {}
            killed: dict[str, int] = {}
            for balancer, hosts in where.items():
                for host in hosts:
                    if host in kept.get(balancer, ()):
                        continue
                    server = self.estate.balancers[balancer][host]
                    if kill:
                        killed[host] = killed.get(host, 0) + server.sessions
                        server.sessions = 0
                    left[host] = left.get(host, 0) + server.sessions
            waited = patience if any(left.values()) else 0.0
            return world.Drained(not any(left.values()), left, left, waited, killed, kept)

        answer: world.Drained = self._operation("drain", act, 0.4 + (patience if self._sessions(where) else 0))
        return answer

    def _left_alone(self, where: world.Where, mine: Collection[str]) -> dict[str, list[str]]:
        """What the module leaves alone: maint, and drain unless it was the rollout that has drained it."""
        kept = {
            balancer: [
                host
                for host in hosts
                if self.estate.balancers[balancer][host].admin in (("maint",) if host in mine else ("maint", "drain"))
            ]
            for balancer, hosts in where.items()
            if balancer not in self.estate.dead_balancers
        }
        return {balancer: hosts for balancer, hosts in kept.items() if hosts}

    def _sessions(self, where: world.Where) -> int:
        return sum(self.estate.balancers[name][host].sessions for name, hosts in where.items() for host in hosts)

    def _take_out(self, balancer: str, hosts: Sequence[str], least: int) -> None:
        found = self.estate.balancers[balancer]
        serving = [host for host in hosts if found[host].admin == "ready" and self.estate.sees(balancer, host)]
        left = self.estate.available(balancer) - len(serving)
        if serving and left < least:
            raise world.BalancerTrouble(
                f"{left} servers would be left at {balancer}, but min_available is {least}; bring others up first, or "
                "lower it (for one rollout with -e rollout_min_available)"
            )
        for host in hosts:
            found[host].admin = "drain"
        if least and self.estate.available(balancer) < least and serving:
            self.estate.broken_promises.append(f"{self.estate.available(balancer)} left at {balancer}")

    def enter(
        self,
        where: world.Where,
        percent: int,
        *,
        mine: Collection[str] = (),
        wait: bool = True,
        save: Record | None = None,
    ) -> world.Entered:
        def act() -> world.Entered:
            self._ride_along(save)
            kept = self._left_alone(where, mine)
            down: dict[str, dict[str, str]] = {}
            for balancer, hosts in where.items():
                for host in hosts if balancer not in self.estate.dead_balancers else ():
                    server = self.estate.balancers[balancer][host]
                    if host in kept.get(balancer, ()):
                        continue
                    if not self.estate.sees(balancer, host):
                        down.setdefault(host, {})[balancer] = f"is DOWN at {balancer}"
                        if wait:
                            continue
                    server.admin, server.percent = "ready", percent
            self._obey(where)
            return world.Entered(down, kept)

        answer: world.Entered = self._operation(f"enter {percent}", act)
        return answer

    # ---------------------------------------------------------------------------------------------------------- samples

    def sample(self, requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        def act() -> dict[str, world.Taken]:
            self._ride_along(save)
            return {request.key: self._sample(request) for request in requests}

        answer: dict[str, world.Taken] = self._operation("sample", act)
        return answer

    def _sample(self, request: world.SampleRequest) -> world.Taken:
        if request.host:
            good = self.estate.serves(request.host)
            return world.Taken(Phase.SUCCESS if good else Phase.FAILURE, "ready" if good else "not ready")
        if request.probe.get("type") == "promql" and "prometheus" in self.estate.dead_balancers:
            return world.Taken(Phase.ERROR, "Prometheus gave no answer")
        if request.probe.get("measure") == "state":
            down = [host for host in request.canary if not self.estate.serves(host)]
            return world.Taken(Phase.FAILURE if down else Phase.SUCCESS, f"{', '.join(down)} is DOWN" if down else "up")
        faults = {self.estate.bad.get(str(self.estate.hosts[host].running)) for host in request.canary}
        if "dies" in faults:
            for host in request.canary:
                self.estate.hosts[host].running = None
        if "errors" in faults or "dies" in faults:
            return world.Taken(Phase.FAILURE, "12 of 240 requests failed (5.0 %)")
        if "silent" in faults:
            return world.Taken(Phase.NO_DATA, "no request yet")
        return world.Taken(Phase.SUCCESS, "0 of 240 requests failed")


def engine(
    estate: Estate, wanted: Settings, trouble: Callable[[int, str, str], None] | None = None
) -> tuple[Engine, World]:
    """An engine in front of an estate."""
    outside = World(estate, wanted, trouble)
    number = iter(range(1000))
    return Engine(outside, wanted, lambda now: f"catalog-{now:.0f}-{next(number)}", "tester@here"), outside


def roll_out(estate: Estate, wanted: Settings, trouble: Callable[[int, str, str], None] | None = None) -> Record:
    """One run of the command."""
    return engine(estate, wanted, trouble)[0].roll_out()
