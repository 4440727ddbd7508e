# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the clock of gates on the controller, and show every sample while it does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import (
    Gate,
    GateError,
    GateSpec,
    Verdict,
    combine,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.screen import show_at_once
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import SampleRequest
from ansible_collections.mesops.platform.plugins.plugin_utils._service.rollout_gates import limits_of

MODULE = "mesops.platform.health_gate"
OPTIONS = ("gates", "probes")
DISPLAY = Display()
show_at_once()


class ModuleFailed(Exception):
    """The module did not take its samples; ``answer`` is what it said instead."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(str(answer.get("msg")))
        self.answer = dict(answer)


class ActionModule(ActionBase):  # type: ignore[misc]
    """One execution of the module for every round of samples."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sample until every gate has a verdict."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        try:
            given = check_options(self._task.args)
            if given["probes"]:
                return {**result, "changed": False, "samples": self._take(given["probes"])}
            gates = self._watch(check_gates(given["gates"]))
        except Refused as why:
            return {**result, "failed": True, "msg": str(why)}
        except ModuleFailed as failure:
            return {**result, **failure.answer}
        reports = [gate.report() for gate in gates]
        verdict = combine(gate.verdict(time.monotonic()) or Verdict.INCONCLUSIVE for gate in gates)
        result.update(changed=False, gates=reports, verdict=verdict.value)
        if verdict is not Verdict.PASSED and not self._task.check_mode:
            bad = [f"{one['name']} {one['verdict']}: {one['reason']}" for one in reports if one["verdict"] != "passed"]
            result.update(failed=True, msg="; ".join(bad))
        return result

    def _take(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """One sample of each probe."""
        answer = self._execute_module(
            module_name=MODULE, module_args={"probes": dict(wanted)}, task_vars=self._task_vars
        )
        if "samples" not in answer:
            raise ModuleFailed(answer)
        return dict(answer["samples"])

    def _watch(self, specs: Sequence[GateSpec]) -> list[Gate]:
        """The gates, decided; in check mode after one sample of each."""
        begin = time.monotonic()
        gates = [Gate(spec, begin) for spec in specs]
        self._samples = Samples()
        self._evidence = Evidence({spec.name: spec for spec in specs}, {})
        if self._task.check_mode:
            self._round(gates, begin)
            return gates
        while waiting := [gate for gate in gates if gate.verdict(time.monotonic()) is None]:
            now = time.monotonic()
            due = [gate for gate in waiting if gate.due(now) <= now]
            if due:
                self._round(due, begin)
            else:
                time.sleep(min(max(min(gate.due(now) for gate in waiting) - now, 0.05), 1.0))
        return gates

    def _round(self, gates: Sequence[Gate], begin: float) -> None:
        """Take one sample for each of some gates."""
        now = time.monotonic()
        samples = self._take({gate.spec.name: self._probe(gate.spec) for gate in gates}) if gates else {}
        for gate in gates:
            name, probe = gate.spec.name, gate.spec.probe
            canary, baseline = list(probe.get("servers") or ()), list(probe.get("baseline") or ())
            request = SampleRequest(name, probe, "", canary, baseline)
            taken = self._evidence.judge(name, self._samples.taken(request, {"": samples[name]}))
            gate.note(taken.phase, now, taken.text, dict(taken.evidence))
            if not self._task.no_log:
                DISPLAY.display(f"  {now - begin:6.1f} s  {gate.line()}")

    def _probe(self, spec: GateSpec) -> dict[str, Any]:
        """A gate's probe, about nothing that it has seen before."""
        since = self._samples.since(spec.name, "")
        return dict(spec.probe) if since is None else {**spec.probe, "since": since}


def check_options(given: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Gates or probes, as mappings."""
    unknown = [str(key) for key in given if key not in OPTIONS]
    if unknown:
        raise Refused(f"health_gate has no option {', '.join(unknown)}; it has {' and '.join(OPTIONS)}.")
    found = {key: given.get(key) or {} for key in OPTIONS}
    for key, value in found.items():
        if not isinstance(value, Mapping):
            raise Refused(f"{key} is {value!r}; give a mapping of names to {key}.")
    if bool(found["gates"]) == bool(found["probes"]):
        raise Refused("health_gate needs either gates or probes; give one of them.")
    return found


def check_gates(given: Mapping[str, Any]) -> list[GateSpec]:
    """The gates that are not disabled."""
    found = []
    for name, raw in given.items():
        place = f"gates.{name}"
        try:
            spec = GateSpec.parse(str(name), raw, place)
            if spec.enabled:
                probe = probes.check_alone(spec.probe, f"{place}.probe")
                limits_of(probe)
                found.append(replace(spec, probe=probe))
        except (GateError, probes.ProbeError) as why:
            raise Refused(str(why)) from why
        except JudgeError as why:
            raise Refused(f"{place}.probe: {why}") from why
    return found
