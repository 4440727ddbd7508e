# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The world of one run: ``world.World`` on the simulated estate, with all that may go wrong on the way there.

What a real run does through modules on hosts is done here to the estate; the store is the product's own, and so is the
way to it. Each operation takes its time, and anybody may act meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible_collections.mesops.platform.plugins.module_utils._record import stores
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server as SeenServer
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import StoreSettings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from simulations.acts import Migrates, PutIn, Run, Slept, Switched, TakenOut
from simulations.estate import Balancer, Host, Server
from simulations.promises import NOTICED
from simulations.story import STORE_TROUBLES, Step, Trouble

if TYPE_CHECKING:
    from simulations.play import Play

MOST_OPERATIONS = 4000
EPOCH = 1.8e9
"""What the coordinator's clock says when a story begins."""
BEAT = 5.0
LEASE = 45.0
MIGRATION_WAIT = 4.0
LOOKED_AGAIN = 6.0
"""Seconds between a run's last look at a host that a person keeps out and the switch of its process."""


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Fenced(Exception):
    """A host has seen a newer run."""


class Endless(BaseException):
    """The run does not end by itself."""


class StoryWorld:
    """Implements ``world.World``."""

    def __init__(self, play: Play, run: Run) -> None:
        self.play = play
        self.run = run
        self.estate = play.estate
        self.settings = run.settings
        self.service = run.service
        self._troubles = {one.operation: one for one in run.command.troubles}
        self._dead = False
        holder = stores.Holder("tester", run.command.machine, 1000 + run.number, "boot", "1", run.command.what)
        options = {"client": run.client, "service": run.service}
        settings = StoreSettings(options, ["lb-1"], asdict(holder), LEASE, self._is_dead)
        self.store = ControllerStore(self, settings, self.tell)  # type: ignore[arg-type]

    def _is_dead(self, lock: Mapping[str, Any]) -> bool:
        holder = lock["holder"]
        return holder["host"] == self.run.command.machine and holder["pid"] in self.play.dead

    # ------------------------------------------------------------------------------------------------- time and trouble

    def now(self) -> float:
        """The controller's clock."""
        return EPOCH + self.estate.now + self.run.command.skew

    def clock(self) -> float:
        """Seconds that only grow."""
        return self.estate.now

    def sleep(self, seconds: float) -> None:
        """Wait; the lease is kept meanwhile."""
        assert seconds > 0
        self.play.watch(Slept(self.run, self.estate, self.estate.now, seconds))
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        while seconds > 1e-9:
            slice_s = min(seconds, BEAT)
            self.play.clock.wait(slice_s)
            self.store.keep_alive()
            self._note_abort()
            seconds -= slice_s

    def _note_abort(self) -> None:
        """Note since when this run knows of a person's abort; one of the rollout before goes with that one's record."""
        if self.control is None or self.control.flag != "abort":
            self.run.abort_known_at = None
        elif self.run.abort_known_at is None:
            self.run.abort_known_at = self.estate.now

    def tell(self, text: str, hosts: Sequence[str] = ()) -> None:
        """Show a person what happens."""
        self.play.note(self.run, f"{', '.join(hosts)} {text}".strip())

    def _begin(self, name: str) -> str:
        """What happens to an operation, which may be that it never comes to it."""
        number = len(self.run.operations)
        self.run.operations.append(name)
        if number > MOST_OPERATIONS:
            raise Endless
        self._note_abort()
        trouble = self._troubles.get(number, Trouble(number, ""))
        self.play.note(self.run, f"   [{number}] {name}{f': {trouble.what}' if trouble.what else ''}")
        if trouble.what == "killed":
            self._die()
        if trouble.what == "paused":
            self._stand_still(trouble.seconds)
        if trouble.what in STORE_TROUBLES:
            self.run.client.trouble = trouble.what
        return trouble.what

    def _end(self, what: str) -> None:
        if what == "killed after":
            self._die()
        trouble = self._troubles.get(len(self.run.operations) - 1)
        if what == "paused after" and trouble is not None:
            self._stand_still(trouble.seconds)
        if what == "late" and trouble is not None:
            self._wait(trouble.seconds)

    def _die(self) -> None:
        self._dead = True
        self.play.dead.add(1000 + self.run.number)
        raise Killed

    def _stand_still(self, seconds: float) -> None:
        self.run.paused_s += seconds
        self.play.clock.wait(seconds)

    def _hesitate(self) -> None:
        """Stand still between the look at the lock and what is then done."""
        trouble = self._troubles.get(len(self.run.operations) - 1)
        if trouble is not None and trouble.what == "paused within":
            self._stand_still(trouble.seconds)

    def _operation(self, name: str, act: Callable[[str], Any], seconds: float = 0.4) -> Any:
        what = self._begin(name)
        self._wait(seconds / 2)
        try:
            answer = act(what)
            if what == "twice":
                act(what)
        finally:
            self._wait(seconds / 2)
            self._end(what)
        return answer

    # ------------------------------------------------------------------------------------------------------------ store

    @property
    def control(self) -> world.Control | None:
        """The flag that the last write has brought back."""
        return self.store.control

    def open(self) -> world.StoreView:
        """Take the lock and read what is there."""

        def act(_what: str) -> world.StoreView:
            found = self.store.open()
            # Whoever waits for the lock does not act, so what is asked of it counts from here on.
            self.run.flags = [(self.estate.now, self.control.flag)] if self.control is not None else []
            return found

        opened: world.StoreView = self._operation("open", act)
        return opened

    def save(self, record: Record) -> None:
        """Write the record."""
        self.run.record = record
        self._operation("save", lambda _what: self.store.save(record), 0.2)

    def store_error(self) -> Exception | None:
        """The error of a write that rode along, once."""
        return self.store.error()

    def clear_control(self) -> None:
        """Forget the flag that was obeyed."""
        self._operation("clear control", lambda _what: self.store.clear_control(), 0.2)

    def close(self, record: Record) -> None:
        """Write the final record and let go of the lock."""
        self.run.record = record
        self._operation("close", lambda _what: self.store.close(record), 0.2)

    def release(self) -> None:
        """Let go of the lock."""
        if not self._dead:
            self.store.release()

    def _round(self, save: Record | None, act: Callable[[], Any], unrecorded: bool = False) -> Any:
        """A step, and the write that goes with it, as ``EstateWorld._round`` does it: at once, or before it."""
        self.store.confirm()
        if save is not None:
            self.run.record = save
        if save is not None and not self.run.command.rides:
            self.store.begin_save(save)
            self.store.confirm()
            if not unrecorded and (error := self.store.error()):
                raise error
        self._hesitate()
        self.run.warned = self.run.client.lost
        try:
            answer = act()
        except Fenced as why:
            self.run.client.lost = True
            self.store.lose(str(why))
        if save is not None and self.run.command.rides:
            self.store.begin_save(save)
        self.store.confirm()
        return answer

    def _claim(self, place: Host | Balancer) -> None:
        """A host obeys no run that is older than the newest that it has seen."""
        number = self.store.fence.number
        if number < place.fence.get(self.service, 0):
            raise Fenced("a newer run changes this service here now")
        place.fence[self.service] = number

    # ---------------------------------------------------------------------------------------------------------- looking

    def observe(self) -> Snapshot:
        """Look at everything."""

        def act(what: str) -> Snapshot:
            try:
                self._show_up()
            except Fenced as why:
                raise PlanError(str(why)) from why
            self._obey(self.settings.balancers, what)
            return self.snapshot()

        found: Snapshot = self._operation("observe", act)
        return found

    def snapshot(self) -> Snapshot:
        """All that there is to see at this moment."""
        return Snapshot(
            {host: self._node(host) for host in self.settings.hosts},
            {name: self._servers(name) for name in self.settings.balancers},
        )

    def _show_up(self) -> None:
        for host in self.settings.hosts:
            if self.estate.hosts[host].answers:
                self._claim(self.estate.hosts[host])
        for name in self.settings.balancers:
            if self.estate.balancers[name].answers:
                self._claim(self.estate.balancers[name])

    def servers(self) -> dict[str, dict[str, SeenServer]]:
        """Look at the load balancers alone."""

        def act(what: str) -> dict[str, dict[str, SeenServer]]:
            def look() -> dict[str, dict[str, SeenServer]]:
                for name in self.settings.balancers:
                    if self.estate.balancers[name].answers:
                        self._claim(self.estate.balancers[name])
                self._obey(self.settings.balancers, what)
                return {name: self._servers(name) for name in self.settings.balancers}

            found: dict[str, dict[str, SeenServer]] = self._round(None, look)
            return found

        seen: dict[str, dict[str, SeenServer]] = self._operation("servers", act)
        return seen

    def _node(self, name: str) -> Node:
        host = self.estate.hosts[name]
        if not host.answers:
            self.run.troubled.add(name)
            return Node(reason="no route to host")
        app = host.apps[self.service]
        return Node(app.current, app.previous, app.running if host.alive else None)

    def _servers(self, balancer: str) -> dict[str, SeenServer]:
        everybody = (*self.settings.hosts, *self.settings.excluded)
        found = self.estate.balancers[balancer].servers
        return {
            host: SeenServer(
                found[self.service, host].admin,
                self.estate.up(self.service, host, balancer),
                found[self.service, host].percent,
            )
            for host in everybody
        }

    def _obey(self, balancers: Collection[str], what: str) -> None:
        silent = [name for name in balancers if not self.estate.balancers[name].answers]
        self.run.troubled.update(silent)
        if silent or what in ("fails", "lost"):
            self.run.deaf_at = self.estate.now
        if silent:
            raise world.BalancerTrouble(f"load balancer {', '.join(silent)} gives no answer")
        if what in ("fails", "lost"):
            self.run.troubled.update(balancers)
            raise world.BalancerTrouble("a load balancer gave no answer")

    # ------------------------------------------------------------------------------------------------------------ nodes

    def prepare(self, targets: Mapping[str, str]) -> dict[str, world.Prepared]:
        """Install versions."""

        def act(what: str) -> dict[str, world.Prepared]:
            found: dict[str, world.Prepared] = self._round(
                None, lambda: {host: self._prepare(host, targets[host], what) for host in targets}
            )
            return found

        answer: dict[str, world.Prepared] = self._operation("prepare", act, 2)
        return answer

    def _prepare(self, name: str, version: str, what: str) -> world.Prepared:
        host, release = self.estate.hosts[name], self.estate.release(version)
        if not host.answers or what == "fails":
            self.run.troubled.add(name)
            return world.Prepared("no route to host")
        self._claim(host)
        if host.full:
            self.run.troubled.add(name)
            return world.Prepared("no space left on device")
        if release.fault == "corrupt" and (release.only is None or name == f"app-{release.only + 1}"):
            return world.Prepared("the archive is damaged")
        host.apps[self.service].installed.add(version)
        return world.Prepared("the answer was lost" if what == "lost" else "", self._manifest(version))

    def _manifest(self, version: str) -> dict[str, Any]:
        release = self.estate.release(version)
        steps = {"expand": release.expand, "contract": release.contract}
        given = {
            name: {"command": f"bin/{name}", "reversible": step.reversible} for name, step in steps.items() if step
        }
        return {"migrations": given} if given else {}

    def activate(
        self, targets: Mapping[str, str], *, stop: bool = False, save: Record | None = None
    ) -> dict[str, world.Activated]:
        """Let hosts run versions."""

        def act(what: str) -> dict[str, world.Activated]:
            found: dict[str, world.Activated] = self._round(
                save, lambda: {host: self._switch(host, version, what) for host, version in targets.items()}
            )
            self._await_ready([host for host in targets if not found[host].reason])
            return {
                host: one if one.reason else self._started(host, targets[host], stop, what)
                for host, one in found.items()
            }

        answer: dict[str, world.Activated] = self._operation("activate", act, 1)
        return answer

    def _switch(self, name: str, version: str, what: str) -> world.Activated:
        host = self.estate.hosts[name]
        app = host.apps[self.service]
        if not host.answers or what == "fails":
            self.run.troubled.add(name)
            return world.Activated("no route to host", "unreachable")
        self._claim(host)
        if host.full and app.current != version:
            self.run.troubled.add(name)
            return world.Activated("no space left on device")
        if version not in app.installed:
            return world.Activated(f"version {version} is not installed")
        before, known = app.current, self.settings.balancers
        serving = tuple(
            one
            for one in known
            if self.estate.serving(self.service, name, one) and not self._let_in_by_others(name, one)
        )
        self.estate.activate(self.service, name, version)
        self.play.watch(Switched(self.run, self.estate, self.estate.now, name, version, before, serving))
        return world.Activated()

    def _let_in_by_others(self, host: str, balancer: str) -> bool:
        """Whether a person has put it back, or the load balancer has forgotten, since the run took it out."""
        one = self.estate.balancers[balancer]
        drained_at = self.run.drained_at.get(host, float("inf"))
        person_at = one.servers[self.service, host].person_at
        # A drain that had nothing to do, as a person kept the host out, is looked at again every few seconds.
        by_person = person_at > drained_at - NOTICED or self.estate.now - person_at < LOOKED_AGAIN
        return by_person or (self.service, host) in one.forgotten

    def _await_ready(self, hosts: Sequence[str]) -> None:
        for _second in range(int(self.settings.service.ready_timeout)):
            if all(self.estate.ready(self.service, host) for host in hosts):
                return
            self._wait(1)

    def _started(self, name: str, version: str, stop: bool, what: str) -> world.Activated:
        if not self.estate.hosts[name].answers or what == "lost":
            self.run.troubled.add(name)
            return world.Activated("the connection was lost", "unreachable")
        if not self.estate.ready(self.service, name):
            return world.Activated(f"release {version} is not ready in time", "gate ready")
        if stop and self.estate.release(version).ignores_sigterm:
            return world.Activated(f"release {version} ignored SIGTERM", "gate stops")
        good = {"phase": "success", "text": "fine"}
        return world.Activated(stop_s=0.5, start_s=1.0, samples={"ready": good, "running": good})

    def migrate(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Begin a migration, or look at the one that was begun."""

        def act(what: str) -> world.Migrated:
            found: world.Migrated = self._round(None, lambda: self._migrate(host, version, name, what))
            return found

        answer: world.Migrated = self._operation(f"migrate {name}", act)
        return answer

    def look_at_migration(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Whether a migration runs; never begins one."""

        def act(what: str) -> world.Migrated:
            if not self.estate.hosts[host].answers or what in ("fails", "lost"):
                return world.Migrated(lost="no route to host")
            end = self.estate.migrated[self.service].get((version, name))
            return world.Migrated(running=end is not None and end > self.estate.now)

        answer: world.Migrated = self._operation(f"look at {name}", act)
        return answer

    def _migrate(self, host: str, version: str, name: str, what: str) -> world.Migrated:
        if not self.estate.hosts[host].answers or what == "fails":
            self.run.troubled.add(host)
            return world.Migrated(lost="no route to host")
        self._claim(self.estate.hosts[host])
        release = self.estate.release(version)
        step = (release.expand if name == "expand" else release.contract) or Step()
        begun = self.estate.migrated[self.service]
        new = (version, name) not in begun
        if new:
            begun[version, name] = self.estate.now + step.seconds
        self.play.watch(Migrates(self.run, self.estate, self.estate.now, host, version, name, new))
        left = begun[version, name] - self.estate.now
        if left > 0:
            self._wait(min(left, MIGRATION_WAIT))
        if what == "lost" or not self.estate.hosts[host].answers:
            self.run.troubled.add(host)
            return world.Migrated(lost="the connection was lost")
        if left > MIGRATION_WAIT:
            return world.Migrated(running=True)
        if step.fails:
            # The next one who asks begins it anew.
            del begun[version, name]
            return world.Migrated(reason="exit status 1")
        return world.Migrated(output="done")

    def prune(self, hosts: Sequence[str], protect: Collection[str]) -> None:
        """Old releases are of no interest here."""
        self._operation("prune", lambda _what: None)

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
        """Take hosts out of traffic."""

        def act(what: str) -> world.Drained:
            kept: dict[str, list[str]] = {}

            def change(name: str) -> None:
                kept[name] = self._left_alone(name, where[name], mine)
                self._drain(name, [host for host in where[name] if host not in kept[name]], least)

            self._round(save, lambda: self._everywhere(where, what, change), unrecorded=True)
            begun, waited = self._sessions(where), 0.0
            for host in begun:
                self.run.drained_at[host] = self.estate.now
            while waited < patience and any(self._sessions(where).values()):
                slice_s = min(1.0, patience - waited)
                self._wait(slice_s)
                waited += slice_s
            killed = self._kill(where) if kill else {}
            left = self._sessions(where)
            return world.Drained(not any(left.values()), left, begun, waited, killed, _given(kept))

        names = ",".join(sorted({host for hosts in where.values() for host in hosts}))
        answer: world.Drained = self._operation(f"drain {names}", act)
        return answer

    def _everywhere(self, where: world.Where, what: str, change: Callable[[str], None]) -> None:
        """Change all load balancers at once: one that cannot does not keep the others from it."""
        troubles = []
        for name in where:
            skipped = what == "fails" and name == next(iter(where))
            if self.estate.balancers[name].answers and not skipped:
                try:
                    change(name)
                except world.BalancerTrouble as trouble:
                    troubles.append(str(trouble))
        self._obey(where, what)
        if troubles:
            raise world.BalancerTrouble("; ".join(troubles))

    def _left_alone(self, balancer: str, hosts: Sequence[str], mine: Collection[str]) -> list[str]:
        """Hosts that somebody else has taken out: in maint, or in drain unless this rollout has drained them."""
        found = self.estate.balancers[balancer].servers
        states = {host: ("maint",) if host in mine else ("maint", "drain") for host in hosts}
        return [host for host in hosts if found[self.service, host].admin in states[host]]

    def _drain(self, balancer: str, hosts: Sequence[str], least: int) -> None:
        self._claim(self.estate.balancers[balancer])
        served = [host for host in hosts if self.estate.serving(self.service, host, balancer)]
        left = self.estate.available(self.service, balancer) - len(served)
        if served and left < least:
            raise world.BalancerTrouble(
                f"{left} servers would be left at {balancer}, but min_available is {least}; bring others up first, or "
                "lower it (for one rollout with -e rollout_min_available)"
            )
        for host in hosts:
            well = self.estate.well(self.service, host)
            self.estate.take_out(self.service, host, balancer)
            left = self.estate.available(self.service, balancer)
            at = self.estate.now
            self.run.took_out.add((balancer, host))
            self.play.watch(TakenOut(self.run, self.estate, at, balancer, host, host in served, well, left))

    def _sessions(self, where: world.Where) -> dict[str, int]:
        left: dict[str, int] = {}
        for name, hosts in where.items():
            for host in hosts:
                left[host] = left.get(host, 0) + self.estate.sessions(self.service, host, name)
        return left

    def _kill(self, where: world.Where) -> dict[str, int]:
        killed = self._sessions(where)
        for name, hosts in where.items():
            for host in hosts:
                self.estate.balancers[name].servers[self.service, host].busy_until = self.estate.now
        return killed

    def enter(
        self,
        where: world.Where,
        percent: int,
        *,
        mine: Collection[str] = (),
        wait: bool = True,
        save: Record | None = None,
    ) -> world.Entered:
        """Put hosts into traffic once they are up; without waiting, as they are."""

        def act(what: str) -> world.Entered:
            down: dict[str, dict[str, str]] = {}
            kept: dict[str, list[str]] = {}

            def change(name: str) -> None:
                kept[name] = self._left_alone(name, where[name], mine)
                meant = [host for host in where[name] if host not in kept[name]]
                found, taken = self._enter(name, meant, percent, wait, mine)
                kept[name] += taken
                for host, why in found.items():
                    down.setdefault(host, {})[name] = why

            self._round(save, lambda: self._everywhere(where, what, change))
            return world.Entered(down, _given(kept))

        names = ",".join(sorted({host for hosts in where.values() for host in hosts}))
        answer: world.Entered = self._operation(f"enter {names} {percent}", act)
        return answer

    def _enter(
        self, balancer: str, hosts: Sequence[str], percent: int, wait: bool, mine: Collection[str]
    ) -> tuple[dict[str, str], list[str]]:
        """Those that are not up, and those that somebody else has taken out while they were waited for."""
        self._claim(self.estate.balancers[balancer])
        servers = self.estate.balancers[balancer].servers
        let_in = [host for host in hosts if servers[self.service, host].admin == "ready"]
        for _second in range(10 if wait else 0):
            if all(self.estate.up(self.service, host, balancer) for host in hosts):
                break
            self._wait(1)
        # As the module looks again and again while it waits, and knows which servers it has seen ready.
        taken = [host for host in let_in if servers[self.service, host].admin != "ready"]
        taken += [host for host in self._left_alone(balancer, hosts, mine) if host not in taken]
        hosts = [host for host in hosts if host not in taken]
        down = [host for host in hosts if not self.estate.up(self.service, host, balancer)]
        for host in hosts:
            server = servers[self.service, host]
            server.percent, server.weighed = percent, False
            if host not in down or not wait:
                self._let_in(server, balancer, host)
        # Up by its own account, and not by a load balancer's: that is no fault of the release.
        self.run.troubled.update(host for host in down if self.estate.ready(self.service, host))
        return dict.fromkeys(down, f"is DOWN at {balancer}"), taken

    def _let_in(self, server: Server, balancer: str, host: str) -> None:
        was, by_person, person_at = server.admin, server.by_person, server.person_at
        server.admin, server.by_person = "ready", False
        at, percent = self.estate.now, int(server.percent)
        (self.run.took_out.discard if server.percent >= 100 else self.run.took_out.add)((balancer, host))
        self.play.watch(PutIn(self.run, self.estate, at, balancer, host, percent, was, by_person, person_at))

    # ---------------------------------------------------------------------------------------------------------- samples

    def sample(self, requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        """Take samples."""

        def act(what: str) -> dict[str, world.Taken]:
            taken: dict[str, world.Taken] = self._round(
                save, lambda: {request.key: self._sample(request, what) for request in requests}
            )
            return taken

        answer: dict[str, world.Taken] = self._operation("sample", act)
        return answer

    def _sample(self, request: world.SampleRequest, what: str) -> world.Taken:
        if request.host and not self.estate.hosts[request.host].answers:
            self.run.troubled.add(request.host)
            return world.Taken(Phase.FAILURE, "no route to host")
        if what in ("fails", "lost"):
            return world.Taken(Phase.ERROR, "the probe gave no answer")
        if request.host:
            good = self.estate.ready(self.service, request.host)
            return world.Taken(Phase.SUCCESS if good else Phase.FAILURE, "ready" if good else "not ready")
        if request.probe.get("type") == "promql" and not self.estate.prometheus:
            return world.Taken(Phase.ERROR, "Prometheus gave no answer")
        faults = {self.estate.fault(self.service, host) for host in request.canary}
        if faults & {"errors", "hangs", "dies", "flaps", "never-ready", "never-starts"}:
            return world.Taken(Phase.FAILURE, "12 of 240 requests failed (5.0 %)")
        balancers = [name for name in self.settings.balancers if self.estate.balancers[name].answers]
        busy = any(self.estate.serving(self.service, host, name) for host in request.canary for name in balancers)
        return (
            world.Taken(Phase.SUCCESS, "0 of 240 requests failed") if busy else world.Taken(Phase.NO_DATA, "none yet")
        )


def _given(kept: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: hosts for name, hosts in kept.items() if hosts}
