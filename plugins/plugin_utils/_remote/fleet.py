# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules on any hosts of the inventory at once, from within one action plugin, each with a deadline.

Every call is a child process with a connection of its own, made from the host's variables as Ansible makes it for a
task. So an unreachable host is an answer and not the end of the play, a connection that hangs can be given up, and the
parent goes on showing what happens meanwhile. Tasks would cost a fork, a template run and a callback each, and an
unreachable host would skip both their rescue and their always.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.executor import Executor

TICK = 0.5
CHUNK = 1 << 16
MARGIN = 30.0
"""Seconds beyond what a module itself takes, for the connection."""


class ControllerGone(BaseException):
    """The process that runs the play is no more; nobody would hear of what this one does."""


@dataclass
class _Child:
    call: Call
    pid: int
    pipe: int
    deadline: float
    data: bytes = b""


class Fleet:
    """The hosts of an inventory, as one action plugin reaches them."""

    def __init__(self, action: ActionBase, task_vars: Mapping[str, Any], forks: int) -> None:
        self._forks = max(1, forks)
        self.tick: Callable[[], None] = lambda: None
        """Called whenever the fleet waits."""
        self._interpreters: dict[str, str] = {}
        self._parent = os.getppid()
        self.executor = Executor(action, task_vars["hostvars"], self._parent)
        """Runs the module of a call, in a child."""
        self._queue: list[tuple[str, Call]] = []
        self._running: dict[str, _Child] = {}
        self._answers: dict[str, Answer] = {}
        self._selector = selectors.DefaultSelector()

    def run(self, calls: Mapping[str, Call]) -> dict[str, Answer]:
        """Run calls on their hosts at once and wait for all of them."""
        self._queue.extend(calls.items())
        while not all(key in self._answers for key in calls):
            self._advance(TICK)
        return {key: self._answers.pop(key) for key in calls}

    def begin(self, key: str, call: Call) -> None:
        """Run a call in the background, beside all others; ``collect`` has its answer.

        It does not wait for a free process: a lease is renewed while every one is busy with a host that is slow.
        """
        self._launch(key, call)

    def collect(self, key: str) -> Answer | None:
        """The answer of a background call, once."""
        return self._answers.pop(key, None)

    def busy(self, key: str) -> bool:
        """Whether a background call is still under way."""
        return key in self._running

    def sleep(self, seconds: float) -> None:
        """Wait, while background calls go on."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._advance(min(TICK, left))

    def end(self) -> None:
        """End what still runs."""
        for child in list(self._running.values()):
            self._give_up(child, "it was not waited for")
            os.waitpid(child.pid, 0)
        self._running.clear()

    # ----------------------------------------------------------------------------------------------------- processes

    def _advance(self, seconds: float) -> None:
        """Start what may start, read what has come, give up what took too long."""
        if os.getppid() != self._parent:
            raise ControllerGone
        while self._queue and len(self._running) < self._forks:
            self._launch(*self._queue.pop(0))
        if not self._running:
            time.sleep(seconds)
        else:
            for event, _mask in self._selector.select(seconds):
                self._read(event.data)
        now = time.monotonic()
        for key, child in list(self._running.items()):
            if now > child.deadline:
                self._give_up(child, f"it gave no answer for {child.call.timeout + MARGIN:.0f} s")
                self._finish(key)
        self.tick()

    def _launch(self, key: str, call: Call) -> None:
        self._running[key] = self._start(call)
        self._selector.register(self._running[key].pipe, selectors.EVENT_READ, key)

    def _read(self, key: str) -> None:
        child = self._running[key]
        part = os.read(child.pipe, CHUNK)
        child.data += part
        if not part:
            self._finish(key)

    def _give_up(self, child: _Child, why: str) -> None:
        os.kill(child.pid, signal.SIGKILL)
        child.data = json.dumps({"unreachable": True, "msg": f"{child.call.host}: {why}"}).encode()

    def _finish(self, key: str) -> None:
        child = self._running.pop(key)
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        os.waitpid(child.pid, 0)
        try:
            result = json.loads(child.data)
        except ValueError:
            result = {"failed": True, "msg": f"{child.call.module} on {child.call.host} ended without an answer"}
        found = result.pop("_interpreter", None)
        if found:
            self._interpreters[child.call.host] = found
        self._answers[key] = Answer(result, bool(result.get("unreachable")))

    def _start(self, call: Call) -> _Child:
        if not call.action:
            # Here, where it is kept for the calls to come: a child takes what it makes to its grave.
            bundle.packed_sources(call.module)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return _Child(call, pid, reader, time.monotonic() + call.timeout + MARGIN)
        try:
            # The worker's own handlers would end its whole group.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.close(reader)
            data = json.dumps(self.executor.execute(call, self._interpreters.get(call.host, "")), default=str).encode()
            while data:
                data = data[os.write(writer, data) :]
        finally:
            os._exit(0)
