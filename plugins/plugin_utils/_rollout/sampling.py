# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the gates of a rollout are sampled, of which hosts, and in comparison with which. No Ansible in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, TRAFFIC, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.gate_probe import fill_probe
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import SampleRequest

LONGEST_SLEEP = 3.0
COMPANY_S = 0.5
"""Seconds that a sample waits for others that are due so soon: taken together they cost the hosts half as much."""
LONGEST_SAMPLE = 2.0
"""The last sample of an observation is taken as long before its end as one takes, but at most so long."""

Key = tuple[str, str]
"""A gate's name and the host that it looks at; no host when it looks at the whole batch."""


class Sampling:
    """The samples of one run."""

    def __init__(self, run: Run, evidence: Evidence) -> None:
        self.run = run
        self.world = run.world
        self.settings = run.settings
        self.record = run.record
        self.evidence = evidence
        self.took_s = 0.0
        """How long the last round of samples took."""
        self._said: dict[Key, str] = {}
        self._waited_since: float | None = None
        """Since when a sample that is due waits for company."""

    def specs(self, stage: str, hosts: Sequence[str]) -> Iterator[tuple[Key, GateSpec]]:
        """The gates of a stage: one for each host where the probe is about a host, else one for the batch."""
        for name, spec in self.settings.gates.items():
            if spec.stage == stage:
                for host in hosts if probes.place_of(spec.probe) == "node" else [""]:
                    yield (name, host), spec

    def take_due(
        self, gates: Mapping[Key, Gate], hosts: Sequence[str], save: Record | None, end: float
    ) -> Record | None:
        """Take the samples that are due, or wait for the next; what is still to be saved with a later one."""
        now = self.world.clock()
        due = {key: gate.due(now) for key, gate in gates.items()}
        ready = [key for key, at in due.items() if at <= now]
        company = [at for at in due.values() if now < at <= min(now + COMPANY_S, end)]
        if ready and (not company or (self._waited_since is not None and now - self._waited_since >= COMPANY_S)):
            self._waited_since = None
            self.take(ready, gates, hosts, save)
            return None
        if ready and self._waited_since is None:
            self._waited_since = now
        wait = min([at for at in due.values() if at > now] + [end]) - now
        self.world.sleep(min(max(wait, 0.05), LONGEST_SLEEP))
        return save

    def take(self, keys: Sequence[Key], gates: Mapping[Key, Gate], hosts: Sequence[str], save: Record | None) -> None:
        """Take samples of some gates, judge them, and tell what is new."""
        baseline = self._baseline(hosts)
        requests = []
        for name, host in keys:
            target = self.record.hosts[host or hosts[0]].target
            probe = fill_probe(gates[(name, host)].spec, self.settings, target, host, hosts=hosts, baseline=baseline)
            in_traffic = gates[(name, host)].spec.stage == TRAFFIC
            requests.append(SampleRequest(f"{name}/{host}", probe, host, hosts, baseline, in_traffic))
        now = self.world.clock()
        taken = self.world.sample(requests, save=save)
        self.took_s = min(self.world.clock() - now, LONGEST_SAMPLE)
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
        self.run.check_store()

    def _baseline(self, hosts: Sequence[str]) -> list[str]:
        """The hosts to compare with: those not deployed yet; where none is left, all others that take traffic.

        Whoever is no part of the rollout belongs to the others: excluded hosts, and those that ran the version before.
        """
        record, settings = self.record, self.settings
        serving = set().union(*self.run.snapshot.available().values())
        others = [host for host in (*record.hosts, *settings.hosts, *settings.excluded) if host not in hosts]
        phases = {host: record.phase(host) for host in others if host in record.hosts}
        untouched = [host for host in phases if phases[host] in state.UNTOUCHED]
        known = [host for host in dict.fromkeys(others) if phases.get(host, state.DONE) == state.DONE]
        found = [host for host in untouched if host in serving or not serving]
        return found or [host for host in known if host in serving or host in phases] or untouched
