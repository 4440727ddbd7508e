# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy itself forgets: sessions of old workers with servers that are down, and its server state at a crash."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Callable

from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import (
    MASTER_SOCKET,
    Process,
    ask,
    number,
    parse_processes,
    running_state,
    sessions_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_lines import parse_servers
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import (
    FRESH_MARK,
    LOCK,
    LOCK_TIMEOUT,
    STATE_FILE,
    next_state,
    parse_state,
)

GUARD_INTERVAL = 1.0
"""Seconds between two looks of the guard."""


def gone(row: dict[str, str]) -> bool:
    """Whether checks have found a server down, or somebody has put it in maintenance; not yet checked is neither."""
    return row["srv_op_state"] == "0" and (row["srv_check_result"] == "2" or bool(number(row["srv_admin_state"]) & 5))


def end_sessions(asker: Callable[[str], str], config: str, processes: list[Process], running: str) -> int:
    """End what old workers still have with servers that are gone for the current one; how many sessions that were.

    "on-marked-down shutdown-sessions" does that in the current worker only: old ones make no checks.
    """
    old = [one.pid for one in processes if one.old and one.kind == "worker"]
    lost = {key for key, row in parse_state(running).items() if gone(row)} if old else set()
    keys = [one.key for one in parse_servers(config) if one.ends_sessions and one.key in lost] if lost else []
    ended = 0
    for pid in old if keys else ():
        sessions = asker(f"@!{pid} show sess")
        for session in (one for key in keys for one in sessions_of(sessions, key)):
            asker(f"@!{pid} shutdown session {session}")
            ended += 1
    return ended


def remembers(saved: str, text: str) -> bool:
    """Whether a saved state says of all servers who is up, taken out and weighed how, as ``text`` does."""
    telling = ("srv_op_state", "srv_admin_state", "srv_uweight", "srv_addr", "srv_port", "srv_check_result")

    def told(state: str) -> dict[tuple[str, str], list[str]]:
        return {key: [row[field] for field in telling] for key, row in parse_state(state).items()}

    return FRESH_MARK in saved and told(saved) == told(text)


def _whole_state(asker: Callable[[str], str]) -> str:
    """Return the current worker's state, or nothing where none runs or one ended while it answered."""
    running = running_state(asker)
    return running if "# be_id" in running and running.endswith("\n\n") else ""


def keep(asker: Callable[[str], str], config: str, running: str) -> None:
    """See to it that the state file tells how the servers are, and by its time that this is so now."""
    if remembers(read_text(STATE_FILE), next_state(config, running)):
        os.utime(STATE_FILE)
        return
    lock = take_lock(LOCK, LOCK_TIMEOUT)
    try:
        running = _whole_state(asker)
        if running:
            write_atomically(STATE_FILE, f"{next_state(config, running)}{FRESH_MARK}\n")
    finally:
        os.close(lock)


def guard(asker: Callable[[str], str], config: str) -> None:
    """Look once: end what has to end in old workers, and keep the state for a crash of HAProxy or of the machine."""
    processes = parse_processes(asker("show proc"))
    running = _whole_state(asker)
    if not running:
        return
    ended = end_sessions(asker, config, processes, running)
    if ended:
        what = "session" if ended == 1 else "sessions"
        sys.stderr.write(f"Ended {ended} {what} of workers from before a reload with servers that are down.\n")
    keep(asker, config, running)


def guard_for_ever(config_file: str) -> None:
    """Look every second. While HAProxy is reloaded or does not run, there is nobody to ask, and nothing to do."""
    while True:
        with contextlib.suppress(OSError):
            guard(lambda command: ask(MASTER_SOCKET, command), read_text(config_file))
        time.sleep(GUARD_INTERVAL)
