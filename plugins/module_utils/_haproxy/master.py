# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's master process: what is asked over its socket, and which workers it has."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Callable

MASTER_SOCKET = "/run/haproxy-master.sock"


@dataclass(frozen=True)
class Process:
    """One line of "show proc"."""

    pid: int
    kind: str
    reloads: int
    old: bool


def number(text: str | None) -> int:
    """Return the number in a cell of a reply; what is no whole number is 0."""
    return int(text) if text and text.lstrip("-").isdigit() else 0


def parse_processes(text: str) -> list[Process]:
    """Read "show proc" of the master socket."""
    found: list[Process] = []
    old = False
    for line in text.splitlines():
        if line.startswith("# "):
            old = line.startswith("# old")
            continue
        words = line.split()
        if len(words) > 2 and words[0].isdigit():
            found.append(Process(int(words[0]), words[1], number(words[2]), old))
    return found


def current_worker(processes: list[Process]) -> Process | None:
    """Return the worker that accepts new connections."""
    return next((one for one in processes if one.kind == "worker" and not one.old), None)


def ask(path: str, command: str, timeout: float = 10.0) -> str:
    """Send one command to a HAProxy socket and return the reply.

    The write side is closed after the command: the master socket never ends its answer otherwise.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        parts: list[bytes] = []
        while True:
            part = connection.recv(65536)
            if not part:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(part)


def running_state(asker: Callable[[str], str]) -> str:
    """Return the current worker's "show servers state", or nothing where no worker runs."""
    worker = current_worker(parse_processes(asker("show proc")))
    return asker(f"@!{worker.pid} show servers state") if worker else ""


def sessions_of(text: str, key: tuple[str, str]) -> list[str]:
    """The ids of a server's sessions in "show sess"."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and words[0].endswith(":") and f"be={key[0]}" in words and f"srv={key[1]}" in words:
            found.append(words[0][:-1])
    return found
