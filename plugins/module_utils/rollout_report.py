# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a rollout: the plan before, one screen after. Pure text from records, no Ansible in here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils import rollout_state as state
from ansible_collections.mesops.platform.plugins.module_utils.gates import GateSpec
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import Settings
from ansible_collections.mesops.platform.plugins.module_utils.rollout_state import HostRecord, Record

OUTCOMES = {
    state.SUCCEEDED: "DONE",
    state.REVERTED: "ROLLED BACK",
    state.BROKEN: "FAILED",
    state.FROZEN: "FROZEN",
    state.HALTED: "HALTED",
    state.ROLLING_BACK: "HALTED WHILE ROLLING BACK",
    state.PAUSED: "PAUSED",
    state.RUNNING: "RUNNING",
    state.SUPERSEDED: "SUPERSEDED",
}
MARKS = {
    state.DRAINING: "drain",
    state.ACTIVATED: "active",
    state.IN_SERVICE: "in service",
    state.DONE: "done",
    state.ROLLED_BACK: "rolled back",
    state.FAILED: "out of traffic",
}
HOSTS_SHOWN = 20
WIDTH = 110


def clock(at: float) -> str:
    """A moment in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def duration(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Columns that line up."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def wrap(text: str, indent: str) -> list[str]:
    """Lines of a bounded width."""
    lines, line = [], indent
    for word in text.split():
        if len(line) + len(word) + 1 > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return [*lines, line.rstrip()]


# --------------------------------------------------------------------------------------------------------------- the plan


def gate_text(spec: GateSpec) -> str:
    """One gate in a line."""
    probe = spec.probe
    what = {
        "http": lambda: f"GET {probe.get('url')}",
        "tcp": lambda: f"connect to {probe.get('address')}",
        "systemd": lambda: f"unit {probe.get('unit')} runs without restarts",
        "haproxy": lambda: {
            "state": "up at every load balancer",
            "errors": "failed requests compared with the other hosts",
            "latency": "latency compared with the other hosts",
        }[str(probe.get("measure", "state"))],
        "promql": lambda: f"{probe.get('query')}" + (" compared with its baseline" if probe.get("baseline") else ""),
        "postgres": lambda: "replication is healthy",
    }[str(probe["type"])]()
    return f"{what}; {spec.count} good, every {spec.interval:g} s, at most {spec.timeout:g} s"


def plan_text(record: Record, settings: Settings, manifest: Mapping[str, Any], facts: Sequence[str]) -> str:
    """What a rollout would do, on one screen."""
    service = settings.service.name
    lines = [
        f"Plan: {record.kind} of {service} to {record.version}, {len(record.hosts)} hosts, {len(record.batches)} batches",
        "",
    ]
    for number, batch in enumerate(record.batches, 1):
        moves = [f"{host} {record.hosts[host].previous or 'nothing'} -> {record.hosts[host].target}" for host in batch]
        shown = ", ".join(moves[:HOSTS_SHOWN]) + (
            f" and {len(moves) - HOSTS_SHOWN} more" if len(moves) > HOSTS_SHOWN else ""
        )
        lines += wrap(f"batch {number}: {shown}", "  ")
    total = len(settings.hosts) + len(settings.excluded)
    weights = " -> ".join(f"{percent} %" for percent in record.weights)
    lines += [
        "",
        f"  balancers   {', '.join(record.balancers)} (backends {', '.join(settings.backends)}), at least {settings.least} of "
        f"{total} servers stay available",
        f"  drain       at most {settings.drain_deadline:g} s, then {settings.drain_on_timeout}",
        f"  weights     {weights}, then observed for {settings.min_healthy_time:g} s",
    ]
    for name, step in (settings.migrations or manifest.get("migrations") or {}).items():
        undo = "can be undone" if step.get("reversible", name == "expand") else "cannot be undone: then failure freezes"
        lines.append(f"  {name:<11} {step.get('command')} ({undo})")
    lines += [f"  gate        {name} ({spec.stage}): {gate_text(spec)}" for name, spec in settings.gates.items()]
    if record.excluded:
        lines.append(f"  left out    {', '.join(record.excluded)}, which keep the version that they have")
    for balancer, hosts in record.kept_out.items():
        lines.append(f"  kept out    {', '.join(hosts)} at {balancer}: taken out by somebody else, and left so")
    lines += [f"  {fact}" for fact in facts]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------------- the report


def timeline(host: HostRecord, begin: float) -> str:
    """A host's phases with the seconds since the rollout began."""
    found: list[str] = []
    for phase, at in host.history:
        mark = MARKS.get(phase)
        if mark and not (found and found[-1].startswith(f"{mark} ")):
            found.append(f"{mark} {at - begin:.0f}s")
    return ", ".join(found[-6:]) or host.phase


