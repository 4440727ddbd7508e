# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts of one service in a directory of one host, the coordinator. No Ansible.

    <directory>/<service>/store.json         the name of this store, made once
    <directory>/<service>/lock.json          the lease, and a number that grows with every change under it
    <directory>/<service>/open.json          which record is open
    <directory>/<service>/control.json       a person's flag
    <directory>/<service>/audit.jsonl        one line per entry; a torn last line does not count
    <directory>/<service>/records/<id>.json  one rollout each, with the number under which it began
    <directory>/<service>/.new               a file on its way in

Every method holds the directory's own lock (flock), so methods never meet. Every change is a new file, flushed and
renamed, or a removal, so a process may be killed between any two system calls; the order of the changes within a method
is such that what it leaves behind reads as before or as after it. Leases run out by the coordinator's wall clock: set
forward, it ends a lease early, which token and number make harmless; set back, it lets one live longer.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, locks
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing
from ansible_collections.mesops.platform.plugins.module_utils._record import stores
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import (
    Change,
    Control,
    Holder,
    Lease,
    Locked,
    LockLost,
    StoreError,
    View,
    Written,
)

DIRECTORY = "/var/lib/mesops/rollouts"
AUDIT_BYTES = 256 << 10
"""How much of the audit file's end is read."""
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)


def _no_step(_name: str) -> None:
    """Tests put a crash here."""


def _new_token() -> str:
    return secrets.token_hex(16)


