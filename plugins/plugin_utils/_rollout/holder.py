# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the lock of a rollout: a person, and a process of this machine that may be no more."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any


def who() -> str:
    """The person or account that runs the play."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"


def holder_of_play(what: str) -> dict[str, Any]:
    """The process that runs the play, as the holder of a lock."""
    return {
        "user": os.environ.get("SUDO_USER") or getpass.getuser(),
        "host": socket.gethostname(),
        "pid": os.getppid(),
        "boot": _boot(),
        "process_started": _process_started(os.getppid()),
        "what": what,
    }


def _boot() -> str:
    """This boot of this machine, seen from this container if it is one: within it a process id means one process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return f"{stream.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(lease: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this very machine that is no more."""
    holder = lease.get("holder") or {}
    here = bool(holder.get("boot")) and (holder.get("host"), holder["boot"]) == (socket.gethostname(), _boot())
    return here and _process_started(int(holder.get("pid") or 0)) != str(holder.get("process_started"))
