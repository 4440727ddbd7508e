# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts of one service in an etcd cluster. No Ansible.

Every change is one transaction, which compares the lock (or the mark, for a flag) with what was read before it.
Writing the lock anew each time makes that a fence against a run's own requests too: one that was given up and arrives
late finds another lock than it has seen. A transaction that does not succeed is looked at again; that tells a change by
somebody else from a request that took effect although its answer was lost. The number of a lock is etcd's revision when
it was acquired.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.etcd_json import Pair
from ansible_collections.mesops.platform.plugins.module_utils._record import etcd, store_rules, stored_values, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.store_keys import Seen, StoreKeys
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

TRIES = 50
"""A person's word has to get through to a run that renews its lock all the time. The operation's deadline ends it."""
MAX_RECORD = etcd.MAX_REQUEST - (64 << 10)
"""The rest of the request is for the lock and for what removes old records."""
MAX_PRUNED = 50
"""A transaction of etcd takes 128 operations."""


@dataclass
class EtcdStore:
    """Implements ``stores.Store`` on etcd."""

    keys: StoreKeys
    clock: Callable[[], float] = time.time
    new_token: Callable[[], str] = stores.new_token

    @property
    def service(self) -> str:
        """Whose rollouts it holds."""
        return self.keys.service

    # ------------------------------------------------------------------------------------------------------ interface

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> View:
        """See everything as it is at one moment."""
        self.keys.begin()
        # A limit of 0 means none to etcd.
        newest = [self.keys.get_newest("records/", max(history, 1)), self.keys.get_newest("audit/", audit or 1)]
        outcome = self.keys.transact([], [*self.keys.deciding(), *newest])
        seen = self.keys.seen(outcome)
        found, entries = outcome.found[-2:]
        records = [self.keys.value_of(pair) for pair in found]
        record = next((one for one in records if one.get("id") == seen.marked), None)
        record = store_rules.open_one(seen.marked, record or self.keys.read_record(seen.marked))
        return View(
            lock=self.keys.lease(seen.lock, timed=True),
            open_record=record,
            revision=outcome.revision,
            control=store_rules.control_for(self.keys.control(seen.control), record),
            history=records[:history],
            audit=[self.keys.value_of(pair) for pair in entries][:audit],
            store=self.keys.store_name(seen.store),
        )

    def acquire(self, holder: Holder, ttl: float, *, takeover: str | None = None) -> Lease:
        """Take the lock at once."""
        self.keys.begin()
        token, entry = self.new_token(), self._audit_key()
        granted: tuple[int, float] | None = None
        for _attempt in range(TRIES):
            seen = self.keys.look()
            held = self.keys.lease(seen.lock)
            if held is not None and seen.lock is not None and held.token == token:
                return replace(self.keys.timed(held, seen.lock), number=seen.lock.revision)
            if held is not None and not held.is_meant(takeover):
                if granted is not None:
                    self.keys.revoke(granted[0])
                raise Locked(self.service, self.keys.timed(held, seen.lock))
            granted = granted or self.keys.grant(ttl)
            now = self.clock()
            lease = Lease(token, holder, now, now, granted[1], granted[1])
            changes = [self._put_lock(lease, granted[0])]
            if held is not None:
                changes.append(self._put_audit(entry, str(holder), store_rules.audited_takeover(held)))
            if seen.store is None:
                store = stored_values.new_store(self.keys.place)
                changes.append(self.keys.put("store", stored_values.to_text(store)))
            compare = [self.keys.same("lock", seen.lock), self.keys.same("store", seen.store)]
            outcome = self.keys.transact(compare, changes)
            if outcome.succeeded:
                if seen.lock is not None:
                    self.keys.revoke(seen.lock.lease)
                return replace(lease, number=outcome.revision)
        raise self._restless("lock")

    def renew(self, token: str, ttl: float) -> Lease:
        """Hold the lock for longer. A lease of etcd is never made shorter than it was."""
        return self.write(None, token, ttl).lease

    def release(self, token: str) -> bool:
        """Let go of the lock."""
        self.keys.begin()
        for _attempt in range(TRIES):
            seen = self.keys.look()
            held = self.keys.lease(seen.lock)
            if held is None or seen.lock is None or held.token != token:
                return False
            if self.keys.transact([self.keys.same("lock", seen.lock)], [self.keys.delete("lock")]).succeeded:
                self.keys.revoke(seen.lock.lease)
                return True
        raise self._restless("lock")

    def break_lock(self, by: str, reason: str) -> Lease | None:
        """Take the lock from whoever holds it."""
        self.keys.begin()
        entry = self._audit_key()
        broken: Lease | None = None
        for _attempt in range(TRIES):
            seen = self.keys.look()
            held = self.keys.lease(seen.lock)
            if held is None or seen.lock is None:
                return broken
            broken = held
            changes = [self.keys.delete("lock"), self._put_audit(entry, by, store_rules.audited_break(held, reason))]
            timed = self.keys.timed(held, seen.lock)
            if self.keys.transact([self.keys.same("lock", seen.lock)], changes).succeeded:
                self.keys.revoke(seen.lock.lease)
                return timed
        raise self._restless("lock")

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> Written:
        """Renew the lease and write the record."""
        ended = record is not None and store_rules.has_ended(record)
        text = ""
        if record is not None:
            store_rules.check_record(self.service, record)
            text = self._sized(record)
        self.keys.begin()
        for _attempt in range(TRIES):
            seen, held, pair = self._hold(token)
            before = self.keys.open_record(seen)
            if record is not None and not ended:
                store_rules.check_alone(self.service, record, before)
            number, seconds = self.keys.keep(held, pair, ttl)
            lease = replace(held, renewed_at=self.clock(), ttl=seconds, expires_in=seconds)
            changes = [self._put_lock(lease, number)]
            after = before
            if record is not None:
                changes.append(self.keys.put(f"records/{record['id']}", text))
                if not ended:
                    # Written anew only when it changes, so that a run's writes are no obstacle to a person's flag.
                    if seen.marked != record["id"]:
                        changes.append(self.keys.put("open", str(record["id"])))
                    after = dict(record)
                elif before is not None and before.get("id") == record["id"]:
                    changes += [self.keys.delete("open"), self.keys.delete("control")]
                    after = None
            compare = [self.keys.same("lock", pair), self.keys.same("open", seen.mark)]
            outcome = self.keys.transact(compare, [*changes, self.keys.get("control")])
            if outcome.succeeded:
                if number != pair.lease:
                    self.keys.revoke(pair.lease)
                control = self.keys.control(outcome.found[0][0]) if outcome.found[0] else None
                return Written(store_rules.control_for(control, after), outcome.revision, lease)
        raise self._restless("lock")

    def close(self, record: Mapping[str, Any], token: str, keep: int = stores.KEEP) -> None:
        """Write the final record and forget the rest, all in one transaction."""
        store_rules.check_record(self.service, record)
        store_rules.check_final(record)
        text = self._sized(record)
        self.keys.begin()
        for _attempt in range(TRIES):
            try:
                seen, _held, pair = self._hold(token)
            except LockLost:
                if self._is_closed(record):
                    return
                raise
            changes = [self.keys.put(f"records/{record['id']}", text), self.keys.delete("lock")]
            if seen.marked == record["id"]:
                changes += [self.keys.delete("open"), self.keys.delete("control")]
            changes += [self.keys.delete(f"records/{name}") for name in self._surplus(record, keep)]
            compare = [self.keys.same("lock", pair), self.keys.same("open", seen.mark)]
            if self.keys.transact(compare, changes).succeeded:
                self.keys.revoke(pair.lease)
                return
        raise self._restless("lock")

    def set_control(self, flag: str, by: str, note: str) -> Change:
        """Set or clear a person's flag."""
        self.keys.begin()
        entry = self._audit_key()
        before: Control | None = None
        for attempt in range(TRIES):
            seen = self.keys.look()
            record = self.keys.open_record(seen)
            current = store_rules.control_for(self.keys.control(seen.control), record)
            before = before if attempt else current
            now = self.clock()
            change = store_rules.changed_control(self.service, record, current, flag=flag, by=by, note=note, at=now)
            if change.after == change.before:
                return replace(change, before=before)
            what = store_rules.audited_control(change, flag, note)
            changed = self.keys.delete("control")
            if change.after is not None:
                changed = self.keys.put("control", stored_values.to_text(asdict(change.after)))
            compare = [self.keys.same("open", seen.mark), self.keys.same("control", seen.control)]
            if self.keys.transact(compare, [changed, self._put_audit(entry, by, what)]).succeeded:
                return change
        raise self._restless("control")

    def clear_control(self, token: str, obeyed: str = stores.PROMOTE) -> Control | None:
        """Forget a flag that was obeyed."""
        self.keys.begin()
        for _attempt in range(TRIES):
            seen, _held, pair = self._hold(token)
            current = store_rules.control_for(self.keys.control(seen.control), self.keys.open_record(seen))
            if not store_rules.is_used_up(current, obeyed):
                return current
            compare = [self.keys.same("lock", pair), self.keys.same("control", seen.control)]
            if self.keys.transact(compare, [self.keys.delete("control")]).succeeded:
                return None
        raise self._restless("control")

    # --------------------------------------------------------------------------------------------------- what is there

    def _hold(self, token: str) -> tuple[Seen, Lease, Pair]:
        """What is there, provided that the token holds the lock."""
        seen = self.keys.look()
        held = self.keys.lease(seen.lock)
        if held is None or seen.lock is None or held.token != token:
            raise LockLost(self.service, None if held is None else self.keys.timed(held, seen.lock))
        return seen, held, seen.lock

    def _is_closed(self, record: Mapping[str, Any]) -> bool:
        stored = self.keys.read_record(str(record["id"]))
        return stored is not None and stored_values.to_text(stored) == stored_values.to_text(record)

    def _surplus(self, record: Mapping[str, Any], keep: int) -> list[str]:
        """Ids of records to remove when this one is closed."""
        pairs = self.keys.transact([], [self.keys.get_newest("records/", 0)]).found[0]
        records = [self.keys.value_of(pair) for pair in pairs]
        others = [one for one in records if one.get("id") != record["id"]]
        return store_rules.prunable([record, *others], keep, str(record["id"]))[:MAX_PRUNED]

    # --------------------------------------------------------------------------------------------------------- changes

    def _sized(self, record: Mapping[str, Any]) -> str:
        text = stored_values.to_text(record)
        if len(text) > MAX_RECORD:
            raise StoreError(
                f"record {record['id']} of {self.service} has {len(text) / (1 << 20):.1f} MiB, but etcd takes records "
                f"of up to {MAX_RECORD / (1 << 20):.1f} MiB; use the backend file, or roll out fewer hosts at once"
            )
        return text

    def _put_lock(self, lease: Lease, number: int) -> dict[str, Any]:
        return self.keys.put("lock", stored_values.to_text(stored_values.lease_to_data(lease)), number)

    def _audit_key(self) -> str:
        """A key of its own, so that a request that is repeated leaves one entry."""
        return f"audit/{int(self.clock() * 1000):015d}-{secrets.token_hex(4)}"

    def _put_audit(self, key: str, by: str, what: str) -> dict[str, Any]:
        return self.keys.put(key, stored_values.to_text(store_rules.audit_entry(self.clock(), by, what)))

    def _restless(self, name: str) -> StoreError:
        return StoreError(
            f"key {self.keys.key(name)} in etcd was changed by others {TRIES} times while it was to be changed; see "
            f"who uses the store of {self.service} at once, and run it again"
        )
