# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one service's store in a directory: read, replaced in one step, one process at a time. No Ansible.

    <directory>/<service>/store.json         the name of this store, made once
    <directory>/<service>/lock.json          the lease, and a number that grows with every change under it
    <directory>/<service>/open.json          which record is open
    <directory>/<service>/control.json       a person's flag
    <directory>/<service>/audit.jsonl        one line per entry; a torn last line does not count
    <directory>/<service>/records/<id>.json  one rollout each, with the number under which it began
    <directory>/<service>/.new               a file on its way in

Every change is a new file, flushed and renamed, or a removal, so a process may be killed between any two system calls.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, locks
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import no_step, replacing
from ansible_collections.mesops.platform.plugins.module_utils._record import stored_values
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import TIMEOUT, StoreError

DIRECTORY = "/var/lib/mesops/rollouts"
AUDIT_BYTES = 256 << 10
"""How much of the audit file's end is read."""
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)


@dataclass
class StoreFiles:
    """What a store in files consists of."""

    service: str
    directory: str = DIRECTORY
    """The directory of all services."""
    timeout: float = TIMEOUT
    """Seconds to wait for another process that uses the directory."""
    timer: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    step: Callable[[str], None] = no_step

    @property
    def base(self) -> str:
        """The service's own directory."""
        return os.path.join(self.directory, self.service)

    @property
    def place(self) -> str:
        """Where the store is, for a person."""
        return f"{socket.gethostname()}:{self.directory}"

    def read(self, name: str) -> dict[str, Any] | None:
        """The object in a file, nothing where there is none, or StoreError."""
        path = os.path.join(self.base, name)
        try:
            with open(path, "rb") as handle:
                return stored_values.to_object(handle.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self.damaged(name, error) from error

    def records(self) -> list[str]:
        """The names of the files of records, in no order."""
        folder = os.path.join(self.base, "records")
        return [name for name in os.listdir(folder) if name.endswith(".json")] if os.path.isdir(folder) else []

    def read_audit(self, limit: int) -> list[dict[str, Any]]:
        """The last entries of the audit list, newest first."""
        try:
            with open(os.path.join(self.base, "audit.jsonl"), "rb") as handle:
                skipped = max(0, handle.seek(0, os.SEEK_END) - AUDIT_BYTES)
                handle.seek(skipped)
                lines = handle.read().split(b"\n")
        except FileNotFoundError:
            return []
        entries = []
        # What follows the last newline is torn, and so is the first line when the reading began within it.
        for line in lines[1 if skipped else 0 : -1]:
            try:
                entries.append(stored_values.to_object(line))
            except ValueError:
                continue
        return entries[: -limit - 1 : -1] if limit > 0 else []

    def replace(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a file by one rename."""
        beside, path = os.path.join(self.base, ".new"), os.path.join(self.base, name)
        content = json.dumps(value, sort_keys=True) + "\n"
        with replacing(path, 0o640, beside=beside, durable=True, step=lambda what: self.step(f"{what} {name}")) as file:
            file.write(content.encode())

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = os.path.join(self.base, name)
        self.step(f"remove {name}")
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        self.step(f"forget {name}")
        directories.sync(os.path.dirname(path))

    def append_audit(self, entry: Mapping[str, Any]) -> None:
        """Add an entry to the audit list, on a line of its own."""
        path = os.path.join(self.base, "audit.jsonl")
        self.step("begin audit")
        with open(path, "ab+", buffering=0, opener=_private) as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - 1))
            torn = handle.read(1) not in (b"", b"\n")
            self.step("write audit")
            handle.write((b"\n" if torn else b"") + stored_values.to_text(entry).encode() + b"\n")
            self.step("flush audit")
            os.fsync(handle.fileno())
        if end == 0:
            directories.sync(self.base)

    def damaged(self, name: str, error: Exception) -> StoreError:
        """What is wrong with a file that cannot be read, and the way out."""
        path = os.path.join(self.base, name)
        means = {
            "store.json": "then it counts as a new store, and takes the place of this one with adopt in rollout_store",
            "lock.json": "then nobody holds the lock, and it counts as a new store",
            "open.json": "then no rollout counts as unfinished",
            "control.json": "then no flag is set",
        }.get(name, "then this rollout is not on record any more")
        return StoreError(f"{path} is damaged ({error}); restore it from a backup, or move it away: {means}")

    @contextmanager
    def alone(self, shared: bool = False, create: bool = False) -> Iterator[bool]:
        """Hold the directory's own lock; False when there is no directory yet."""
        try:
            if create:
                self._create()
            with ExitStack() as held:
                yield self._lock(held, shared)
        except OSError as error:
            raise StoreError(self._explain(error)) from error

    def _lock(self, held: ExitStack, shared: bool) -> bool:
        lock = locks.directory(self.base, self.timeout, shared=shared, clock=self.timer, sleep=self.sleep)
        try:
            held.enter_context(lock)
        except FileNotFoundError:
            return False
        except locks.Held as error:
            raise StoreError(
                f"{self.base} has been in use by another process for {self.timeout:g} s; look for it with fuser -v "
                f"{self.base}, and end it if it hangs"
            ) from error
        return True

    def _create(self) -> None:
        missing = []
        path = os.path.join(self.base, "records")
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for folder in reversed(missing):
            self.step(f"create {folder}")
            try:
                os.mkdir(folder, 0o750)
            except FileExistsError:
                # Another process was faster.
                continue
            directories.sync(os.path.dirname(folder))

    def _explain(self, error: OSError) -> str:
        where = error.filename or self.base
        if error.errno in _OUT_OF_SPACE:
            return f"the disk of {self.base} is full; make room there and run it again"
        if error.errno in _NOT_ALLOWED:
            return f"{where} may not be used by user id {os.geteuid()}; run it as root (become: true)"
        if error.errno == errno.EROFS:
            return (
                f"{where} is on a file system that is mounted read-only; mount it writable, or name another directory"
            )
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
            return f"{where} is in the way of a directory or file of the store; move it away"
        return f"{where} cannot be used ({error.strerror or error}); mend it, or name another directory"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o640)