@dataclass
class FileStore:
    """Implements ``stores.Store`` on files."""

    service: str
    directory: str = DIRECTORY
    timeout: float = 10.0
    """Seconds to wait for another process that uses the directory."""
    clock: Callable[[], float] = time.time
    timer: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_token: Callable[[], str] = _new_token
    step: Callable[[str], None] = _no_step

    @property
    def base(self) -> str:
        """The service's own directory."""
        return os.path.join(self.directory, self.service)

    # ------------------------------------------------------------------------------------------------------ interface

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> View:
        """See everything."""
        with self._alone(shared=True) as exists:
            if not exists:
                return View(None, None, 0, None, [], [], self._place)
            revision, lease = self._read_lock()
            records = self._read_records()
            marked = self._read_mark()
            record = stores.open_one(marked, next((one for one in records if one["id"] == marked), None))
            control = stores.control_for(self._read_control(), record)
            entries, store = self._read_audit(audit), self._read_store()
            return View(lease, record, revision, control, records[:history], entries, store)

    def acquire(self, holder: Holder, ttl: float, *, takeover: str | None = None) -> Lease:
        """Take the lock at once."""
        with self._alone(create=True):
            revision, held = self._read_lock()
            now = self.clock()
            if held is not None and not held.is_meant(takeover):
                raise Locked(self.service, held)
            if held is not None:
                self._append_audit(stores.audit_entry(now, str(holder), stores.audited_takeover(held)))
            if None in (self._read("lock.json"), self._read("store.json")):
                # Without the lock's file the numbers begin anew, so this is another store to who has seen them.
                self._write("store.json", stores.new_store(self._place))
            lease = Lease(self.new_token(), holder, now, now, ttl, ttl, revision + 1)
            self._write_lock(revision + 1, lease)
            return lease

    def renew(self, token: str, ttl: float) -> Lease:
        """Hold the lock for longer."""
        return self.write(None, token, ttl).lease

    def release(self, token: str) -> bool:
        """Let go of the lock."""
        with self._alone() as exists:
            if not exists:
                return False
            revision, held = self._read_lock()
            if held is None or held.token != token:
                return False
            self._write_lock(revision + 1, None)
            return True

    def break_lock(self, by: str, reason: str) -> Lease | None:
        """Take the lock from whoever holds it."""
        with self._alone() as exists:
            revision, held = self._read_lock() if exists else (0, None)
            if held is not None:
                self._append_audit(stores.audit_entry(self.clock(), by, stores.audited_break(held, reason)))
                self._write_lock(revision + 1, None)
            return held

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> Written:
        """Renew the lease and write the record."""
        if record is not None:
            stores.check_record(self.service, record)
        with self._alone() as exists:
            revision, held = self._hold(token, exists)
            before = self._read_open()
            ended = record is not None and stores.has_ended(record)
            if record is not None and not ended:
                stores.check_alone(self.service, record, before)
            lease = replace(held, renewed_at=self.clock(), ttl=ttl, expires_in=ttl)
            self._write_lock(revision + 1, lease)
            if record is not None:
                # The mark first: a mark without a record means nothing, a record without a mark would be forgotten.
                if not ended and self._read_mark() != record["id"]:
                    self._write("open.json", {"id": record["id"]})
                self._write_record(record, revision + 1)
                if ended and self._read_mark() == record["id"]:
                    self._remove("control.json")
                    self._remove("open.json")
            return Written(stores.control_for(self._read_control(), self._read_open()), revision + 1, lease)

    def close(self, record: Mapping[str, Any], token: str, keep: int = stores.KEEP) -> None:
        """Write the final record and forget the rest."""
        stores.check_record(self.service, record)
        stores.check_final(record)
        with self._alone() as exists:
            try:
                revision, _held = self._hold(token, exists)
            except LockLost:
                if exists and self._is_closed(record):
                    return
                raise
            # The record that has ended closes the rollout; whatever is killed after it leaves what reads as nothing.
            self._write_record(record, revision + 1)
            if self._read_mark() == record["id"]:
                self._remove("control.json")
                self._remove("open.json")
            self._write_lock(revision + 1, None)
            for name in stores.prunable(self._read_records(), keep, str(record["id"])):
                self._remove(_record_file(name))

    def set_control(self, flag: str, by: str, note: str) -> Change:
        """Set or clear a person's flag."""
        with self._alone() as exists:
            record = self._read_open() if exists else None
            current = stores.control_for(self._read_control(), record) if exists else None
            now = self.clock()
            change = stores.changed_control(self.service, record, current, flag=flag, by=by, note=note, at=now)
            if change.after != change.before:
                self._append_audit(stores.audit_entry(now, by, stores.audited_control(change, flag, note)))
                if change.after is None:
                    self._remove("control.json")
                else:
                    self._write("control.json", asdict(change.after))
            return change

    def clear_control(self, token: str, obeyed: str = stores.PROMOTE) -> Control | None:
        """Forget a flag that was obeyed."""
        with self._alone() as exists:
            self._hold(token, exists)
            current = stores.control_for(self._read_control(), self._read_open())
            if stores.is_used_up(current, obeyed):
                self._remove("control.json")
                return None
            return current

    # ---------------------------------------------------------------------------------------------------- what is there

    def _hold(self, token: str, exists: bool) -> tuple[int, Lease]:
        revision, held = self._read_lock() if exists else (0, None)
        if held is None or held.token != token:
            raise LockLost(self.service, held)
        return revision, held

    def _read_lock(self) -> tuple[int, Lease | None]:
        """The number of the last change, and the lease unless it has run out."""
        data = self._read("lock.json")
        if data is None:
            return 0, None
        try:
            revision, stored = int(data["revision"]), data["lease"]
            if stored is None:
                return revision, None
            lease = stores.lease_from_data(stored, 0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable("lock.json", error) from error
        # Never longer than a whole lease, even after the clock was set back.
        left = min(lease.ttl, lease.renewed_at + lease.ttl - self.clock())
        return revision, replace(lease, expires_in=left) if left > 0 else None

    def _read_store(self) -> str:
        data = self._read("store.json")
        try:
            return self._place if data is None else stores.store_name(data)
        except ValueError as error:
            raise self._unreadable("store.json", error) from error

    @property
    def _place(self) -> str:
        return f"{socket.gethostname()}:{self.directory}"

    def _read_mark(self) -> str | None:
        data = self._read("open.json")
        if data is not None and not isinstance(data.get("id"), str):
            raise self._unreadable("open.json", ValueError("it names no record"))
        return None if data is None else str(data["id"])

    def _read_open(self) -> dict[str, Any] | None:
        marked = self._read_mark()
        return stores.open_one(marked, self._read_record(marked)[1]) if marked else None

    def _read_record(self, name: str) -> tuple[int, dict[str, Any] | None]:
        """A record, and the number under which it began; 0 for one of before there were such numbers."""
        data = self._read(_record_file(name))
        inner = None if data is None else data.get("record")
        if data is None or not isinstance(inner, dict):
            return 0, data
        order = data.get("order")
        if not isinstance(order, int):
            raise self._unreadable(_record_file(name), ValueError("it has no order"))
        return order, inner

    def _read_control(self) -> Control | None:
        data = self._read("control.json")
        try:
            return None if data is None else stores.control_from_data(data)
        except ValueError as error:
            raise self._unreadable("control.json", error) from error

    def _read_records(self) -> list[dict[str, Any]]:
        """All records, newest first: as the store's numbers say, whatever clock the controllers have."""
        found = []
        folder = os.path.join(self.base, "records")
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith(".json"):
                order, record = self._read_record(name[: -len(".json")])
                if record is None or f"{record.get('id')}.json" != name or stores.started_at(record) is None:
                    raise self._unreadable(f"records/{name}", ValueError("it is no record of that name"))
                found.append((order, stores.started_at(record) or 0.0, name, record))
        return [one[-1] for one in sorted(found, key=lambda one: one[:3], reverse=True)]

    def _is_closed(self, record: Mapping[str, Any]) -> bool:
        _order, stored = self._read_record(str(record["id"]))
        return stored is not None and stores.to_text(stored) == stores.to_text(record)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = os.path.join(self.base, name)
        try:
            with open(path, "rb") as handle:
                return stores.to_object(handle.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._unreadable(name, error) from error

    def _read_audit(self, limit: int) -> list[dict[str, Any]]:
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
                entries.append(stores.to_object(line))
            except ValueError:
                continue
        return entries[: -limit - 1 : -1] if limit > 0 else []

    # --------------------------------------------------------------------------------------------------------- changes

    def _write_lock(self, revision: int, lease: Lease | None) -> None:
        self._write(
            "lock.json", {"revision": revision, "lease": None if lease is None else stores.lease_to_data(lease)}
        )

    def _write_record(self, record: Mapping[str, Any], revision: int) -> None:
        name = str(record["id"])
        order, before = self._read_record(name)
        self._write(_record_file(name), {"order": revision if before is None else order, "record": record})

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a file by one rename."""
        beside, path = os.path.join(self.base, ".new"), os.path.join(self.base, name)
        content = json.dumps(value, sort_keys=True) + "\n"
        with replacing(path, 0o640, beside=beside, durable=True, step=lambda what: self.step(f"{what} {name}")) as file:
            file.write(content.encode())

    def _remove(self, name: str) -> None:
        path = os.path.join(self.base, name)
        self.step(f"remove {name}")
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        self.step(f"forget {name}")
        directories.sync(os.path.dirname(path))

    def _append_audit(self, entry: Mapping[str, Any]) -> None:
        path = os.path.join(self.base, "audit.jsonl")
        self.step("begin audit")
        with open(path, "ab+", buffering=0, opener=_private) as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - 1))
            torn = handle.read(1) not in (b"", b"\n")
            self.step("write audit")
            handle.write((b"\n" if torn else b"") + stores.to_text(entry).encode() + b"\n")
            self.step("flush audit")
            os.fsync(handle.fileno())
        if end == 0:
            directories.sync(self.base)

    # --------------------------------------------------------------------------------------------------- one at a time

    @contextmanager
    def _alone(self, shared: bool = False, create: bool = False) -> Iterator[bool]:
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

    def _unreadable(self, name: str, error: Exception) -> StoreError:
        path = os.path.join(self.base, name)
        means = {
            "store.json": "then it counts as a new store, and takes the place of this one with adopt in rollout_store",
            "lock.json": "then nobody holds the lock, and it counts as a new store",
            "open.json": "then no rollout counts as unfinished",
            "control.json": "then no flag is set",
        }.get(name, "then this rollout is not on record any more")
        return StoreError(f"{path} is damaged ({error}); restore it from a backup, or move it away: {means}")


def _record_file(name: str) -> str:
    return f"records/{name}.json"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o640)
