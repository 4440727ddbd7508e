# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine of a rollout: what to do next, from the record and from what is seen. No Ansible in here.

Everything outside is a ``World``: the store, the load balancers, the nodes, the clock. So every failure of that world,
at every step, is a unit test. Three things can end a rollout early:

- evidence against the release (a gate, an activation, a migration, a person who aborts): everything that was touched
  goes back to what it ran before, newest first; or, when a migration has closed the way back, the rollout freezes;
- trouble of the platform (store, load balancer, capacity, a drain that takes too long): it halts where it stands, puts
  back what is safe to put back, and the same command goes on later;
- somebody else holds the lock now: it stops and touches nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.mesops.platform.plugins.module_utils import rollout_state as state
from ansible_collections.mesops.platform.plugins.module_utils.gates import READY, TRAFFIC
from ansible_collections.mesops.platform.plugins.module_utils.rollout_begin import (
    begin_rollback,
    begin_rollout,
    refuse_burnt,
)
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import PlanError, Settings, check_migrations
from ansible_collections.mesops.platform.plugins.module_utils.rollout_state import Migration, Record
from ansible_collections.mesops.platform.plugins.module_utils.rollout_watch import STAGES_OF, ReleaseFailure, Watch
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import (
    Activated,
    BalancerTrouble,
    Halt,
    LockLost,
    Opened,
    Sight,
    StoreLost,
    World,
)

DRAIN_SLICE = 3.0
CONTROL_POLL = 3.0


