# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back, whether as asked for or because a release is bad: each host for itself. No Ansible in here."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.closing import Closing
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Halt, Stuck
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.migrations import Migrations
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.putting_back import PuttingBack
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Steps


class GoingBack:
    """The way back of one run."""

    def __init__(
        self, run: Run, steps: Steps, migrations: Migrations, putting_back: PuttingBack, closing: Closing
    ) -> None:
        self.run = run
        self.world = run.world
        self.record = run.record
        self.steps = steps
        self.migrations = migrations
        self.putting_back = putting_back
        self.closing = closing
        self._given_up: set[str] = set()
        """Hosts that could not be brought back."""

    def go_back_to(self, hosts: Sequence[str]) -> None:
        """The course of a rollback that was asked for: each host to its target, for itself."""
        record = self.record
        record.condemned = True
        self.run.check_store()
        found = self.world.prepare({host: record.hosts[host].target for host in hosts}) if hosts else {}
        missing = {host: one.reason for host, one in found.items() if one.reason}
        for host, why in missing.items():
            record.hosts[host].note = why
            self.run.event(f"{host} stays as it is, as its version before cannot be installed: {why}")
        # An earlier run may have left them in the middle of their turn; others need their capacity.
        self.run.batch = [host for host in missing if record.phase(host) in state.UNDER_WAY]
        self.putting_back.settle(self.run.batch)
        ready = [host for host in hosts if host not in missing]
        record.enter([host for host in ready if record.phase(host) == state.PENDING], state.PREPARED, self.world.now())
        batches = [[host for host in record.unfinished(batch) if host in ready] for batch in record.batches]
        self._bring_back([batch for batch in batches if batch])
        self.run.batch = []
        self.end_rollback(aborted=False)

    def end_rollback(self, aborted: bool) -> None:
        """End a rollback that was asked for. When it is aborted, what serves goes on serving, with what it runs."""
        record = self.record
        if aborted:
            # Those of an earlier run included, which has left them in the middle of their turn.
            self.run.batch = [host for host, one in record.hosts.items() if one.phase in state.UNDER_WAY]
            self.putting_back.settle(self.run.batch)
        left = [host for host, one in record.hosts.items() if one.phase != state.DONE]
        if not left:
            return self.closing.finish()
        out = [host for host in left if record.phase(host) == state.FAILED]
        record.reason = record.reason if aborted else f"{', '.join(left)} could not be brought back"
        record.status = state.BROKEN
        record.advice = "Give the same command again for the hosts that are left, or roll out a version that works."
        if out:
            record.advice = f"{', '.join(out)} stays out of traffic; the reasons are above. {record.advice}"
        self.run.event(f"the rollback ends, without {', '.join(left)}")
        return self.run.close()

    def roll_back(self) -> None:
        """Bring every host that was touched back to the version before, newest batch first."""
        record = self.record
        record.direction, record.status = state.BACK, state.ROLLING_BACK
        self.migrations.await_migrations()
        failing = [host for host in self.run.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)]
        self.run.event(f"rolling back {quantity(sum(map(len, record.touched())), 'host')}, newest first")
        if not failing:
            self.run.save()
        # Out of traffic first, as far as enough others are there.
        self.steps.keep_out(failing)
        self.run.changed = True
        self._bring_back(record.touched())
        left = [host for host, one in record.hosts.items() if one.phase == state.FAILED]
        record.status = state.BROKEN if left else state.REVERTED
        if left:
            record.advice = (
                f"{', '.join(left)} could not be brought back and stays out of traffic; the reasons are above."
            )
        else:
            what = "Correct the release and give it a new version."
            if record.configuration_only:
                what = "Correct its configuration in the inventory and roll it out again."
            who = "Every host that still takes part" if record.left else "Every host"
            record.advice = f"{who} runs what it ran before. {self.closing.left_out()}{what}"
        self.run.event(f"rolled back{', but not ' + ', '.join(left) if left else ''}")
        self.run.close()

    def _bring_back(self, batches: Sequence[Sequence[str]]) -> None:
        """Bring batches back, those that are stuck once more after all others; Halt names what is stuck even then."""
        todo = [list(batch) for batch in batches]
        for last in (False, True):
            stuck: list[tuple[list[str], str]] = []
            for batch in todo:
                self.run.checkpoint()
                self.run.batch = batch
                try:
                    self._bring_back_batch(batch, last)
                except Stuck as why:
                    left = [host for host in batch if self._on_its_way(host)]
                    stuck.append((left, str(why)))
                    if not last:
                        self.run.event(f"{', '.join(left)} has to wait, others go on: {why}")
                        self.putting_back.put_back()
            todo = [batch for batch, _why in stuck]
            if not todo:
                return
        self.run.batch = [host for batch in todo for host in batch]
        raise Halt("; ".join(why for _batch, why in stuck))

    def _on_its_way(self, host: str) -> bool:
        """Whether a host still has to go back, and has not failed to."""
        end = state.DONE if self.record.kind == "rollback" else state.ROLLED_BACK
        return self.record.phase(host) != end and host not in self._given_up

    def _bring_back_batch(self, batch: Sequence[str], last: bool) -> None:
        """As many hosts of a batch at once as may be out of traffic.

        When all others are back and too few are there even so, those that were not up before their turn either go, one
        after the other: the estate has then what it had before the rollout.
        """
        todo = list(batch)
        while todo:
            now, why = self.steps.room(todo)
            as_before = [host for host in todo if last and self.steps.takes_nothing(host)][:1]
            if not now and not as_before:
                raise Stuck(
                    f"{', '.join(todo)} cannot be taken out of traffic, as {why}; bring other servers up first, or "
                    "lower it for this run with -e rollout_min_available"
                )
            if now:
                self._revert(now)
            else:
                self.run.event(f"{as_before[0]} goes back although {why}: it was not up before its turn either")
                self._revert(as_before, least=0)
            todo = [host for host in todo if host not in (now or as_before)]

    def _revert(self, batch: Sequence[str], least: int | None = None) -> None:
        """Bring hosts back to what they ran before, each for itself: one that fails does not hold up the others."""
        record = self.record
        wanted = record.kind == "rollback"
        goals = {host: one.target if wanted else one.previous for host, one in record.hosts.items() if host in batch}
        broken = {host: "there is no version before this one to go back to" for host in batch if not goals[host]}
        hosts = [host for host in batch if host not in broken]
        begin = self.world.clock()
        if hosts:
            self.steps.drain(hosts, condemned=record.condemned, least=least)
            found = self.steps.activate({host: str(goals[host]) for host in hosts})
            broken.update({host: one.reason for host, one in found.items() if one.reason})
            good = [host for host in hosts if host not in broken]
            record.enter(good, state.HEALTHY, self.world.now())
            broken.update(self.putting_back.let_back_in(good))
        self._given_up.update(broken)
        self.steps.keep_out(list(broken))
        for host, why in broken.items():
            record.hosts[host].note = why
            self.run.event(f"{host} could not be brought back: {why}")
        back = [host for host in hosts if host not in broken]
        for phase in (state.IN_SERVICE, state.DONE) if wanted else (state.ROLLED_BACK,):
            record.enter(back, phase, self.world.now())
        for host in back:
            record.hosts[host].turn_s = self.world.clock() - begin
            now, *_others = plainly(goals[host], record.hosts[host].previous, record.hosts[host].target)
            self.world.tell(f"back in service with {now}", [host])
