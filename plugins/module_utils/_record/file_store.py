# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts of one service in a directory of one host, the coordinator. No Ansible.

Every method holds the directory's own lock (flock), so methods never meet. A process may be killed between any two
system calls; the order of the changes within a method is such that what it leaves behind reads as before or as after
it. Leases run out by the coordinator's wall clock: set forward, it ends a lease early, which token and number make
harmless; set back, it lets one live longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import store_rules, stored_values, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.store_files import StoreFiles
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import (
    Change,
    Control,
    Holder,
    Lease,
    Locked,
    LockLost,
    View,
    Written,
)


@dataclass
class FileStore:
    """Implements ``stores.Store`` on files."""

    files: StoreFiles
    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = stores.new_token

    @property
    def service(self) -> str:
        """Whose rollouts it holds."""
        return self.files.service

    # ------------------------------------------------------------------------------------------------------ interface

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> View:
        """See everything."""
        with self.files.alone(shared=True) as exists:
            if not exists:
                return View(None, None, 0, None, [], [], self.files.place)
            revision, lease = self._read_lock()
            records = self._read_records()
            marked = self._read_mark()
            record = store_rules.open_one(marked, next((one for one in records if one["id"] == marked), None))
            control = store_rules.control_for(self._read_control(), record)
            entries, store = self.files.read_audit(audit), self._read_store()
            return View(lease, record, revision, control, records[:history], entries, store)

    def acquire(self, holder: Holder, ttl: float, *, takeover: str | None = None) -> Lease:
        """Take the lock at once."""
        with self.files.alone(create=True):
            revision, held = self._read_lock()
            now = self.clock()
            if held is not None and not held.is_meant(takeover):
                raise Locked(self.service, held)
            if held is not None:
                self.files.append_audit(store_rules.audit_entry(now, str(holder), store_rules.audited_takeover(held)))
            if None in (self.files.read("lock.json"), self.files.read("store.json")):
                # Without the lock's file the numbers begin anew, so this is another store to who has seen them.
                self.files.replace("store.json", stored_values.new_store(self.files.place))
            lease = Lease(self.new_token(), holder, now, now, ttl, ttl, revision + 1)
            self._write_lock(revision + 1, lease)
            return lease

    def renew(self, token: str, ttl: float) -> Lease:
        """Hold the lock for longer."""
        return self.write(None, token, ttl).lease

    def release(self, token: str) -> bool:
        """Let go of the lock."""
        with self.files.alone() as exists:
            if not exists:
                return False
            revision, held = self._read_lock()
            if held is None or held.token != token:
                return False
            self._write_lock(revision + 1, None)
            return True

    def break_lock(self, by: str, reason: str) -> Lease | None:
        """Take the lock from whoever holds it."""
        with self.files.alone() as exists:
            revision, held = self._read_lock() if exists else (0, None)
            if held is not None:
                what = store_rules.audited_break(held, reason)
                self.files.append_audit(store_rules.audit_entry(self.clock(), by, what))
                self._write_lock(revision + 1, None)
            return held

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> Written:
        """Renew the lease and write the record."""
        if record is not None:
            store_rules.check_record(self.service, record)
        with self.files.alone() as exists:
            revision, held = self._hold(token, exists)
            before = self._read_open()
            ended = record is not None and store_rules.has_ended(record)
            if record is not None and not ended:
                store_rules.check_alone(self.service, record, before)
            lease = replace(held, renewed_at=self.clock(), ttl=ttl, expires_in=ttl)
            self._write_lock(revision + 1, lease)
            if record is not None:
                # The mark first: a mark without a record means nothing, a record without a mark would be forgotten.
                if not ended and self._read_mark() != record["id"]:
                    self.files.replace("open.json", {"id": record["id"]})
                self._write_record(record, revision + 1)
                if ended and self._read_mark() == record["id"]:
                    self.files.remove("control.json")
                    self.files.remove("open.json")
            return Written(store_rules.control_for(self._read_control(), self._read_open()), revision + 1, lease)

    def close(self, record: Mapping[str, Any], token: str, keep: int = stores.KEEP) -> None:
        """Write the final record and forget the rest."""
        store_rules.check_record(self.service, record)
        store_rules.check_final(record)
        with self.files.alone() as exists:
            try:
                revision, _held = self._hold(token, exists)
            except LockLost:
                if exists and self._is_closed(record):
                    return
                raise
            # The record that has ended closes the rollout; whatever is killed after it leaves what reads as nothing.
            self._write_record(record, revision + 1)
            if self._read_mark() == record["id"]:
                self.files.remove("control.json")
                self.files.remove("open.json")
            self._write_lock(revision + 1, None)
            for name in store_rules.prunable(self._read_records(), keep, str(record["id"])):
                self.files.remove(_record_file(name))

    def set_control(self, flag: str, by: str, note: str) -> Change:
        """Set or clear a person's flag."""
        with self.files.alone() as exists:
            record = self._read_open() if exists else None
            current = store_rules.control_for(self._read_control(), record) if exists else None
            now = self.clock()
            change = store_rules.changed_control(self.service, record, current, flag=flag, by=by, note=note, at=now)
            if change.after != change.before:
                what = store_rules.audited_control(change, flag, note)
                self.files.append_audit(store_rules.audit_entry(now, by, what))
                if change.after is None:
                    self.files.remove("control.json")
                else:
                    self.files.replace("control.json", asdict(change.after))
            return change

    def clear_control(self, token: str, obeyed: str = stores.PROMOTE) -> Control | None:
        """Forget a flag that was obeyed."""
        with self.files.alone() as exists:
            self._hold(token, exists)
            current = store_rules.control_for(self._read_control(), self._read_open())
            if store_rules.is_used_up(current, obeyed):
                self.files.remove("control.json")
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
        data = self.files.read("lock.json")
        if data is None:
            return 0, None
        try:
            revision, stored = int(data["revision"]), data["lease"]
            if stored is None:
                return revision, None
            lease = stored_values.lease_from_data(stored, 0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise self.files.damaged("lock.json", error) from error
        # Never longer than a whole lease, even after the clock was set back.
        left = min(lease.ttl, lease.renewed_at + lease.ttl - self.clock())
        return revision, replace(lease, expires_in=left) if left > 0 else None

    def _read_store(self) -> str:
        data = self.files.read("store.json")
        try:
            return self.files.place if data is None else stored_values.store_name(data)
        except ValueError as error:
            raise self.files.damaged("store.json", error) from error

    def _read_mark(self) -> str | None:
        data = self.files.read("open.json")
        if data is not None and not isinstance(data.get("id"), str):
            raise self.files.damaged("open.json", ValueError("it names no record"))
        return None if data is None else str(data["id"])

    def _read_open(self) -> dict[str, Any] | None:
        marked = self._read_mark()
        return store_rules.open_one(marked, self._read_record(marked)[1]) if marked else None

    def _read_record(self, name: str) -> tuple[int, dict[str, Any] | None]:
        """A record, and the number under which it began; 0 for one of before there were such numbers."""
        data = self.files.read(_record_file(name))
        inner = None if data is None else data.get("record")
        if data is None or not isinstance(inner, dict):
            return 0, data
        order = data.get("order")
        if not isinstance(order, int):
            raise self.files.damaged(_record_file(name), ValueError("it has no order"))
        return order, inner

    def _read_control(self) -> Control | None:
        data = self.files.read("control.json")
        try:
            return None if data is None else stored_values.control_from_data(data)
        except ValueError as error:
            raise self.files.damaged("control.json", error) from error

    def _read_records(self) -> list[dict[str, Any]]:
        """All records, newest first: as the store's numbers say, whatever clock the controllers have."""
        found = []
        for name in self.files.records():
            order, record = self._read_record(name[: -len(".json")])
            if record is None or f"{record.get('id')}.json" != name or store_rules.started_at(record) is None:
                raise self.files.damaged(f"records/{name}", ValueError("it is no record of that name"))
            found.append((order, store_rules.started_at(record) or 0.0, name, record))
        return [one[-1] for one in sorted(found, key=lambda one: one[:3], reverse=True)]

    def _is_closed(self, record: Mapping[str, Any]) -> bool:
        _order, stored = self._read_record(str(record["id"]))
        return stored is not None and stored_values.to_text(stored) == stored_values.to_text(record)

    # --------------------------------------------------------------------------------------------------------- changes

    def _write_lock(self, revision: int, lease: Lease | None) -> None:
        self.files.replace(
            "lock.json", {"revision": revision, "lease": None if lease is None else stored_values.lease_to_data(lease)}
        )

    def _write_record(self, record: Mapping[str, Any], revision: int) -> None:
        name = str(record["id"])
        order, before = self._read_record(name)
        self.files.replace(_record_file(name), {"order": revision if before is None else order, "record": record})


def _record_file(name: str) -> str:
    return f"records/{name}.json"
