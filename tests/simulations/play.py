# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays a story to its end, with the product's own engine, and tells which promises were broken."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import options, stored_values, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import (
    controller_store,
    snapshot,
    store_client,
    world,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision, decide
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.engine import Engine
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from simulations import promises
from simulations.acts import Ended, Plan, Run, Watched
from simulations.acts import Story as Over
from simulations.clock import Clock
from simulations.estate import Estate
from simulations.plain import record_as_dict
from simulations.stores import Client, MemoryStore
from simulations.story import Command, Event, Story, Wishes, service_name
from simulations.worlds import EPOCH, Endless, Killed, StoryWorld

FINAL_RUNS = 4
READY_TIMEOUT = 15.0
LOOKED = 1
"""The operation in which a run has seen everything."""
PERSON = "a person"
CORRECTED = "9"
"""A version with which nothing is wrong, which no story has rolled out before its end."""
LESS = 40
"""The part of its weight, in percent, that a person gives a server by hand."""


@dataclass(frozen=True)
class Broken:
    """A promise that was broken."""

    promise: str
    how: str
    at: float
    run: int


class _Time:
    """What the product takes for the module time while a story is played."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic = lambda: clock.time


@contextlib.contextmanager
def _simulated(clock: Clock) -> Iterator[None]:
    """Let the product's way to the store use the simulated clock and store, and write its records fast."""
    names: tuple[tuple[Any, str], ...] = (
        (controller_store, "time"),
        (store_client, "time"),
        (store_client, "slept"),
        (options, "open_store"),
        (stored_values, "lease_to_data"),
        (stored_values, "lease_from_data"),
        (Record, "to_dict"),
    )
    kept = [getattr(place, name) for place, name in names]
    values: tuple[Any, ...] = (
        *(_Time(clock), _Time(clock), lambda: clock.time, lambda given: given["client"]),
        # A lease cannot be changed, so it is kept as it is.
        *(lambda lease: lease, lambda lease, _expires_in: lease),
        record_as_dict,
    )
    for (place, name), value in zip(names, values, strict=True):
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name), value in zip(names, kept, strict=True):
            setattr(place, name, value)


class _Engine(Engine):
    """Tells what it has decided, before it changes anything."""

    told: Callable[[snapshot.Snapshot, Plan], None]
    """Is given what was seen, and what was decided."""

    def plan(self, opened: world.StoreView, kind: str) -> Decision:
        """What the product's own engine does now."""
        try:
            decision = super().plan(opened, kind)
        except PlanError as why:
            self.told(self.snapshot, Plan(refusal=str(why)))
            raise
        self.told(self.snapshot, Plan.of(decision))
        return decision


