# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the first change of a run to its end: forward or back, and what becomes of whatever breaks that off."""

from __future__ import annotations

import traceback

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.closing import Closing
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.going_back import GoingBack
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.going_forward import GoingForward
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import (
    Aborted,
    Halt,
    ReleaseFailure,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.migrations import Migrations
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.putting_back import PuttingBack
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Steps
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import BalancerTrouble, LockLost, StoreLost
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


class Course:
    """The course of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = run.record
        steps = Steps(run)
        putting_back = PuttingBack(run, steps)
        self.migrations = Migrations(run)
        self.closing = Closing(run, steps, putting_back)
        self.forward = GoingForward(run, steps, self.migrations, self.closing)
        self.back = GoingBack(run, steps, self.migrations, putting_back, self.closing)

    def take(self) -> None:
        """Go the way that the record says to an end, whatever ends it."""
        try:
            try:
                if self.record.direction == state.BACK:
                    self.back.roll_back()
                else:
                    self._begin()
            except ReleaseFailure as failure:
                self._fail(failure)
        except LockLost as trouble:
            self.closing.stop(trouble)
        except (Halt, BalancerTrouble, StoreLost, PlanError) as trouble:
            self.closing.halt(str(trouble))
        except Exception as error:
            # A defect, not a finding about the release: what is on record is kept, and the same command goes on.
            self.run.defect = traceback.format_exc()
            self.closing.halt(f"an error that nobody expected, {type(error).__name__}: {error}")

    def _begin(self) -> None:
        record = self.record
        record.status = state.RUNNING
        self.run.save()
        self.run.changed = True
        # What a person has asked for while nobody held the lock.
        self.run.checkpoint()
        todo = [host for batch in record.batches for host in record.unfinished(batch)]
        if record.kind == "rollback":
            self.back.go_back_to(todo)
        else:
            self.forward.roll_out(todo)

    def _fail(self, failure: ReleaseFailure) -> None:
        record = self.record
        self.migrations.refuse_while_migrating(failure)
        record.reason = str(failure)
        record.condemned = record.condemned or not isinstance(failure, Aborted)
        self.run.event(record.reason)
        if isinstance(failure, Aborted):
            self._obey_abort()
        if record.kind == "rollback":
            self.back.end_rollback(aborted=True)
        elif not record.touched():
            record.status = state.BROKEN
            left = self.closing.left_out()
            record.advice = f"No host was taken out of traffic. {left}Correct what is named above and roll out again."
            self.run.close()
        elif record.frozen_by:
            self.closing.freeze()
        else:
            self.back.roll_back()

    def _obey_abort(self) -> None:
        """Use the flag up, once it is on record that the rollout goes back: it must not be lost in between."""
        record = self.record
        if record.kind == "rollout" and record.touched() and not record.frozen_by:
            record.direction, record.status = state.BACK, state.ROLLING_BACK
            self.run.save()
        self.run.used_up()
