# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced in one step: whoever reads one sees old or new, never half of it. No Ansible in here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from ansible_collections.mesops.platform.plugins.module_utils._core.directories import sync


def no_step(_name: str) -> None:
    """Nobody follows."""


@contextmanager
def replacing(
    path: str,
    mode: int | None = 0o600,
    owner: tuple[int, int] | None = None,
    *,
    beside: str = "",
    durable: bool = False,
    step: Callable[[str], None] = no_step,
) -> Iterator[IO[bytes]]:
    """Give a file to write into, which takes the place of ``path`` when it is whole and on the disk.

    Args:
        mode: Its permissions from the first byte on; None for what the umask leaves.
        owner: User and group, of whom -1 stays as it is.
        beside: Where it is written, for callers who hold a lock: what a killed run has left there is written over.
            Otherwise it has a name of its own, and nothing is left of it when it cannot be written.
        durable: Whether the replacement itself has to survive a power cut.
        step: Is told what comes next, for tests that end a run anywhere.
    """
    name = beside or os.path.join(os.path.dirname(path), f".mesops-{os.urandom(8).hex()}")
    step("begin")
    fresh = os.O_TRUNC if beside else os.O_EXCL
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | fresh, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            if owner is not None:
                os.fchown(handle, *owner)
            if mode is not None:
                os.fchmod(handle, mode)
            step("write")
            yield stream
            stream.flush()
            step("flush")
            os.fsync(handle)
        step("show")
        os.replace(name, path)
    except BaseException:
        if not beside:
            os.unlink(name)
        raise
    if durable:
        step("keep")
        sync(os.path.dirname(path) or ".")


def write_atomically(
    path: str, content: str | bytes, mode: int | None = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Replace a file by a text or bytes."""
    with replacing(path, mode, owner) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def read_text(path: str) -> str:
    """Read a file that may be absent."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