class Play:
    """One story, while it is played."""

    def __init__(self, story: Story, *, tell: bool = False) -> None:
        self.story = story
        self.clock = Clock()
        self.estate = Estate(story, self.clock)
        self.stores = {name: MemoryStore(name, clock=lambda: EPOCH + self.clock.time) for name in self.estate.wishes}
        self.dead: set[int] = set()
        self.runs: list[Run] = []
        self.broken: list[Broken] = []
        self.notes: list[str] = []
        self._tells = tell
        self._ids = iter(range(10**6))
        self._busy = False
        self._happened = 0
        """How much has happened that may change what a run finds."""
        self._memory: dict[str, Any] = {"quiet": story.quiet}

    # ----------------------------------------------------------------------------------------------------- from outside

    def play(self) -> list[Broken]:
        """All that was broken, in order."""
        with _simulated(self.clock):
            for event in self.story.events:
                if event.at < 0:
                    self._happen(event, None)
            if self.story.commands:
                self._plan(0)
            self.clock.play()
            self._finally()
        return self.broken

    def watch(self, act: Watched) -> None:
        """Hold an act against the promises."""
        for name, how in promises.judge(act, self._memory):
            run = act.run.number if not isinstance(act, Over) else -1
            self.broken.append(Broken(name, how, self.clock.time, run))
            self._note(f"BROKEN {name}: {how}")

    def note(self, run: Run, text: str) -> None:
        """Keep what a run tells."""
        if self._tells:
            self._note(f"{run.number + 1}> {text}")

    def _note(self, text: str) -> None:
        if self._tells:
            self.notes.append(f"{self.clock.time:8.1f} {text}")

    # --------------------------------------------------------------------------------------------------------- commands

    def _plan(self, number: int) -> None:
        """Let a command begin when it is time."""
        command = self.story.commands[number]

        def begin() -> None:
            if self._busy:
                self.clock.start(lambda: self._command(number))
            else:
                self._busy = True
                self._command(number)
                self._busy = False

        self.clock.at(self.clock.time + command.after, begin)

    def _command(self, number: int) -> None:
        following = number + 1
        beside = following < len(self.story.commands) and self.story.commands[following].beside
        if beside:
            self._plan(following)
        run = self._new_run(self.story.commands[number])
        for event in self.story.events:
            if event.during == number and event.at >= 0:
                self._plan_event(event, run)
        self._perform(run)
        if not beside and following < len(self.story.commands):
            self._plan(following)

    def _plan_event(self, event: Event, run: Run) -> None:
        self.clock.at(self.clock.time + event.at, lambda: self._happen(event, run))

    def _new_run(self, command: Command) -> Run:
        service = service_name(command.service)
        settings = settings_of(self.story, command)
        client = Client(self.stores[service])
        before = {
            (name, host): server.admin == "ready" and server.percent >= 100 and self.estate.up(one, host, name)
            for name, balancer in self.estate.balancers.items()
            for (one, host), server in balancer.servers.items()
            if one == service
        }
        run = Run(len(self.runs), command, service, settings, client, self.clock.time, before)
        self.runs.append(run)
        self._happened += 1
        return run

    def _perform(self, run: Run) -> Run:
        outside = StoryWorld(self, run)
        engine = _Engine(outside, run.settings, lambda _now: f"{run.service}-{next(self._ids)}", f"tester-{run.number}")
        self.note(run, f"--- {run.command.what} {run.command.version}")
        engine.told = self._check(run, outside)
        try:
            if not run.settings.hosts:
                raise PlanError("rollout_exclude names every host")
            run.record = engine.roll_back() if run.command.what == "rollback" else engine.roll_out()
        except (PlanError, world.BalancerTrouble, world.StoreLost, world.LockLost, Refused) as why:
            run.refusal = f"{type(why).__name__}: {why}"
        except Killed:
            run.killed = True
        except Endless:
            self._break_by_hand(run, promises.ENDS, "it has not ended after thousands of operations")
            run.killed = True
            self.dead.add(1000 + run.number)
        except Exception as error:
            self._break_by_hand(run, promises.ENDS, f"{type(error).__name__}: {error}")
            run.killed = True
            if self._tells:
                self.notes += traceback.format_exc().splitlines()
        run.changed, run.defect = engine.changed, engine.defect
        run.ended_at = self.clock.time
        said = run.refusal or (run.record and f"{run.record.status}: {run.record.reason} | {run.record.advice}")
        self.note(run, f"--- {'killed' if run.killed else said}")
        self.watch(Ended(run, self.estate, self.clock.time))
        return run

    def _check(self, run: Run, outside: StoryWorld) -> Callable[[snapshot.Snapshot, Plan], None]:
        """Plan the run as check mode does, and keep that plan when nothing has changed until the run decides."""
        seen, happened = outside.snapshot(), self._happened
        disturbed = any(one.ended_at is None for one in self.runs if one is not run)
        disturbed |= any(one.operation <= LOOKED for one in run.command.troubles)
        # When all is over the same command is given again and again, which has nothing new to plan.
        planned = None if disturbed or self.estate.healed else self._plan_of(run, outside, seen)

        def decided(snapshot: snapshot.Snapshot, plan: Plan) -> None:
            run.decided = plan
            if plan.fresh:
                # A person's word goes for the rollout to which it was given, and not for the one that comes after it.
                run.flags, run.abort_known_at = [], None
            run.planned = planned if (snapshot, self._happened) == (seen, happened) else None

        return decided

    @staticmethod
    def _plan_of(run: Run, outside: StoryWorld, seen: snapshot.Snapshot) -> Plan:
        try:
            stored = outside.store.read()
            blank = Engine(outside, run.settings, lambda _now: "plan", f"tester-{run.number}").blank(run.command.what)
            opened = world.StoreView(stored["open_record"], stored["history"])
            return Plan.of(decide(opened, seen, run.settings, blank))
        except (PlanError, world.StoreLost) as why:
            return Plan(refusal=str(why))

    def _break_by_hand(self, run: Run, promise: str, how: str) -> None:
        self.broken.append(Broken(promise, how, self.clock.time, run.number))
        self._note(f"BROKEN {promise}: {how}")

    def _finally(self) -> None:
        """Everything works again, nobody does anything, and the last command of each service is given once more."""
        self.estate.heal()
        for service, store in self.stores.items():
            store.speak_again()
            self._speak("resume", service)
        self._note("everything works again")
        self._busy = True
        last = []
        for service in self.stores:
            mine = [run for run in self.runs if run.service == service]
            if mine:
                last.append(self._finish(mine[-1].command, self.stores[service]))
        opened = {name: store.read().open_record for name, store in self.stores.items()}
        self.watch(Over(self.estate, tuple(self.runs), tuple(last), opened))

    def _finish(self, command: Command, store: MemoryStore) -> Run:
        """Give the last command once more, and when it cannot be done what the product then says has to be done."""
        run = self._until_done(command)
        if not _over(run):
            run = self._until_done(replace(command, what="rollback", version=""))
        if "roll out the version that runs" in run.refusal:
            run = self._until_done(replace(command, what="rollout", version=self._what_most_run(run.service)))
        if "again to finish it" in run.refusal:
            begun = str((store.read().open_record or {}).get("version"))
            run = self._until_done(replace(command, what="rollout", version=begun))
        advice = run.record.advice if run.record is not None and not run.record.finished else ""
        if "roll forward to a corrected version" in run.refusal or "or roll out a corrected version" in advice:
            run = self._until_done(replace(command, what="rollout", version=CORRECTED))
        if not _over(run) and run.record is not None and "-e rollout_min_available" in run.record.reason:
            run = self._until_done(replace(run.command, min_available=0))
        return run

    def _what_most_run(self, service: str) -> str:
        running = [host.apps[service].current or "" for host in self.estate.hosts.values()]
        return max(running, key=running.count)

    def _until_done(self, command: Command) -> Run:
        """Give a command in peace, again as long as that helps."""
        plain = Command(troubles=(), machine="control-9")
        command = replace(
            plain,
            what=command.what,
            version=command.version,
            service=command.service,
            min_available=command.min_available,
        )
        for _attempt in range(FINAL_RUNS):
            # As a person would, once what is there has warmed up and old locks have run out.
            self.clock.wait(100)
            run = self._perform(self._new_run(command))
            # An abort was given before the end, and what it ended is not done: the advice is to give the command again.
            if _over(run) and not _obeyed_abort(run):
                break
        return run

    # ----------------------------------------------------------------------------------------------------------- events

    def _happen(self, event: Event, run: Run | None) -> None:
        self._note(f"EVENT {event.what} app-{event.host + 1} {event.balancer}")
        self._happened += 1
        service, name = service_name(event.service), f"app-{min(event.host + 1, self.story.hosts)}"
        if event.what in ("pause", "resume", "promote", "abort", "unlock"):
            self._speak(event.what, service)
        elif event.what in ("drain", "maint", "put back", "weigh less"):
            self._by_hand(event, service, name)
        elif event.what.startswith("balancer"):
            self._balancer(event)
        elif event.what.startswith("store"):
            store = self.stores[service]
            store.fall_silent() if event.what == "store down" else store.speak_again()
        else:
            self._host(event, name)

    def _speak(self, flag: str, service: str) -> None:
        store = self.stores[service]
        with contextlib.suppress(Refused, stores.StoreError):
            if flag == "unlock":
                store.break_lock(PERSON, "it hangs")
                return
            change = store.set_control(flag, PERSON, "")
            if flag == "promote" and change.before != change.after:
                given = self._memory.setdefault("promotions", {})
                given[change.record["id"]] = given.get(change.record["id"], 0) + 1
            for run in self.runs:
                if run.service == service and run.ended_at is None and change.before != change.after:
                    run.flags.append((self.clock.time, flag))

    def _by_hand(self, event: Event, service: str, host: str) -> None:
        for number, name in enumerate(self.estate.balancers):
            if event.balancer in (None, number):
                server = self.estate.balancers[name].servers[service, host]
                server.person_at = self.clock.time
                if event.what == "weigh less":
                    server.percent, server.weighed = LESS, True
                elif event.what == "put back":
                    server.admin, server.by_person = "ready", False
                elif server.admin == "ready":
                    self.estate.take_out(service, host, name, "drain" if event.what == "drain" else "maint")
                    server.by_person = True

    def _balancer(self, event: Event) -> None:
        for number, name in enumerate(self.estate.balancers):
            if event.balancer in (None, number):
                balancer = self.estate.balancers[name]
                if event.what == "balancer cut off from a host":
                    balancer.cut.add(f"app-{event.host + 1}")
                elif event.what == "balancer forgets":
                    balancer.forget()
                else:
                    balancer.alive = event.what == "balancer back"

    def _host(self, event: Event, name: str) -> None:
        host = self.estate.hosts[name]
        if event.what == "host dies":
            host.alive = False
        elif event.what == "host back" and not host.alive:
            host.alive = True
            for service in host.apps:
                self.estate.start(service, name)
        elif event.what in ("host unreachable", "host reachable"):
            host.reachable = event.what == "host reachable"
        elif event.what in ("disk full", "disk free"):
            host.full = event.what == "disk full"
        elif event.what in ("prometheus down", "prometheus up"):
            self.estate.prometheus = event.what == "prometheus up"
        for run in self.runs:
            if run.ended_at is None:
                run.troubled.add(name)


