# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a rollout: the plan before, one screen after. Pure text from records, no Ansible in here.

Each text fits one screen of 110 columns and 45 lines, however many hosts there are: what is cut off is counted, and
what went wrong comes first. The whole is in the record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import Decision
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import changes_of

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
    state.IN_SERVICE: "in",
    state.DONE: "done",
    state.ROLLED_BACK: "back",
    state.FAILED: "out",
}
WIDTH = 110
HOSTS_SHOWN = 16
NODES_SHOWN = 13
BATCHES_SHOWN = 6
GATES_SHOWN = 7
FACTS_SHOWN = 7
NOTES_SHOWN = 3
EVIDENCE_LINES = 9
NAME_WIDTH = 24
VERSION_WIDTH = 20


def clock(at: float) -> str:
    """A moment in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def duration(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clip(text: str, width: int = WIDTH) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def columns(rows: Sequence[Sequence[str]], optional: Sequence[str], indent: str) -> list[int]:
    """The columns that fit: those named by ``optional`` give way, the first one first."""
    kept = list(range(len(rows[0])))
    for name in dict.fromkeys(optional):
        widths = [max(len(row[column]) for row in rows) for column in kept]
        if len(indent) + sum(widths) + 2 * (len(kept) - 1) <= WIDTH:
            break
        kept.remove(rows[0].index(name))
    return kept


def table(rows: Sequence[Sequence[str]], optional: Sequence[str] = (), indent: str = "  ") -> list[str]:
    """Columns that line up, with a heading in the first row; as many as fit."""
    if not rows:
        return []
    kept = columns(rows, optional, indent)
    widths = [max(len(row[column]) for row in rows) for column in kept]
    lines = ("  ".join(row[column].ljust(width) for column, width in zip(kept, widths)) for row in rows)
    return [clip(f"{indent}{line}".rstrip()) for line in lines]


def _flow(words: Sequence[str], head: str, most: int) -> list[str]:
    """Words after a heading, at most so many lines of them; the lines after the first are indented as far."""
    indent = " " * len(head)
    lines, line = [], head
    for word in words:
        if line not in (head, indent) and len(line) + len(word) > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    lines = [clip(one) for one in [*lines, line.rstrip()]]
    if len(lines) > most:
        lines[most - 1] = clip(f"{lines[most - 1]} {lines[most].strip()}")
    return lines[:most]


def wrap(text: str, head: str, most: int = 3) -> list[str]:
    """A text as lines of a bounded width, at most so many."""
    return _flow(text.split(), head, most)


def listing(items: Sequence[str], head: str, most: int = 2) -> list[str]:
    """As many items as there is room for, none of them broken; those that are left out are counted."""
    lines: list[str] = []
    for shown in range(min(len(items), most * WIDTH // 3), -1, -1):
        words = [f"{one}," for one in items[: shown - 1]] + list(items[shown - 1 : shown] if shown else ())
        more = [f"and {len(items) - shown} more"] if shown < len(items) else []
        lines = _flow([*words, *more], head, most + 1)
        if len(lines) <= most:
            break
    return lines[:most]


# ------------------------------------------------------------------------------------------------------------ the plan


def probe_text(probe: Mapping[str, Any]) -> str:
    """What a probe looks at."""
    kind = probe["type"]
    if kind in ("http", "readiness"):
        method = probe.get("method") or ("GET" if probe.get("body") is None else "POST")
        return f"{str(method).upper()} {probe.get('url')}"
    if kind == "tcp":
        return f"connect to {probe.get('address')}"
    if kind == "systemd":
        return f"unit {probe.get('unit')} runs, {quantity(int(probe.get('max_restarts') or 0), 'restart')}"
    if kind == "haproxy":
        return {
            "answers": "answers 3xx and 4xx compared with the other hosts",
            "errors": "failed requests compared with the other hosts",
            "latency": "latency compared with the other hosts",
        }.get(str(probe.get("measure")), "up at every load balancer")
    if kind == "promql":
        limits = [f"at least {probe['min']:g}"] if probe.get("min") is not None else []
        limits += [f"at most {probe['max']:g}"] if probe.get("max") is not None else []
        if probe.get("max_ratio") is not None:
            limits.append(f"at most {probe['max_ratio']:g} times its baseline")
        return f"{' and '.join(limits)}: {' '.join(str(probe.get('query')).split())}"
    return "replication is healthy"


def gate_line(spec: GateSpec) -> str:
    """One gate in a line."""
    tail = f"; {spec.count} good, every {spec.interval:g} s, within {spec.timeout:g} s"
    head = f"  gate        {spec.name} ({spec.stage}): "
    return clip(f"{head}{clip(probe_text(spec.probe), max(20, WIDTH - len(head) - len(tail)))}{tail}")


def plan_text(record: Record, settings: Settings, manifest: Mapping[str, Any], facts: Sequence[str]) -> str:
    """What a rollout would do, on one screen."""
    service = settings.service.name
    total = len(settings.hosts) + len(settings.excluded)
    lines = [
        clip(
            f"Plan: {record.kind} of {service} to {record.version}, {quantity(len(record.hosts), 'host')}, "
            f"{quantity(len(record.batches), 'batch', 'batches')}"
            if record.direction == state.FORWARD
            else f"Plan: {record.kind} of {service} to {record.version} goes back on "
            f"{sum(map(len, record.touched()))} of {quantity(len(record.hosts), 'host')}, newest first"
        ),
        "",
        *_batches(record),
        "",
        *listing(record.balancers, "  balancers   "),
        *listing(settings.backends, "  backends    "),
        f"  capacity    at least {settings.least} of {quantity(total, 'server')} stay available at each of them",
        f"  drain       at most {settings.drain_deadline:g} s, then {settings.drain_on_timeout}",
        clip(
            f"  weights     {' -> '.join(f'{percent} %' for percent in record.weights)}, then observed for "
            f"{settings.min_healthy_time:g} s"
        ),
    ]
    for name, step in (settings.migrations or manifest.get("migrations") or {}).items():
        undo = "can be undone" if step.get("reversible", name == "expand") else "cannot be undone: then failure freezes"
        lines.append(f"  {name:<11} {clip(str(step.get('command')), WIDTH - 18 - len(undo))} ({undo})")
    lines += _some([gate_line(spec) for spec in settings.gates.values()], GATES_SHOWN, "gates")
    lines += _changes(record)
    if record.excluded:
        lines += listing(record.excluded, "  left out    they keep their version: ")
    kept = [
        listing(hosts, f"  kept out    at {clip(balancer, NAME_WIDTH)}, taken out by somebody else and left so: ", 1)[0]
        for balancer, hosts in record.kept_out.items()
    ]
    lines += _some(kept, NOTES_SHOWN, "load balancers")
    lines += _some([clip(f"  {fact}") for fact in facts], FACTS_SHOWN, "samples")
    return "\n".join(lines)


def decision_lines(decision: Decision) -> list[str]:
    """What a plan says of the record that it takes up or takes the place of."""
    record = decision.record
    lines = []
    if decision.superseded is not None:
        old = decision.superseded
        lines.append(f"supersedes  {old.id} of {old.version}, which is frozen by {old.frozen_by}")
    if not decision.fresh:
        way = "would go back" if record.direction == state.BACK else "would be taken up"
        lines.append(f"unfinished  {record.id} is {record.status} and {way}")
    return lines + [f"changed     {text}" for text in decision.told]


def _changes(record: Record) -> list[str]:
    """The settings that a changed configuration has, by their names."""
    lines = [line for one in changes_of(record) for line in wrap(one, "  settings    changed: ", 2)]
    return _some(lines, NOTES_SHOWN, "lines")


def _move(host: HostRecord, nothing: str, back: bool = False) -> str:
    """From what a host goes to what, such as "1.3.0 -> 1.4.0"."""
    before, after = plainly(host.previous, host.target)
    ways = [clip(before or nothing, VERSION_WIDTH), clip(str(after), VERSION_WIDTH)]
    return " -> ".join(reversed(ways) if back else ways)


def _batches(record: Record) -> list[str]:
    back = record.direction == state.BACK
    batches = record.touched() if back else record.batches
    lines: list[str] = []
    for number, batch in enumerate(batches[:BATCHES_SHOWN], 1):
        moves = [f"{clip(host, NAME_WIDTH)} {_move(record.hosts[host], 'nothing', back)}" for host in batch]
        lines += listing(moves, f"  batch {number}: ")
    rest = batches[BATCHES_SHOWN:]
    if rest:
        lines.append(
            f"  and {quantity(len(rest), 'more batch', 'more batches')} with {quantity(sum(map(len, rest)), 'host')}"
        )
    return lines


def _some(lines: Sequence[str], most: int, what: str) -> list[str]:
    """At most so many lines, and how many more there would be."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"  and {len(lines) - most + 1} more {what}"]


