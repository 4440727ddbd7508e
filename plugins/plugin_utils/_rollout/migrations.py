# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migrations of a release: each runs once, and nothing goes back or is over while one runs. No Ansible in here."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import (
    Aborted,
    Halt,
    ReleaseFailure,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Migrated

MIGRATION_POLL = 1.0
MIGRATION_SILENCE = 120.0
"""Seconds for which a host that runs a migration may give no answer."""


class Migrations:
    """The migrations of one record."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.settings = run.settings
        self.record = run.record

    def migrate(self, name: str, hosts: Sequence[str]) -> None:
        """Run a step of the release once for all hosts, on the first of them."""
        step = self.record.migrations.get(name)
        if step is None or step.state == "done" or not hosts:
            return
        self.run.checkpoint()
        step.host = step.host if step.host in self.record.hosts else hosts[0]
        step.state = "running"
        self.run.event(f"{name} begins on {step.host}: {step.command}")
        self.run.save()
        begin = self.world.clock()
        answer = self._carry_out(name, step)
        step.output = answer.output
        step.state = "failed" if answer.reason else "done"
        if answer.reason:
            raise ReleaseFailure(name, answer.reason)
        self.run.event(f"{name} is done after {self.world.clock() - begin:.1f} s")
        self.run.save()

    def _carry_out(self, name: str, step: Migration) -> Migrated:
        begin = heard = self.world.clock()
        while True:
            self.run.check_store()
            answer = self.world.migrate(step.host, self.record.version, name, step)
            now = self.world.clock()
            if not answer.running and not answer.lost:
                return answer
            heard = heard if answer.lost else now
            self._tolerate_silence(name, step, answer, now - heard)
            self.world.tell(f"{name} has run for {now - begin:.0f} s", [step.host])
            try:
                self.run.checkpoint()
            except Aborted as word:
                raise self._still_runs(name, step, word) from word
            self.world.sleep(MIGRATION_POLL)

    def refuse_while_migrating(self, failure: ReleaseFailure) -> None:
        """Halt while a migration of an earlier run may still run: nothing goes back then, and nothing is over."""
        for name, step in self.record.migrations.items():
            asked = step.state == "running" and step.host in self.settings.hosts
            if asked and self.world.look_at_migration(step.host, self.record.version, name, step).unknown:
                raise self._still_runs(name, step, failure) from failure

    def _still_runs(self, name: str, step: Migration, failure: ReleaseFailure) -> Halt:
        if isinstance(failure, Aborted):
            self.run.used_up()
        return Halt(
            f"{failure}; but {name} still runs on {step.host}, and nothing goes back meanwhile: run the rollback when "
            "it has ended, or the same command to go on"
        )

    def _tolerate_silence(self, name: str, step: Migration, answer: Migrated, seconds: float) -> None:
        """A host that cannot be asked says nothing of its migration, neither that it failed nor that it ended."""
        if answer.lost and seconds >= MIGRATION_SILENCE:
            raise Halt(
                f"{step.host} has given no answer for {seconds:.0f} s ({answer.lost}), so nobody knows how {name} "
                f"stands there; bring {step.host} back and run the same command again"
            )

    def await_migrations(self) -> None:
        """Before anything goes back, wait until no migration runs any more; none is begun."""
        for name, step in self.record.migrations.items():
            if step.state != "running" or step.host not in self.settings.hosts:
                continue
            heard = self.world.clock()
            while (answer := self.world.look_at_migration(step.host, self.record.version, name, step)).unknown:
                now = self.world.clock()
                heard = heard if answer.lost else now
                self._tolerate_silence(name, step, answer, now - heard)
                self.world.tell(f"{name} still runs; nothing goes back meanwhile", [step.host])
                self.run.check_store()
                self.world.sleep(MIGRATION_POLL)
