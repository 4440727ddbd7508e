# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts of one service in an etcd cluster. No Ansible.

    <prefix>/<service>/store         the name of this store, made once
    <prefix>/<service>/lock          who holds it; bound to a lease of etcd, and gone with it
    <prefix>/<service>/open          the id of the open record
    <prefix>/<service>/control       a person's flag
    <prefix>/<service>/records/<id>  one rollout each
    <prefix>/<service>/audit/<...>   one key per entry

Every change is one transaction, which compares the lock (or the mark, for a flag) with what was read before it.
Writing the lock anew each time makes that a fence against a run's own requests too: one that was given up and arrives
late finds another lock than it has seen. A transaction that does not succeed is looked at again; that tells a change by
somebody else from a request that took effect although its answer was lost. The number of a lock is etcd's revision when
it was acquired.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mesops.platform.plugins.module_utils._record import etcd, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd import Gateway, Pair
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

PREFIX = "/mesops/rollouts"
TRIES = 50
"""A person's word has to get through to a run that renews its lock all the time. The operation's deadline ends it."""
MAX_RECORD = etcd.MAX_REQUEST - (64 << 10)
"""The rest of the request is for the lock and for what removes old records."""
_DECIDE = ("lock", "open", "control", "store")
MAX_PRUNED = 50
"""A transaction of etcd takes 128 operations."""


def _no_step(_name: str) -> None:
    """Tests put a crash here."""


def _new_token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class _Seen:
    """The keys that decide, as they were at one moment."""

    lock: Pair | None
    mark: Pair | None
    control: Pair | None
    store: Pair | None

    @property
    def marked(self) -> str | None:
        """The id of the record that is open."""
        return self.mark.value.decode("utf-8", "replace") if self.mark else None


