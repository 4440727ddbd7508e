# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a rollout before it: the plan, on one screen. Pure text from a record, no Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.layout import (
    NAME_WIDTH,
    NOTES_SHOWN,
    WIDTH,
    clip,
    listing,
    some,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.report import changed_settings, move
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import is_reversible

BATCHES_SHOWN = 6
GATES_SHOWN = 7
FACTS_SHOWN = 7


def gate_line(spec: GateSpec) -> str:
    """One gate in a line."""
    tail = f"; {spec.count} good, every {spec.interval:g} s, within {spec.timeout:g} s"
    head = f"  gate        {spec.name} ({spec.stage}): "
    return clip(f"{head}{clip(probes.describe(spec.probe), max(20, WIDTH - len(head) - len(tail)))}{tail}")


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
        undo = "can be undone" if is_reversible(name, step) else "cannot be undone: then failure freezes"
        lines.append(f"  {name:<11} {clip(str(step.get('command')), WIDTH - 18 - len(undo))} ({undo})")
    lines += some([gate_line(spec) for spec in settings.gates.values()], GATES_SHOWN, "gates")
    lines += changed_settings(record)
    if record.excluded:
        lines += listing(record.excluded, "  excluded    they keep their version: ")
    kept = [
        listing(hosts, f"  kept out    at {clip(balancer, NAME_WIDTH)}, taken out by somebody else and left so: ", 1)[0]
        for balancer, hosts in record.kept_out.items()
    ]
    lines += some(kept, NOTES_SHOWN, "load balancers")
    lines += some([clip(f"  {fact}") for fact in facts], FACTS_SHOWN, "samples")
    return "\n".join(lines)


def decision_lines(decision: Decision) -> list[str]:
    """What a plan says of the record that it resumes or takes the place of."""
    record = decision.record
    lines = []
    if decision.superseded is not None:
        old = decision.superseded
        lines.append(f"supersedes  {old.id} of {old.version}, which is frozen by {old.frozen_by}")
    if not decision.fresh:
        way = "would go back" if record.direction == state.BACK else "would be resumed"
        lines.append(f"unfinished  {record.id} is {record.status} and {way}")
    return lines + [f"changed     {text}" for text in decision.told]


def _batches(record: Record) -> list[str]:
    back = record.direction == state.BACK
    batches = record.touched() if back else record.batches
    lines: list[str] = []
    for number, batch in enumerate(batches[:BATCHES_SHOWN], 1):
        moves = [f"{clip(host, NAME_WIDTH)} {move(record.hosts[host], 'nothing', back)}" for host in batch]
        lines += listing(moves, f"  batch {number}: ")
    rest = batches[BATCHES_SHOWN:]
    if rest:
        lines.append(
            f"  and {quantity(len(rest), 'more batch', 'more batches')} with {quantity(sum(map(len, rest)), 'host')}"
        )
    return lines
