# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the verdict of a gate means for a rollout. No Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate, Verdict
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Halt, ReleaseFailure
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.sampling import Key


class Verdicts:
    """The verdicts of one run."""

    def __init__(self, run: Run, evidence: Evidence) -> None:
        self.run = run
        self.world = run.world
        self.record = run.record
        self.evidence = evidence

    def lacks_traffic(self, key: Key, gate: Gate) -> str:
        """Why a gate knows next to nothing, where more traffic would help: others are busy, or what came has failed."""
        if gate.successes or gate.spec.passive:
            return ""
        hosts = ", ".join(self.run.batch)
        if self.evidence.lacks_traffic(key[0]):
            return f"hardly a request came to {hosts}, and the others are busy"
        if self.evidence.hardly_knows(key[0]):
            return f"most of what came to {hosts} has failed, but that is little"
        return ""

    def wait_for_traffic(self, gates: Mapping[Key, Gate]) -> None:
        """Give gates that lack traffic their time once more."""
        for key, gate in gates.items():
            why = "" if gate.prolonged else self.lacks_traffic(key, gate)
            if why:
                gate.prolonged = True
                self.run.event(f"gate {key[0]} waits for traffic: {why}")

    def take_out_decided(self, gates: dict[Key, Gate]) -> None:
        """Let each gate that has a verdict go, and do what it says."""
        now = self.world.clock()
        self.wait_for_traffic({key: gate for key, gate in gates.items() if gate.overdue(now)})
        for key, gate in list(gates.items()):
            verdict = gate.verdict(now)
            if verdict is not None:
                del gates[key]
                self.judge(key, gate, verdict)

    def judge(self, key: Key, gate: Gate, verdict: Verdict) -> None:
        """Go on, wait, halt or go back, as the gate says for this verdict."""
        name, host = key
        reason = self.report(key, gate)
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
            self.run.event(f"gate {name} is {verdict.value} ({reason}); the gate says {policy}")
        if policy == "pause":
            self.run.pause(f"because gate {name} is {verdict.value}")

    def report(self, key: Key, gate: Gate) -> str:
        """Put the gate into the record; its reason."""
        report = gate.report()
        if key[1]:
            report["host"] = key[1]
        report["at"] = round(self.world.now(), 3)
        self.record.gates.append(report)
        return str(report["reason"])