def _over(run: Run) -> bool:
    return run.record is not None and run.record.finished and not run.refusal


def _obeyed_abort(run: Run) -> bool:
    record = run.record
    again = record is not None and "Give the same command again" in record.advice
    return record is not None and record.kind == "rollback" and record.reason.startswith("aborted") and again


def settings_of(story: Story, command: Command) -> Settings:
    """What the user of a command asks for."""
    wishes: Wishes = story.services[command.service]
    name = service_name(command.service)
    service = Service(
        name,
        3000,
        f"{name}.service",
        f"bin/{name}",
        name,
        ready_timeout=READY_TIMEOUT,
        stop_timeout=5,
    )
    everybody = [f"app-{number + 1}" for number in range(min(command.hosts or story.hosts, story.hosts))]
    excluded = tuple(f"app-{number + 1}" for number in command.excluded if number < len(everybody))
    balancers = range(story.balancers) if command.balancers is None else command.balancers
    return Settings(
        service=service,
        hosts=tuple(host for host in everybody if host not in excluded),
        excluded=excluded,
        balancers=tuple(f"lb-{number + 1}" for number in balancers if number < story.balancers) or ("lb-1",),
        backends=(name,),
        version=command.version if command.what == "rollout" else "",
        artifact=f"{name}.tar.gz",
        checksum="sha256:" + "0" * 64,
        batches=wishes.batches,
        weights=wishes.weights,
        min_available=wishes.min_available if command.min_available is None else command.min_available,
        min_healthy_time=wishes.min_healthy_time,
        drain_deadline=wishes.drain_deadline,
        drain_on_timeout=wishes.drain_on_timeout,
        pause_timeout=wishes.pause_timeout,
        prove_stop=wishes.prove_stop,
        gates=_gates(wishes.errors_gate, service),
    )


@functools.cache
def _gates(errors_gate: str, service: Service) -> dict[str, GateSpec]:
    """The gates of a service's rollouts. To check them takes a tenth of a story's time, and there are few."""
    errors = {"enabled": False} if errors_gate == "off" else {"on_inconclusive": errors_gate}
    return rollout_gates.check_gates({"errors": errors}, service)
