# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose turn was broken off: where it is safe they get their traffic back, others stay out."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Steps
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import BalancerTrouble


class PuttingBack:
    """How hosts of one run get their traffic back as they had it before."""

    def __init__(self, run: Run, steps: Steps) -> None:
        self.run = run
        self.world = run.world
        self.record = run.record
        self.steps = steps

    def put_back(self) -> list[str]:
        """Put hosts whose drain came to nothing back into traffic; those of the batch that stay out."""
        record = self.record
        batch = [host for host in self.run.batch if host in record.hosts]
        idle = [host for host in batch if record.phase(host) in (state.DRAINING, state.DRAINED)]
        idle = [host for host in idle if not self._was_left_out(host)]
        if record.direction == state.FORWARD:
            back = state.PREPARED
            idle = [host for host in idle if not self._unproven(host)]
        else:
            back = state.DONE
            idle = [host for host in idle if any(phase == state.DONE for phase, _at in record.hosts[host].history)]
        try:
            failed = self.let_back_in(idle)
        except BalancerTrouble as trouble:
            failed = dict.fromkeys(idle, str(trouble))
        record.enter([host for host in idle if host not in failed], back, self.world.now())
        inside = (back, state.DONE, state.IN_SERVICE, *state.UNTOUCHED, state.ROLLED_BACK)
        return [host for host in batch if record.phase(host) not in inside]

    def settle(self, hosts: Sequence[str]) -> None:
        """Let hosts whose turn was broken off serve with what they run; those that do not come up stay out."""
        record = self.record
        self.put_back()
        drained = [host for host in hosts if record.phase(host) in (state.DRAINING, state.DRAINED)]
        # A run that was killed may have switched hosts and could not say so any more.
        switched = [host for host in drained if record.phase(host) == state.DRAINED and self._runs_target(host)]
        switched = [host for host in switched if not self._was_left_out(host)]
        self.steps.keep_out([host for host in drained if host not in switched])
        record.enter(switched, state.ACTIVATED, self.world.now())
        done = [host for host in hosts if record.phase(host) in (state.ACTIVATED, state.HEALTHY, state.IN_SERVICE)]
        if not done:
            return
        failed = self.let_back_in(done)
        good = [host for host in done if host not in failed]
        for phase in (state.HEALTHY, state.IN_SERVICE, state.DONE):
            record.enter([host for host in good if phase in state.NEXT[record.phase(host)]], phase, self.world.now())
        self.steps.keep_out(list(failed))

    def let_back_in(self, hosts: Sequence[str]) -> dict[str, str]:
        """Put hosts into traffic as they were before; those that are not up where they were."""
        if not hosts:
            return {}
        down = self.steps.enter(hosts, 100)
        new = self.steps.new_trouble(down)
        as_before = {host: found for host, found in down.items() if host not in new}
        if as_before:
            # Where it was not up before either it waits for its check in HAProxy, and not drained.
            where = {name: [host for host in as_before if name in as_before[host]] for name in self.record.balancers}
            self.world.enter({name: some for name, some in where.items() if some}, 100, mine=hosts, wait=False)
            self.run.event(f"{self.steps.old_trouble(as_before)}, as before")
        return new

    def _was_left_out(self, host: str) -> bool:
        """Whether a rollout had left a host out of traffic before this drain: it may run what has failed."""
        one = self.record.hosts[host]
        return one.left_out or any(phase == state.FAILED for phase, _at in one.history)

    def _runs_target(self, host: str) -> bool:
        """Whether a host was seen with its target installed as what it runs, before this run did anything."""
        node = self.run.snapshot.nodes.get(host)
        return node is not None and node.current == self.record.hosts[host].target

    def _unproven(self, host: str) -> bool:
        """Whether an earlier run that was killed may have left the new version on a host that was only drained."""
        kept, node = self.record.hosts[host], self.run.snapshot.nodes.get(host)
        return kept.previous != kept.target and (node is None or node.current == kept.target)