@dataclass
class EtcdStore:
    """Implements ``stores.Store`` on etcd."""

    service: str
    gateway: Gateway
    prefix: str = PREFIX
    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = _new_token
    step: Callable[[str], None] = _no_step

    # ------------------------------------------------------------------------------------------------------ interface

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> View:
        """See everything as it is at one moment."""
        self.gateway.begin()
        # A limit of 0 means none to etcd.
        reads = [etcd.get(self._key(name)) for name in _DECIDE]
        reads += [
            etcd.get_newest(self._key("records/"), max(history, 1)),
            etcd.get_newest(self._key("audit/"), audit or 1),
        ]
        outcome = self._transact([], reads)
        seen = _Seen(*(found[0] if found else None for found in outcome.found[:4]))
        records = [self._object(pair) for pair in outcome.found[4]]
        record = next((one for one in records if one.get("id") == seen.marked), None)
        record = stores.open_one(seen.marked, record or self._read_record(seen.marked))
        return View(
            lock=self._lease(seen.lock, timed=True),
            open_record=record,
            revision=outcome.revision,
            control=stores.control_for(self._control(seen.control), record),
            history=records[:history],
            audit=[self._object(pair) for pair in outcome.found[5]][:audit],
            store=self._store(seen.store),
        )

    def acquire(self, holder: Holder, ttl: float, *, takeover: str | None = None) -> Lease:
        """Take the lock at once."""
        self.gateway.begin()
        token, entry = self.new_token(), self._audit_key()
        granted: tuple[int, float] | None = None
        for _attempt in range(TRIES):
            seen = self._look()
            held = self._lease(seen.lock)
            if held is not None and seen.lock is not None and held.token == token:
                return replace(self._timed(held, seen.lock), number=seen.lock.revision)
            if held is not None and not held.is_meant(takeover):
                if granted is not None:
                    etcd.revoke(self.gateway, granted[0])
                raise Locked(self.service, self._timed(held, seen.lock))
            granted = granted or self._grant(ttl)
            now = self.clock()
            lease = Lease(token, holder, now, now, granted[1], granted[1])
            changes = [self._put_lock(lease, granted[0])]
            if held is not None:
                changes.append(self._put_audit(entry, str(holder), stores.audited_takeover(held)))
            if seen.store is None:
                changes.append(etcd.put(self._key("store"), stores.to_text(stores.new_store(self._place))))
            outcome = self._transact([self._same("lock", seen.lock), self._same("store", seen.store)], changes)
            if outcome.succeeded:
                if seen.lock is not None:
                    etcd.revoke(self.gateway, seen.lock.lease)
                return replace(lease, number=outcome.revision)
        raise self._restless("lock")

    def renew(self, token: str, ttl: float) -> Lease:
        """Hold the lock for longer. A lease of etcd is never made shorter than it was."""
        return self.write(None, token, ttl).lease

    def release(self, token: str) -> bool:
        """Let go of the lock."""
        self.gateway.begin()
        for _attempt in range(TRIES):
            seen = self._look()
            held = self._lease(seen.lock)
            if held is None or seen.lock is None or held.token != token:
                return False
            if self._transact([self._same("lock", seen.lock)], [self._delete("lock")]).succeeded:
                etcd.revoke(self.gateway, seen.lock.lease)
                return True
        raise self._restless("lock")

    def break_lock(self, by: str, reason: str) -> Lease | None:
        """Take the lock from whoever holds it."""
        self.gateway.begin()
        entry = self._audit_key()
        broken: Lease | None = None
        for _attempt in range(TRIES):
            seen = self._look()
            held = self._lease(seen.lock)
            if held is None or seen.lock is None:
                return broken
            broken = held
            changes = [self._delete("lock"), self._put_audit(entry, by, stores.audited_break(held, reason))]
            timed = self._timed(held, seen.lock)
            if self._transact([self._same("lock", seen.lock)], changes).succeeded:
                etcd.revoke(self.gateway, seen.lock.lease)
                return timed
        raise self._restless("lock")

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> Written:
        """Renew the lease and write the record."""
        ended = record is not None and stores.has_ended(record)
        text = ""
        if record is not None:
            stores.check_record(self.service, record)
            text = self._sized(record)
        self.gateway.begin()
        for _attempt in range(TRIES):
            seen, held, pair = self._hold(token)
            before = self._open_record(seen)
            if record is not None and not ended:
                stores.check_alone(self.service, record, before)
            number, seconds = self._kept(held, pair, ttl)
            lease = replace(held, renewed_at=self.clock(), ttl=seconds, expires_in=seconds)
            changes = [self._put_lock(lease, number)]
            after = before
            if record is not None:
                changes.append(etcd.put(self._key(f"records/{record['id']}"), text))
                if not ended:
                    # Written anew only when it changes, so that a run's writes are no obstacle to a person's flag.
                    if seen.marked != record["id"]:
                        changes.append(etcd.put(self._key("open"), str(record["id"])))
                    after = dict(record)
                elif before is not None and before.get("id") == record["id"]:
                    changes += [self._delete("open"), self._delete("control")]
                    after = None
            outcome = self._transact(
                [self._same("lock", pair), self._same("open", seen.mark)], [*changes, etcd.get(self._key("control"))]
            )
            if outcome.succeeded:
                if number != pair.lease:
                    etcd.revoke(self.gateway, pair.lease)
                control = self._control(outcome.found[0][0]) if outcome.found[0] else None
                return Written(stores.control_for(control, after), outcome.revision, lease)
        raise self._restless("lock")

    def close(self, record: Mapping[str, Any], token: str, keep: int = stores.KEEP) -> None:
        """Write the final record and forget the rest, all in one transaction."""
        stores.check_record(self.service, record)
        stores.check_final(record)
        text = self._sized(record)
        self.gateway.begin()
        for _attempt in range(TRIES):
            try:
                seen, _held, pair = self._hold(token)
            except LockLost:
                if self._is_closed(record):
                    return
                raise
            changes = [etcd.put(self._key(f"records/{record['id']}"), text), self._delete("lock")]
            if seen.marked == record["id"]:
                changes += [self._delete("open"), self._delete("control")]
            changes += [self._delete(f"records/{name}") for name in self._surplus(record, keep)]
            if self._transact([self._same("lock", pair), self._same("open", seen.mark)], changes).succeeded:
                etcd.revoke(self.gateway, pair.lease)
                return
        raise self._restless("lock")

    def set_control(self, flag: str, by: str, note: str) -> Change:
        """Set or clear a person's flag."""
        self.gateway.begin()
        entry = self._audit_key()
        before: Control | None = None
        for attempt in range(TRIES):
            seen = self._look()
            record = self._open_record(seen)
            current = stores.control_for(self._control(seen.control), record)
            before = before if attempt else current
            change = stores.changed_control(self.service, record, current, flag=flag, by=by, note=note, at=self.clock())
            if change.after == change.before:
                return replace(change, before=before)
            what = stores.audited_control(change, flag, note)
            changed = self._delete("control")
            if change.after is not None:
                changed = etcd.put(self._key("control"), stores.to_text(asdict(change.after)))
            compare = [self._same("open", seen.mark), self._same("control", seen.control)]
            if self._transact(compare, [changed, self._put_audit(entry, by, what)]).succeeded:
                return change
        raise self._restless("control")

    def clear_control(self, token: str, obeyed: str = stores.PROMOTE) -> Control | None:
        """Forget a flag that was obeyed."""
        self.gateway.begin()
        for _attempt in range(TRIES):
            seen, _held, pair = self._hold(token)
            current = stores.control_for(self._control(seen.control), self._open_record(seen))
            if not stores.is_used_up(current, obeyed):
                return current
            compare = [self._same("lock", pair), self._same("control", seen.control)]
            if self._transact(compare, [self._delete("control")]).succeeded:
                return None
        raise self._restless("control")

    # --------------------------------------------------------------------------------------------------- what is there

    def _look(self) -> _Seen:
        outcome = self._transact([], [etcd.get(self._key(name)) for name in _DECIDE])
        return _Seen(*(found[0] if found else None for found in outcome.found))

    def _hold(self, token: str) -> tuple[_Seen, Lease, Pair]:
        """What is there, provided that the token holds the lock."""
        seen = self._look()
        held = self._lease(seen.lock)
        if held is None or seen.lock is None or held.token != token:
            raise LockLost(self.service, None if held is None else self._timed(held, seen.lock))
        return seen, held, seen.lock

    def _lease(self, pair: Pair | None, timed: bool = False) -> Lease | None:
        if pair is None:
            return None
        try:
            lease = stores.lease_from_data(stores.to_object(pair.value), 0.0)
        except ValueError as error:
            raise self._unreadable(pair, error) from error
        return self._timed(lease, pair) if timed else lease

    def _timed(self, lease: Lease, pair: Pair | None) -> Lease:
        """The lease with the time that etcd gives it."""
        left = etcd.time_to_live(self.gateway, pair.lease) if pair is not None and pair.lease else 0.0
        return replace(lease, expires_in=left)

    def _store(self, pair: Pair | None) -> str:
        if pair is None:
            return self._place
        try:
            return stores.store_name(stores.to_object(pair.value))
        except ValueError as error:
            raise self._unreadable(pair, error) from error

    @property
    def _place(self) -> str:
        hosts = ",".join(str(urlsplit(one).hostname) for one in self.gateway.endpoints)
        return f"etcd {hosts}:{self.prefix}"[:300]

    def _control(self, pair: Pair | None) -> Control | None:
        if pair is None:
            return None
        try:
            return stores.control_from_data(stores.to_object(pair.value))
        except ValueError as error:
            raise self._unreadable(pair, error) from error

    def _open_record(self, seen: _Seen) -> dict[str, Any] | None:
        return stores.open_one(seen.marked, self._read_record(seen.marked))

    def _read_record(self, name: str | None) -> dict[str, Any] | None:
        if not name:
            return None
        found = self._transact([], [etcd.get(self._key(f"records/{name}"))]).found[0]
        return self._object(found[0]) if found else None

    def _is_closed(self, record: Mapping[str, Any]) -> bool:
        stored = self._read_record(str(record["id"]))
        return stored is not None and stores.to_text(stored) == stores.to_text(record)

    def _surplus(self, record: Mapping[str, Any], keep: int) -> list[str]:
        """Ids of records to remove when this one is closed."""
        pairs = self._transact([], [etcd.get_newest(self._key("records/"), 0)]).found[0]
        records = [self._object(pair) for pair in pairs]
        others = [one for one in records if one.get("id") != record["id"]]
        return stores.prunable([record, *others], keep, str(record["id"]))[:MAX_PRUNED]

    def _object(self, pair: Pair) -> dict[str, Any]:
        try:
            return stores.to_object(pair.value)
        except ValueError as error:
            raise self._unreadable(pair, error) from error

    # --------------------------------------------------------------------------------------------------------- changes

    def _grant(self, ttl: float) -> tuple[int, float]:
        self.step("grant")
        return etcd.grant(self.gateway, max(1, math.ceil(ttl)))

    def _kept(self, held: Lease, pair: Pair, ttl: float) -> tuple[int, float]:
        """The lease to go on with: the same one, or a new one when it is to last longer than the old one does."""
        if math.ceil(ttl) > held.ttl:
            return self._grant(ttl)
        self.step("keep alive")
        if not etcd.keep_alive(self.gateway, pair.lease):
            raise LockLost(self.service, None)
        return pair.lease, held.ttl

    def _transact(self, compare: list[dict[str, Any]], success: list[dict[str, Any]]) -> etcd.Outcome:
        self.step("before transaction")
        try:
            outcome = etcd.transact(self.gateway, compare, success)
        except etcd.LeaseGone as error:
            raise LockLost(self.service, None) from error
        self.step("after transaction")
        return outcome

    def _sized(self, record: Mapping[str, Any]) -> str:
        text = stores.to_text(record)
        if len(text) > MAX_RECORD:
            raise StoreError(
                f"record {record['id']} of {self.service} has {len(text) / (1 << 20):.1f} MiB, but etcd takes records "
                f"of up to {MAX_RECORD / (1 << 20):.1f} MiB; use the backend file, or roll out fewer hosts at once"
            )
        return text

    def _put_lock(self, lease: Lease, number: int) -> dict[str, Any]:
        return etcd.put(self._key("lock"), stores.to_text(stores.lease_to_data(lease)), number)

    def _audit_key(self) -> str:
        """A key of its own, so that a request that is repeated leaves one entry."""
        return self._key(f"audit/{int(self.clock() * 1000):015d}-{secrets.token_hex(4)}")

    def _put_audit(self, key: str, by: str, what: str) -> dict[str, Any]:
        return etcd.put(key, stores.to_text(stores.audit_entry(self.clock(), by, what)))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{self.service}/{name}"

    def _same(self, name: str, pair: Pair | None) -> dict[str, Any]:
        return etcd.unchanged(self._key(name), pair)

    def _delete(self, name: str) -> dict[str, Any]:
        return etcd.delete(self._key(name))

    def _unreadable(self, pair: Pair, error: Exception) -> StoreError:
        return StoreError(
            f"key {pair.key} in etcd is damaged ({error}); restore it from a backup, or remove it with etcdctl del "
            f"{pair.key}"
        )

    def _restless(self, name: str) -> StoreError:
        return StoreError(
            f"key {self._key(name)} in etcd was changed by others {TRIES} times while it was to be changed; see who "
            f"uses the store of {self.service} at once, and run it again"
        )
