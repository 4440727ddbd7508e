# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a rollout or a rollback from the controller, and show a person what happens."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import limits_of
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import ControllerGone
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import configuration, holder, report, setup
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.engine import Engine
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.gate_probe import fill_probe
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan_text import decision_lines, plan_text
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.screen import show_at_once
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import (
    BalancerTrouble,
    LockLost,
    SampleRequest,
    StoreLost,
    StoreView,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

DISPLAY = Display()
show_at_once()
STATE = "released"
"""What is wanted where nothing is said."""
NAMES_SHOWN = 4


class ActionModule(ActionBase):  # type: ignore[misc]
    """One run of the engine."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry it out; a rollout that does not end as asked fails the task with its reason."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        self._begin = time.monotonic()
        wanted = str(args.get("state", STATE))
        back = wanted == "reverted"
        try:
            what = f"{'rollback' if back else 'rollout'} of {(args.get('app') or {}).get('name')}"
            what = f"{what} {args.get('version') or ''}".strip()
            world = setup.build(self, task_vars or {}, args, what, self._tell, configured=not back)
            if wanted == "configured" or args.get("configuration"):
                found = self._take_configuration(world, wanted == "configured")
                if found is not None:
                    return {**result, **found}
            elif not back and not world.settings.version:
                raise PlanError(
                    "rollout_version is missing; name the version to roll out, or give rollout_config=true for a "
                    "changed configuration with the version that runs."
                )
        except PlanError as why:
            return {**result, "failed": True, "changed": False, "msg": str(why)}
        engine = Engine(world, world.settings, partial(setup.new_id, world.settings.service.name), holder.who())
        try:
            if self._task.check_mode:
                return {**result, **self._plan(world, engine, "rollback" if back else "rollout")}
            record = engine.roll_back() if back else engine.roll_out()
        except (PlanError, BalancerTrouble, StoreLost, LockLost) as refusal:
            return {**result, "failed": True, "changed": False, "msg": f"Refused, nothing was changed: {refusal}"}
        except ControllerGone:
            os._exit(1)
        except Exception as error:
            # The engine lets out only what came before its first change.
            DISPLAY.vvv(traceback.format_exc())
            text = f"an error that nobody expected, {type(error).__name__}: {error}"
            return {**result, "failed": True, "changed": False, "msg": f"Refused, nothing was changed: {text}"}
        finally:
            world.fleet.end()
        if engine.defect:
            DISPLAY.vvv(engine.defect)
        good = (state.SUCCEEDED, state.REVERTED) if back else (state.SUCCEEDED,)
        found = self._outcome(record, engine.changed, record.status in good, args.get("report"))
        kept = report.kept_out_text(record)
        if kept and not found.get("failed"):
            found.update(_kept_out(record, kept, fails=wanted != "configured"))
        return {**result, **found}

    def _take_configuration(self, world: EstateWorld, by_site: bool) -> dict[str, Any] | None:
        """Set the world to a changed configuration alone; the task's result where there is nothing to roll out."""
        settings = world.settings
        if settings.version:
            raise PlanError(
                f"rollout_config and rollout_version {settings.version} are both given; a version brings the "
                "configuration along, so give only one of them."
            )
        nodes = world.look_at_nodes()
        changes = configuration.differing(nodes)
        if by_site and not changes:
            return {"changed": False}
        keys = "; ".join(dict.fromkeys(changes.values()))
        if changes:
            would = "would roll out" if self._task.check_mode else "rolling out"
            DISPLAY.display(f"{would} the changed configuration of {settings.service.name}: {keys}", C.COLOR_CHANGED)
        if by_site:
            settings = configuration.without_empty_hosts(settings, nodes)
            nodes = {host: nodes[host] for host in settings.hosts}
        settings = configuration.with_version_that_runs(settings, nodes)
        world.settings = configuration.without_traffic_gates(settings) if by_site else settings
        if self._task.check_mode and not all(node.wanted for node in nodes.values()):
            # Digests that mean anything are there from the first run of site.yml on.
            return {"changed": bool(changes)}
        return None

    # ----------------------------------------------------------------------------------------------------------- live

    def _tell(self, text: str, hosts: Sequence[str]) -> None:
        """One line for a person: the time since the beginning, who, what."""
        shown = ", ".join(hosts[:NAMES_SHOWN]) + (
            f" and {len(hosts) - NAMES_SHOWN} more" if hosts[NAMES_SHOWN:] else ""
        )
        line = f"{time.monotonic() - self._begin:7.1f} s  {shown + '  ' if shown else ''}{text}"
        DISPLAY.display(line, color=None if hosts else C.COLOR_HIGHLIGHT)

    # ----------------------------------------------------------------------------------------------------------- plan

    def _plan(self, world: EstateWorld, engine: Engine, kind: str) -> dict[str, Any]:
        """What a run would do now; reads the store without its lock, hosts and load balancers, samples gates once."""
        stored = world.store.read()
        facts = []
        if stored.get("lock"):
            facts.append(f"locked      {stored['lock'].get('summary', 'by somebody else')}: a run would be refused")
        decision = engine.plan(StoreView(stored.get("open_record"), stored.get("history") or []), kind)
        record = decision.record
        facts += decision_lines(decision)
        if decision.nothing:
            DISPLAY.display(f"Every host of {record.service} runs {record.version} and is in service: nothing to do.")
        else:
            manifest = self._manifest(world, record) if record.direction == state.FORWARD else {}
            if record.kind == "rollout" and record.direction == state.FORWARD:
                facts += self._samples(world, list(record.hosts))
            DISPLAY.display(plan_text(record, world.settings, manifest, facts))
        return {
            "changed": not decision.nothing,
            "diff": _diff(decision),
            "rollout": {**_brief(record), "status": "planned"},
        }

    @staticmethod
    def _manifest(world: EstateWorld, record: Record) -> dict[str, Any]:
        """What the release carries; PlanError where it could not be installed."""
        targets = {host: one.target for host, one in record.hosts.items() if one.phase != state.DONE}
        prepared = world.prepare(targets, check=True) if targets else {}
        bad = {host: one.reason for host, one in prepared.items() if one.reason}
        if bad and record.kind == "rollout":
            raise PlanError("; ".join(f"{host}: {why}" for host, why in bad.items()))
        return next((dict(one.manifest) for one in prepared.values()), {})

    @staticmethod
    def _samples(world: EstateWorld, hosts: Sequence[str]) -> list[str]:
        """What the gates say now, of hosts that still run what they ran before; numbers have no history yet."""
        requests = []
        for name, spec in world.settings.gates.items():
            place = probes.place_of(spec.probe)
            if limits_of(spec.probe) is not None:
                continue
            for host in hosts[:1] if place == "node" else [""]:
                filled = fill_probe(
                    spec, world.settings, world.settings.version, host, hosts=hosts[:1], baseline=hosts[1:]
                )
                requests.append(SampleRequest(f"{name}/{host}", filled, host, hosts[:1], hosts[1:]))
        taken = world.sample(requests) if hosts and requests else {}
        return [
            f"now         {request.key.rstrip('/')}: {taken[request.key].phase.value}, {taken[request.key].text}"
            for request in requests
        ]

    # -------------------------------------------------------------------------------------------------------- outcome

    def _outcome(self, record: Record, changed: bool, good: bool, path: Any) -> dict[str, Any]:
        if record.hosts or record.kept_out:
            DISPLAY.display(report.summary(record, time.time()))
        found: dict[str, Any] = {"changed": changed, "rollout": _brief(record)}
        if path:
            try:
                _write(str(path), record)
            except OSError as error:
                DISPLAY.warning(f"The report could not be written to {path}: {error.strerror}.")
        if not good:
            outcome = report.OUTCOMES.get(record.status, record.status).lower()
            found.update(
                failed=True, msg=f"{record.kind} {record.id} {outcome}: {record.reason.split('. Its journal')[0]}"
            )
        return found


def _diff(decision: Decision) -> dict[str, Any]:
    """Versions before and after, for C(--diff)."""
    record = decision.record
    back = record.direction == state.BACK
    hosts = {host: one for host, one in record.hosts.items() if not back or one.phase not in state.UNTOUCHED}
    return {
        "before": {host: one.target if back else one.previous for host, one in hosts.items()},
        "after": {host: one.previous if back else one.target for host, one in hosts.items()},
        "before_header": record.service,
        "after_header": record.id,
    }


def _kept_out(record: Record, kept: str, fails: bool) -> dict[str, Any]:
    """What a task says of hosts that others keep out; site.yml, which rolls out no release, does not fail for them."""
    text = (
        f"{record.kind} {record.id} is done and there is nothing to revert, but not every host is in traffic: somebody "
        f"else keeps out {kept}; put back with haproxy_server what is to serve, or exclude it with rollout_exclude."
    )
    if fails:
        return {"failed": True, "msg": text}
    DISPLAY.warning(text)
    return {}


def _brief(record: Record) -> dict[str, Any]:
    """The part of a record that a task returns; the whole is in the store."""
    return {
        "id": record.id,
        "status": record.status,
        "version": record.version,
        "reason": record.reason,
        "advice": record.advice,
        "hosts": {host: one.phase for host, one in record.hosts.items()},
        "kept_out": {name: list(hosts) for name, hosts in record.kept_out.items()},
        "seconds": round(max(0.0, (record.ended_at or record.updated_at or record.started_at) - record.started_at), 1),
    }


def _write(path: str, record: Record) -> None:
    """Replace the report in one step."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_atomically(path, json.dumps(record.to_dict(), indent=2) + "\n", None)
