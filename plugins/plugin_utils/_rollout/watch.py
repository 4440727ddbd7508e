# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates in a rollout: which hosts they look at, when they are sampled, what a bad verdict means. No Ansible in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import (
    NEVER,
    READY,
    TRAFFIC,
    Gate,
    GateSpec,
    Verdict,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import (
    Activated,
    Halt,
    SampleRequest,
    Sight,
    World,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.rollout_gates import looks_back

LONGEST_SLEEP = 3.0
COMPANY_S = 0.5
"""Seconds that a sample waits for others that are due so soon: taken together they cost the hosts half as much."""
SOAK_INTERVAL = 5.0
"""Seconds between the samples of a gate that waits for readiness, while its host is observed."""
LONGEST_SAMPLE = 2.0
"""The last sample of an observation is taken as long before its end as one takes, but at most so long."""
SOAK_FAILURES, SOAK_WINDOW = 1, 5
"""While its host is observed, a gate that waits for readiness forgives so many failures among so many samples in a row:
a single hiccup now and then, however long the observation, but not a host that comes and goes."""

_WORDS = tuple(phase.value for phase in Phase)

Key = tuple[str, str]
"""A gate's name and the host that it looks at; no host when it looks at the whole batch."""


class ReleaseFailure(Exception):
    """Evidence against the release, or a person's wish to abort: go back."""

    def __init__(self, gate: str, evidence: str) -> None:
        super().__init__(f"{gate}: {evidence}")


class Watch:
    """Samples the gates of one rollout."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        record: Record,
        promoted: Callable[[], bool],
        pause: Callable[[str], Any],
        *,
        sight: Callable[[], Sight] = lambda: Sight({}, {}),
    ) -> None:
        self.world = world
        self.settings = settings
        self.record = record
        self._promoted = promoted
        self._pause = pause
        self._sight = sight
        """What was seen before anything was done."""
        self.evidence = Evidence(settings.gates, record.evidence)
        self._batch: tuple[str, ...] = ()
        """The hosts that have traffic and are judged."""
        self._entered_at = 0.0
        """When they got it."""
        self._said: dict[Key, str] = {}
        self._waited_since: float | None = None
        """Since when a sample that is due waits for company."""
        self._sampling_s = 0.0
        """How long the last round of samples took."""

    def pass_gates(self, stage: str, hosts: Sequence[str], started: Mapping[str, Activated]) -> None:
        """Sample the gates of a stage until each has a verdict; ReleaseFailure on the first that is not passed."""
        begin = self.world.clock()
        if stage == TRAFFIC:
            self._arrive(hosts)
        gates = {key: Gate(self._patient(spec), begin) for key, spec in self._specs(stage, hosts)}
        for (name, host), gate in gates.items():
            first = started[host].samples.get(name) if host in started else None
            # Figures that have to be compared are no first sample.
            if first is not None and first["phase"] in _WORDS:
                gate.note(Phase(first["phase"]), begin, str(first["text"]), {})
        save: Record | None = self.record
        while gates:
            self._take_out_decided(gates)
            if all(gate.spec.passive and gate.sampled for gate in gates.values()):
                # What they have seen is kept for the next share of traffic, and for the observation.
                for key, gate in gates.items():
                    self._report(key, gate)
                break
            if self._promoted():
                names = ", ".join(sorted({name for name, _host in gates}))
                self._tell(f"{names}: not waited for, promoted by a person")
                break
            save = self._take_due(gates, hosts, save, NEVER)
        self._observed(hosts, self.world.clock() - begin)

    def ask_hosts(self, hosts: Sequence[str], trouble: str) -> None:
        """Ask the gates about hosts themselves once more; ReleaseFailure when one knows more of the trouble there."""
        now = self.world.clock()
        specs = ((key, spec) for key, spec in self._specs(READY, hosts) if key[1])
        gates = {
            key: Gate(replace(spec, count=1, hold=0, initial_delay=0, failure_limit=0), now) for key, spec in specs
        }
        if not gates:
            return
        self._take(list(gates), gates, hosts, None)
        for (name, host), gate in gates.items():
            if gate.verdict(now) is Verdict.FAILED:
                reason = self._report((name, host), gate)
                raise ReleaseFailure(f"gate {name} {Verdict.FAILED.value}", f"{host}: {reason}; {trouble}")

    def soak(self, hosts: Sequence[str], stages: Sequence[str]) -> None:
        """Observe hosts for the minimum healthy time; ReleaseFailure as soon as a gate fails.

        Its end is a verdict: a gate of which no sample succeeded meanwhile has not passed.
        """
        begin = self.world.clock()
        end = begin + self.settings.min_healthy_time
        self._arrive(hosts)
        specs = ((key, _observing(self._patient(spec))) for stage in stages for key, spec in self._specs(stage, hosts))
        gates = {key: Gate(spec, begin) for key, spec in specs}
        promoted = self._observe(gates, hosts, end)
        for key, gate in gates.items():
            if end > begin and not promoted and (gate.holds or not gate.successes):
                verdict = gate.conclude(self.world.clock(), "nothing was found well while it was observed")
                self._judge(key, gate, verdict)
            else:
                self._report(key, gate)
        self._observed(hosts, min(self.world.clock() - begin, self.settings.min_healthy_time))

    def _observe(self, gates: dict[Key, Gate], hosts: Sequence[str], end: float) -> bool:
        """Sample until the end, and longer while there is nothing to judge by; whether a person has ended it."""
        if self.world.clock() >= end:
            return False
        save: Record | None = self.record
        # The last sample is taken at the very end, so that what happens after the one before it counts as well.
        while self.world.clock() < end - self._sampling_s:
            if self._ended_by_person(gates):
                return True
            self._take_out_decided(gates)
            save = self._take_due(gates, hosts, save, end - self._sampling_s)
        if gates:
            self._take(list(gates), gates, hosts, save)
        self._take_out_decided(gates)
        left = end - self.world.clock()
        if left > 0:
            self.world.sleep(left)
        self._wait_for_traffic(gates)
        while waiting := [key for key, gate in gates.items() if gate.holds or self._lacks_traffic(key, gate)]:
            last = end + max(self.settings.gates[name].timeout for name, _host in waiting)
            if self.world.clock() >= last:
                break
            if self._ended_by_person(gates):
                return True
            self._take_due(gates, hosts, None, last)
            self._take_out_decided(gates)
        return False

    def _ended_by_person(self, gates: Mapping[Key, Gate]) -> bool:
        if not self._promoted():
            return False
        self._tell(f"{', '.join(sorted({name for name, _host in gates}))}: observed no longer, promoted by a person")
        return True

    def _arrive(self, hosts: Sequence[str]) -> None:
        """Note which hosts have traffic, and since when."""
        if tuple(hosts) != self._batch:
            self._batch, self._entered_at = tuple(hosts), self.world.clock()
            self.evidence.begin()

    def _patient(self, spec: GateSpec) -> GateSpec:
        """A gate about traffic whose first sample does not look back to the version before."""
        if spec.stage != TRAFFIC:
            return spec
        left = self._entered_at + looks_back(spec.probe) - self.world.clock()
        return replace(spec, initial_delay=max(spec.initial_delay, left))

    # ------------------------------------------------------------------------------------------------------- sampling

    def _specs(self, stage: str, hosts: Sequence[str]) -> Iterator[tuple[Key, GateSpec]]:
        """The gates of a stage: one for each host where the probe is about a host, else one for the batch."""
        for name, spec in self.settings.gates.items():
            if spec.stage == stage:
                for host in hosts if place_of(spec.probe) == "node" else [""]:
                    yield (name, host), spec

    def _take_due(
        self, gates: Mapping[Key, Gate], hosts: Sequence[str], save: Record | None, end: float
    ) -> Record | None:
        """Take the samples that are due, or wait for the next; what is still to be saved with a later one."""
        now = self.world.clock()
        due = {key: gate.due(now) for key, gate in gates.items()}
        ready = [key for key, at in due.items() if at <= now]
        company = [at for at in due.values() if now < at <= min(now + COMPANY_S, end)]
        if ready and (not company or (self._waited_since is not None and now - self._waited_since >= COMPANY_S)):
            self._waited_since = None
            self._take(ready, gates, hosts, save)
            return None
        if ready and self._waited_since is None:
            self._waited_since = now
        wait = min([at for at in due.values() if at > now] + [end]) - now
        self.world.sleep(min(max(wait, 0.05), LONGEST_SLEEP))
        return save

    def _take(self, keys: Sequence[Key], gates: Mapping[Key, Gate], hosts: Sequence[str], save: Record | None) -> None:
        baseline = self._baseline(hosts)
        requests = []
        for name, host in keys:
            target = self.record.hosts[host or hosts[0]].target
            probe = fill_probe(gates[(name, host)].spec, self.settings, target, host, hosts=hosts, baseline=baseline)
            in_traffic = gates[(name, host)].spec.stage == TRAFFIC
            requests.append(SampleRequest(f"{name}/{host}", probe, host, hosts, baseline, in_traffic))
        now = self.world.clock()
        taken = self.world.sample(requests, save=save)
        self._sampling_s = min(self.world.clock() - now, LONGEST_SAMPLE)
        judged = {(name, host): self.evidence.judge(name, taken[f"{name}/{host}"]) for name, host in keys}
        burns = any(one.phase is Phase.HOLD for one in judged.values()) or any(gate.holds for gate in gates.values())
        for (name, host), sample in judged.items():
            gate = gates[(name, host)]
            # Where others are in the same trouble, a host that is not ready proves nothing.
            excused = burns and gate.spec.failure_window and sample.phase is Phase.FAILURE
            gate.note(Phase.HOLD if excused else sample.phase, now, sample.text, dict(sample.evidence))
            # While a host is observed, that it is still ready is no news; nor is what was said before.
            news = gate.spec.count < NEVER or gate.spec.stage == TRAFFIC or sample.phase is not Phase.SUCCESS
            if news and self._said.get((name, host)) != gate.line():
                self._said[(name, host)] = gate.line()
                self.world.tell(gate.line(), [host] if host else hosts)
        error = self.world.store_error()
        if error is not None:
            raise error

    def _baseline(self, hosts: Sequence[str]) -> list[str]:
        """The hosts to compare with: those not deployed yet; where none is left, all others that take traffic.

        Whoever is no part of the rollout belongs to the others: excluded hosts, and those that ran the version before.
        """
        record, settings = self.record, self.settings
        serving = set().union(*self._sight().available().values())
        others = [host for host in (*record.hosts, *settings.hosts, *settings.excluded) if host not in hosts]
        phases = {host: record.phase(host) for host in others if host in record.hosts}
        untouched = [host for host in phases if phases[host] in state.UNTOUCHED]
        known = [host for host in dict.fromkeys(others) if phases.get(host, state.DONE) == state.DONE]
        found = [host for host in untouched if host in serving or not serving]
        return found or [host for host in known if host in serving or host in phases] or untouched

    # ------------------------------------------------------------------------------------------------------- judging

    def _lacks_traffic(self, key: Key, gate: Gate) -> str:
        """Why a gate knows next to nothing, where more traffic would help: others are busy, or what came has failed."""
        if gate.successes or gate.spec.passive:
            return ""
        hosts = ", ".join(self._batch)
        if self.evidence.lacks_traffic(key[0]):
            return f"hardly a request came to {hosts}, and the others are busy"
        if self.evidence.hardly_knows(key[0]):
            return f"most of what came to {hosts} has failed, but that is little"
        return ""

    def _wait_for_traffic(self, gates: Mapping[Key, Gate]) -> None:
        """Give gates that lack traffic their time once more."""
        for key, gate in gates.items():
            why = "" if gate.prolonged else self._lacks_traffic(key, gate)
            if why:
                gate.prolonged = True
                self._tell(f"gate {key[0]} waits for traffic: {why}")

    def _take_out_decided(self, gates: dict[Key, Gate]) -> None:
        now = self.world.clock()
        self._wait_for_traffic({key: gate for key, gate in gates.items() if gate.overdue(now)})
        for key, gate in list(gates.items()):
            verdict = gate.verdict(now)
            if verdict is not None:
                del gates[key]
                self._judge(key, gate, verdict)

    def _judge(self, key: Key, gate: Gate, verdict: Verdict) -> None:
        name, host = key
        reason = self._report(key, gate)
        policies = {
            Verdict.PASSED: "continue",
            Verdict.INCONCLUSIVE: gate.spec.on_inconclusive,
            Verdict.ERROR: gate.spec.on_error,
            Verdict.BAD_BASELINE: gate.spec.on_bad_baseline,
        }
        policy = policies.get(verdict, "rollback")
        if verdict is Verdict.INCONCLUSIVE and policy == "continue":
            objection = self.evidence.objection(name)
            if objection is not None:
                policy = "rollback" if objection.blames else "halt"
                reason = f"{objection.text}; {reason}"
        if policy == "rollback":
            raise ReleaseFailure(f"gate {name} {verdict.value}", f"{host}: {reason}" if host else reason)
        if policy == "halt":
            raise Halt(f"gate {name} {verdict.value}, so nothing can be said of the release: {reason}")
        if verdict is not Verdict.PASSED:
            self._tell(f"gate {name} is {verdict.value} ({reason}); the gate says {policy}")
        if policy == "pause":
            self._pause(f"because gate {name} is {verdict.value}")

    def _report(self, key: Key, gate: Gate) -> str:
        """Put the gate into the record; its reason."""
        report = gate.report()
        if key[1]:
            report["host"] = key[1]
        report["at"] = round(self.world.now(), 3)
        self.record.gates.append(report)
        return str(report["reason"])

    def _tell(self, text: str) -> None:
        self.record.event(self.world.now(), text)
        self.world.tell(text)

    def _observed(self, hosts: Sequence[str], seconds: float) -> None:
        for host in hosts:
            self.record.hosts[host].observed_s += seconds


def place_of(probe: Mapping[str, Any]) -> str:
    """Where a probe is taken: node, balancers or coordinator."""
    return str(probe.get("from") or probes.KINDS[str(probe["type"])].place)


def fill_probe(
    spec: GateSpec, settings: Settings, target: str, host: str, *, hosts: Sequence[str], baseline: Sequence[str]
) -> dict[str, Any]:
    """A probe with the names of this very rollout in the place of $host, $version and the like.

    ``target`` is what the hosts are to run: in a rollback that is what they ran before.
    """
    names = {
        "service": settings.service.name,
        "version": version_of(target),
        "port": str(settings.service.port),
        "host": host,
        "address": settings.addresses.get(host, host),
        "hosts": "|".join(hosts),
        "baseline": "|".join(baseline),
    }
    return dict(probes.fill(spec.probe, names, f"gates.{spec.name}.probe"))


def _observing(spec: GateSpec) -> GateSpec:
    """The gate as it is while hosts are observed: it can fail, but it is never through."""
    return replace(
        spec,
        count=NEVER,
        timeout=NEVER,
        # A process that gets its whole share for the first time has to warm up; the gate says how long that may take.
        initial_delay=spec.initial_delay if spec.stage == TRAFFIC else 0,
        hold=0,
        interval=max(spec.interval, SOAK_INTERVAL) if spec.stage == READY else spec.interval,
        failure_limit=SOAK_FAILURES if spec.failure_limit < 0 else spec.failure_limit,
        failure_window=SOAK_WINDOW if spec.failure_limit < 0 else 0,
        inconclusive_limit=-1,
        on_no_data="wait",
    )


STAGES_OF = {"rollout": (READY, TRAFFIC), "rollback": (READY,)}
"""The stages whose gates watch the hosts of a rollout, and of a rollback: the version before needs no judgement."""
