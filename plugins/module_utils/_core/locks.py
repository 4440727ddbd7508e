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


class Held(Exception):
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
        deadline = clock() + wait
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock() >= deadline:
                    raise Held(path) from None
            sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)
