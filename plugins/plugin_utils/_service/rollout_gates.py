# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gates of a rollout: those that each has, and what the inventory or one run makes of them. No Ansible in here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import READY, TRAFFIC, GateError, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import AnswerLimits, limits_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service


def default_gates(service: Service) -> dict[str, dict[str, Any]]:
    """The gates that every rollout has unless a gate of the same name takes its place or says ``enabled: false``."""
    path = service.readiness_path.replace("$", "$$")
    return {
        "ready": {
            "stage": READY,
            "probe": {
                "type": "readiness",
                "url": f"http://127.0.0.1:{service.port}{path}",
                "host": service.readiness_host,
                "status": service.readiness_status,
                "timeout": service.readiness_within,
            },
            "failure_limit": -1,
            "timeout": service.ready_timeout,
        },
        "running": {"stage": READY, "probe": {"type": "systemd", "unit": service.unit}},
        "errors": {
            "stage": TRAFFIC,
            "probe": {"type": "haproxy", "measure": "errors"},
            "interval": 3,
            # At once there would hardly be a request to judge.
            "initial_delay": 3,
            # Where there is no traffic there is nothing to judge, and little sense in waiting for it. What the canary
            # shows in 20 s is what lets 5 % of failures be found nearly always while it is observed for 10 s.
            "timeout": 20,
            "on_inconclusive": "continue",
        },
        "answers": {
            "stage": TRAFFIC,
            "probe": {"type": "haproxy", "measure": "answers"},
            "interval": 3,
            "initial_delay": 3,
            "timeout": 20,
            "on_inconclusive": "continue",
        },
        "up": {
            "stage": TRAFFIC,
            "probe": {"type": "haproxy", "measure": "state"},
            "interval": 3,
            "initial_delay": 3,
            "timeout": 20,
            # A host that a person keeps out everywhere has no checks that mean anything.
            "on_inconclusive": "continue",
        },
    }


def check_gates(value: Any, service: Service, where: str = "rollout_gates") -> dict[str, GateSpec]:
    """The gates of a rollout: the default ones, changed and completed by what the user gives ``where``."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} is {value!r}, which is no mapping of gate names to gates; write it as one.")
    merged = default_gates(service)
    for name, gate in value.items():
        place = f"{where}.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", str(name)):
            raise PlanError(
                f"{place}: the name must have lower-case letters, digits, '_' and '-', and begin with a letter."
            )
        if not isinstance(gate, Mapping):
            raise PlanError(f"{place} is {gate!r}, which is no mapping; give it at least a probe.")
        merged[str(name)] = {**merged.get(str(name), {}), **gate}
    found = {}
    for name, gate in merged.items():
        place = f"{where}.{name}"
        try:
            spec = GateSpec.parse(name, gate, place)
            if spec.enabled:
                filled = probes.fill(spec.probe, example_names(service), f"{place}.probe")
                passive = isinstance(limits_of(probes.check(filled, f"{place}.probe")), AnswerLimits)
                found[name] = replace(spec, probe=probes.given_keys(spec.probe), passive=passive)
                _check_window(found[name], place)
        except (GateError, ProbeError) as why:
            raise PlanError(str(why)) from why
        except JudgeError as why:
            raise PlanError(f"{place}.probe: {why}") from why
    return found


def example_names(service: Service) -> dict[str, str]:
    """What a probe may name, with values of the right form, to see before a rollout that it can be filled in."""
    return {
        "service": service.name,
        "version": "1",
        "port": str(service.port),
        "host": "localhost",
        "address": "127.0.0.1",
        "hosts": "localhost",
        "baseline": "localhost",
    }


def _check_window(spec: GateSpec, place: str) -> None:
    """A gate about traffic must have the time to see the new version alone."""
    back = probes.looks_back(spec.probe)
    earliest = back + spec.interval * (spec.count - 1)
    if spec.stage == TRAFFIC and back and spec.timeout <= earliest:
        raise PlanError(
            f"{place}.timeout is {spec.timeout:g}, but its query looks back {back:g} s, which must not reach to the "
            f"version before, so it cannot pass before {earliest:g} s; make the timeout longer, or the window shorter."
        )
