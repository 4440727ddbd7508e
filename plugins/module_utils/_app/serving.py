# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the service's unit run what is current, if it does not yet, and prove that it serves."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._app.options import ready_of
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import real_tools
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence
from ansible_collections.mesops.platform.plugins.module_utils._release import configurations, units
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Plan
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store
from ansible_collections.mesops.platform.plugins.module_utils._release.running import (
    running_configuration,
    running_version,
)


def serve(
    module: QuietModule,
    manage: bool,
    store: Store,
    plan: Plan,
    result: dict[str, Any],
    *,
    fence: Fence,
) -> None:
    """Look at the unit; where it is to be managed, let it run the current release and verify that it serves."""
    runner, ready = runner_of(module), ready_of(module.params)
    unit, current = runner.read(), str(plan.after.current)
    if not unit.exists:
        return
    running = running_version(store.releases, unit.pid) if unit.pid else None
    result["running"] = running
    configured = _configuration_of(store, unit, plan)
    result["configuration"]["running"] = configured
    if not manage:
        return
    swapped_at = _monotonic(time.time() if plan.activate else os.lstat(store.current).st_mtime)
    stale = unit.is_stale(running, current, swapped_at)
    stale = stale or (plan.after.kept and configured != plan.after.configuration)
    if stale:
        result["changed"] = True
        result["actions"].append(f"restart {runner.name}")
        result["diff"]["before"]["running"] = joined(running, configured)
        result["diff"]["after"]["running"] = plan.after.name
    if module.check_mode:
        return
    secret = configurations.secrets_of(store.shelf.active())
    try:
        started = _start(runner, unit, ready if module.params["ready"] else None, current, stale=stale, fence=fence)
    except units.NotReady as why:
        raise units.NotReady(why.gate, configurations.masked(str(why), secret)) from why
    result["started"] = configurations.masked(asdict(started), secret)


def runner_of(module: QuietModule) -> units.Runner:
    """The service's unit on this host."""

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        path = module.get_bin_path(command[0])
        if path is None:
            return 127, "", f"{command[0]} is not there"
        rc, out, err = module.run_command([path, *command[1:]], environ_update={"LC_ALL": "C"})
        return int(rc), str(out), str(err)

    tools = real_tools(run)
    machine = units.Machine(run, lambda probe: probes.take(probe, tools), time.monotonic, time.sleep)
    return units.Runner(machine, str(module.params["unit"]))


def _start(
    runner: units.Runner,
    unit: units.Unit,
    ready: units.Ready | None,
    current: str,
    *,
    stale: bool,
    fence: Fence,
) -> units.Started:
    """Let the unit run what is current, if it does not yet, and verify what is to be verified."""
    started = units.Started()
    if stale:
        fence.check()
        runner.restart(unit, current, started)
    if ready is not None:
        runner.wait_ready(ready, current, started)
        if ready.prove_stop:
            fence.check()
            runner.prove_stop(ready, current, started)
    return started


def _monotonic(at: float) -> float:
    """A moment in seconds since the epoch on the clock that systemd's times are of."""
    return at - time.time() + time.monotonic()


def _configuration_of(store: Store, unit: units.Unit, plan: Plan) -> str:
    """The configuration that the process of a unit was started with, as far as it can be told."""
    told = running_configuration(unit.pid) if unit.pid else ""
    changed_at = _monotonic(time.time() if plan.enforce else store.shelf.changed_at())
    return unit.configuration(told, plan.after.configuration, changed_at) if plan.after.kept else ""
