# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates in a rollout: a batch has to pass them, and is observed by them once it has all traffic. No Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate, Verdict
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, READY, TRAFFIC, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import ReleaseFailure
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.sampling import Key, Sampling
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.verdicts import Verdicts
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Activated

SOAK_INTERVAL = 5.0
"""Seconds between the samples of a gate that waits for readiness, while its host is observed."""
SOAK_FAILURES, SOAK_WINDOW = 1, 5
"""While its host is observed, a gate that waits for readiness forgives so many failures among so many samples in a row:
a single hiccup now and then, however long the observation, but not a host that comes and goes."""

_WORDS = tuple(phase.value for phase in Phase)


class Watch:
    """Goes by the gates of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.settings = run.settings
        self.record = run.record
        self.evidence = Evidence(run.settings.gates, run.record.evidence)
        self.sampling = Sampling(run, self.evidence)
        self.verdicts = Verdicts(run, self.evidence)
        self._batch: tuple[str, ...] = ()
        """The hosts that have got traffic last."""
        self._entered_at = 0.0
        """When they got it."""

    def pass_gates(self, stage: str, hosts: Sequence[str], started: Mapping[str, Activated]) -> None:
        """Sample the gates of a stage until each has a verdict; ReleaseFailure on the first that is not passed."""
        begin = self.world.clock()
        if stage == TRAFFIC:
            self._arrive(hosts)
        gates = {key: Gate(self._patient(spec), begin) for key, spec in self.sampling.specs(stage, hosts)}
        for (name, host), gate in gates.items():
            first = started[host].samples.get(name) if host in started else None
            # Figures that have to be compared are no first sample.
            if first is not None and first["phase"] in _WORDS:
                gate.note(Phase(first["phase"]), begin, str(first["text"]), {})
        save: Record | None = self.record
        while gates:
            self.verdicts.take_out_decided(gates)
            if all(gate.spec.passive and gate.sampled for gate in gates.values()):
                # What they have seen is kept for the next share of traffic, and for the observation.
                for key, gate in gates.items():
                    self.verdicts.report(key, gate)
                break
            if self.run.promoted():
                names = ", ".join(sorted({name for name, _host in gates}))
                self.run.event(f"{names}: not waited for, promoted by a person")
                break
            save = self.sampling.take_due(gates, hosts, save, NEVER)
        self._observed(hosts, self.world.clock() - begin)

    def ask_hosts(self, hosts: Sequence[str], trouble: str) -> None:
        """Ask the gates about hosts themselves once more; ReleaseFailure when one knows more of the trouble there."""
        now = self.world.clock()
        specs = ((key, spec) for key, spec in self.sampling.specs(READY, hosts) if key[1])
        gates = {
            key: Gate(replace(spec, count=1, hold=0, initial_delay=0, failure_limit=0), now) for key, spec in specs
        }
        if not gates:
            return
        self.sampling.take(list(gates), gates, hosts, None)
        for (name, host), gate in gates.items():
            if gate.verdict(now) is Verdict.FAILED:
                reason = self.verdicts.report((name, host), gate)
                raise ReleaseFailure(f"gate {name} {Verdict.FAILED.value}", f"{host}: {reason}; {trouble}")

    def soak(self, hosts: Sequence[str]) -> None:
        """Observe hosts for the minimum healthy time; ReleaseFailure as soon as a gate fails.

        Its end is a verdict: a gate of which no sample succeeded meanwhile has not passed.
        """
        begin = self.world.clock()
        end = begin + self.settings.min_healthy_time
        self._arrive(hosts)
        specs = (
            (key, _observing(self._patient(spec)))
            for stage in (READY, TRAFFIC)
            for key, spec in self.sampling.specs(stage, hosts)
        )
        gates = {key: Gate(spec, begin) for key, spec in specs}
        promoted = self._observe(gates, hosts, end)
        for key, gate in gates.items():
            if end > begin and not promoted and (gate.holds or not gate.successes):
                verdict = gate.conclude(self.world.clock(), "nothing was found well while it was observed")
                self.verdicts.judge(key, gate, verdict)
            else:
                self.verdicts.report(key, gate)
        self._observed(hosts, min(self.world.clock() - begin, self.settings.min_healthy_time))

    def _observe(self, gates: dict[Key, Gate], hosts: Sequence[str], end: float) -> bool:
        """Sample until the end, and longer while there is nothing to judge by; whether a person has ended it."""
        if self.world.clock() >= end:
            return False
        save: Record | None = self.record
        # The last sample is taken at the very end, so that what happens after the one before it counts as well.
        while self.world.clock() < end - self.sampling.took_s:
            if self._ended_by_person(gates):
                return True
            self.verdicts.take_out_decided(gates)
            save = self.sampling.take_due(gates, hosts, save, end - self.sampling.took_s)
        if gates:
            self.sampling.take(list(gates), gates, hosts, save)
        self.verdicts.take_out_decided(gates)
        left = end - self.world.clock()
        if left > 0:
            self.world.sleep(left)
        self.verdicts.wait_for_traffic(gates)
        while waiting := [key for key, gate in gates.items() if gate.holds or self.verdicts.lacks_traffic(key, gate)]:
            last = end + max(self.settings.gates[name].timeout for name, _host in waiting)
            if self.world.clock() >= last:
                break
            if self._ended_by_person(gates):
                return True
            self.sampling.take_due(gates, hosts, None, last)
            self.verdicts.take_out_decided(gates)
        return False

    def _ended_by_person(self, gates: Mapping[Key, Gate]) -> bool:
        if not self.run.promoted():
            return False
        self.run.event(
            f"{', '.join(sorted({name for name, _host in gates}))}: observed no longer, promoted by a person"
        )
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
        left = self._entered_at + probes.looks_back(spec.probe) - self.world.clock()
        return replace(spec, initial_delay=max(spec.initial_delay, left))

    def _observed(self, hosts: Sequence[str], seconds: float) -> None:
        for host in hosts:
            self.record.hosts[host].observed_s += seconds


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
