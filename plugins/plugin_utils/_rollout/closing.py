# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run ends: done, halted, frozen or stopped, and with which advice for a person. No Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Halt
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.putting_back import PuttingBack
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Steps
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import LockLost, StoreLost


class Closing:
    """The ends of one run."""

    def __init__(self, run: Run, steps: Steps, putting_back: PuttingBack) -> None:
        self.run = run
        self.world = run.world
        self.record = run.record
        self.steps = steps
        self.putting_back = putting_back

    def finish(self) -> None:
        """Leave every host wholly in service, whoever changed its weight meanwhile, and old releases behind."""
        record = self.record
        hosts = list(record.hosts)
        self.steps.look_again(hosts)
        failed = self.steps.new_trouble(self.steps.enter(hosts, 100))
        if failed and record.kind == "rollback":
            return self._end_with_down(failed)
        if failed:
            raise Halt("; ".join(f"{host} {why}" for host, why in failed.items()))
        if record.kind == "rollout":
            self.world.prune(hosts, {record.version, *(one.previous for one in record.hosts.values() if one.previous)})
        record.status = state.SUCCEEDED
        left = self.left_out() if record.kind == "rollout" else ""
        record.advice = f"{left}Run the same command again with it to finish." if left else ""
        self.run.event(f"{record.kind} {record.id} is done")
        self.run.close()

    def _end_with_down(self, failed: Mapping[str, str]) -> None:
        """End a rollback whose hosts are back, and some of them down again: nothing is left that it could do for them.

        They stay in the hands of the load balancers' checks, and the next rollout is not held up.
        """
        record = self.record
        for host, why in failed.items():
            record.hosts[host].note = why
        record.reason = "; ".join(f"{host} {why}" for host, why in failed.items())
        record.status = state.BROKEN
        record.advice = (
            f"Every host runs what it ran before, but {', '.join(failed)} is down with it. Mend what keeps it down, "
            "then it gets traffic by itself; or roll out a version that works."
        )
        self.run.event(f"the rollback ends, but {record.reason}")
        self.run.close()

    def left_out(self) -> str:
        """Sentences about hosts that are not wholly in traffic, and that this rollout has not touched or has left."""
        record = self.record
        untouched = [host for host, one in record.hosts.items() if one.phase in state.UNTOUCHED]
        out = [host for host in untouched if record.hosts[host].left_out]
        part = [host for host in untouched if host not in out and self._found_partly_in(host)]
        left = [host for host, one in record.left.items() if one.phase not in (*state.UNTOUCHED, state.ROLLED_BACK)]
        said = [f"{', '.join(out)} stays out of traffic, as an earlier rollout has left it. "] if out else []
        said += [f"{', '.join(part)} takes only a part of its share, as it was found. "] if part else []
        said += [f"{', '.join(left)} has left this rollout in the middle of it and stays as it is. "] if left else []
        return "".join(said)

    def _found_partly_in(self, host: str) -> bool:
        seen = [found[host] for found in self.run.snapshot.servers.values() if host in found]
        return any(server.admin == "ready" and server.percent < 100 for server in seen)

    def freeze(self) -> None:
        """The way back is closed: keep what is not healthy out of traffic, and let a person decide."""
        record = self.record
        self.putting_back.put_back()
        failing = [host for host in self.run.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)]
        self.steps.keep_out(failing)
        record.status = state.FROZEN
        record.advice = (
            f"The migration {record.frozen_by} cannot be undone, so nothing is rolled back and traffic stays on the "
            "healthy hosts. Run the same command to try again, or roll out a corrected version."
        )
        self.run.event("frozen")
        self.run.save()
        self.world.release()

    def halt(self, reason: str) -> None:
        """Stand where it is safe, for trouble that says nothing about the release; the same command goes on."""
        record = self.record
        record.reason, record.ended_at = reason, 0.0
        self.run.event(f"halted: {reason}")
        try:
            left = self._rescue()
        except LockLost as trouble:
            return self.stop(trouble)
        record.status = state.HALTED if record.direction == state.FORWARD else state.ROLLING_BACK
        record.advice = f"Run the same command again to go on{self._other_way_on()}"
        part = [host for host in self._partly_in() if host not in left]
        if part:
            record.advice = f"{', '.join(part)} takes only a part of its share until then. {record.advice}"
        if left:
            record.advice = f"{', '.join(left)} stays out of traffic until then. {record.advice}"
        try:
            self.run.save()
        except (StoreLost, LockLost) as trouble:
            self.run.event(f"the record could not be written: {trouble}")
        self.world.release()
        return None

    def stop(self, trouble: LockLost) -> None:
        """Touch nothing more: somebody else has the lock."""
        self.record.status, self.record.reason = state.HALTED, str(trouble)
        self.record.advice = "Look at who took the lock: ansible-playbook mesops.platform.status"
        self.run.event(f"stopped, and touches nothing more: {trouble}")

    def _other_way_on(self) -> str:
        """What can be done with a rollout that has halted, other than to go on."""
        record = self.record
        if record.kind == "rollback":
            return "."
        if record.replaceable:
            return f", or roll out a corrected version: the migration {record.frozen_by} cannot be undone."
        if record.frozen_by:
            return f"; there is no way back, as the migration {record.frozen_by} cannot be undone."
        return f", or revert: ansible-playbook mesops.platform.rollback -e rollout_service={record.service}"

    def _partly_in(self) -> list[str]:
        """Hosts that have not been given their whole share, those that an earlier run has left so included."""
        record = self.record
        inside = [host for host, one in record.hosts.items() if one.phase == state.IN_SERVICE]
        return [host for host in inside if (self.run.share if host in self.run.batch else min(record.weights)) < 100]

    def _rescue(self) -> list[str]:
        """Put back what is safe to put back, whatever else is out of order; the hosts that stay out."""
        # The first look at the store may tell of a write that has failed before, which is no reason to leave it.
        for _attempt in range(2):
            try:
                return self.putting_back.put_back()
            except LockLost:
                raise
            except Exception as error:
                self.run.event(f"nothing could be put back: {error}")
        return [host for host in self.run.batch if host in self.record.hosts]
