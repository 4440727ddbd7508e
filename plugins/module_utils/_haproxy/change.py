# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take servers out of one HAProxy's traffic and put them back, and verify it. No Ansible in here.

Measured on 2.6 and 3.0, and the reason for much of what follows:

- A reload gives the new worker the state from before it. So what a reload has lost is set again.
- Leaving maint, a server is "UP 1/3" and takes traffic before any check. Going through drain, where checks go on, and
  saying "health down" there, leaves it DOWN until "rise" checks have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.commands import Commands, NotAccepted, Tools
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import (
    Goal,
    Wanted,
    goals,
    guard_capacity,
    select,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.outcome import Outcome, TimedOut, complaint
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import NoAnswer
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import (
    MAINT,
    READY,
    Key,
    RuntimeFailure,
    Server,
    View,
)

FIRST_POLL, LAST_POLL, POLL_GROWTH = 0.05, 0.25, 1.3
KILL_WAIT = 5.0
"""Seconds in which sessions that were shut down must be gone."""


class Change:
    """One execution on one load balancer."""

    def __init__(self, tools: Tools, wanted: Wanted) -> None:
        self.tools = tools
        self.commands = Commands(tools)
        self.wanted = wanted
        self.goals: dict[Key, Goal] = {}
        self.outcome = Outcome()
        self.doubted: dict[Key, int] = {}
        """Servers that must pass new checks, with the worker that has been told so."""
        self.let_in: dict[Key, int] = {}
        """Servers that were seen ready, with the worker that had them so."""
        self.doubted_twice: set[Key] = set()
        """Those of them whose first passed check may have begun before."""

    def run(self) -> Outcome:
        """Do it, or in check mode say what would be done."""
        wanted = self.wanted
        if wanted.reads_only:
            return self._finish(select(self.commands.look(), wanted))
        with nullcontext() if wanted.check_mode else self.tools.lock():
            view = self.commands.look()
            targets = self._leave_alone(select(view, wanted))
            self.goals = goals(targets, wanted)
            self.outcome.before = {one.label: Goal(one.admin, one.weight) for one in targets}
            self.outcome.busy_before = {one.label: one.busy for one in targets}
            guard_capacity(view, self.goals, wanted.min_available)
            if not wanted.check_mode:
                self._begin(view)
        if wanted.check_mode:
            self.outcome.done = not self._pending(view, settle=False)
            self._finish(targets)
            self.outcome.after = {one.label: self.goals[one.key] for one in targets}
            self.outcome.changed = self.outcome.before != self.outcome.after
            return self.outcome
        self._wait()
        return self._finish(self.commands.look().of(self.goals))

    def _leave_alone(self, targets: Sequence[Server]) -> list[Server]:
        """The servers that are to be changed; what somebody else has put elsewhere in any backend is not."""
        unless = self.wanted.unless
        alone = {one.name: one.admin for one in targets if one.admin in unless.get(one.name, ())}
        self.outcome.left_alone = alone
        return [one for one in targets if one.name not in alone]

    def _require_fresh_check(self, view: View, server: Server) -> None:
        """Make HAProxy forget what it thinks of a server's health; it must be out of traffic."""
        if server.admin == MAINT:
            self.commands.set(server, "state drain")
        self.commands.set(server, "health down")
        self.doubted[server.key] = view.worker
        # With "rise 1" a check that began before would be enough.
        if server.checking and server.rise == 1:
            self.doubted_twice.add(server.key)

    # -- the change itself

    def _begin(self, view: View) -> None:
        """Take the first step with every server; what HAProxy refuses leaves nothing behind."""
        touched: list[Server] = []
        try:
            for server in view.of(self.goals):
                goal = self.goals[server.key]
                touched.append(server)
                if goal.weight != server.weight:
                    self.commands.set(server, f"weight {self.wanted.weight}")
                if goal.admin == READY and server.admin != READY:
                    self._enter(view, server)
                elif goal.admin != server.admin:
                    self._leave(view, server, goal.admin)
        except NotAccepted as error:
            self._put_back(touched)
            raise RuntimeFailure(f"{str(error)[:-1]}; nothing was changed.") from error
        self._verify(view)
        # Also when nothing had to be set: an execution that was killed may have got no further than that.
        self.commands.save()

    def _leave(self, view: View, server: Server, admin: str) -> None:
        if server.admin == MAINT and server.checked:
            self._require_fresh_check(view, server)  # It would be shown as healthy before any check.
        else:
            self.commands.set(server, f"state {admin}")

    def _enter(self, view: View, server: Server) -> None:
        """Begin to put a server back, or do it where nothing can be waited for."""
        if not server.checked:
            self.commands.set(server, "state ready")
            return
        if self.wanted.fresh or server.admin == MAINT:
            self._require_fresh_check(view, server)
        elif server.up:
            self.commands.set(server, "state ready")
        if not self.wanted.wait:
            # HAProxy itself lets it in when its checks have passed.
            self.commands.set(server, "state ready")

    def _verify(self, before: View) -> None:
        """Read the weights back; what a reload has lost meanwhile is set again while waiting."""
        view = self.commands.look()
        for server in view.of(self.goals):
            goal = self.goals[server.key]
            if server.weight != goal.weight and view.worker == before.worker:
                raise RuntimeFailure(
                    f"HAProxy has taken weight {self.wanted.weight} for {server.label} without a word, but its weight "
                    f"is {server.weight} and not {goal.weight}; look at what else changes it."
                )

    def _pending(self, view: View, settle: bool = True) -> list[Server]:
        """The servers that are not yet as wanted; with ``settle`` also do for them what has become possible."""
        return [server for server in view.of(self.goals) if not self._settled(view, server, settle)]

    def _settled(self, view: View, server: Server, settle: bool) -> bool:
        if server.key not in self.goals or self._taken_out_meanwhile(view, server):
            return True
        goal = self.goals[server.key]
        if server.weight != goal.weight:
            if settle:
                self._again(server, f"weight {goal.weight}")
            return False
        if self.wanted.state is None:
            return True
        if server.admin == goal.admin:
            return server.up if goal.admin == READY else server.quiet
        if settle and goal.admin == READY:
            self._let_in(view, server)
        elif settle:
            self._again(server, f"state {goal.admin}")
        return False

    def _taken_out_meanwhile(self, view: View, server: Server) -> bool:
        """Whether somebody else takes a server out while it is waited for; then it is left alone from now on."""
        states = self.wanted.unless.get(server.name)
        if states is None or self.wanted.state != READY:
            return False
        if server.admin == READY:
            self.let_in[server.key] = view.worker
            return False
        # A new worker may have it as it was before it was let in; the same one has it as somebody wants it.
        if server.admin not in states and self.let_in.get(server.key) != view.worker:
            return False
        self.outcome.left_alone = {**self.outcome.left_alone, server.name: server.admin}
        self.goals = {key: goal for key, goal in self.goals.items() if key[1] != server.name}
        return True

    def _again(self, server: Server, what: str) -> None:
        """Set what a reload has lost: the new worker was given the state from before."""
        with self.tools.lock():
            self.commands.set(server, what)
            self.commands.save()

    def _let_in(self, view: View, server: Server) -> None:
        """Put a server back once the worker that has to use it has seen it healthy."""
        told = self.doubted.get(server.key)
        verified = told == view.worker or (told is None and not self.wanted.fresh)
        if not server.checked:
            self._again(server, "state ready")
        elif server.admin == MAINT or not verified:
            self._require_fresh_check(view, server)
        elif server.up and server.key in self.doubted_twice:
            self._require_fresh_check(view, server)
            self.doubted_twice.discard(server.key)
        elif server.up:
            self._again(server, "state ready")

    # -- waiting

    def _wait(self) -> None:
        begin = self.tools.clock()
        left = self._poll(self.wanted.wait)
        if left and self.wanted.wait:
            self._timed_out(left, begin)
        else:
            self.outcome.done = not left
        self.outcome.waited_s = self.tools.clock() - begin

    def _poll(self, seconds: float, each: Callable[[View, list[Server]], None] | None = None) -> list[Server]:
        """Look until nothing is pending or the time is over; what is pending then."""
        deadline = self.tools.clock() + seconds
        pause = FIRST_POLL
        quiet: tuple[int, ...] = ()
        while True:
            view = self.commands.look()
            left = self._pending(view)
            # Twice in the same workers: one that a reload has just made may not have been in the first look.
            if not left and quiet == view.workers:
                return []
            quiet = () if left else view.workers
            if left and self.tools.clock() >= deadline:
                return left
            if left and each:
                each(view, left)
            if left:
                self.tools.sleep(min(pause, max(deadline - self.tools.clock(), 0.001)))
                pause = min(pause * POLL_GROWTH, LAST_POLL)

    def _timed_out(self, left: list[Server], begin: float) -> None:
        how = self.wanted.on_timeout
        if how == "kill" and self.wanted.state != READY:
            self.outcome.killed = {one.label: one.sessions + one.sessions_old_workers for one in left}
            left = self._poll(KILL_WAIT, self._kill)
            how = "report"
        self.outcome.done = not left
        if how == "report":
            return
        text = complaint(self.wanted, left)
        if how == "revert":
            with self.tools.lock():
                self._put_back(self.commands.look().of(self.goals))
            text += " What was there before is back."
        else:
            text += " It is left as it is."
        self.outcome.waited_s = self.tools.clock() - begin
        raise TimedOut(text, self._finish(self.commands.look().of(self.goals)))

    def _kill(self, view: View, left: list[Server]) -> None:
        """Shut down what a server still has; HAProxy may send a killed GET once more, so this is repeated."""
        for server in left:
            try:
                self.commands.end_sessions(view, server)
            except NoAnswer:
                continue  # The next look sees what is left.

    def _put_back(self, servers: Sequence[Server]) -> None:
        """Restore what was there before this execution, for as many servers as HAProxy lets us."""
        touched = False
        for server in servers:
            before = self.outcome.before[server.label]
            now = self.commands.look().servers.get(server.key)
            if now is None or before == Goal(now.admin, now.weight):
                continue
            touched = True
            try:
                if before.weight != now.weight:
                    self.commands.set(now, f"weight {before.weight}")
                if before.admin != now.admin:
                    if now.admin == MAINT and now.checked:
                        self.commands.set(now, "state drain")
                        self.commands.set(now, "health down")
                    self.commands.set(now, f"state {before.admin}")
            except NotAccepted:
                continue
        if touched:
            self.commands.save()

    def _finish(self, servers: Sequence[Server]) -> Outcome:
        return self.outcome.finished(self.commands.look(), servers, self.wanted.backends)


def change(tools: Tools, wanted: Wanted) -> Outcome:
    """Do what is wanted and say what came of it; ``RuntimeFailure`` in one sentence."""
    return Change(tools, wanted).run()