def summary(record: Record, now: float) -> str:
    """One screen about a rollout: what became of it, host by host, the evidence, and how to go on."""
    took = (record.ended_at or record.updated_at or now) - record.started_at
    head = f"{OUTCOMES.get(record.status, record.status)}: {record.kind} of {record.service} to {record.version}"
    lines = ["", f"{head}, {duration(took)}, {record.id}"]
    if record.reason:
        lines += wrap(record.reason, "  ")
    if record.hosts:
        rows = [["host", "batch", "version", "phase", "drained", "sessions", "stop", "start", "own cost", "timeline"]]
        shown = sorted(record.hosts.items(), key=lambda item: item[1].batch)
        for name, host in shown[:HOSTS_SHOWN]:
            back = host.phase == state.ROLLED_BACK
            move = f"{host.target} -> {host.previous}" if back else f"{host.previous or '-'} -> {host.target}"
            killed = f" ({host.killed} shut down)" if host.killed else ""
            rows.append(
                [
                    name,
                    str(host.batch + 1),
                    move,
                    host.phase,
                    f"{host.drain_s:.1f} s",
                    f"{host.sessions}{killed}",
                    f"{host.stop_s:.1f} s",
                    f"{host.start_s:.1f} s",
                    f"{host.overhead_s:.1f} s" if host.phase == state.DONE else "-",
                    timeline(host, record.started_at),
                ]
            )
        lines += ["", *table(rows)]
        if len(shown) > HOSTS_SHOWN:
            lines.append(f"  and {len(shown) - HOSTS_SHOWN} more hosts")
        lines += [line for name, host in shown if host.note for line in wrap(f"{name}: {host.note}", "  ")]
    for name, step in record.migrations.items():
        lines.append(f"  {name}: {step.state}, {step.command}" + (f" on {step.host}" if step.host else ""))
    lines += _evidence(record)
    if record.advice:
        lines += ["", *wrap(f"How to go on: {record.advice}", "  ")]
    return "\n".join(lines)


def _evidence(record: Record) -> list[str]:
    """What the gates have found: those that did not pass first, then the last of each that did."""
    if not record.gates:
        return []
    bad = [gate for gate in record.gates if gate.get("verdict") not in ("passed", None)]
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for gate in record.gates:
        latest[(str(gate["name"]), str(gate.get("host", "")))] = gate
    good = [gate for gate in latest.values() if gate not in bad]
    lines = ["", "  gates"]
    for gate in [*bad[-6:], *good[:8]]:
        last = (gate.get("measurements") or [{}])[-1]
        where = f" on {gate['host']}" if gate.get("host") else ""
        verdict = gate.get("verdict") or "held"
        lines += wrap(f"{verdict:<9} {gate['name']}{where}: {gate.get('reason') or last.get('text', '')}", "    ")
    return lines


def short(record: Record) -> str:
    """A rollout in one line, for a list."""
    took = duration(record.ended_at - record.started_at) if record.ended_at else "unfinished"
    return (
        f"{clock(record.started_at)}  {record.kind} to {record.version}: {OUTCOMES.get(record.status, record.status).lower()}"
        f" ({took}), {len(record.hosts)} hosts, by {record.by}" + (f"; {record.reason}" if record.reason else "")
    )


def status_text(service: str, found: Mapping[str, Any], history: int) -> str:
    """One screen about a service: versions, servers at every load balancer, lock, rollouts, replication."""
    balancers = list(found["servers"])
    rows = [["host", "current", "running", "previous", *balancers]]
    for host, node in list(found["nodes"].items())[:HOSTS_SHOWN]:
        cells = [_server_text(found["servers"][name], host) for name in balancers]
        known = [node["current"] or "-", node["running"] or "-", node["previous"] or "-"]
        rows.append([host, *(["no answer", "", ""] if node["reason"] else known), *cells])
    lines = ["", service, "", *table(rows)]
    hidden = len(found["nodes"]) - HOSTS_SHOWN
    lines += [f"  and {hidden} more hosts"] if hidden > 0 else []
    lines += [
        line
        for host, node in found["nodes"].items()
        if node["reason"]
        for line in wrap(f"{host}: {node['reason']}", "  ")
    ]
    for name in balancers:
        reason = found["servers"][name].get("", {}).get("reason")
        lines += wrap(f"{name}: {reason}", "  ") if reason else []
    lines += ["", f"  lock         {found['lock'].get('summary', 'held by somebody') if found['lock'] else 'free'}"]
    if found.get("store_reason"):
        lines += wrap(f"the store gives no answer: {found['store_reason']}", "  ")
    if found["open_record"]:
        record = Record.from_dict(found["open_record"])
        phases = ", ".join(f"{host} {one.phase}" for host, one in list(record.hosts.items())[:HOSTS_SHOWN])
        lines += wrap(f"unfinished   {short(record)} ({phases})", "  ")
        lines += wrap(f"             {record.advice}", "  ") if record.advice else []
    if found["replication"]:
        sample = found["replication"]
        lines.append(
            f"  replication  {'healthy' if sample['phase'] == 'success' else sample['phase']}: {sample['text']}"
        )
    last = [short(Record.from_dict(one)) for one in found["history"][:history]]
    lines += ["", "  last rollouts", *(line for text in last for line in wrap(text, "    "))] if last else []
    return "\n".join(lines)


def _server_text(servers: Mapping[str, Any], host: str) -> str:
    """A server at one load balancer, such as "UP 10 %, 3 sessions"."""
    server = servers.get(host)
    if server is None:
        return "no answer" if "" in servers else "-"
    share = round(100 * server["weight"] / (server["weight_configured"] or 1))
    busy = server["sessions"] + server["sessions_old_workers"]
    return f"{server['status']}{f' {share} %' if share != 100 else ''}, {busy} sessions"
