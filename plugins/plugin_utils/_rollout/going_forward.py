# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way forward: one batch after the other from its old version to the new one. No Ansible in here."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import READY, TRAFFIC
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.closing import Closing
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Halt, ReleaseFailure
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.migrations import Migrations
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Steps
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.watch import Watch
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Activated
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_migrations


class GoingForward:
    """The way forward of one run."""

    def __init__(self, run: Run, steps: Steps, migrations: Migrations, closing: Closing) -> None:
        self.run = run
        self.world = run.world
        self.settings = run.settings
        self.record = run.record
        self.steps = steps
        self.migrations = migrations
        self.watch = Watch(run)
        self.closing = closing

    def roll_out(self, todo: Sequence[str]) -> None:
        """Bring hosts to what the record has for them, batch by batch, and be done."""
        record = self.record
        self._prepare(todo)
        self.migrations.migrate("expand", todo)
        for batch in record.batches:
            self.run.batch = record.unfinished(batch)
            if self.run.batch:
                self.run.checkpoint()
                self._turn(self.run.batch)
        self.run.batch = []
        self.migrations.migrate("contract", list(record.hosts))
        self.closing.finish()

    def _prepare(self, hosts: Sequence[str]) -> None:
        """Install the release everywhere before any traffic moves."""
        record = self.record
        self.run.check_store()
        found = self.world.prepare({host: record.hosts[host].target for host in hosts}) if hosts else {}
        broken = {host: one.reason for host, one in found.items() if one.reason}
        if broken:
            raise ReleaseFailure("prepare", "; ".join(f"{host}: {why}" for host, why in broken.items()))
        record.enter([host for host in hosts if record.phase(host) == state.PENDING], state.PREPARED, self.world.now())
        if hosts:
            self.world.tell(f"{record.version} is installed", hosts)
        if record.configuration_only:
            return
        carried = self.settings.migrations or next((one.manifest for one in found.values()), {}).get("migrations") or {}
        try:
            checked = check_migrations(carried, "The release's mesops.json: migrations")
        except PlanError as why:
            raise ReleaseFailure("prepare", str(why)) from why
        if found or self.settings.migrations:
            record.bring(checked)

    def _turn(self, hosts: Sequence[str]) -> None:
        """Bring one batch from its old version to the new one."""
        record = self.record
        begin = self.world.clock()
        for host in hosts:
            record.hosts[host].observed_s = 0.0
        self.run.share = 0
        self.steps.drain(hosts)
        started = self._activate(hosts)
        self.watch.pass_gates(READY, hosts, started)
        record.enter(hosts, state.HEALTHY, self.world.now())
        for number, percent in enumerate(record.weights):
            self._let_in(hosts, percent)
            # Judged at each share of traffic; what the last share shows comes out while the hosts are observed.
            if number < len(record.weights) - 1 or number == 0:
                self.watch.pass_gates(TRAFFIC, hosts, {})
        self.watch.soak(hosts)
        record.enter(hosts, state.DONE, self.world.now())
        for host in hosts:
            record.hosts[host].turn_s = self.world.clock() - begin
        self.world.tell(f"done in {self.world.clock() - begin:.1f} s", hosts)

    def _activate(self, hosts: Sequence[str]) -> dict[str, Activated]:
        record = self.record
        targets = {host: record.hosts[host].target for host in hosts}
        canary = all(record.hosts[host].batch == 0 for host in hosts)
        found = self.steps.activate(targets, stop=self.settings.prove_stop and canary)
        broken = [(host, one) for host, one in found.items() if one.reason]
        if broken:
            raise ReleaseFailure(broken[0][1].gate, "; ".join(f"{host}: {one.reason}" for host, one in broken))
        for host in hosts:
            now, _before = plainly(targets[host], record.hosts[host].previous)
            self.world.tell(f"runs {now}, ready {found[host].start_s:.1f} s after its start", [host])
        return found

    def _let_in(self, hosts: Sequence[str], percent: int) -> None:
        """Put a batch into traffic. What was not up at a load balancer before is no evidence against the release."""
        down = self.steps.enter(hosts, percent, save=True)
        new = self.steps.new_trouble(down)
        if new:
            trouble = "; ".join(f"{host} {why}" for host, why in new.items())
            self.watch.ask_hosts(list(new), trouble)
            raise ReleaseFailure("balancers", trouble)
        if down:
            raise Halt(
                f"{self.steps.old_trouble(down)}, as before the rollout, so that is not laid to the release; bring it "
                "up there, or exclude the host with rollout_exclude"
            )
        self.run.share = percent
        self.record.enter(hosts, state.IN_SERVICE, self.world.now())
        self.world.tell(f"in service with {percent} % of the weight", hosts)
