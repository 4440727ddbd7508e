# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single commands to HAProxy that outlast a reload, and what a change of servers touches besides.

Measured on 2.6 and 3.0: an old worker refuses "set server" and "shutdown sessions server" ("Proxy is disabled."), but
ends single sessions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.mesops.platform.plugins.module_utils._core.locks import Held, take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import (
    current_worker,
    parse_processes,
    running_state,
    sessions_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import Ask, NoAnswer, answer, look, whole
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import FRESH_MARK, next_state
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import RuntimeFailure, Server, View

PAUSE = 0.05
"""Seconds between two tries during a reload."""
ANSWER_TIMEOUT = 10.0
"""Seconds in which HAProxy must answer; a reload takes some 100 ms of them."""
LOCK_TIMEOUT = 60.0
_GONE = "Can't find the target PID"

Result = TypeVar("Result")


class NotAccepted(RuntimeFailure):
    """HAProxy has answered a command with something else than nothing."""


@dataclass(frozen=True)
class Tools:
    """The few things that touch the machine."""

    ask: Ask
    """Sends one command to the master's socket and returns the reply; raises ``OSError`` when nobody answers."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    save: Callable[[], None]
    """Keeps the current worker's state over a crash; raises ``OSError``, or ``NoAnswer`` during a reload."""
    lock: Callable[[], AbstractContextManager[None]]
    """Held while something is decided and changed, never while something is waited for."""
    superseded: Callable[[], bool] = lambda: False
    """Whether an execution with a higher fence has come since; asked before every change."""


class Commands:
    """HAProxy, as somebody sees it who changes its servers."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    def look(self) -> View:
        """Read all servers; a reload is waited for."""
        return self._answered(lambda: look(self.tools.ask))

    def _answered(self, call: Callable[[], Result]) -> Result:
        deadline = self.tools.clock() + ANSWER_TIMEOUT
        while True:
            try:
                return call()
            except NoAnswer as error:
                if self.tools.clock() >= deadline:
                    raise RuntimeFailure(
                        f"HAProxy's master socket gives no usable answer ({error}); look whether HAProxy runs, in "
                        "master-worker mode."
                    ) from error
            self.tools.sleep(PAUSE)

    def _command(self, pid: int, command: str) -> None:
        """Send one command to a worker; its answer must be empty, which HAProxy writes as an empty line."""
        reply = answer(self.tools.ask, f"@!{pid} {command}")
        if not reply or reply.startswith(_GONE):
            raise NoAnswer(f"worker {pid} has ended")
        if reply.strip():
            hint = " (the master's socket must have level admin)" if reply.startswith("Permission denied") else ""
            raise NotAccepted(f"HAProxy refuses '{command}': {' '.join(reply.split()).rstrip('.')}{hint}.")

    def set(self, server: Server, what: str) -> None:
        """Send one "set server" to whichever worker is the current one by now."""
        if self.tools.superseded():
            raise RuntimeFailure(f"A newer run changes these servers now, so {server.label} is left as it is.")

        def send() -> None:
            worker = current_worker(parse_processes(whole(self.tools.ask, "show proc")))
            if worker is None:
                raise NoAnswer("no worker runs")
            self._command(worker.pid, f"set server {server.label} {what}")

        self._answered(send)

    def save(self) -> None:
        """Keep for a restart what was set."""
        try:
            self._answered(self.tools.save)
        except OSError as error:
            raise RuntimeFailure(
                f"The servers are as wanted, but that could not be saved for a restart of HAProxy ({error}); "
                "make the state file writable and run again."
            ) from error

    def end_sessions(self, view: View, server: Server) -> None:
        """Shut down what a server still has in all workers; ``NoAnswer`` when one of them ends meanwhile."""
        if server.sessions:
            self._command(view.worker, f"shutdown sessions server {server.label}")
        for pid in view.old_workers if server.sessions_old_workers else ():
            for session in sessions_of(answer(self.tools.ask, f"@!{pid} show sess"), server.key):
                self._end(pid, session)

    def _end(self, pid: int, session: str) -> None:
        try:
            self._command(pid, f"shutdown session {session}")
        except NotAccepted as error:
            if "No such session" not in str(error):
                raise


@contextmanager
def file_lock(
    path: str, clock: Callable[[], float], sleep: Callable[[float], None], timeout: float = LOCK_TIMEOUT
) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process that holds it."""
    try:
        handle = take_lock(path, timeout, clock, sleep)
    except Held:
        raise RuntimeFailure(
            f"Somebody else has been changing HAProxy's servers for {timeout:g} s (lock {path}); "
            "run again when they have finished."
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def save(ask: Ask, config: str, state_file: str) -> None:
    """Write the state file as "haproxy_state.py save" does, so that a crash forgets nothing."""
    running = running_state(lambda command: whole(ask, command))
    if "# be_id" not in running:
        raise NoAnswer("no worker tells its state")
    write_atomically(state_file, next_state(read_text(config), running) + f"{FRESH_MARK}\n")
