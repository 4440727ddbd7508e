# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the clock of gates on the controller, and show every sample while it does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.module_utils import probes
from ansible_collections.mesops.platform.plugins.module_utils.gates import Gate, GateError, GateSpec, Verdict, combine
from ansible_collections.mesops.platform.plugins.module_utils.judge import JudgeError, Phase
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import limits_of
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import SampleRequest
from ansible_collections.mesops.platform.plugins.plugin_utils.samples import judge

MODULE = "mesops.platform.health_gate"
DISPLAY = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """One execution of the module for every round of samples."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sample until every gate has a verdict."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        if bool(arguments.get("gates")) == bool(arguments.get("probes")):
            return {**result, "failed": True, "msg": "health_gate needs either gates or probes; give one of them."}
        if arguments.get("probes"):
            result.update(self._execute_module(module_name=MODULE, module_args=dict(arguments), task_vars=task_vars))
            return result
        try:
            specs = self._specs(arguments["gates"])
        except (GateError, probes.ProbeError, JudgeError) as error:
            return {**result, "failed": True, "msg": str(error)}
        gates = self._watch(specs, task_vars or {})
        if isinstance(gates, dict) and "msg" in gates:
            return {**result, **gates}
        reports = [gate.report() for gate in gates.values()]
        verdict = combine(gate.verdict(time.monotonic()) or Verdict.INCONCLUSIVE for gate in gates.values())
        result.update(changed=False, gates=reports, verdict=verdict.value)
        if verdict is not Verdict.PASSED and not self._task.check_mode:
            bad = [f"{one['name']} {one['verdict']}: {one['reason']}" for one in reports if one["verdict"] != "passed"]
            result.update(failed=True, msg="; ".join(bad))
        return result

    @staticmethod
    def _specs(given: Mapping[str, Any]) -> dict[str, GateSpec]:
        found = {}
        for name, raw in given.items():
            spec = GateSpec.parse(str(name), raw, f"gates.{name}")
            if spec.enabled:
                probes.check(spec.probe, f"gates.{name}.probe")
                limits_of(spec.probe)
                found[str(name)] = spec
        return found

    def _watch(self, specs: Mapping[str, GateSpec], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The gates, decided; or the module's own failure."""
        begin = time.monotonic()
        gates = {name: Gate(spec, begin) for name, spec in specs.items()}
        reference: dict[str, Any] = {}
        while True:
            now = time.monotonic()
            waiting = {name: gate for name, gate in gates.items() if gate.verdict(now) is None}
            if not waiting:
                return gates
            due = [name for name, gate in waiting.items() if gate.due(now) <= now]
            if not due:
                time.sleep(min(max(min(gate.due(now) for gate in waiting.values()) - now, 0.05), 1.0))
                continue
            wanted = {name: {**specs[name].probe, "seconds": now - begin} for name in due}
            answer = self._execute_module(module_name=MODULE, module_args={"probes": wanted}, task_vars=task_vars)
            if answer.get("failed") or answer.get("unreachable"):
                return dict(answer)
            for name in due:
                probe = specs[name].probe
                request = SampleRequest(
                    name, probe, "", list(probe.get("servers", ())), list(probe.get("baseline", ()))
                )
                sample = answer["samples"][name]
                if probe.get("measure") == "errors" and name not in reference:
                    # What was counted before the gate began says nothing about it.
                    reference[name] = sample.get("data", {}).get("counters", {})
                taken = judge(request, {"": sample}, {"": reference.get(name, {})})
                gates[name].note(Phase(taken.phase), now, taken.text, dict(taken.evidence))
                DISPLAY.display(f"  {now - begin:6.1f} s  {gates[name].line()}")
            if self._task.check_mode:
                return gates
