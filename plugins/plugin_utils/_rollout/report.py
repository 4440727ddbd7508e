# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a rollout after it: what became of it, on one screen.

Pure text from a record, no Ansible in here. It fits 110 columns and 45 lines, however many hosts there are: what is cut
off is counted, and what went wrong comes first. The whole is in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.layout import (
    NAME_WIDTH,
    NOTES_SHOWN,
    VERSION_WIDTH,
    clip,
    duration,
    listing,
    some,
    table,
    wrap,
)
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
HOSTS_SHOWN = 16
EVIDENCE_LINES = 9


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
    lines += changed_settings(record)
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


def changed_settings(record: Record) -> list[str]:
    """The settings that a changed configuration has, by their names."""
    lines = [line for one in changes_of(record) for line in wrap(one, "  settings    changed: ", 2)]
    return some(lines, NOTES_SHOWN, "lines")


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
                before if alone else move(host, "-"),
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
    return [*lines, *some(notes, NOTES_SHOWN, "notes")]


def move(host: HostRecord, nothing: str, back: bool = False) -> str:
    """From what a host goes to what, such as "1.3.0 -> 1.4.0"."""
    before, after = plainly(host.previous, host.target)
    ways = [clip(before or nothing, VERSION_WIDTH), clip(str(after), VERSION_WIDTH)]
    return " -> ".join(reversed(ways) if back else ways)


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
