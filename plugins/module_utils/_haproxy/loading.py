# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have HAProxy load what is on disk: start or reload it, and prove that a worker has loaded this very configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core import systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import master, server_states, starting
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.complaints import explain
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.configuration import (
    DIGEST_NAME,
    File,
    Wanted,
    digest_in,
)

POLL = 0.1
JOURNAL_LINES = 40


class DeployError(Exception):
    """The configuration could not be activated; the text is one sentence for the user."""


@dataclass(frozen=True)
class Machine:
    """The few things that touch the host, passed in so that tests can replace them."""

    run: Run
    ask: Callable[[str], str]
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Loader:
    """One HAProxy, which is to load one configuration."""

    def __init__(self, machine: Machine, wanted: Wanted, config: File, sha256: str) -> None:
        self.machine = machine
        self.wanted = wanted
        self.config = config
        self.sha256 = sha256
        self.worker_pid = 0
        """The worker that was seen last to have a configuration loaded."""

    def loaded(self) -> str:
        """The digest of what the running worker has loaded, empty where there is none."""
        worker = master.current_worker(master.parse_processes(self._ask("show proc")))
        if worker is None:
            return ""
        self.worker_pid = worker.pid
        return digest_in(self._ask(f"@!{worker.pid} show env {DIGEST_NAME}"))

    def start(self) -> None:
        """Start it; ``DeployError`` with the reason alone when it does not, and then it is stopped."""
        saved = read_text(self.wanted.state_file)
        # Nobody is healthy until it has been checked: the unit's own "before-start" does that, or else HAProxy.
        kept = starting.before_start(self.config.content, saved, {})
        if server_states.FRESH_MARK in saved and server_states.FRESH_MARK not in kept:
            kept += f"{server_states.FRESH_MARK}\n"
        write_atomically(self.wanted.state_file, kept)
        self.machine.run(["systemctl", "reset-failed", self.wanted.unit])
        rc, _out, _err = self.machine.run(["systemctl", "start", self.wanted.unit])
        if rc != 0:
            reason = self._journal_reason()
            self.machine.run(["systemctl", "stop", self.wanted.unit])
            raise DeployError(reason)

    def hand_over(self) -> list[master.Process]:
        """Write the state with which a new worker is to begin, and return the processes that are there before it."""
        before = master.parse_processes(self._ask("show proc"))
        worker = master.current_worker(before)
        running = self._ask(f"@!{worker.pid} show servers state") if worker else ""
        text = server_states.next_state(self.config.content, running)
        write_atomically(self.wanted.state_file, server_states.keep_mark(text, read_text(self.wanted.state_file)))
        return before

    def reload(self, before: list[master.Process]) -> None:
        """Reload it; ``DeployError`` with the reason alone when it does not take the configuration."""
        try:
            reply = self.machine.ask("reload")
        except OSError:
            reply = ""  # 2.6 closes the connection without a word.
        if reply.startswith("Success=0"):
            raise DeployError(explain(reply, self.config.content, self.config.path, self.wanted.secrets))
        self.prove(before)

    def prove(self, before: list[master.Process] | None) -> None:
        """Wait until a new worker answers with the digest of this very configuration."""
        old = {one.pid for one in before or [] if one.kind == "worker"}
        reloads = next((one.reloads for one in before or [] if one.kind == "master"), -1)
        deadline = self.machine.clock() + self.wanted.reload_timeout
        while self.machine.clock() < deadline:
            try:
                processes = master.parse_processes(self.machine.ask("show proc"))
                worker = master.current_worker(processes)
                if worker and worker.pid not in old:
                    loaded = digest_in(self.machine.ask(f"@!{worker.pid} show env {DIGEST_NAME}"))
                    if loaded == self.sha256:
                        self.worker_pid = worker.pid
                        return
                    if loaded:
                        raise DeployError(f"the new worker {worker.pid} has loaded another configuration")
                elif worker and any(one.kind == "master" and one.reloads > reloads >= 0 for one in processes):
                    raise DeployError(self._journal_reason())
            except OSError:
                pass  # The master is executing itself anew.
            self.machine.sleep(POLL)
        raise DeployError(f"no new worker after {self.wanted.reload_timeout:g} s")

    def settle(self) -> None:
        """Give servers that start as "down until checked" the time for their first checks."""
        deadline = self.machine.clock() + self.wanted.settle_timeout
        while self.machine.clock() < deadline:
            rows = server_states.parse_state(self._ask(f"@!{self.worker_pid} show servers state")).values()
            if not any(server_states.waits_for_check(row) for row in rows):
                return
            self.machine.sleep(POLL)

    def _journal_reason(self) -> str:
        told = systemd.journal(self.machine.run, self.wanted.unit, JOURNAL_LINES)
        last = told.rsplit("haproxy version is", 1)[-1]
        return explain(last, self.config.content, self.config.path, self.wanted.secrets)

    def _ask(self, command: str) -> str:
        try:
            return self.machine.ask(command)
        except OSError as error:
            raise DeployError(
                f"HAProxy runs, but its master socket does not answer ({error}); look at "
                f'"systemctl status {self.wanted.unit}".'
            ) from error
