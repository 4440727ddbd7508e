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
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import access_log
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Difference
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined, parted, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import READY
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Answer, Call, Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import CoordinatorStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.watch import fill_probe, place_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.rollout_gates import looks_back

MIGRATION_WAIT = 4
SIGNAL, LAST_SIGNAL = "signal", "last signal"
SIGNAL_TIMEOUT = 10


class EstateWorld:
    """Implements ``world.World`` on real hosts."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        store: CoordinatorStore | ControllerStore,
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

    def open(self) -> world.Opened:
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
        told = {key: getattr(record, key) for key in ("service", "id", "kind", "version", "status", "reason", "by")}
        times = {"started_at": record.started_at, "ended_at": record.ended_at or 0.0}
        for place in list(self._signal_places):
            yield Call(place, "rollout_signal", {**told, **times}, timeout=SIGNAL_TIMEOUT)

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
        nodes = {f"node {host}": self._look_call(host) for host in self.settings.hosts}
        balancers = {f"balancer {name}": self._server_call(name, {}) for name in self.settings.balancers}
        answers = self.fleet.run({**nodes, **balancers})
        return (
            {host: answers[f"node {host}"] for host in self.settings.hosts},
            {name: answers[f"balancer {name}"] for name in self.settings.balancers},
        )

    def _look_call(self, host: str) -> Call:
        given = self._configurations.get(host)
        return self._release_call(host, "read", {"configuration": given} if given else {})

    def look_at_nodes(self) -> dict[str, world.Node]:
        """What every node answers."""
        answers = self.fleet.run({host: self._look_call(host) for host in self.settings.hosts})
        return {host: node_of(answer) for host, answer in answers.items()}

    def observe(self) -> world.Sight:
        """Look at every node and every load balancer; load balancers have to answer."""
        nodes, balancers = self.look()
        for name, answer in {**nodes, **balancers}.items():
            if answer.result.get("fenced"):
                raise PlanError(f"{name}: {answer.reason}")
        found = {host: node_of(answer) for host, answer in nodes.items()}
        self._wanted = {host: str(joined(self.settings.version, node.wanted)) for host, node in found.items()}
        return world.Sight(found, self._seen(balancers))

    def servers(self) -> dict[str, dict[str, world.Server]]:
        """Look at the load balancers alone, which have to answer."""
        return self._seen(self._round({name: self._server_call(name, {}) for name in self.settings.balancers}))

    def _seen(self, balancers: Mapping[str, Answer]) -> dict[str, dict[str, world.Server]]:
        everybody = (*self.settings.hosts, *self.settings.excluded)
        results = _obeyed(balancers)
        self.samples.note_before({name: result["traffic"] for name, result in results.items()})
        servers = {name: servers_of(result, everybody) for name, result in results.items()}
        for name, seen in servers.items():
            missing = [host for host in everybody if host not in seen]
            if missing:
                raise PlanError(
                    f"{', '.join(missing)} is no server of {', '.join(self.settings.backends)} at {name}; add it to "
                    "haproxy_services and run site.yml, or leave it out with rollout_exclude."
                )
        return servers

    @property
    def _fence(self) -> dict[str, Any]:
        """How this run shows itself to a host, as soon as it knows its store."""
        return self.store.fence.options if self.store.fence.store else {}

    # ------------------------------------------------------------------------------------------------------------ nodes

    def _release_call(
        self,
        host: str,
        state: str,
        more: Mapping[str, Any],
        *,
        timeout: float = 60,
        check: bool = False,
        action: bool = False,
    ) -> Call:
        service = self.settings.service
        arguments = {
            "service": service.name,
            "state": state,
            "unit": service.unit,
            "group": service.user,
            **self._fence,
            **more,
        }
        return Call(host, "app_release", arguments, timeout=timeout, check=check, action=action)

    def prepare(self, targets: Mapping[str, str], check: bool = False) -> dict[str, world.Prepared]:
        """Install versions on hosts without activating them; one that is there needs no artifact."""
        calls = {}
        for host, target in targets.items():
            version = version_of(target)
            more = {**_release(target), "command": self.settings.service.command}
            if "configuration_digest" in more and target == self._wanted.get(host):
                more["configuration"] = self._configurations[host]
            if self.settings.artifact and version == self.settings.version:
                more.update(artifact=self.settings.artifact, checksum=self.settings.checksum)
            calls[host] = self._release_call(
                host, "installed", more, timeout=900, check=check, action="artifact" in more
            )
        return {
            host: world.Prepared(answer.reason if answer.failed else "", answer.result.get("manifest") or {})
            for host, answer in self._round(calls).items()
        }

    def activate(
        self, targets: Mapping[str, str], *, stop: bool = False, save: Record | None = None
    ) -> dict[str, world.Activated]:
        """Let hosts run versions, and take the first sample of every gate about them."""
        service = self.settings.service
        calls = {}
        for host, target in targets.items():
            until, once = self._ready_probes(host, target, list(targets))
            ready = {"until": until, "once": once, "timeout": service.ready_timeout, "prove_stop": stop}
            patience = (service.stop_timeout + service.ready_timeout) * (2 if stop else 1) + 30
            calls[host] = self._release_call(host, "active", {**_release(target), "ready": ready}, timeout=patience)
        found = {}
        for host, answer in self._round(calls, save).items():
            started = answer.result.get("started") or {}
            found[host] = world.Activated(
                reason=answer.reason if answer.failed else "",
                gate="unreachable" if answer.unreachable else f"gate {answer.result.get('gate', 'activation')}",
                stop_s=float(started.get("stop_s", 0)),
                start_s=float(started.get("start_s", 0)),
                killed=bool(started.get("killed")),
                samples=started.get("samples") or {},
            )
        return found

    def _ready_probes(self, host: str, target: str, hosts: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Probes of the stage ready that the node itself can take: those to wait for, and those to look at once."""
        until: dict[str, Any] = {}
        once: dict[str, Any] = {}
        back = target != self._wanted.get(host, self.settings.version)
        for name, spec in self.settings.gates.items():
            # The version before is not judged by what is said about the new one.
            asked = not back or name == READY or spec.both
            if asked and spec.stage == READY and place_of(spec.probe) == "node":
                # Going back nothing is judged by a single look: what is asked then is waited for.
                (until if back or spec.failure_limit < 0 else once)[name] = fill_probe(
                    spec, self.settings, target, host, hosts=hosts, baseline=()
                )
        return until, once

    def migrate(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Begin a migration, or look at the one that was begun."""
        return self._migration(host, version, name, migration, look=False)

    def look_at_migration(self, host: str, version: str, name: str, migration: Migration) -> world.Migrated:
        """Whether a migration runs; never begins one."""
        return self._migration(host, version, name, migration, look=True)

    def _migration(self, host: str, version: str, name: str, migration: Migration, look: bool) -> world.Migrated:
        # With the configuration that comes with the version: a step may need what only that one has.
        wanted = self._wanted.get(host, version)
        arguments = {
            "service": self.settings.service.name,
            "unit": self.settings.service.unit,
            **_release(wanted if version_of(wanted) == version else version),
            "step": name,
            "command": migration.command,
            "timeout": migration.timeout,
            "wait": MIGRATION_WAIT,
            **self._fence,
        }
        answer = self._round({host: Call(host, "app_migration", arguments, check=look)})[host]
        output = str(answer.result.get("output", ""))
        if answer.unreachable or (answer.failed and not {"step_state", "output"} & set(answer.result)):
            # Who has not said how it stands may not even know: the step goes on without a connection.
            return world.Migrated(lost=answer.reason)
        if answer.failed:
            return world.Migrated(reason=answer.reason, output=output)
        return world.Migrated(running=answer.result.get("step_state") == "running", output=output)

    def prune(self, hosts: Sequence[str], protect: Collection[str]) -> None:
        """Remove old releases; what cannot be removed is no trouble of this rollout."""
        more = {"keep": self.settings.service.keep, "protect": sorted(protect)}
        answers = self._round({host: self._release_call(host, "pruned", more) for host in hosts})
        for host, answer in answers.items():
            if answer.failed:
                self.tell(f"old releases could not be removed: {answer.reason}", [host])

    # -------------------------------------------------------------------------------------------------------- balancers

    def _server_call(self, balancer: str, options: Mapping[str, Any], patience: float = 0) -> Call:
        service = {"service": self.settings.service.name} if self._fence else {}
        arguments = {"backend": list(self.settings.backends), **service, **self._fence, **options}
        return Call(balancer, "haproxy_server", arguments, timeout=60 + patience)

    def _change(
        self,
        where: world.Where,
        options: Mapping[str, Any],
        patience: float,
        save: Record | None,
        *,
        unrecorded: bool = False,
        looked_at: Sequence[str] = (),
    ) -> dict[str, Mapping[str, Any]]:
        """Change servers at all load balancers at once, and look at some others."""
        options = {**options, "wait": patience}
        calls = {
            name: self._server_call(name, {**options, "server": list(hosts)}, patience) for name, hosts in where.items()
        }
        calls.update({name: self._server_call(name, {}) for name in looked_at if name not in calls})
        return _obeyed(self._round(calls, save, unrecorded=unrecorded))

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
        on_timeout = "kill" if kill else "report"
        options = {"state": "drain", "on_timeout": on_timeout, "min_available": least}
        # Out of traffic is where a host does no harm, so this does not wait for the store.
        found = self._change(where, {**options, **_unless(where, mine)}, patience, save, unrecorded=True)
        left: dict[str, int] = {}
        begun: dict[str, int] = {}
        killed: dict[str, int] = {}
        for result in found.values():
            for server in result["servers"]:
                name = server["server"]
                busy = server["sessions"] + server["queued"] + server["sessions_old_workers"]
                busy += server.get("clients_old_workers", 0)
                left[name] = left.get(name, 0) + busy
            for by_host, by_label in ((begun, result["busy_before"]), (killed, result["killed"])):
                for label, busy in by_label.items():
                    name = label.rpartition("/")[2]
                    by_host[name] = by_host.get(name, 0) + busy
        return world.Drained(
            done=all(result["done"] for result in found.values()),
            left=left,
            begun=begun,
            waited_s=max((float(result["waited_s"]) for result in found.values()), default=0.0),
            killed=killed,
            kept=_left_alone(found),
        )

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
        options = {"state": "ready", "weight": f"{percent}%", "on_timeout": "report"}
        # Load balancers where the hosts are kept out are looked at too: others serve there, to be compared with.
        found = self._change(where, {**options, **_unless(where, mine)}, limit, save, looked_at=self.settings.balancers)
        kept = _left_alone(found)
        entered = {name: [host for host in hosts if host not in kept.get(name, ())] for name, hosts in where.items()}
        if self.samples.enter(entered, percent, {name: result["traffic"] for name, result in found.items()}):
            self._entered_at = time.monotonic()
        down: dict[str, dict[str, str]] = {}
        for name in where:
            for server in found[name]["servers"]:
                if not server_of(server).serving:
                    reason = f"is {server['status']} at {name} after {limit:g} s ({server['check']})"
                    down.setdefault(server["server"], {})[name] = reason
        return world.Entered(down, kept)

    # ---------------------------------------------------------------------------------------------------------- samples

    def sample(self, requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        """Take samples, each where its probe belongs, all at once."""
        probes: dict[str, dict[str, Any]] = {}
        early = {}
        for request in requests:
            why = self._too_early(request)
            if why:
                early[request.key] = world.Taken(Phase.NO_DATA, why)
                continue
            for host in self._places(request):
                probes.setdefault(host, {})[request.key] = self._probe(request, host)
        calls = {}
        for host, some in probes.items():
            longest = sum(float(probe.get("timeout", 10)) for probe in some.values())
            calls[host] = Call(host, "health_gate", {"probes": some}, timeout=30 + longest)
        answers = self._round(calls, save)
        return {one.key: early[one.key] if one.key in early else self._judged(one, answers) for one in requests}

    def _probe(self, request: world.SampleRequest, host: str) -> dict[str, Any]:
        """A probe as one host gets it: never about what was before the last look, or before there was traffic."""
        probe = {key: value for key, value in request.probe.items() if key != "from"}
        since = self.samples.since(request.key, host)
        present = time.monotonic() - self._entered_at
        if probe["type"] == "haproxy":
            seconds = min(present, float(probe.get("seconds", access_log.LOG_SECONDS)))
            probe.update(backend=list(self.settings.backends), servers=list(request.canary), seconds=seconds)
        elif probe.get("range") and request.in_traffic:
            # Points that lie apart by the query's own windows are independent of each other.
            back = looks_back(probe)
            probe.update(range=min(float(probe["range"]), present - back), step=max(float(probe.get("step", 5)), back))
        if since is not None and (probe.get("range") or probe["type"] == "haproxy"):
            probe["since"] = since
        return probe

    def _too_early(self, request: world.SampleRequest) -> str:
        """Why a query would look at the version before; empty when it does not."""
        back, present = looks_back(request.probe), time.monotonic() - self._entered_at
        if not request.in_traffic or present > back or not back:
            return ""
        return f"the query looks back {back:g} s, but the hosts have had traffic for {present:.0f} s only"

    def _places(self, request: world.SampleRequest) -> Sequence[str]:
        place = place_of(request.probe)
        if place == "balancers":
            return self.settings.balancers
        return [request.host if place == "node" and request.host else self.store.coordinator]

    def _judged(self, request: world.SampleRequest, answers: Mapping[str, Answer]) -> world.Taken:
        taken = {}
        for host in self._places(request):
            answer = answers[host]
            if answer.failed:
                # Who cannot be asked is only silent; whether it is down is what the load balancers' checks tell.
                return world.Taken(Phase.ERROR, f"{host}: {answer.reason}")
            taken[host] = answer.result["samples"][request.key]
        return self.samples.taken(request, taken)


# ------------------------------------------------------------------------------------------------------------- answers


def _obeyed(answers: Mapping[str, Answer]) -> dict[str, Mapping[str, Any]]:
    """Results of load balancers; one that is silent or refuses is trouble."""
    broken = {name: answer.reason for name, answer in answers.items() if answer.failed}
    if broken:
        text = "; ".join(f"load balancer {name}: {why}" for name, why in broken.items())
        raise world.BalancerTrouble(text)
    return {name: answer.result for name, answer in answers.items()}


def _unless(where: world.Where, mine: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """What is left alone: a server in maint, and one in drain unless it is this rollout that has drained it."""
    hosts = sorted({host for meant in where.values() for host in meant})
    return {"unless": {host: ["maint"] if host in mine else ["maint", "drain"] for host in hosts}}


def _left_alone(found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Load balancer to the hosts that somebody else has taken out there."""
    kept = {name: list(result.get("left_alone") or ()) for name, result in found.items()}
    return {name: hosts for name, hosts in kept.items() if hosts}


def node_of(answer: Answer) -> world.Node:
    """What a host of the service has said."""
    if answer.failed:
        return world.Node(reason=answer.reason)
    result = answer.result
    found = result.get("configuration") or {}
    kept = {key: found.get(key) if found.get("kept") else "" for key in ("current", "previous", "running", "wanted")}
    current, previous, running = (joined(result.get(key), kept[key]) for key in ("current", "previous", "running"))
    differs = Difference(*(tuple(found.get(key) or ()) for key in ("added", "removed", "changed")))
    return world.Node(current, previous, running, wanted=str(kept["wanted"] or ""), changes=differs.text())


def _release(target: str) -> dict[str, Any]:
    """A version, and a configuration where the name has one, as app_release takes them."""
    version, digest = parted(target)
    return {"version": version, **({"configuration_digest": digest} if digest else {})}


def server_of(server: Mapping[str, Any]) -> world.Server:
    """One server at one load balancer."""
    share = 100 * float(server["weight"]) / (float(server["weight_configured"]) or 1.0)
    said = ", ".join(str(server[key]) for key in ("status", "check") if server.get(key))
    return world.Server(
        admin=str(server["admin"]),
        up=bool(server["up"] or not server["checked"]),
        percent=share,
        check=said,
        weight=int(server["weight_configured"]),
        algorithm=str(server.get("algorithm", "")),
    )


def servers_of(result: Mapping[str, Any], hosts: Collection[str]) -> dict[str, world.Server]:
    """Hosts at one load balancer; one that is a server of several backends is as good as in its worst."""
    found: dict[str, world.Server] = {}
    for server in result["servers"]:
        name, one = server["server"], server_of(server)
        if name in hosts:
            found[name] = _worse(found[name], one) if name in found else one
    return found


def _worse(first: world.Server, second: world.Server) -> world.Server:
    """A host in two backends: what holds of the worse one, in each respect."""
    base = second if first.serving and not second.serving else first
    static = next((one.algorithm for one in (first, second) if one.algorithm in plan.STATIC), base.algorithm)
    return replace(base, weight=min(first.weight, second.weight), algorithm=static)
