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
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Stuck
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.run import Run
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Activated, StoreLost

DRAIN_SLICE = 3.0


class Steps:
    """What can be done with the hosts of one record."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.settings = run.settings
        self.record = run.record

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
        self.run.check_store()
        seen = self.world.servers()
        self.run.check_store()
        for name, kept in self.record.kept_out.items():
            found = seen.get(name, {})
            back = [host for host in kept if host in found and found[host].admin == "ready"]
            kept[:] = [host for host in kept if host not in back]
            if back:
                self.run.event(f"{', '.join(back)} was put back into traffic at {name} by somebody else")
        return seen

    def look_again(self, hosts: Sequence[str]) -> None:
        """Look whether somebody has put back what is out at somebody else's wish: it is treated as any other then."""
        if any(host in kept for kept in self.record.kept_out.values() for host in hosts):
            self._look()

    def _announce_drain(self, hosts: Sequence[str], phase: str) -> None:
        """Write that hosts are to be taken out; as long as the store has not taken that nothing is done."""
        before = {host: replace(self.record.hosts[host]) for host in hosts}
        self.record.enter(hosts, phase, self.world.now())
        for host in hosts:
            self.record.hosts[host].let_in_at = []
        try:
            self.run.save()
            self.run.check_store()
        except StoreLost:
            self.record.withdraw(before)
            raise

    def keep_out(self, hosts: Sequence[str]) -> None:
        """Take hosts out of traffic at once, as far as enough others are there, and do not wait for their sessions."""
        if not hosts:
            return
        mine = [host for host in hosts if self.record.hosts[host].taken_out]
        # Written first: a run that goes on must not take them for hosts that somebody else has taken out.
        self._announce_drain(hosts, state.FAILED)
        seen = self._look()
        out, why = self.room(hosts, seen)
        if out:
            found = self.world.drain(self.where(out), patience=0, least=self.settings.least, mine=mine)
            self.run.check_store()
            self._others_took(found.kept)
            self.world.tell("out of traffic", out)
        staying = [host for host in hosts if host not in out]
        for host in staying:
            # What a person then takes out there is not the rollout's drain.
            inside = [name for name, found in seen.items() if host in found and found[host].admin == "ready"]
            self.record.hosts[host].let_in_at = inside
        if staying:
            self.run.event(f"{', '.join(staying)} stays in traffic for now, as otherwise {why}")

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
        self._announce_drain(hosts, state.DRAINING)
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
            self.run.checkpoint()
            self.look_again(hosts)
            where = self.where(hosts)
            late = waited >= deadline
            if late and policy == "kill":
                found = self.world.drain(where, patience=DRAIN_SLICE, least=least, mine=hosts, kill=True)
                ended = sum(found.killed.values())
                shut = f"{quantity(ended, 'session')} of {', '.join(hosts)} outlived {deadline:g} s and"
                self.run.event(f"{shut} {'was' if ended == 1 else 'were'} shut down")
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
        self.run.check_store()

    def enter(self, hosts: Sequence[str], percent: int, save: bool = False) -> dict[str, dict[str, str]]:
        """Put hosts into traffic; where and why each is not up: host to load balancer to reason."""
        self.run.check_store()
        mine = [host for host in hosts if self.record.hosts[host].taken_out]
        where = self.where(hosts)
        found = self.world.enter(where, percent, mine=mine, save=self.record if save else None)
        for host in hosts:
            # What a person then takes out there is not the rollout's drain any more.
            out = {name for name in where if host in found.kept.get(name, ())} | set(found.down.get(host, ()))
            inside = [name for name in where if host in where[name] and name not in out]
            self.record.hosts[host].let_in_at = inside
        self.run.check_store()
        self._others_took(found.kept)
        return {host: dict(where) for host, where in found.down.items()}

    def _others_took(self, kept: Mapping[str, Sequence[str]]) -> None:
        """Note the servers that somebody else has taken out since they were last looked at: they stay out."""
        for name, hosts in kept.items():
            known = self.record.kept_out.setdefault(name, [])
            new = [host for host in hosts if host not in known]
            known.extend(new)
            if new:
                self.run.event(f"{', '.join(new)} was taken out of traffic at {name} by somebody else and is left so")

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

    # ------------------------------------------------------------------------------------------------------------ hosts

    def activate(self, versions: Mapping[str, str], stop: bool = False) -> dict[str, Activated]:
        """Let hosts run versions; what came of it, host by host.

        They have entered the phase whatever ends the step, unless the store has kept it from beginning: a host of which
        nobody knows what it runs is not put back into traffic.
        """
        self.run.check_store()
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
        self.run.check_store()
        return found


def _said(down: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {host: ", ".join(found.values()) for host, found in down.items() if found}
