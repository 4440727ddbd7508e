# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a service: its hosts, load balancers, lock and rollouts, on one screen.

Pure text, no Ansible in here. What is out of order comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.layout import (
    NAME_WIDTH,
    NOTES_SHOWN,
    VERSION_WIDTH,
    clip,
    clock,
    columns,
    duration,
    listing,
    some,
    table,
    wrap,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.report import OUTCOMES

NODES_SHOWN = 13


def short(record: Record) -> str:
    """A rollout in one line, for a list."""
    took = duration(record.ended_at - record.started_at) if record.ended_at else "unfinished"
    outcome = OUTCOMES.get(record.status, record.status).lower()
    who = f"{quantity(len(record.hosts), 'host')}, by {record.by}"
    why = f"; {record.reason}" if record.reason else ""
    return f"{record.kind} to {record.version}: {outcome} ({took}), {who}{why}"


def _dated(record: Record, head: str) -> list[str]:
    return wrap(short(record), f"{head}{clock(record.started_at)}  ", 2)


def status_text(service: str, found: Mapping[str, Any], history: int) -> str:
    """One screen about a service: versions, servers at every load balancer, lock, rollouts, replication."""
    lines = ["", service, "", *_nodes(found)]
    holder = found["lock"].get("summary", "held by somebody") if found["lock"] else "free"
    lines += ["", clip(f"  lock         {holder}")]
    if found.get("store_reason"):
        lines += wrap(f"gives no answer: {found['store_reason']}", "  store        ", 2)
    if found["open_record"]:
        record = Record.from_dict(found["open_record"])
        lines += _dated(record, "  unfinished   ")
        lines += listing([f"{host} {one.phase}" for host, one in record.hosts.items()], " " * 15)
        lines += wrap(record.advice, " " * 15, 2) if record.advice else []
    if found["replication"]:
        sample = found["replication"]
        health = "healthy" if sample["phase"] == "success" else sample["phase"]
        lines += wrap(f"{health}: {sample['text']}", "  replication  ", 2)
    last = [Record.from_dict(one) for one in found["history"][:history]]
    lines += ["", "  last rollouts"] if last else []
    lines += [line for one in last for line in _dated(one, "    ")]
    return "\n".join(lines)


def _nodes(found: Mapping[str, Any]) -> list[str]:
    """The table of hosts and load balancers; what is out of order comes first."""
    balancers = list(found["servers"])
    ordered = sorted(found["nodes"].items(), key=lambda item: _in_order(found, item[0]))
    rows = [["host", "current", "running", "previous", *balancers]]
    for host, node in ordered[:NODES_SHOWN]:
        names = plainly(*(node[key] for key in ("current", "running", "previous")))
        known = [clip(name or "-", VERSION_WIDTH) for name in names]
        cells = [_server_text(found["servers"][name], host) for name in balancers]
        rows.append([clip(host, NAME_WIDTH), *(["no answer", "", ""] if node["reason"] else known), *cells])
    optional = ("previous", *reversed(balancers[1:]))
    lines = table(rows, optional)
    kept = columns(rows, optional, "  ")
    without_room = [name for column, name in enumerate(rows[0]) if column not in kept and name in balancers]
    if without_room:
        lines += listing(without_room, "  no room for ", 1)
    if len(ordered) > NODES_SHOWN:
        lines.append(f"  and {quantity(len(ordered) - NODES_SHOWN, 'more host')}")
    silent = [wrap(f"{host}: {node['reason']}", "  ", 1)[0] for host, node in ordered if node["reason"]]
    lines += some(silent, NOTES_SHOWN, "hosts without an answer")
    reasons = {name: found["servers"][name].get("", {}).get("reason") for name in balancers}
    silent = [wrap(f"{name}: {reason}", "  ", 1)[0] for name, reason in reasons.items() if reason]
    return lines + some(silent, NOTES_SHOWN, "load balancers without an answer")


def _in_order(found: Mapping[str, Any], host: str) -> bool:
    """Whether a host runs what is current and takes its whole share of traffic wherever that is known."""
    node = found["nodes"][host]
    servers = [servers[host] for servers in found["servers"].values() if host in servers]
    return (
        not node["reason"]
        and node["current"] == node["running"]
        and all(one["admin"] == "ready" and one["weight"] == one["weight_configured"] for one in servers)
    )


def _server_text(servers: Mapping[str, Any], host: str) -> str:
    """A server at one load balancer, such as "UP 10 %, 3 sessions"."""
    server = servers.get(host)
    if server is None:
        return "no answer" if "" in servers else "-"
    share = round(100 * server["weight"] / (server["weight_configured"] or 1))
    busy = server["sessions"] + server["sessions_old_workers"]
    return f"{server['status']}{f' {share} %' if share != 100 else ''}, {quantity(busy, 'session')}"
