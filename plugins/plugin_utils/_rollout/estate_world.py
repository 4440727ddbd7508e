# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The world of a rollout as it is: this collection's modules, run on the estate's hosts.

The engine decides, and this file carries out: each method is one round of module executions, all hosts at once, and a
write to the store rides along with the step that it describes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.answers import (
    activated_of,
    down_of,
    drained_of,
    left_alone,
    migrated_of,
    node_of,
    obeyed,
    prepared_of,
    servers_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.calls import Calls
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.sample_round import SampleRound
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Server, Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import StoreClient
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import target_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

SIGNAL, LAST_SIGNAL = "signal", "last signal"


class EstateWorld:
    """Implements ``world.World`` on real hosts."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        store: StoreClient,
        tell: Callable[[str, Sequence[str]], None],
        configurations: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """``configurations`` has what the inventory says of each host, as app_release takes it; it holds secrets."""
        self.fleet = fleet
        self.settings = settings
        self.store = store
        self._tell = tell
        self._configurations = configurations or {}
        self._wanted: dict[str, str] = {}
        """What each host is to run, as it was seen last."""
        self._announced = ""
        self._signal_places = list(settings.balancers)
        self.samples = Samples()
        self._entered_at = time.monotonic()

    # -------------------------------------------------------------------------------------------------- time and people

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def clock(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; the lease is kept meanwhile."""
        self.fleet.sleep(seconds)

    def tell(self, text: str, hosts: Sequence[str] = ()) -> None:
        """Show a person what happens."""
        self._tell(text, hosts)

    # ------------------------------------------------------------------------------------------------------------ store

    @property
    def control(self) -> world.Control | None:
        """The flag that the last write has brought back."""
        return self.store.control

    def open(self) -> world.StoreView:
        """Take the lock and read what is there."""
        return self.store.open()

    def save(self, record: Record) -> None:
        """Write the record."""
        self.store.save(record)
        self._announce(record)

    def store_error(self) -> Exception | None:
        """The error of a write that rode along, once."""
        return self.store.error()

    def clear_control(self) -> None:
        """Forget the flag that was obeyed."""
        self.store.clear_control()

    def close(self, record: Record) -> None:
        """Write the final record and let go of the lock."""
        self.store.close(record)
        for call in self._signals(record):
            if not self.fleet.run({LAST_SIGNAL: call})[LAST_SIGNAL].failed:
                break

    def release(self) -> None:
        """Let go of the lock."""
        self.store.release()

    def _announce(self, record: Record) -> None:
        """Tell the telemetry of a change of status, in the background: nothing waits for it or depends on it."""
        if record.status != self._announced and not self.fleet.busy(SIGNAL):
            self._announced = record.status
            answer = self.fleet.collect(SIGNAL)
            if answer is not None and answer.failed:
                self._signal_places.append(self._signal_places.pop(0))
            self.fleet.begin(SIGNAL, next(iter(self._signals(record))))

    def _signals(self, record: Record) -> Iterator[Call]:
        """The call that tells of the record, for each load balancer that may carry it out."""
        for place in list(self._signal_places):
            yield self._calls.signal(place, record)

    def _round(
        self, calls: Mapping[str, Call], save: Record | None = None, *, unrecorded: bool = False
    ) -> dict[str, Answer]:
        """Run calls at once, the write of the record among them.

        Nothing is sent for a run that is known to have lost the lock, or whose record could not be written before; with
        ``unrecorded`` the latter is no obstacle.
        """
        self.store.confirm()
        writes = self.store.begin_save(save) if save is not None else {}
        self.store.confirm()
        if save is not None and not unrecorded and (error := self.store.error()):
            raise error
        answers = self.fleet.run({**writes, **{f"host {name}": call for name, call in calls.items()}})
        self.store.note(answers)
        if save is not None:
            self._announce(save)
        found = {name: answers[f"host {name}"] for name in calls}
        fenced = next((f"{name}: {one.reason}" for name, one in found.items() if one.result.get("fenced")), "")
        if fenced:
            self.store.lose(fenced)
            self.store.confirm()
        return found

    # ---------------------------------------------------------------------------------------------------------- looking

    def look(self) -> tuple[dict[str, Answer], dict[str, Answer]]:
        """What every node and every load balancer answers, silence included."""
        nodes = {f"node {host}": self._calls.look(host) for host in self.settings.hosts}
        balancers = {f"balancer {name}": self._calls.servers(name) for name in self.settings.balancers}
        answers = self.fleet.run({**nodes, **balancers})
        return (
            {host: answers[f"node {host}"] for host in self.settings.hosts},
            {name: answers[f"balancer {name}"] for name in self.settings.balancers},
        )

    def look_at_nodes(self) -> dict[str, Node]:
        """What every node answers."""
        answers = self.fleet.run({host: self._calls.look(host) for host in self.settings.hosts})
        return {host: node_of(answer) for host, answer in answers.items()}

    def observe(self) -> Snapshot:
        """Look at every node and every load balancer; load balancers have to answer."""
        nodes, balancers = self.look()
        for name, answer in {**nodes, **balancers}.items():
            if answer.result.get("fenced"):
                raise PlanError(f"{name}: {answer.reason}")
        found = {host: node_of(answer) for host, answer in nodes.items()}
        snapshot = Snapshot(found, self._seen(balancers))
        self._wanted = {host: target_of(host, self.settings, snapshot) for host in found}
        return snapshot

    def servers(self) -> dict[str, dict[str, Server]]:
        """Look at the load balancers alone, which have to answer."""
        return self._seen(self._round({name: self._calls.servers(name) for name in self.settings.balancers}))

    def _seen(self, balancers: Mapping[str, Answer]) -> dict[str, dict[str, Server]]:
        everybody = (*self.settings.hosts, *self.settings.excluded)
        results = obeyed(balancers)
        self.samples.note_before({name: result["traffic"] for name, result in results.items()})
        servers = {name: servers_of(result, everybody) for name, result in results.items()}
        for name, seen in servers.items():
            missing = [host for host in everybody if host not in seen]
            if missing:
                are, it = ("is no server", "it") if len(missing) == 1 else ("are no servers", "them")
                raise PlanError(
                    f"{', '.join(missing)} {are} of {', '.join(self.settings.backends)} at {name}; add {it} to "
                    f"haproxy_services and run site.yml, or exclude {it} with rollout_exclude."
                )
        return servers

    @property
    def _calls(self) -> Calls:
        """What can be asked now; a run shows itself to hosts as soon as it knows its store."""
        fence = self.store.fence.options if self.store.fence.store else {}
        return Calls(self.settings, fence, self._configurations, self._wanted)

    # ------------------------------------------------------------------------------------------------------------ nodes

    def prepare(self, targets: Mapping[str, str], check: bool = False) -> dict[str, world.Prepared]:
        """Install versions on hosts without activating them; one that is there needs no artifact."""
        answers = self._round({host: self._calls.install(host, target, check) for host, target in targets.items()})
        return {host: prepared_of(answer) for host, answer in answers.items()}

    def activate(
        self, targets: Mapping[str, str], *, stop: bool = False, save: Record | None = None
    ) -> dict[str, world.Activated]:
        """Let hosts run versions, and take the first sample of every gate about them."""
        hosts = list(targets)
        calls = {host: self._calls.activate(host, target, hosts, stop) for host, target in targets.items()}
        return {host: activated_of(answer) for host, answer in self._round(calls, save).items()}

    def migrate(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Begin a migration, or look at the one that was begun."""
        return self._migration(host, version, name, migration, look=False)

    def look_at_migration(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Whether a migration runs; never begins one."""
        return self._migration(host, version, name, migration, look=True)

    def _migration(self, host: str, version: str, name: str, migration: Migration, look: bool) -> world.Migrated:
        call = self._calls.migrate(host, version, name, migration, look)
        return migrated_of(self._round({host: call})[host])

    def prune(self, hosts: Sequence[str], protect: Collection[str]) -> None:
        """Remove old releases; what cannot be removed is no trouble of this rollout."""
        answers = self._round({host: self._calls.prune(host, protect) for host in hosts})
        for host, answer in answers.items():
            if answer.failed:
                self.tell(f"old releases could not be removed: {answer.reason}", [host])

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
        """Take hosts out of traffic at all load balancers at once."""
        self.samples.note_drained(host for hosts in where.values() for host in hosts)
        calls = self._calls.drain(where, mine, least, kill, patience)
        # Out of traffic is where a host does no harm, so this does not wait for the store.
        return drained_of(obeyed(self._round(calls, save, unrecorded=True)))

    def enter(
        self,
        where: world.Where,
        percent: int,
        *,
        mine: Collection[str] = (),
        wait: bool = True,
        save: Record | None = None,
    ) -> world.Entered:
        """Put hosts into traffic once every load balancer's own checks have seen them up."""
        limit = self.settings.service.ready_timeout if wait else 0
        calls = self._calls.enter(where, mine, percent, limit)
        # Load balancers where the hosts are kept out are looked at too: others serve there, to be compared with.
        calls.update({name: self._calls.servers(name) for name in self.settings.balancers if name not in calls})
        found = obeyed(self._round(calls, save))
        kept = left_alone(found)
        entered = {name: [host for host in hosts if host not in kept.get(name, ())] for name, hosts in where.items()}
        if self.samples.enter(entered, percent, {name: result["traffic"] for name, result in found.items()}):
            self._entered_at = time.monotonic()
        return world.Entered(down_of({name: found[name] for name in where}, limit), kept)

    # ---------------------------------------------------------------------------------------------------------- samples

    def sample(self, requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        """Take samples, each where its probe belongs, all at once."""
        present = time.monotonic() - self._entered_at
        samples = SampleRound(requests, self.settings, self.samples, self.store.coordinator, present)
        return samples.taken(self._round(samples.calls(), save))
