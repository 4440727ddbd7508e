# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module daemon on a host: its files are made, then its unit is brought to what is wanted."""

from __future__ import annotations

import grp
import math
import os
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._daemon import layout, units

UNITS = "/etc/systemd/system"


def group_id(name: str, check_mode: bool) -> int | None:
    """The group's number, or nothing in a dry run on a host where what brings it is still missing."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if check_mode:
            return None
        raise layout.FilesError(f"There is no group {name}; install what brings it first") from None


def make_files(module: QuietModule) -> layout.Made:
    """Make what the arguments want on disk."""
    params, check_mode = module.params, module.check_mode
    group = group_id(params["group"], check_mode)
    wanted = [
        layout.File(
            one["path"],
            one["content"],
            layout.parse_mode(one["mode"], one["path"]),
            group_id(one["group"], check_mode) if one["group"] else group,
            one["validate"],
            one["secret"],
        )
        for one in params["contents"]
    ]
    if params["unit"] is not None:
        path = os.path.join(UNITS, params["name"])
        wanted.append(layout.File(path, params["unit"], 0o644, group_id("root", check_mode)))

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        status, out, err = module.run_command(list(command))
        return int(status), str(out), str(err)

    return layout.make(
        [layout.Directory(path, group) for path in params["directories"]],
        wanted,
        run=run,
        scratch=module.tmpdir,
        check_mode=check_mode,
    )


def run_unit(module: QuietModule, result: dict[str, Any]) -> None:
    """Bring the unit to the wanted state, and tell ``result`` what was done."""
    params = module.params
    name = params["name"]
    watched = [*params["files"], *([] if params["unit"] is None else [os.path.join(UNITS, name)])]

    def systemctl(*arguments: str) -> str:
        rc, out, err = module.run_command(["systemctl", *arguments])
        if rc != 0:
            raise units.DaemonError(f"systemctl {' '.join(arguments)} failed: {(err or out).strip()}")
        return str(out)

    def read() -> units.Unit:
        boot_time = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
        return units.unit_of(name, systemd.show(module.run_command, name, units.PROPERTIES), boot_time)

    def changed_at(paths: Sequence[str]) -> float:
        # What a dry run would have written is newer than whatever runs.
        would_change = module.check_mode and set(paths).intersection(result["made"])
        return math.inf if would_change else units.newest_change(paths)

    try:
        before = read()
        plan = units.plan(
            before,
            state=params["state"],
            enabled=params["enabled"],
            on_change=params["on_change"],
            changed_at=changed_at(watched),
            reload_at=changed_at(params["reload_files"]),
            unread=units.unread_files(before, watched),
        )
        running = params["state"] == "started"
        wanted = {
            "active": "active" if running else "inactive",
            "enabled": before.enabled if params["enabled"] is None else params["enabled"],
            "exists": True,
        }
        result.update(
            changed=result["changed"] or plan.changed, action=plan.action, before=before.summary(), ready_after=0.0
        )
        if module.check_mode:
            after: dict[str, object] = wanted
        else:
            for command in plan.commands:
                block = [] if params["wait"] or command[0] not in ("start", "restart") else ["--no-block"]
                systemctl(*block, *command)
            if running and params["ready"]:
                ready = params["ready"]
                probe = (
                    units.http_probe(ready["url"], ready["status"], ready["within"], ready["host"])
                    if ready["url"]
                    else units.tcp_probe(ready["tcp"], ready["within"])
                )
                result["ready_after"] = units.wait_ready(
                    probe,
                    read,
                    timeout=ready["timeout"],
                    interval=ready["interval"],
                    clock=time.monotonic,
                    sleep=time.sleep,
                )
            after = read().summary()
    except (units.DaemonError, systemd.Unanswered) as error:
        words = systemd.journal(module.run_command, name, units.JOURNAL_LINES)
        module.fail_json(msg=f"{error}. Its last log lines:\n{words}", **result)
    result["after"] = after
    if plan.changed:
        result["diff"].append(
            {
                "before": {**before.summary(), "action": "none"},
                "after": {**after, "action": plan.action},
                "before_header": name,
                "after_header": name,
            }
        )