# ---------------------------------------------------------------------------------------------------------- the report


def timeline(host: HostRecord, begin: float) -> str:
    """A host's last phases, with the seconds since the rollout began."""
    found: list[str] = []
    last = ""
    for phase, at in host.history:
        mark = MARKS.get(phase, "")
        if mark and mark != last:
            found.append(f"{mark} {at - begin:.0f}")
        last = mark or last
    return ", ".join(found[-4:]) or "-"


def summary(record: Record, now: float) -> str:
    """One screen about a rollout: what became of it, host by host, the evidence, and how to go on."""
    took = (record.ended_at or record.updated_at or now) - record.started_at
    but = ", BUT NOT ALL IN TRAFFIC" if record.status in state.FINISHED and record.kept_out else ""
    head = f"{OUTCOMES.get(record.status, record.status)}{but}: {record.kind} of {record.service} to {record.version}"
    lines = ["", clip(f"{head}, {duration(took)}, {record.id}")]
    if record.reason:
        lines += wrap(record.reason, "  ")
    lines += _not_in_traffic(record)
    lines += _changes(record)
    if record.hosts:
        lines += ["", *_hosts(record)]
    for name, step in record.migrations.items():
        where = f" on {clip(step.host, NAME_WIDTH)}" if step.host else ""
        lines.append(clip(f"  {name}: {step.state}{where}, {step.command}"))
    lines += _evidence(record)
    if record.advice:
        lines += ["", *wrap(record.advice, "  How to go on: ")]
    return "\n".join(lines)


