# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single steps of a rollout, each with its rules. No Ansible in here.

Every step looks first whether the lock is still held, and writes the record before or with what it does. In every loop
the lock is looked at, and a person's flag is obeyed. No step takes a server out of traffic where too few would be left,
and none touches a server that somebody else has taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.sight import Server
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.watch import ReleaseFailure
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import (
    Activated,
    Halt,
    Migrated,
    StoreLost,
    World,
)

DRAIN_SLICE = 3.0
CONTROL_POLL = 3.0
MIGRATION_POLL = 1.0
MIGRATION_SILENCE = 120.0
"""Seconds for which a host that runs a migration may give no answer."""


class Stuck(Halt):
    """Hosts cannot be taken out of traffic now, which holds up no others that go back."""


class Aborted(ReleaseFailure):
    """A person wants the rollout to end."""


class Steps:
    """What can be done with the hosts of one record."""

    def __init__(self, world: World, settings: Settings, record: Record) -> None:
        self.world = world
        self.settings = settings
        self.record = record

    # ------------------------------------------------------------------------------------------------------- the record

    def event(self, text: str) -> None:
        """Note what happens, and show it."""
        self.record.event(self.world.now(), text)
        self.world.tell(text)

    def save(self) -> None:
        """Write the record."""
        self.record.updated_at = self.world.now()
        self.world.save(self.record)

    def announce_drain(self, hosts: Sequence[str], phase: str) -> None:
        """Write that hosts are to be taken out; as long as the store has not taken that nothing is done."""
        before = {host: replace(self.record.hosts[host]) for host in hosts}
        self.record.enter(hosts, phase, self.world.now())
        for host in hosts:
            self.record.hosts[host].let_in_at = []
        try:
            self.save()
            self.check_store()
        except StoreLost:
            self.record.withdraw(before)
            raise

    def close(self) -> None:
        """Write the final record and let go of the lock."""
        self.record.ended_at = self.record.updated_at = self.world.now()
        self.world.close(self.record)

    def check_store(self) -> None:
        """Raise what is known of the lock or of a write that rode along."""
        error = self.world.store_error()
        if error is not None:
            raise error

    # ------------------------------------------------------------------------------------------------- a person's flags

    def promoted(self) -> bool:
        """Whether a person wants to go on without waiting; looks at the lock, obeys pause and abort on the way."""
        self.check_store()
        if self._obey() != "promote":
            return False
        self.used_up()
        return True

    def checkpoint(self) -> None:
        """Look at the lock and obey a person's flag where there is nothing to be promoted past."""
        self.check_store()
        if self._obey() == "promote":
            self.event("promote came while nothing was waited for that it could end, and is used up")
            self.used_up()

    def used_up(self) -> None:
        """Forget a flag that was obeyed; a store that is silent now hears of it when the rollout ends."""
        if self.world.control is not None:
            try:
                self.world.clear_control()
            except StoreLost as trouble:
                self.event(f"the flag could not be cleared: {trouble}")

    def _obey(self) -> str:
        """Obey the flag that a person has set: abort goes back, pause waits, promote is told to the caller."""
        control = self.world.control
        if control is None or self.record.direction == state.BACK:
            return ""
        said = f"by {control.by or 'a person'}{': ' + control.note if control.note else ''}"
        if control.flag == "abort":
            raise Aborted("aborted", said)
        if control.flag == "pause":
            return self.pause(said)
        if control.flag == "resume":
            # It came for a pause that has ended.
            self.used_up()
            return ""
        return control.flag

    def pause(self, why: str) -> str:
        """Wait until a person resumes, promotes or aborts."""
        record = self.record
        record.status = state.PAUSED
        self.event(f"paused {why}")
        begin = self.world.clock()
        told = self._flag() == "pause"
        while True:
            self.save()
            self.check_store()
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
            self.used_up()
            flag = ""
        self.event("goes on" if flag != "abort" else "the pause ends")
        return self._obey() if flag == "abort" else flag

    def _flag(self) -> str:
        return self.world.control.flag if self.world.control else ""

    # ---------------------------------------------------------------------------------------------------------- servers

    def where(self, hosts: Sequence[str]) -> dict[str, list[str]]:
        """The load balancers at which hosts are to be changed: not where somebody else has taken them out."""
        kept = self.record.kept_out
        found = {name: [host for host in hosts if host not in kept.get(name, ())] for name in self.record.balancers}
        return {name: meant for name, meant in found.items() if meant}

    def room(
        self, hosts: Sequence[str], looked: Mapping[str, Mapping[str, Server]] | None = None
    ) -> tuple[list[str], str]:
        """Those of some hosts that may be taken out of traffic now, all at once; and why not the others.

        A host that takes no traffic anywhere may always be: it takes no capacity with it.
        """
        seen = self._look() if looked is None else looked
        available = {name: {host for host, server in found.items() if server.serving} for name, found in seen.items()}
        idle = [host for host in hosts if not any(host in found for found in available.values())]
        out, why = list(idle), ""
        for host in hosts:
            short = [
                f"{quantity(left, 'server')} would be left at {name}, fewer than {self.settings.least}"
                for name, found in available.items()
                if host in found and (left := len(found - {*out, host})) < self.settings.least
            ]
            if host not in idle and not short:
                out.append(host)
            why = why or ("; ".join(short) if host not in idle else "")
        return [host for host in hosts if host in out], why

    def takes_nothing(self, host: str) -> bool:
        """Whether a host takes no capacity with it that was there before its turn: no load balancer saw it up then."""
        return set(self.record.balancers) <= set(self.record.hosts[host].down_at)

    def _look(self) -> Mapping[str, Mapping[str, Server]]:
        """Look at the load balancers; what somebody else had taken out and has put back is theirs no more."""
        self.check_store()
        seen = self.world.servers()
        self.check_store()
        for name, kept in self.record.kept_out.items():
            found = seen.get(name, {})
            back = [host for host in kept if host in found and found[host].admin == "ready"]
            kept[:] = [host for host in kept if host not in back]
            if back:
                self.event(f"{', '.join(back)} was put back into traffic at {name} by somebody else")
        return seen

    def look_again(self, hosts: Sequence[str]) -> None:
        """Look whether somebody has put back what is out at somebody else's wish: it is treated as any other then."""
        if any(host in kept for kept in self.record.kept_out.values() for host in hosts):
            self._look()

    def keep_out(self, hosts: Sequence[str]) -> None:
        """Take hosts out of traffic at once, as far as enough others are there, and do not wait for their sessions."""
        if not hosts:
            return
        mine = [host for host in hosts if self.record.hosts[host].taken_out]
        # Written first: a run that goes on must not take them for hosts that somebody else has taken out.
        self.announce_drain(hosts, state.FAILED)
        seen = self._look()
        out, why = self.room(hosts, seen)
        if out:
            found = self.world.drain(self.where(out), patience=0, least=self.settings.least, mine=mine)
            self.check_store()
            self._others_took(found.kept)
            self.world.tell("out of traffic", out)
        staying = [host for host in hosts if host not in out]
        for host in staying:
            # What a person then takes out there is not the rollout's drain.
            inside = [name for name, found in seen.items() if host in found and found[host].admin == "ready"]
            self.record.hosts[host].let_in_at = inside
        if staying:
            self.event(f"{', '.join(staying)} stays in traffic for now, as otherwise {why}")

    def drain(self, hosts: Sequence[str], condemned: bool = False, least: int | None = None) -> None:
        """Take hosts out of traffic at every load balancer and wait until their sessions have ended.

        Sessions on a release that was judged bad are not waited for as long as others: they may never end. ``least``
        servers stay available everywhere, by default as many as the service wants.
        """
        record, settings = self.record, self.settings
        deadline, policy = settings.drain_deadline, settings.drain_on_timeout
        if condemned:
            deadline, policy = min(deadline, settings.condemned_deadline), "kill"
        mine = [host for host in hosts if record.hosts[host].taken_out]
        self.look_again(hosts)
        self.announce_drain(hosts, state.DRAINING)
        begin = self.world.clock()
        least = settings.least if least is None else least
        found = self.world.drain(self.where(hosts), patience=min(DRAIN_SLICE, deadline), least=least, mine=mine)
        self._others_took(found.kept)
        for host in hosts:
            record.hosts[host].sessions = found.begun.get(host, 0)
        spent = 0.0
        while not found.done:
            spent += found.waited_s
            left, waited = sum(found.left.values()), self.world.clock() - begin
            self.world.tell(f"draining, {quantity(left, 'session')} left after {waited:.0f} s", hosts)
            self.checkpoint()
            self.look_again(hosts)
            where = self.where(hosts)
            late = waited >= deadline
            if late and policy == "kill":
                found = self.world.drain(where, patience=DRAIN_SLICE, least=least, mine=hosts, kill=True)
                ended = sum(found.killed.values())
                shut = f"{quantity(ended, 'session')} of {', '.join(hosts)} outlived {deadline:g} s and"
                self.event(f"{shut} {'was' if ended == 1 else 'were'} shut down")
                for host in hosts:
                    record.hosts[host].killed = found.killed.get(host, 0)
                break
            if late and policy == "fail":
                raise Stuck(
                    f"{quantity(left, 'session')} of {', '.join(hosts)} outlived the drain deadline of {deadline:g} s; "
                    "raise the service's drain.deadline, or set its drain.on_timeout to kill or wait"
                )
            patience = DRAIN_SLICE if policy == "wait" else max(0.1, min(DRAIN_SLICE, deadline - waited))
            found = self.world.drain(where, patience=patience, least=least, mine=hosts)
        record.enter(hosts, state.DRAINED, self.world.now())
        for host in hosts:
            record.hosts[host].drain_s = spent + found.waited_s
        self.world.tell(f"drained, its sessions took {spent + found.waited_s:.1f} s", hosts)
        self.check_store()

    def enter(self, hosts: Sequence[str], percent: int, save: bool = False) -> dict[str, dict[str, str]]:
        """Put hosts into traffic; where and why each is not up: host to load balancer to reason."""
        self.check_store()
        mine = [host for host in hosts if self.record.hosts[host].taken_out]
        where = self.where(hosts)
        found = self.world.enter(where, percent, mine=mine, save=self.record if save else None)
        for host in hosts:
            # What a person then takes out there is not the rollout's drain any more.
            out = {name for name in where if host in found.kept.get(name, ())} | set(found.down.get(host, ()))
            inside = [name for name in where if host in where[name] and name not in out]
            self.record.hosts[host].let_in_at = inside
        self.check_store()
        self._others_took(found.kept)
        return {host: dict(where) for host, where in found.down.items()}

    def _others_took(self, kept: Mapping[str, Sequence[str]]) -> None:
        """Note the servers that somebody else has taken out since they were last looked at: they stay out."""
        for name, hosts in kept.items():
            known = self.record.kept_out.setdefault(name, [])
            new = [host for host in hosts if host not in known]
            known.extend(new)
            if new:
                self.event(f"{', '.join(new)} was taken out of traffic at {name} by somebody else and is left so")

    def new_trouble(self, down: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Of hosts that are not up everywhere, those that were before where they are not now, and what is said."""
        return _said(
            {
                host: {name: why for name, why in found.items() if name not in self.record.hosts[host].down_at}
                for host, found in down.items()
            }
        )

    def old_trouble(self, down: Mapping[str, Mapping[str, str]]) -> str:
        """What is said of hosts that are not up where they were not before either."""
        return "; ".join(f"{host} {why}" for host, why in _said(down).items())

    # ----------------------------------------------------------------------------------------------------------- hosts

    def activate(self, versions: Mapping[str, str], stop: bool = False) -> dict[str, Activated]:
        """Let hosts run versions; what came of it, host by host.

        They have entered the phase whatever ends the step, unless the store has kept it from beginning: a host of which
        nobody knows what it runs is not put back into traffic.
        """
        self.check_store()
        try:
            found = self.world.activate(versions, stop=stop, save=self.record)
        except StoreLost:
            raise
        except Exception:
            self.record.enter(versions, state.ACTIVATED, self.world.now())
            raise
        self.record.enter(versions, state.ACTIVATED, self.world.now())
        for host, one in found.items():
            kept = self.record.hosts[host]
            kept.stop_s, kept.start_s = one.stop_s, one.start_s
            if one.killed:
                kept.note = "its process did not stop in time and was killed"
        self.check_store()
        return found

    # ------------------------------------------------------------------------------------------------------- migrations

    def migrate(self, name: str, hosts: Sequence[str]) -> None:
        """Run a step of the release once for all hosts, on the first of them."""
        step = self.record.migrations.get(name)
        if step is None or step.state == "done" or not hosts:
            return
        self.checkpoint()
        step.host = step.host if step.host in self.record.hosts else hosts[0]
        step.state = "running"
        self.event(f"{name} begins on {step.host}: {step.command}")
        self.save()
        begin = self.world.clock()
        answer = self._carry_out(name, step)
        step.output = answer.output
        step.state = "failed" if answer.reason else "done"
        if answer.reason:
            raise ReleaseFailure(name, answer.reason)
        self.event(f"{name} is done after {self.world.clock() - begin:.1f} s")
        self.save()

    def _carry_out(self, name: str, step: Migration) -> Migrated:
        begin = heard = self.world.clock()
        while True:
            self.check_store()
            answer = self.world.migrate(step.host, self.record.version, name, step)
            now = self.world.clock()
            if not answer.running and not answer.lost:
                return answer
            heard = heard if answer.lost else now
            self._bear_silence(name, step, answer, now - heard)
            self.world.tell(f"{name} has run for {now - begin:.0f} s", [step.host])
            try:
                self.checkpoint()
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
            self.used_up()
        return Halt(
            f"{failure}; but {name} still runs on {step.host}, and nothing goes back meanwhile: run the rollback when "
            "it has ended, or the same command to go on"
        )

    def _bear_silence(self, name: str, step: Migration, answer: Migrated, seconds: float) -> None:
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
                self._bear_silence(name, step, answer, now - heard)
                self.world.tell(f"{name} still runs; nothing goes back meanwhile", [step.host])
                self.check_store()
                self.world.sleep(MIGRATION_POLL)


def _said(down: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {host: ", ".join(found.values()) for host, found in down.items() if found}
