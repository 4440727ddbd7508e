# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts and load balancers have answered, in the words of the engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Difference
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Server


def node_of(answer: Answer) -> Node:
    """What a host of the service has said."""
    if answer.failed:
        return Node(reason=answer.reason)
    result = answer.result
    found = result.get("configuration") or {}
    kept = {key: found.get(key) if found.get("kept") else "" for key in ("current", "previous", "running", "wanted")}
    current, previous, running = (joined(result.get(key), kept[key]) for key in ("current", "previous", "running"))
    differs = Difference(*(tuple(found.get(key) or ()) for key in ("added", "removed", "changed")))
    return Node(current, previous, running, wanted=str(kept["wanted"] or ""), changes=differs.text())


def prepared_of(answer: Answer) -> world.Prepared:
    """What came of installing a version on one host."""
    return world.Prepared(answer.reason if answer.failed else "", answer.result.get("manifest") or {})


def activated_of(answer: Answer) -> world.Activated:
    """What came of activating a version on one host."""
    started = answer.result.get("started") or {}
    return world.Activated(
        reason=answer.reason if answer.failed else "",
        gate="unreachable" if answer.unreachable else f"gate {answer.result.get('gate', 'activation')}",
        stop_s=float(started.get("stop_s", 0)),
        start_s=float(started.get("start_s", 0)),
        killed=bool(started.get("killed")),
        samples=started.get("samples") or {},
    )


def migrated_of(answer: Answer) -> world.Migrated:
    """Where a migration stands."""
    output = str(answer.result.get("output", ""))
    if answer.unreachable or (answer.failed and not {"step_state", "output"} & set(answer.result)):
        # Who has not said how it stands may not even know: the step goes on without a connection.
        return world.Migrated(lost=answer.reason)
    if answer.failed:
        return world.Migrated(reason=answer.reason, output=output)
    return world.Migrated(running=answer.result.get("step_state") == "running", output=output)


def obeyed(answers: Mapping[str, Answer]) -> dict[str, Mapping[str, Any]]:
    """Results of load balancers; one that is silent or refuses is trouble."""
    broken = {name: answer.reason for name, answer in answers.items() if answer.failed}
    if broken:
        text = "; ".join(f"load balancer {name}: {why}" for name, why in broken.items())
        raise world.BalancerTrouble(text)
    return {name: answer.result for name, answer in answers.items()}


def drained_of(found: Mapping[str, Mapping[str, Any]]) -> world.Drained:
    """Where a drain stands, over all load balancers."""
    left: dict[str, int] = {}
    begun: dict[str, int] = {}
    killed: dict[str, int] = {}
    for result in found.values():
        for server in result["servers"]:
            name = server["server"]
            busy = server["sessions"] + server["queued"] + server["sessions_old_workers"]
            busy += server.get("clients_old_workers", 0)
            left[name] = left.get(name, 0) + busy
        for by_host, by_label in ((begun, result["busy_before"]), (killed, result["killed"])):
            for label, busy in by_label.items():
                name = label.rpartition("/")[2]
                by_host[name] = by_host.get(name, 0) + busy
    return world.Drained(
        done=all(result["done"] for result in found.values()),
        left=left,
        begun=begun,
        waited_s=max((float(result["waited_s"]) for result in found.values()), default=0.0),
        killed=killed,
        kept=left_alone(found),
    )


def down_of(found: Mapping[str, Mapping[str, Any]], limit: float) -> dict[str, dict[str, str]]:
    """Host to load balancer to why it is not up there after so many seconds."""
    down: dict[str, dict[str, str]] = {}
    for name, result in found.items():
        for server in result["servers"]:
            if not server_of(server).serving:
                reason = f"is {server['status']} at {name} after {limit:g} s ({server['check']})"
                down.setdefault(server["server"], {})[name] = reason
    return down


def left_alone(found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Load balancer to the hosts that somebody else has taken out there."""
    kept = {name: list(result.get("left_alone") or ()) for name, result in found.items()}
    return {name: hosts for name, hosts in kept.items() if hosts}


def server_of(server: Mapping[str, Any]) -> Server:
    """One server at one load balancer."""
    share = 100 * float(server["weight"]) / (float(server["weight_configured"]) or 1.0)
    said = ", ".join(str(server[key]) for key in ("status", "check") if server.get(key))
    return Server(
        admin=str(server["admin"]),
        up=bool(server["up"] or not server["checked"]),
        percent=share,
        check=said,
        weight=int(server["weight_configured"]),
        algorithm=str(server.get("algorithm", "")),
    )


def servers_of(result: Mapping[str, Any], hosts: Collection[str]) -> dict[str, Server]:
    """Hosts at one load balancer; one that is a server of several backends is as good as in its worst."""
    found: dict[str, Server] = {}
    for server in result["servers"]:
        name, one = server["server"], server_of(server)
        if name in hosts:
            found[name] = _worse(found[name], one) if name in found else one
    return found


def _worse(first: Server, second: Server) -> Server:
    """A host in two backends: what holds of the worse one, in each respect."""
    base = second if first.serving and not second.serving else first
    static = next((one.algorithm for one in (first, second) if one.algorithm in plan.STATIC), base.algorithm)
    return replace(base, weight=min(first.weight, second.weight), algorithm=static)