class Engine:
    """One run of a rollout or of a rollback."""

    def __init__(self, world: World, settings: Settings, new_id: Callable[[float], str], by: str) -> None:
        self.world = world
        self.settings = settings
        self.by = by
        self.sight = Sight({}, {})
        """What was seen before anything was done."""
        self.batch: list[str] = []
        """The hosts whose turn it is."""
        self.changed = False
        self._new_id = new_id
        self._take(self.blank("rollout"))

    def _take(self, record: Record) -> None:
        self.record = record
        self.watch = Watch(self.world, self.settings, record, self._promoted, self._pause, sight=lambda: self.sight)

    # --------------------------------------------------------------------------------------------- the ways to begin

    def roll_out(self) -> Record:
        """Bring all hosts to the version asked for, or back.

        PlanError, BalancerTrouble or StoreLost leave everything as it was.
        """
        opened = self.world.open()
        fresh = self._before_anything(lambda: self._begin_rollout(opened))
        if fresh and not self.record.hosts:
            self.world.release()
            self.record.status, self.record.ended_at = state.SUCCEEDED, self.world.now()
            self.world.tell(f"every host of {self.record.service} runs {self.record.version} and is in service already")
            return self.record
        self._announce(fresh)
        return self._guarded(self._roll_back if self.record.direction == state.BACK else self._go_forward)

    def roll_back(self) -> Record:
        """Revert the unfinished rollout, or the last one that was done. Raises as ``roll_out`` does."""
        opened = self.world.open()
        fresh = self._before_anything(lambda: self._begin_rollback(opened))
        self._announce(fresh)
        return self._guarded(self._go_forward if self.record.kind == "rollback" else self._roll_back)

    def blank(self, kind: str) -> Record:
        """A new record without hosts."""
        now, settings = self.world.now(), self.settings
        return Record(
            id=self._new_id(now),
            service=settings.service.name,
            version=settings.version,
            by=self.by,
            kind=kind,
            started_at=now,
            checksum=settings.checksum,
            artifact=settings.artifact,
            balancers=list(settings.balancers),
        )

    def _before_anything(self, begin: Callable[[], bool]) -> bool:
        """Look, and take up or make a record; whatever speaks against it lets go of the lock."""
        try:
            self.sight = self.world.observe()
            return begin()
        except BaseException:
            self.world.release()
            raise

    def _begin_rollout(self, opened: Opened) -> bool:
        """Go on with the unfinished record if it is this very rollout; whether a new one was made."""
        history = list(opened.history)
        if opened.record is not None:
            found = Record.from_dict(opened.record)
            if (found.kind, found.version) == ("rollout", self.settings.version):
                self._resume(found)
                return False
            if found.status != state.FROZEN:
                raise PlanError(
                    f"The {found.kind} {found.id} of {found.service} to {found.version} is unfinished "
                    f"({found.status}). Finish it by running it again with that version, or revert it: "
                    f"ansible-playbook mesops.platform.rollback -e rollout_service={found.service}"
                )
            found.status, found.ended_at = state.SUPERSEDED, self.world.now()
            found.event(self.world.now(), f"superseded by version {self.settings.version}")
            self.world.save(found)
            history.insert(0, found.to_dict())
        self._take(begin_rollout(self.blank("rollout"), self.settings, self.sight, history))
        return True

    def _begin_rollback(self, opened: Opened) -> bool:
        if opened.record is not None:
            found = Record.from_dict(opened.record)
            refuse_burnt(found)
            self._resume(found)
            self.record.reason = self.record.reason or f"reverted by {self.by}"
            return False
        self._take(begin_rollback(self.blank("rollback"), self.settings, self.sight, opened.history))
        return True

    def _resume(self, found: Record) -> None:
        found.resumed += 1
        found.advice = ""
        if found.direction == state.FORWARD and found.kind == "rollout":
            found.reason = ""
        self._take(found)

    def _announce(self, fresh: bool) -> None:
        record = self.record
        again = f"is taken up again, {record.resumed + 1}. run (it was {record.status})"
        self._event(f"{record.kind} {record.id} {'begins' if fresh else again}, by {self.by}")

    # ---------------------------------------------------------------------------------------------------- how it ends

    def _guarded(self, course: Callable[[], None]) -> Record:
        """Run a course to its end, whatever ends it."""
        try:
            try:
                course()
            except ReleaseFailure as failure:
                self._fail(str(failure))
        except (Halt, BalancerTrouble, StoreLost, PlanError) as trouble:
            self._halt(str(trouble))
        except LockLost as trouble:
            self.record.status, self.record.reason = state.HALTED, str(trouble)
            self.record.advice = "Look at who took the lock: ansible-playbook mesops.platform.status"
            self._event(f"stopped, and touches nothing more: {trouble}")
        return self.record

    def _fail(self, reason: str) -> None:
        record = self.record
        record.reason = reason
        self._event(reason)
        if not record.touched():
            record.status = state.BROKEN
            record.advice = "No host was taken out of traffic. Correct what is named above and roll out again."
            self._close()
        elif record.kind == "rollback":
            self._keep_out([host for host in self.batch if record.phase(host) != state.DONE])
            record.status = state.BROKEN
            record.advice = "Hosts that are not done stay out of traffic. Roll out a version that works."
            self._close()
        elif record.frozen_by:
            self._freeze()
        else:
            self._roll_back()

    def _freeze(self) -> None:
        """The way back is closed: keep what is not healthy out of traffic, and let a person decide."""
        record = self.record
        self._keep_out([host for host in self.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)])
        record.status = state.FROZEN
        record.advice = (
            f"The migration {record.frozen_by} cannot be undone, so nothing is rolled back and traffic stays on the "
            "healthy hosts. Run the same command to try again, or roll out a corrected version."
        )
        self._event("frozen")
        self._save()
        self.world.release()

    def _halt(self, reason: str) -> None:
        record = self.record
        record.reason = reason
        self._event(f"halted: {reason}")
        left = self._put_back()
        record.status = state.HALTED if record.direction == state.FORWARD else state.ROLLING_BACK
        record.advice = (
            "Run the same command again to go on, or revert: ansible-playbook mesops.platform.rollback "
            f"-e rollout_service={record.service}"
        )
        if left:
            record.advice = f"{', '.join(left)} stays out of traffic until then. {record.advice}"
        try:
            self._save()
        except (StoreLost, LockLost) as trouble:
            self._event(f"the record could not be written: {trouble}")
        self.world.release()

    def _put_back(self) -> list[str]:
        """Put hosts whose drain came to nothing back into traffic; those of the batch that stay out."""
        record = self.record
        idle = [host for host in self.batch if record.phase(host) in (state.DRAINING, state.DRAINED)]
        if record.direction == state.FORWARD:
            back = state.PREPARED
            # An earlier run that was killed may have left the new version on it, unproven.
            idle = [host for host in idle if self.sight.nodes[host].current != record.hosts[host].target]
        else:
            back = state.DONE
            idle = [host for host in idle if any(phase == state.DONE for phase, _at in record.hosts[host].history)]
        failed: dict[str, str] = {}
        if idle:
            try:
                failed = self.world.enter(self._where(idle), 100)
            except BalancerTrouble as trouble:
                failed = dict.fromkeys(idle, str(trouble))
        record.enter([host for host in idle if host not in failed], back, self.world.now())
        inside = (back, state.DONE, state.IN_SERVICE, *state.UNTOUCHED, state.ROLLED_BACK)
        return [host for host in self.batch if record.phase(host) not in inside]

    def _keep_out(self, hosts: Sequence[str], save: bool = False) -> None:
        """Take hosts out of traffic at once, without waiting for their sessions."""
        if hosts:
            self.world.drain(self._where(hosts), patience=0, least=0, save=self.record if save else None)
            self.record.enter(hosts, state.FAILED, self.world.now())
            self.world.tell("out of traffic", hosts)
            self._check_store()

    # -------------------------------------------------------------------------------------------------------- forward

    def _go_forward(self) -> None:
        record = self.record
        record.status = state.RUNNING
        self._save()
        self.changed = True
        todo = [host for batch in record.batches for host in record.unfinished(batch)]
        self._prepare(todo)
        if record.kind == "rollout":
            self._migrate("expand", todo)
        for batch in record.batches:
            self.batch = record.unfinished(batch)
            if self.batch:
                self._checkpoint()
                self._turn(self.batch)
        self.batch = []
        if record.kind == "rollout":
            self._migrate("contract", list(record.hosts))
        self._finish()

    def _prepare(self, hosts: Sequence[str]) -> None:
        """Install the release everywhere before any traffic moves."""
        record = self.record
        found = self.world.prepare({host: record.hosts[host].target for host in hosts}) if hosts else {}
        broken = {host: one.reason for host, one in found.items() if one.reason}
        if broken:
            raise ReleaseFailure("prepare", "; ".join(f"{host}: {why}" for host, why in broken.items()))
        record.enter([host for host in hosts if record.phase(host) == state.PENDING], state.PREPARED, self.world.now())
        if hosts:
            self.world.tell(f"{record.version} is installed", hosts)
        if record.kind == "rollback":
            return
        carried = self.settings.migrations or next((one.manifest for one in found.values()), {}).get("migrations") or {}
        try:
            checked = check_migrations(carried, "The release's mesops.json: migrations")
        except PlanError as why:
            raise ReleaseFailure("prepare", str(why)) from why
        for name, step in checked.items():
            record.migrations.setdefault(name, Migration(**step))

    def _migrate(self, name: str, hosts: Sequence[str]) -> None:
        """Run a step of the release once for all hosts, on the first of them."""
        record = self.record
        step = record.migrations.get(name)
        if step is None or step.state == "done" or not hosts:
            return
        step.state, step.host = "running", step.host or hosts[0]
        self._event(f"{name} begins on {step.host}: {step.command}")
        self._save()
        begin = self.world.clock()
        while (answer := self.world.migrate(step.host, record.version, name, step)).running:
            self.world.tell(f"{name} has run for {self.world.clock() - begin:.0f} s", [step.host])
            self.world.sleep(1)
        step.output = answer.output
        step.state = "failed" if answer.reason else "done"
        if answer.reason:
            raise ReleaseFailure(name, answer.reason)
        self._event(f"{name} is done after {self.world.clock() - begin:.1f} s")
        self._save()

    def _turn(self, hosts: Sequence[str]) -> None:
        """Bring one batch from its old version to the new one."""
        record = self.record
        begin = self.world.clock()
        for host in hosts:
            record.hosts[host].observed_s = 0.0
        self._drain(hosts, self.settings.least)
        started = self._activate(hosts)
        self.watch.pass_gates(READY, hosts, started)
        record.enter(hosts, state.HEALTHY, self.world.now())
        for number, percent in enumerate(record.weights):
            failed = self.world.enter(self._where(hosts), percent, save=record)
            if failed:
                raise ReleaseFailure("balancers", "; ".join(f"{host} {why}" for host, why in failed.items()))
            record.enter(hosts, state.IN_SERVICE, self.world.now())
            self.world.tell(f"in service with {percent} % of the weight", hosts)
            self._check_store()
            # Judged at each share of traffic; what the last share shows comes out while the hosts are observed.
            if record.kind == "rollout" and (number < len(record.weights) - 1 or number == 0):
                self.watch.pass_gates(TRAFFIC, hosts, {})
        self.watch.soak(hosts, STAGES_OF[record.kind])
        record.enter(hosts, state.DONE, self.world.now())
        for host in hosts:
            record.hosts[host].turn_s = self.world.clock() - begin
        self.world.tell(f"done in {self.world.clock() - begin:.1f} s", hosts)

    def _drain(self, hosts: Sequence[str], least: int) -> None:
        """Take hosts out of traffic at every load balancer and wait until their sessions have ended."""
        record, settings = self.record, self.settings
        deadline, policy = settings.drain_deadline, settings.drain_on_timeout
        record.enter(hosts, state.DRAINING, self.world.now())
        self._save()
        begin = self.world.clock()
        where = self._where(hosts)
        found = self.world.drain(where, patience=min(DRAIN_SLICE, deadline), least=least)
        for host in hosts:
            record.hosts[host].sessions = found.begun.get(host, 0)
        spent = 0.0
        while not found.done:
            spent += found.waited_s
            left, waited = sum(found.left.values()), self.world.clock() - begin
            self.world.tell(f"draining, {left} sessions left after {waited:.0f} s", hosts)
            self._checkpoint()
            late = waited >= deadline
            if late and policy == "kill":
                found = self.world.drain(where, patience=DRAIN_SLICE, least=0, kill=True)
                ended = sum(found.killed.values())
                self._event(f"{ended} sessions of {', '.join(hosts)} outlived {deadline:g} s and were shut down")
                for host in hosts:
                    record.hosts[host].killed = found.killed.get(host, 0)
                break
            if late and policy == "fail":
                raise Halt(
                    f"{left} sessions of {', '.join(hosts)} outlived the drain deadline of {deadline:g} s; raise the "
                    "service's drain.deadline, or set its drain.on_timeout to kill or wait"
                )
            patience = DRAIN_SLICE if policy == "wait" else max(0.1, min(DRAIN_SLICE, deadline - waited))
            found = self.world.drain(where, patience=patience, least=0)
        record.enter(hosts, state.DRAINED, self.world.now())
        for host in hosts:
            record.hosts[host].drain_s = spent + found.waited_s
        self.world.tell(f"drained, its sessions took {spent + found.waited_s:.1f} s", hosts)

    def _activate(self, hosts: Sequence[str]) -> dict[str, Activated]:
        record = self.record
        targets = {host: record.hosts[host].target for host in hosts}
        canary = record.kind == "rollout" and all(record.hosts[host].batch == 0 for host in hosts)
        found = self.world.activate(targets, stop=self.settings.prove_stop and canary, save=record)
        self._note_start(found)
        record.enter(hosts, state.ACTIVATED, self.world.now())
        broken = [(host, one) for host, one in found.items() if one.reason]
        if broken:
            raise ReleaseFailure(broken[0][1].gate, "; ".join(f"{host}: {one.reason}" for host, one in broken))
        for host in hosts:
            self.world.tell(f"runs {targets[host]}, ready {found[host].start_s:.1f} s after its start", [host])
        self._check_store()
        return found

    def _note_start(self, found: dict[str, Activated]) -> None:
        for host, one in found.items():
            kept = self.record.hosts[host]
            kept.stop_s, kept.start_s = one.stop_s, one.start_s
            if one.killed:
                kept.note = "its process did not stop in time and was killed"

    def _finish(self) -> None:
        """Leave every host wholly in service, whoever changed its weight meanwhile, and old releases behind."""
        record = self.record
        hosts = list(record.hosts)
        failed = self.world.enter(self._where(hosts), 100)
        if failed:
            raise Halt("; ".join(f"{host} {why}" for host, why in failed.items()))
        if record.kind == "rollout":
            self.world.prune(hosts, {record.version, *(one.previous for one in record.hosts.values() if one.previous)})
        record.status = state.SUCCEEDED
        self._event(f"{record.kind} {record.id} is done")
        self._close()

    # --------------------------------------------------------------------------------------------------- rolling back

    def _roll_back(self) -> None:
        record = self.record
        record.direction, record.status = state.BACK, state.ROLLING_BACK
        failing = [host for host in self.batch if record.phase(host) not in (*state.UNTOUCHED, state.DONE)]
        self._event(f"rolling back {sum(map(len, record.touched()))} hosts, newest first")
        if failing:
            # Out of traffic first: the record rides along.
            self._keep_out(failing, save=True)
        else:
            self._save()
        self.changed = True
        for batch in record.touched():
            self.batch = batch
            self._revert(batch)
        left = [host for host, one in record.hosts.items() if one.phase == state.FAILED]
        record.status = state.BROKEN if left else state.REVERTED
        if left:
            record.advice = (
                f"{', '.join(left)} could not be brought back and stays out of traffic; the reasons are above."
            )
        else:
            record.advice = "Every host runs what it ran before. Correct the release and give it a new version."
        self._event(f"rolled back{', but not ' + ', '.join(left) if left else ''}")
        self._close()

    def _revert(self, batch: Sequence[str]) -> None:
        """Bring hosts back to what they ran before, each for itself: one that fails does not hold up the others."""
        record = self.record
        broken = {
            host: "there is no version before this one to go back to"
            for host in batch
            if record.hosts[host].previous is None
        }
        hosts = [host for host in batch if host not in broken]
        begin = self.world.clock()
        if hosts:
            serving = any(record.phase(host) == state.DONE for host in hosts)
            self._drain(hosts, self.settings.least if serving else 0)
            found = self.world.activate({host: str(record.hosts[host].previous) for host in hosts}, save=record)
            self._note_start(found)
            broken.update({host: one.reason for host, one in found.items() if one.reason})
            good = [host for host in hosts if host not in broken]
            record.enter(good, state.ACTIVATED, self.world.now())
            record.enter(good, state.HEALTHY, self.world.now())
            if good:
                broken.update(self.world.enter(self._where(good), 100))
        self._keep_out(list(broken))
        for host, why in broken.items():
            record.hosts[host].note = why
            self._event(f"{host} could not be brought back: {why}")
        back = [host for host in hosts if host not in broken]
        record.enter(back, state.ROLLED_BACK, self.world.now())
        for host in back:
            record.hosts[host].turn_s = self.world.clock() - begin
            self.world.tell(f"back in service with {record.hosts[host].previous}", [host])
        self._check_store()

    # ------------------------------------------------------------------------------------------------ a person's flags

    def _promoted(self) -> bool:
        """Whether a person wants to go on without waiting; obeys pause and abort on the way."""
        if self._checkpoint() != "promote":
            return False
        self.world.clear_control()
        return True

    def _checkpoint(self) -> str:
        """Obey the flag that a person has set: abort goes back, pause waits, promote is told to the caller."""
        control = self.world.control
        if control is None or self.record.direction == state.BACK:
            return ""
        said = f"by {control.by or 'a person'}{': ' + control.note if control.note else ''}"
        if control.flag == "abort":
            raise ReleaseFailure("aborted", said)
        if control.flag == "pause":
            return self._pause(said)
        return control.flag

    def _pause(self, why: str) -> str:
        """Wait until a person resumes, promotes or aborts."""
        record = self.record
        record.status = state.PAUSED
        self._event(f"paused {why}")
        begin = self.world.clock()
        told = self._flag() == "pause"
        while True:
            self._save()
            flag = self._flag()
            # A pause that a gate asked for ends with a person's word; one that a person set ends when it is taken back.
            if flag in ("abort", "promote", "resume") or (told and flag != "pause"):
                break
            told = told or flag == "pause"
            if self.world.clock() - begin > self.settings.pause_timeout:
                raise Halt(f"paused for {self.settings.pause_timeout:g} s and nobody went on")
            self.world.sleep(CONTROL_POLL)
        record.status = state.RUNNING
        if flag == "resume":
            self.world.clear_control()
            flag = ""
        self._event("goes on" if flag != "abort" else "the pause ends")
        return self._checkpoint() if flag == "abort" else flag

    def _flag(self) -> str:
        return self.world.control.flag if self.world.control else ""

    # --------------------------------------------------------------------------------------------------------- helpers

    def _where(self, hosts: Sequence[str]) -> dict[str, list[str]]:
        """The load balancers at which hosts are to be changed: not where somebody else has taken them out."""
        kept = self.record.kept_out
        found = {name: [host for host in hosts if host not in kept.get(name, ())] for name in self.record.balancers}
        return {name: meant for name, meant in found.items() if meant}

    def _event(self, text: str) -> None:
        self.record.event(self.world.now(), text)
        self.world.tell(text)

    def _save(self) -> None:
        self.record.updated_at = self.world.now()
        self.world.save(self.record)

    def _check_store(self) -> None:
        error = self.world.store_error()
        if error is not None:
            raise error

    def _close(self) -> None:
        self.record.ended_at = self.record.updated_at = self.world.now()
        self.world.close(self.record)
