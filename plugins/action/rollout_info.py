# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at one service from the controller, and show one screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import setup
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.answers import node_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.status_text import status_text
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import StoreLost
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

HISTORY = 5
"""How many rollouts are shown where nothing is said."""


class ActionModule(ActionBase):  # type: ignore[misc]
    """One look."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask everybody at once; silence is part of the answer."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        try:
            world = setup.build(self, task_vars or {}, args, "status", lambda _text, _hosts: None)
            found = self._look(world, list(args.get("patroni") or []))
        except PlanError as why:
            return {**result, "failed": True, "msg": str(why)}
        Display().display(status_text(world.settings.service.name, found, int(args.get("history") or HISTORY)))
        return {**result, **found, "changed": False}

    @staticmethod
    def _look(world: EstateWorld, patroni: list[str]) -> dict[str, Any]:
        nodes, balancers = world.look()
        try:
            stored: Mapping[str, Any] = world.store.read()
        except StoreLost as why:
            stored = {"reason": str(why)}
        found: dict[str, Any] = {
            "nodes": {host: asdict(node_of(answer)) for host, answer in nodes.items()},
            "servers": {name: _servers(answer, world.settings.hosts) for name, answer in balancers.items()},
            "lock": stored.get("lock") or {},
            "open_record": stored.get("open_record") or {},
            "history": stored.get("history") or [],
            "store_reason": stored.get("reason", ""),
            "replication": {},
        }
        if patroni:
            probe = {"type": "postgres", "endpoints": patroni}
            call = Call(world.store.coordinator, "health_gate", {"probes": {"replication": probe}})
            answer = world.fleet.run({"replication": call})["replication"]
            silent = {"phase": "error", "text": answer.reason}
            found["replication"] = silent if answer.failed else answer.result["samples"]["replication"]
        return found


def _servers(answer: Answer, hosts: tuple[str, ...]) -> dict[str, Any]:
    if answer.failed:
        return {"": {"reason": answer.reason}}
    return {one["server"]: one for one in answer.result["servers"] if one["server"] in hosts}
