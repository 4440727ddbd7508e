# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fork server that a bundle leaves behind on its host, so that the next one of its kind imports nothing.

It listens on a Unix socket that only its own user can reach, forks for every request, and ends when none has come for a
while. It greets a client with one byte. The client then sends its arguments in the packed form, with its standard
output and standard error as file descriptors, and gets the module's exit status as one byte. Before the greeting a
client may give up and run the module itself; once it has begun to send, it never does, so nothing runs twice.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

NAME = "mesops-lean"
"""What ps and top call it, at most 15 characters."""
GREETING = b"+"
PATIENCE = 5.0
"""Seconds for which one side waits for the other before the module begins."""
CHUNK = 1 << 16


def leave_behind(path: str, idle: float, run: Callable[[bytes], None]) -> None:
    """Start the server beside this process, which goes on at once; without one, all goes on as well, only slower.

    Args:
        path: Of its socket, in a directory in which nobody else may write.
        idle: Seconds without a request after which the server ends.
        run: Runs the module with a request's arguments; called in a process of its own.
    """
    try:
        server, inode = _listen(path)
        between = os.fork()
    except OSError:
        return
    if between:
        server.close()
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
                if number > 2 and number != server.fileno():
                    os.closerange(number, number + 1)  # silent where there is none any more
            os.chdir("/")
            _serve(server, idle, run)
            if os.stat(path).st_ino == inode:
                os.unlink(path)
    finally:
        os._exit(0)


def _listen(path: str) -> tuple[socket.socket, int]:
    """A socket and its inode. Whoever comes last has the name: a server that was killed has left it behind."""
    own = f"{path}.{os.getpid()}"
    server = socket.socket(socket.AF_UNIX)
    server.bind(own)
    os.chmod(own, 0o600)
    server.listen(64)
    inode = os.stat(own).st_ino
    os.rename(own, path)
    return server, inode


def _serve(server: socket.socket, idle: float, run: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as title:
        title.write(NAME)
    server.settimeout(idle)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    with contextlib.suppress(OSError):
        _accept(server, run)


def _accept(server: socket.socket, run: Callable[[bytes], None]) -> NoReturn:
    """Answer until there was nothing to answer for the server's timeout, which is an OSError."""
    while True:
        link = server.accept()[0]
        if not os.fork():
            server.close()
            _answer(link, run)
        link.close()


def _answer(link: socket.socket, run: Callable[[bytes], None]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link.settimeout(PATIENCE)
        link.sendall(GREETING)
        request, descriptors, _flags, _address = socket.recv_fds(link, CHUNK, 2)
        while part := link.recv(CHUNK):
            request += part
        for number, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, number)
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
