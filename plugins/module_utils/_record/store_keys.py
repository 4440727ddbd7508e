# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of one service's store in etcd: read, and the parts of the transactions that change them. No Ansible.

<prefix>/<service>/store         the name of this store, made once
<prefix>/<service>/lock          who holds it; bound to a lease of etcd, and gone with it
<prefix>/<service>/open          the id of the open record
<prefix>/<service>/control       a person's flag
<prefix>/<service>/records/<id>  one rollout each
<prefix>/<service>/audit/<...>   one key per entry
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mesops.platform.plugins.module_utils._core import etcd_json
from ansible_collections.mesops.platform.plugins.module_utils._core.etcd_json import Pair
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import no_step
from ansible_collections.mesops.platform.plugins.module_utils._record import (
    etcd,
    etcd_requests,
    store_rules,
    stored_values,
)
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd import Gateway
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import Control, Lease, LockLost, StoreError

PREFIX = "/mesops/rollouts"
_DECIDE = ("lock", "open", "control", "store")


@dataclass(frozen=True)
class Seen:
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
class StoreKeys:
    """What a store in etcd consists of."""

    service: str
    gateway: Gateway
    prefix: str = PREFIX
    step: Callable[[str], None] = no_step

    def begin(self) -> None:
        """Begin an operation: all that is asked from now on has one deadline."""
        self.gateway.begin()

    def look(self) -> Seen:
        """See the keys that decide."""
        return self.seen(self.transact([], self.deciding()))

    def deciding(self) -> list[dict[str, Any]]:
        """What reads the keys that decide, in the order of ``Seen``."""
        return [self.get(name) for name in _DECIDE]

    def seen(self, outcome: etcd_requests.Outcome) -> Seen:
        """What those reads have brought, which were the first of a transaction."""
        return Seen(*(found[0] if found else None for found in outcome.found[: len(_DECIDE)]))

    def lease(self, pair: Pair | None, timed: bool = False) -> Lease | None:
        """The lease that a lock is, or StoreError; with the time that etcd gives it, if asked."""
        if pair is None:
            return None
        try:
            lease = stored_values.lease_from_data(stored_values.to_object(pair.value), 0.0)
        except ValueError as error:
            raise self.damaged(pair, error) from error
        return self.timed(lease, pair) if timed else lease

    def timed(self, lease: Lease, pair: Pair | None) -> Lease:
        """The lease with the time that etcd gives it."""
        left = etcd_requests.time_to_live(self.gateway, pair.lease) if pair is not None and pair.lease else 0.0
        return replace(lease, expires_in=left)

    def store_name(self, pair: Pair | None) -> str:
        """The name of the store, or the place where it will be made."""
        if pair is None:
            return self.place
        try:
            return stored_values.store_name(stored_values.to_object(pair.value))
        except ValueError as error:
            raise self.damaged(pair, error) from error

    @property
    def place(self) -> str:
        """Where the store is, for a person."""
        hosts = ",".join(str(urlsplit(one).hostname) for one in self.gateway.endpoints)
        return f"etcd {hosts}:{self.prefix}"[:300]

    def control(self, pair: Pair | None) -> Control | None:
        """The flag that is set, or StoreError."""
        if pair is None:
            return None
        try:
            return stored_values.control_from_data(stored_values.to_object(pair.value))
        except ValueError as error:
            raise self.damaged(pair, error) from error

    def open_record(self, seen: Seen) -> dict[str, Any] | None:
        """The record that is open."""
        return store_rules.open_one(seen.marked, self.read_record(seen.marked))

    def read_record(self, name: str | None) -> dict[str, Any] | None:
        """A record by its id."""
        if not name:
            return None
        found = self.transact([], [self.get(f"records/{name}")]).found[0]
        return self.value_of(found[0]) if found else None

    def value_of(self, pair: Pair) -> dict[str, Any]:
        """The object that a key holds, or StoreError."""
        try:
            return stored_values.to_object(pair.value)
        except ValueError as error:
            raise self.damaged(pair, error) from error

    def grant(self, ttl: float) -> tuple[int, float]:
        """A new lease of etcd: its number, and how long it lasts."""
        self.step("grant")
        return etcd_requests.grant(self.gateway, max(1, math.ceil(ttl)))

    def keep(self, held: Lease, pair: Pair, ttl: float) -> tuple[int, float]:
        """The lease to go on with: the same one, or a new one when it is to last longer than the old one does."""
        if math.ceil(ttl) > held.ttl:
            return self.grant(ttl)
        self.step("keep alive")
        if not etcd_requests.keep_alive(self.gateway, pair.lease):
            raise LockLost(self.service, None)
        return pair.lease, held.ttl

    def revoke(self, number: int) -> None:
        """End a lease of etcd."""
        etcd_requests.revoke(self.gateway, number)

    def transact(self, compare: list[dict[str, Any]], success: list[dict[str, Any]]) -> etcd_requests.Outcome:
        """Do all changes if nobody has changed what is compared; LockLost when the lease is gone meanwhile."""
        self.step("before transaction")
        try:
            outcome = etcd_requests.transact(self.gateway, compare, success)
        except etcd.LeaseGone as error:
            raise LockLost(self.service, None) from error
        self.step("after transaction")
        return outcome

    def key(self, name: str) -> str:
        """A key by its name."""
        return f"{self.prefix}/{self.service}/{name}"

    def same(self, name: str, pair: Pair | None) -> dict[str, Any]:
        """The condition that a key is as it was seen."""
        return etcd_json.unchanged(self.key(name), pair)

    def get(self, name: str) -> dict[str, Any]:
        """What reads a key."""
        return etcd_json.get(self.key(name))

    def get_newest(self, name: str, limit: int) -> dict[str, Any]:
        """What reads the keys below a name, the newest first; a limit of 0 is none."""
        return etcd_json.get_newest(self.key(name), limit)

    def put(self, name: str, value: str, lease: int = 0) -> dict[str, Any]:
        """What writes a key, which goes away with its lease if it has one."""
        return etcd_json.put(self.key(name), value, lease)

    def delete(self, name: str) -> dict[str, Any]:
        """What removes a key."""
        return etcd_json.delete(self.key(name))

    def damaged(self, pair: Pair, error: Exception) -> StoreError:
        """What is wrong with a key that cannot be read, and the way out."""
        return StoreError(
            f"key {pair.key} in etcd is damaged ({error}); restore it from a backup, or remove it with etcdctl del "
            f"{pair.key}"
        )
