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

import traceback
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import plainly
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import READY, TRAFFIC
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import Decision, decide
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.steps import Aborted, Steps, Stuck
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.watch import STAGES_OF, ReleaseFailure, Watch
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import (
    Activated,
    BalancerTrouble,
    Halt,
    LockLost,
    Opened,
    Sight,
    StoreLost,
    World,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_migrations


class Engine:
    """One run of a rollout or of a rollback."""

    record: Record
    steps: Steps
    watch: Watch

    def __init__(self, world: World, settings: Settings, new_id: Callable[[float], str], by: str) -> None:
        self.world = world
        self.settings = settings
        self.by = by
        self.sight = Sight({}, {})
        """What was seen before anything was done."""
        self.batch: list[str] = []
        """The hosts whose turn it is."""
        self.share = 0
        """The part of its weight, in percent, that the batch has in traffic."""
        self.changed = False
        self.defect = ""
        """The traceback of an exception that nobody expected."""
        self._new_id = new_id
        self._given_up: set[str] = set()
        """Hosts that could not be brought back."""

    # --------------------------------------------------------------------------------------------- the ways to begin

    def roll_out(self) -> Record:
        """Bring all hosts to the version asked for, or back.

        PlanError, BalancerTrouble or StoreLost leave everything as it was.
        """
        return self._run("rollout")

    def roll_back(self) -> Record:
        """Revert the unfinished rollout, or the release of the last one that was done. Raises as ``roll_out`` does."""
        return self._run("rollback")

    def plan(self, opened: Opened, kind: str) -> Decision:
        """What a run of a kind would do now; raises what it would raise, and changes nothing."""
        self.sight = self.world.observe()
        return decide(opened, self.sight, self.settings, self.blank(kind))

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

    def _run(self, kind: str) -> Record:
        decision = self._before_anything(self.world.open(), kind)
        record = self.record = decision.record
        self.steps = Steps(self.world, self.settings, record)
        self.watch = Watch(
            self.world, self.settings, record, self.steps.promoted, self.steps.pause, sight=lambda: self.sight
        )
        if decision.nothing:
            self.world.release()
            record.status, record.ended_at = state.SUCCEEDED, self.world.now()
            self.world.tell(f"every host of {record.service} runs {record.version} and is in service already")
            return record
        again = f"is taken up again, {record.resumed + 1}. run (it was {record.status})"
        self.steps.event(f"{record.kind} {record.id} {'begins' if decision.fresh else again}, by {self.by}")
        for text in decision.told:
            self.steps.event(text)
        return self._guarded(self._roll_back if record.direction == state.BACK else self._go_forward)

    def _before_anything(self, opened: Opened, kind: str) -> Decision:
        """Decide; whatever speaks against it lets go of the lock. What a new record replaces is closed only then."""
        try:
            decision = self.plan(opened, kind)
            if decision.superseded is not None and not decision.nothing:
                self.world.save(decision.superseded)
            return decision
        except BaseException:
            self.world.release()
            raise

    # ---------------------------------------------------------------------------------------------------- how it ends

    def _guarded(self, course: Callable[[], None]) -> Record:
        """Run a course to its end, whatever ends it."""
        try:
            try:
                course()
            except ReleaseFailure as failure:
                self._fail(failure)
        except LockLost as trouble:
            self._stop(trouble)
        except (Halt, BalancerTrouble, StoreLost, PlanError) as trouble:
            self._halt(str(trouble))
        except Exception as error:
            # A defect, not a finding about the release: what is on record is kept, and the same command goes on.
            self.defect = traceback.format_exc()
            self._halt(f"an error that nobody expected, {type(error).__name__}: {error}")
        return self.record

    def _stop(self, trouble: LockLost) -> None:
        self.record.status, self.record.reason = state.HALTED, str(trouble)
        self.record.advice = "Look at who took the lock: ansible-playbook mesops.platform.status"
        self.steps.event(f"stopped, and touches nothing more: {trouble}")

    def _fail(self, failure: ReleaseFailure) -> None:
        record = self.record
        self.steps.refuse_while_migrating(failure)
        record.reason = str(failure)
        record.condemned = record.condemned or not isinstance(failure, Aborted)
        self.steps.event(record.reason)
        if isinstance(failure, Aborted):
            self._obey_abort()
        if record.kind == "rollback":
            self._end_rollback(aborted=True)
        elif not record.touched():
            record.status = state.BROKEN
            record.advice = (
                f"No host was taken out of traffic. {self._left_out()}Correct what is named above and roll out again."
            )
            self.steps.close()
        elif record.frozen_by:
            self._freeze()
        else:
            self._roll_back()

    def _obey_abort(self) -> None:
        """Use the flag up, once it is on record that the rollout goes back: it must not be lost in between."""
        record = self.record
        if record.kind == "rollout" and record.touched() and not record.frozen_by:
            record.direction, record.status = state.BACK, state.ROLLING_BACK
            self.steps.save()
        self.steps.used_up()

    def _freeze(self) -> None:
        """The way back is closed: keep what is not healthy out of traffic, and let a person decide."""
        record = self.record
        self._put_back()
        failing = [host for host in self.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)]
        self.steps.keep_out(failing)
        record.status = state.FROZEN
        record.advice = (
            f"The migration {record.frozen_by} cannot be undone, so nothing is rolled back and traffic stays on the "
            "healthy hosts. Run the same command to try again, or roll out a corrected version."
        )
        self.steps.event("frozen")
        self.steps.save()
        self.world.release()

    def _halt(self, reason: str) -> None:
        record = self.record
        record.reason, record.ended_at = reason, 0.0
        self.steps.event(f"halted: {reason}")
        try:
            left = self._rescue()
        except LockLost as trouble:
            return self._stop(trouble)
        record.status = state.HALTED if record.direction == state.FORWARD else state.ROLLING_BACK
        record.advice = f"Run the same command again to go on{self._other_way_on()}"
        part = [host for host in self._partly_in() if host not in left]
        if part:
            record.advice = f"{', '.join(part)} takes only a part of its share until then. {record.advice}"
        if left:
            record.advice = f"{', '.join(left)} stays out of traffic until then. {record.advice}"
        try:
            self.steps.save()
        except (StoreLost, LockLost) as trouble:
            self.steps.event(f"the record could not be written: {trouble}")
        self.world.release()
        return None

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
        return [host for host in inside if (self.share if host in self.batch else min(record.weights)) < 100]

    def _rescue(self) -> list[str]:
        """Put back what is safe to put back, whatever else is out of order; the hosts that stay out."""
        # The first look at the store may tell of a write that has failed before, which is no reason to leave it.
        for _attempt in range(2):
            try:
                return self._put_back()
            except LockLost:
                raise
            except Exception as error:
                self.steps.event(f"nothing could be put back: {error}")
        return [host for host in self.batch if host in self.record.hosts]

    def _put_back(self) -> list[str]:
        """Put hosts whose drain came to nothing back into traffic; those of the batch that stay out."""
        record = self.record
        batch = [host for host in self.batch if host in record.hosts]
        idle = [host for host in batch if record.phase(host) in (state.DRAINING, state.DRAINED)]
        idle = [host for host in idle if not self._was_left_out(host)]
        if record.direction == state.FORWARD:
            back = state.PREPARED
            idle = [host for host in idle if not self._unproven(host)]
        else:
            back = state.DONE
            idle = [host for host in idle if any(phase == state.DONE for phase, _at in record.hosts[host].history)]
        try:
            failed = self._let_back_in(idle)
        except BalancerTrouble as trouble:
            failed = dict.fromkeys(idle, str(trouble))
        record.enter([host for host in idle if host not in failed], back, self.world.now())
        inside = (back, state.DONE, state.IN_SERVICE, *state.UNTOUCHED, state.ROLLED_BACK)
        return [host for host in batch if record.phase(host) not in inside]

    def _was_left_out(self, host: str) -> bool:
        """Whether a rollout had left a host out of traffic before this drain: it may run what has failed."""
        one = self.record.hosts[host]
        return one.left_out or any(phase == state.FAILED for phase, _at in one.history)

    def _runs_target(self, host: str) -> bool:
        """Whether a host was seen with its target installed as what it runs, before this run did anything."""
        node = self.sight.nodes.get(host)
        return node is not None and node.current == self.record.hosts[host].target

    def _unproven(self, host: str) -> bool:
        """Whether an earlier run that was killed may have left the new version on a host that was only drained."""
        kept, node = self.record.hosts[host], self.sight.nodes.get(host)
        return kept.previous != kept.target and (node is None or node.current == kept.target)

    # -------------------------------------------------------------------------------------------------------- forward

    def _go_forward(self) -> None:
        record = self.record
        record.status = state.RUNNING
        self.steps.save()
        self.changed = True
        # What a person has asked for while nobody held the lock.
        self.steps.checkpoint()
        todo = [host for batch in record.batches for host in record.unfinished(batch)]
        if record.kind == "rollback":
            return self._go_back_to(todo)
        self._prepare(todo)
        self.steps.migrate("expand", todo)
        for batch in record.batches:
            self.batch = record.unfinished(batch)
            if self.batch:
                self.steps.checkpoint()
                self._turn(self.batch)
        self.batch = []
        self.steps.migrate("contract", list(record.hosts))
        return self._finish()

    def _prepare(self, hosts: Sequence[str]) -> None:
        """Install the release everywhere before any traffic moves."""
        record = self.record
        self.steps.check_store()
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
        self.share = 0
        self.steps.drain(hosts)
        started = self._activate(hosts)
        self.watch.pass_gates(READY, hosts, started)
        record.enter(hosts, state.HEALTHY, self.world.now())
        for number, percent in enumerate(record.weights):
            self._let_in(hosts, percent)
            # Judged at each share of traffic; what the last share shows comes out while the hosts are observed.
            if number < len(record.weights) - 1 or number == 0:
                self.watch.pass_gates(TRAFFIC, hosts, {})
        self.watch.soak(hosts, STAGES_OF[record.kind])
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
                "up there, or leave the host out with rollout_exclude"
            )
        self.share = percent
        self.record.enter(hosts, state.IN_SERVICE, self.world.now())
        self.world.tell(f"in service with {percent} % of the weight", hosts)

    def _finish(self) -> None:
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
        left = self._left_out() if record.kind == "rollout" else ""
        record.advice = f"{left}Run the same command again with it to finish." if left else ""
        self.steps.event(f"{record.kind} {record.id} is done")
        self.steps.close()

    # ------------------------------------------------------------------------------------------------------ going back

    def _go_back_to(self, hosts: Sequence[str]) -> None:
        """The course of a rollback that was asked for: each host to its target, for itself."""
        record = self.record
        record.condemned = True
        self.steps.check_store()
        found = self.world.prepare({host: record.hosts[host].target for host in hosts}) if hosts else {}
        missing = {host: one.reason for host, one in found.items() if one.reason}
        for host, why in missing.items():
            record.hosts[host].note = why
            self.steps.event(f"{host} stays as it is, as its version before cannot be installed: {why}")
        # An earlier run may have left them in the middle of their turn; others need their capacity.
        self.batch = [host for host in missing if record.phase(host) in state.UNDER_WAY]
        self._settle(self.batch)
        ready = [host for host in hosts if host not in missing]
        record.enter([host for host in ready if record.phase(host) == state.PENDING], state.PREPARED, self.world.now())
        batches = [[host for host in record.unfinished(batch) if host in ready] for batch in record.batches]
        self._bring_back([batch for batch in batches if batch])
        self.batch = []
        self._end_rollback(aborted=False)

    def _end_rollback(self, aborted: bool) -> None:
        """End a rollback that was asked for. When it is aborted, what serves goes on serving, with what it runs."""
        record = self.record
        if aborted:
            # Those of an earlier run included, which has left them in the middle of their turn.
            self.batch = [host for host, one in record.hosts.items() if one.phase in state.UNDER_WAY]
            self._settle(self.batch)
        left = [host for host, one in record.hosts.items() if one.phase != state.DONE]
        if not left:
            return self._finish()
        out = [host for host in left if record.phase(host) == state.FAILED]
        record.reason = record.reason if aborted else f"{', '.join(left)} could not be brought back"
        record.status = state.BROKEN
        record.advice = "Give the same command again for the hosts that are left, or roll out a version that works."
        if out:
            record.advice = f"{', '.join(out)} stays out of traffic; the reasons are above. {record.advice}"
        self.steps.event(f"the rollback ends, without {', '.join(left)}")
        return self.steps.close()

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
        self.steps.event(f"the rollback ends, but {record.reason}")
        self.steps.close()

    def _settle(self, hosts: Sequence[str]) -> None:
        """Let hosts whose turn was broken off serve with what they run; those that do not come up stay out."""
        record = self.record
        self._put_back()
        drained = [host for host in hosts if record.phase(host) in (state.DRAINING, state.DRAINED)]
        # A run that was killed may have switched hosts and could not say so any more.
        switched = [host for host in drained if record.phase(host) == state.DRAINED and self._runs_target(host)]
        switched = [host for host in switched if not self._was_left_out(host)]
        self.steps.keep_out([host for host in drained if host not in switched])
        record.enter(switched, state.ACTIVATED, self.world.now())
        done = [host for host in hosts if record.phase(host) in (state.ACTIVATED, state.HEALTHY, state.IN_SERVICE)]
        if not done:
            return
        failed = self._let_back_in(done)
        good = [host for host in done if host not in failed]
        for phase in (state.HEALTHY, state.IN_SERVICE, state.DONE):
            record.enter([host for host in good if phase in state.NEXT[record.phase(host)]], phase, self.world.now())
        self.steps.keep_out(list(failed))

    def _roll_back(self) -> None:
        """Bring every host that was touched back to the version before, newest batch first."""
        record = self.record
        record.direction, record.status = state.BACK, state.ROLLING_BACK
        self.steps.await_migrations()
        failing = [host for host in self.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)]
        self.steps.event(f"rolling back {quantity(sum(map(len, record.touched())), 'host')}, newest first")
        if not failing:
            self.steps.save()
        # Out of traffic first, as far as enough others are there.
        self.steps.keep_out(failing)
        self.changed = True
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
            record.advice = f"{who} runs what it ran before. {self._left_out()}{what}"
        self.steps.event(f"rolled back{', but not ' + ', '.join(left) if left else ''}")
        self.steps.close()

    def _left_out(self) -> str:
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
        seen = [found[host] for found in self.sight.servers.values() if host in found]
        return any(server.admin == "ready" and server.percent < 100 for server in seen)

    def _bring_back(self, batches: Sequence[Sequence[str]]) -> None:
        """Bring batches back, those that are stuck once more after all others; Halt names what is stuck even then."""
        todo = [list(batch) for batch in batches]
        for last in (False, True):
            stuck: list[tuple[list[str], str]] = []
            for batch in todo:
                self.steps.checkpoint()
                self.batch = batch
                try:
                    self._bring_back_batch(batch, last)
                except Stuck as why:
                    left = [host for host in batch if self._on_its_way(host)]
                    stuck.append((left, str(why)))
                    if not last:
                        self.steps.event(f"{', '.join(left)} has to wait, others go on: {why}")
                        self._put_back()
            todo = [batch for batch, _why in stuck]
            if not todo:
                return
        self.batch = [host for batch in todo for host in batch]
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
                self.steps.event(f"{as_before[0]} goes back although {why}: it was not up before its turn either")
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
            broken.update(self._let_back_in(good))
        self._given_up.update(broken)
        self.steps.keep_out(list(broken))
        for host, why in broken.items():
            record.hosts[host].note = why
            self.steps.event(f"{host} could not be brought back: {why}")
        back = [host for host in hosts if host not in broken]
        for phase in (state.IN_SERVICE, state.DONE) if wanted else (state.ROLLED_BACK,):
            record.enter(back, phase, self.world.now())
        for host in back:
            record.hosts[host].turn_s = self.world.clock() - begin
            now, *_others = plainly(goals[host], record.hosts[host].previous, record.hosts[host].target)
            self.world.tell(f"back in service with {now}", [host])

    def _let_back_in(self, hosts: Sequence[str]) -> dict[str, str]:
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
            self.steps.event(f"{self.steps.old_trouble(as_before)}, as before")
        return new