def kept_out_text(record: Record) -> str:
    """The hosts that somebody else has taken out of traffic, each with the load balancers where; or nothing."""
    places: dict[str, list[str]] = {}
    for balancer, hosts in record.kept_out.items():
        for host in hosts:
            places.setdefault(host, []).append(balancer)
    return ", ".join(f"{host} at {' and '.join(where)}" for host, where in places.items())


def _not_in_traffic(record: Record) -> list[str]:
    """Hosts that others keep out, and those that have left the rollout: they are as they are, and not forgotten."""
    kept = kept_out_text(record)
    lines = (
        wrap(f"{kept}, by somebody else; put it back when it is meant to serve", "  kept out    ", 2) if kept else []
    )
    left = [f"{host} ({one.phase})" for host, one in record.left.items()]
    return lines + (listing(left, "  has left    ", 1) if left else [])


# The hosts that a person wants to see first: those that need help, then those that moved.
_RANKS = {state.FAILED: 0, state.PENDING: 3, state.PREPARED: 3, state.DONE: 2}


def _hosts(record: Record) -> list[str]:
    ordered = sorted(record.hosts.items(), key=lambda item: (_RANKS.get(item[1].phase, 1), item[1].batch))
    versions = {version_of(host.target) for host in record.hosts.values()}
    alone = len(versions) == 1 and not any(host.changes for host in record.hosts.values())
    rows = [["host", "batch", "before", "phase", "drain", "sessions", "stop", "start", "own cost", "timeline (s)"]]
    for name, host in ordered[:HOSTS_SHOWN]:
        before = clip(plainly(host.previous, host.target)[0] or "-", VERSION_WIDTH)
        rows.append(
            [
                clip(name, NAME_WIDTH),
                str(host.batch + 1),
                before if alone else _move(host, "-"),
                host.phase,
                f"{host.drain_s:.1f} s",
                f"{host.sessions}{f', {host.killed} killed' if host.killed else ''}",
                f"{host.stop_s:.1f} s",
                f"{host.start_s:.1f} s",
                f"{host.overhead_s:.1f} s" if host.phase == state.DONE else "-",
                timeline(host, record.started_at),
            ]
        )
    idle = () if any(host.phase == state.DONE for host in record.hosts.values()) else ("own cost",)
    lines = table(rows, (*idle, "batch", "stop", "own cost", "timeline (s)", "start"))
    hidden = ordered[HOSTS_SHOWN:]
    if hidden:
        phases = _counted(host.phase for _name, host in hidden)
        lines.append(f"  and {quantity(len(hidden), 'more host')}: {phases}")
    notes = [wrap(f"{name}: {host.note}", "  ", 1)[0] for name, host in ordered if host.note]
    return [*lines, *_some(notes, NOTES_SHOWN, "notes")]


