# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine of a rollout: what to do next, from the record and from what is seen. No Ansible in here.

Everything outside is a ``World``: the store, the load balancers, the nodes, the clock. So every failure of that world,
at every step, is a unit test. Three things can end a rollout early:

- evidence against the release (a gate, an activation, a migration, a person who aborts): everything that was touched
  goes back to the version that last proved itself, newest first; or, when a migration has closed the way back, the
  rollout freezes;
- trouble of the platform (store, load balancer, capacity, a drain that takes too long, a defect of this very program):
  it halts where it stands, puts back what is safe to put back, and the same command goes on later;
- somebody else holds the lock now: it stops and touches nothing more.

On the way back, whether by itself or as asked for, each host goes for itself: one that fails or is stuck holds up no
other, and none that serves is taken out where too few would be left.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.course import Course
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.decision import Decision, decide
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import StoreView, World


class Engine:
    """One run of a rollout or of a rollback."""

    def __init__(self, world: World, settings: Settings, new_id: Callable[[float], str], by: str) -> None:
        self.world = world
        self.settings = settings
        self.by = by
        self.snapshot = Snapshot({}, {})
        """What was seen before anything was done."""
        self._new_id = new_id
        self.run: Run | None = None
        """What is carried out, as soon as that is decided."""

    @property
    def changed(self) -> bool:
        """Whether anything may have been changed on hosts or load balancers."""
        return self.run is not None and self.run.changed

    @property
    def defect(self) -> str:
        """The traceback of an exception that nobody expected."""
        return self.run.defect if self.run is not None else ""

    def roll_out(self) -> Record:
        """Bring all hosts to the version asked for, or back.

        PlanError, BalancerTrouble or StoreLost leave everything as it was.
        """
        return self._carry_out("rollout")

    def roll_back(self) -> Record:
        """Revert the unfinished rollout, or the release of the last one that was done. Raises as ``roll_out`` does."""
        return self._carry_out("rollback")

    def plan(self, opened: StoreView, kind: str) -> Decision:
        """What a run of a kind would do now; raises what it would raise, and changes nothing."""
        self.snapshot = self.world.observe()
        return decide(opened, self.snapshot, self.settings, self.blank(kind))

    def blank(self, kind: str) -> Record:
        """A new record without hosts."""
        now, settings = self.world.now(), self.settings
        return Record(
            id=self._new_id(now),
            service=settings.service.name,
            version=settings.version if kind == "rollout" else "",
            by=self.by,
            kind=kind,
            started_at=now,
            checksum=settings.checksum,
            artifact=settings.artifact,
            balancers=list(settings.balancers),
        )

    def _carry_out(self, kind: str) -> Record:
        decision = self._before_anything(self.world.open(), kind)
        record = decision.record
        run = self.run = Run(self.world, self.settings, record, self.snapshot)
        if decision.nothing:
            self.world.release()
            record.status, record.ended_at = state.SUCCEEDED, self.world.now()
            self.world.tell(f"every host of {record.service} runs {record.version} and is in service already")
            return record
        again = f"is resumed, run {record.resumed + 1} (it was {record.status})"
        run.event(f"{record.kind} {record.id} {'begins' if decision.fresh else again}, by {self.by}")
        for text in decision.told:
            run.event(text)
        Course(run).take()
        return record

    def _before_anything(self, opened: StoreView, kind: str) -> Decision:
        """Decide; whatever speaks against it lets go of the lock. What a new record replaces is closed only then."""
        try:
            decision = self.plan(opened, kind)
            if decision.superseded is not None and not decision.nothing:
                self.world.save(decision.superseded)
            return decision
        except BaseException:
            self.world.release()
            raise
