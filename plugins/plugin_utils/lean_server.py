# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fork server that a lean program leaves behind on its host, so that the next one of its kind imports nothing.

It listens on an abstract Unix socket, which needs no file, serves only its own user, forks for every request, and ends
when none has come for a while. A request is the arguments in the packed form, with the client's standard output and
standard error as file descriptors; the answer is one byte when the module begins and its exit status when it has ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

BEGUN = b"+"
"""After this byte the client must not run the module itself."""
PATIENCE = 5.0
"""Seconds in which a client has to have sent its request."""
CHUNK = 1 << 16
TITLE = "mesops-lean"
"""What ps and top call it, at most 15 characters."""


def leave_behind(name: str, idle: float, run: Callable[[bytes], None]) -> None:
    """Start the server beside this process, which goes on at once; without one, all goes on as well, only slower.

    Args:
        name: Of the abstract socket, with its leading null character.
        idle: Seconds without a request after which the server ends.
        run: Runs the module with a request's arguments; called in a process of its own.
    """
    try:
        between = os.fork()
    except OSError:
        return
    if between:
        os.waitpid(between, 0)
        return
    try:
        # Of a session of its own and nobody's child: neither a terminal nor the connection waits for it.
        os.setsid()
        if not os.fork():
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            for number in map(int, os.listdir("/proc/self/fd")):
                if number > 2:
                    os.closerange(number, number + 1)  # silent where there is none any more
            os.chdir("/")
            _serve(name, idle, run)
    finally:
        os._exit(0)


def _serve(name: str, idle: float, run: Callable[[bytes], None]) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen(64)
        server.settimeout(idle)
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as title:
            title.write(TITLE)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        gc.freeze()
        while True:
            link = server.accept()[0]
            if _user(link) == os.geteuid() and not os.fork():
                server.close()
                _answer(link, run)
            link.close()


def _user(link: socket.socket) -> int:
    """The user at the other end."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def _answer(link: socket.socket, run: Callable[[bytes], None]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link.settimeout(PATIENCE)
        request, descriptors, _flags, _address = socket.recv_fds(link, CHUNK, 2)
        while part := link.recv(CHUNK):
            request += part
        for number, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, number)
        link.sendall(BEGUN)
        try:
            run(request)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        link.sendall(bytes([status & 0xFF]))
    finally:
        os._exit(status)