def _counted(words: Iterable[str]) -> str:
    """For instance "30 done, 4 pending"."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in found.items())


def _evidence(record: Record) -> list[str]:
    """What the gates have found: those that did not pass first, then of each that did the last that it said."""
    bad: dict[str, list[Mapping[str, Any]]] = {}
    good: dict[str, list[Mapping[str, Any]]] = {}
    for gate in record.gates:
        if gate.get("verdict") not in ("passed", None):
            bad.setdefault(f"{_verdict(gate)}{_finding([gate])}", []).append(gate)
        elif not _unasked(gate):
            good.setdefault(str(gate["name"]), []).append(gate)
    entries = [
        wrap(f"{_finding(gates)}{f' (said {len(gates)} times)' if gates[1:] else ''}", _verdict(gates[0]), 2)
        for gates in reversed(bad.values())
    ]
    entries += [wrap(_finding(gates), _verdict(gates[-1]), 1) for gates in good.values()]
    lines: list[str] = []
    shown = 0
    for entry in entries:
        if len(lines) + len(entry) > EVIDENCE_LINES:
            break
        lines += entry
        shown += 1
    hidden = [f"    and {len(entries) - shown} more"] if shown < len(entries) else []
    return ["", "  gates", *lines, *hidden] if entries else []


def _verdict(gate: Mapping[str, Any]) -> str:
    """A gate that hosts are observed with gives none unless it fails; then its samples tell whether it held."""
    return f"    {gate.get('verdict') or _observed(gate.get('samples')):<12}  "


def _unasked(gate: Mapping[str, Any]) -> bool:
    """Hosts were observed for a shorter time than lies between two samples, which says nothing about them."""
    samples = gate.get("samples")
    return not gate.get("verdict") and samples is not None and not any(samples.values())


def _observed(samples: Mapping[str, int] | None) -> str:
    if samples is None or samples.get(Phase.SUCCESS.value):
        return "held"
    seen = sum(number for phase, number in samples.items() if phase != Phase.NO_DATA.value)
    return "undecided" if seen else "saw nothing"


def _finding(gates: Sequence[Mapping[str, Any]]) -> str:
    """What the last of some reports of one gate says, and of which hosts they are."""
    hosts = list(dict.fromkeys(str(gate["host"]) for gate in gates if gate.get("host")))
    where = f" on {clip(hosts[0], NAME_WIDTH) if len(hosts) == 1 else quantity(len(hosts), 'host')}" if hosts else ""
    measured = gates[-1].get("measurements") or [{}]
    return f"{gates[-1]['name']}{where}: {gates[-1].get('reason') or measured[-1].get('text', '')}"


# ---------------------------------------------------------------------------------------------------------- the status


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
    left_out = [name for column, name in enumerate(rows[0]) if column not in kept and name in balancers]
    if left_out:
        lines += listing(left_out, "  no room for ", 1)
    if len(ordered) > NODES_SHOWN:
        lines.append(f"  and {quantity(len(ordered) - NODES_SHOWN, 'more host')}")
    silent = [wrap(f"{host}: {node['reason']}", "  ", 1)[0] for host, node in ordered if node["reason"]]
    lines += _some(silent, NOTES_SHOWN, "hosts without an answer")
    reasons = {name: found["servers"][name].get("", {}).get("reason") for name in balancers}
    silent = [wrap(f"{name}: {reason}", "  ", 1)[0] for name, reason in reasons.items() if reason]
    return lines + _some(silent, NOTES_SHOWN, "load balancers without an answer")


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
