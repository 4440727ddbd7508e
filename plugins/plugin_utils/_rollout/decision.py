# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is asked for, what is on record and what is seen to what a run does. Touches nothing, no Ansible in here.

``decide`` is the only place where that is decided: a rollout, a rollback and the check mode of both ask it, so a plan
is what the run would do at that moment, its refusals included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.adopt import adopt
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import begin_rollback, begin_rollout
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import History, closed_by
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.record_check import read_record, usable
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.refusals import refuse_irreversible
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.target import is_same, unfinished
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import StoreView
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


@dataclass(frozen=True)
class Decision:
    """What a run does with what it has found."""

    record: Record
    """The record that it works on; one that is new and has no hosts means that there is nothing to do."""
    fresh: bool = True
    """Whether the record is new, and not an unfinished one that is resumed."""
    superseded: Record | None = None
    """The record whose way back is closed and that a new one takes the place of, closed."""
    told: Sequence[str] = ()
    """Sentences about what is otherwise now than when the record was written."""

    @property
    def nothing(self) -> bool:
        """Whether every host is as it was asked for."""
        return self.fresh and not self.record.hosts


def decide(opened: StoreView, snapshot: Snapshot, settings: Settings, blank: Record) -> Decision:
    """What a run of the kind of ``blank``, a new record without hosts, does; PlanError is its refusal."""
    history, told = usable(opened.history, settings.service.name)
    decision = _decided(opened.record, history, snapshot, settings, blank)
    return replace(decision, told=[*told, *decision.told])


def _decided(
    opened: Mapping[str, Any] | None, history: History, snapshot: Snapshot, settings: Settings, blank: Record
) -> Decision:
    if opened is None:
        begin = begin_rollback if blank.kind == "rollback" else begin_rollout
        return Decision(begin(blank, settings, snapshot, history))
    found = read_record(opened, settings.service.name)
    if blank.kind == "rollback":
        return _revert(found, snapshot, settings, history, blank.by)
    if is_same(found, settings, snapshot):
        return _resume(found, snapshot, settings, history)
    if not found.replaceable:
        raise unfinished(found, settings, snapshot)
    return _supersede(found, snapshot, settings, history, blank)


def _revert(found: Record, snapshot: Snapshot, settings: Settings, history: History, by: str) -> Decision:
    if found.frozen_by and not found.replaceable:
        raise PlanError(
            f"The migration {closed_by(found)} cannot be undone and may have run, so {found.id} cannot be reverted; "
            f"run the rollout to {found.version} again to finish it."
        )
    refuse_irreversible(found)
    if found.kind == "rollout":
        found.direction, found.condemned = state.BACK, True
        found.reason = found.reason or f"reverted by {by}"
    return _resume(found, snapshot, settings, history)


def _resume(found: Record, snapshot: Snapshot, settings: Settings, history: History) -> Decision:
    found.resumed += 1
    found.advice = ""
    if found.direction == state.FORWARD and found.kind == "rollout":
        found.reason = ""
    return Decision(found, fresh=False, told=adopt(found, settings, snapshot, history))


def _supersede(found: Record, snapshot: Snapshot, settings: Settings, history: History, blank: Record) -> Decision:
    found.status, found.ended_at = state.SUPERSEDED, blank.started_at
    found.event(blank.started_at, f"superseded by version {settings.version}")
    # A later rollout must not take them for hosts that somebody else has taken out.
    found.enter([host for host, one in found.hosts.items() if one.phase in state.OUT], state.FAILED, blank.started_at)
    record = begin_rollout(blank, settings, snapshot, [found.to_dict(), *history])
    return Decision(record, superseded=found)
