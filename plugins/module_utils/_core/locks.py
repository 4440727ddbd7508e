# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between processes of one host. They end with the process that holds them. No Ansible in here."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE = 0.05
"""Seconds between two tries."""


class Held(OSError):
    """Another process has the lock for longer than one may wait."""


@contextmanager
def directory(
    path: str,
    wait: float,
    *,
    shared: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a directory's own lock, which leaves no file behind.

    Held after ``wait`` seconds (which may be infinite), OSError where it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        _lock(descriptor, path, kind, wait=wait, clock=clock, sleep=sleep)
        yield
    finally:
        os.close(descriptor)


def take_lock(
    path: str,
    wait: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    *,
    mode: int = 0o600,
) -> int:
    """Take an exclusive lock on a file, which is made for it, and return its descriptor, whose end is the lock's.

    Held after ``wait`` seconds, as above; ``mode`` is the file's, less the umask.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        _lock(descriptor, path, fcntl.LOCK_EX, wait=wait, clock=clock, sleep=sleep)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(
    descriptor: int, path: str, kind: int, *, wait: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    deadline = clock() + wait
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock() >= deadline:
                raise Held(f"lock {path} is held by somebody else for {wait:g} s") from None
        sleep(PAUSE)
