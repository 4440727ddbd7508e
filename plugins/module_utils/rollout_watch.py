# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates in a rollout: which hosts they look at, when they are sampled, what a bad verdict means. No Ansible in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils import probes
from ansible_collections.mesops.platform.plugins.module_utils import rollout_state as state
from ansible_collections.mesops.platform.plugins.module_utils.gates import (
    NEVER,
    READY,
    TRAFFIC,
    Gate,
    GateSpec,
    Verdict,
)
from ansible_collections.mesops.platform.plugins.module_utils.judge import Phase
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import Settings
from ansible_collections.mesops.platform.plugins.module_utils.rollout_state import Record
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import Activated, SampleRequest, World

LONGEST_SLEEP = 3.0
COMPANY_S = 0.5
"""Seconds that a sample waits for others that are due so soon: taken together they cost the hosts half as much."""
SOAK_INTERVAL = 5.0
"""Seconds between the samples of a gate that waits for readiness, while its host is observed."""
LONGEST_SAMPLE = 2.0
"""The last sample of an observation is taken as long before its end as one takes, but at most so long."""
SOAK_FAILURES = 1
"""Failed samples that a gate which waits for readiness forgives while its host is observed."""

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
    ) -> None:
        self.world = world
        self.settings = settings
        self.record = record
        self._promoted = promoted
        self._pause = pause
        self._said: dict[Key, str] = {}
        self._waited_since: float | None = None
        """Since when a sample that is due waits for company."""
        self._sampling_s = 0.0
        """How long the last round of samples took."""

    def pass_gates(self, stage: str, hosts: Sequence[str], started: Mapping[str, Activated]) -> None:
        """Sample the gates of a stage until each has a verdict; ReleaseFailure on the first that is not passed."""
        begin = self.world.clock()
        gates = {key: Gate(spec, begin) for key, spec in self._specs(stage, hosts)}
        for (name, host), gate in gates.items():
            first = started[host].samples.get(name) if host in started else None
            if first is not None:
                gate.note(Phase(first["phase"]), begin, str(first["text"]), {})
        save: Record | None = self.record
        while gates:
            self._take_out_decided(gates)
            if not gates:
                break
            if self._promoted():
                names = ", ".join(sorted({name for name, _host in gates}))
                self._tell(f"{names}: not waited for, promoted by a person")
                break
            save = self._take_due(gates, hosts, save, NEVER)
        self._observed(hosts, self.world.clock() - begin)

    def soak(self, hosts: Sequence[str], stages: Sequence[str]) -> None:
        """Observe hosts for the minimum healthy time; ReleaseFailure as soon as a gate fails."""
        begin = self.world.clock()
        end = begin + self.settings.min_healthy_time
        gates = {key: Gate(_observing(spec), begin) for stage in stages for key, spec in self._specs(stage, hosts)}
        save: Record | None = self.record
        # The last sample is taken at the very end, so that what happens after the one before it counts as well.
        while self.world.clock() < end - self._sampling_s and not self._promoted():
            self._take_out_decided(gates)
            save = self._take_due(gates, hosts, save, end - self._sampling_s)
        if gates and end > begin:
            self._take(list(gates), gates, hosts, save)
        self._take_out_decided(gates)
        left = end - self.world.clock()
        if left > 0 and not self._promoted():
            self.world.sleep(left)
        for key, gate in gates.items():
            self._report(key, gate)
        self._observed(hosts, min(self.world.clock() - begin, self.settings.min_healthy_time))

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
            version = self.record.hosts[host or hosts[0]].target
            probe = fill_probe(gates[(name, host)].spec, self.settings, version, host, hosts=hosts, baseline=baseline)
            requests.append(SampleRequest(f"{name}/{host}", probe, host, hosts, baseline))
        now = self.world.clock()
        taken = self.world.sample(requests, save=save)
        self._sampling_s = min(self.world.clock() - now, LONGEST_SAMPLE)
        for name, host in keys:
            sample, gate = taken[f"{name}/{host}"], gates[(name, host)]
            gate.note(sample.phase, now, sample.text, dict(sample.evidence))
            # While a host is observed, that it is still ready is no news; nor is what was said before.
            news = gate.spec.count < NEVER or gate.spec.stage == TRAFFIC or sample.phase is not Phase.SUCCESS
            if news and self._said.get((name, host)) != gate.line():
                self._said[(name, host)] = gate.line()
                self.world.tell(gate.line(), [host] if host else hosts)
        error = self.world.store_error()
        if error is not None:
            raise error

    def _baseline(self, hosts: Sequence[str]) -> list[str]:
        """The hosts to compare with: those not deployed yet; when there is none left, those that are done."""
        record = self.record
        others = [host for host in record.hosts if host not in hosts]
        untouched = [host for host in others if record.phase(host) in state.UNTOUCHED]
        return untouched or [host for host in others if record.phase(host) == state.DONE]

    # ------------------------------------------------------------------------------------------------------- judging

    def _take_out_decided(self, gates: dict[Key, Gate]) -> None:
        now = self.world.clock()
        for key, gate in list(gates.items()):
            verdict = gate.verdict(now)
            if verdict is not None:
                del gates[key]
                self._judge(key, gate, verdict)

    def _judge(self, key: Key, gate: Gate, verdict: Verdict) -> None:
        name, host = key
        reason = self._report(key, gate)
        policies = {Verdict.INCONCLUSIVE: gate.spec.on_inconclusive, Verdict.ERROR: gate.spec.on_error}
        policy = "continue" if verdict is Verdict.PASSED else policies.get(verdict, "rollback")
        if policy == "rollback":
            raise ReleaseFailure(f"gate {name} {verdict.value}", f"{host}: {reason}" if host else reason)
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
    spec: GateSpec, settings: Settings, version: str, host: str, *, hosts: Sequence[str], baseline: Sequence[str]
) -> dict[str, Any]:
    """A probe with the names of this very rollout in the place of $host, $version and the like.

    ``version`` is what the hosts are to run: in a rollback that is the version before.
    """
    names = {
        "service": settings.service.name,
        "version": version,
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
        inconclusive_limit=-1,
        on_no_data="wait",
    )


STAGES_OF = {"rollout": (READY, TRAFFIC), "rollback": (READY,)}
"""The stages whose gates watch the hosts of a rollout, and of a rollback: the version before needs no judgement."""
