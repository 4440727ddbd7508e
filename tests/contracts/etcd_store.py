# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store in a real etcd. Inherit; endpoints come from MESOPS_ETCD_ENDPOINTS, with commas between, or a fixture."""

from __future__ import annotations

import os
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import etcd_json
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import etcd, etcd_requests
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd_store import EtcdStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_keys import StoreKeys
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import LockLost, Store, StoreError

from contracts.store_contract import ALICE, BOB, Make, StoreContract, ended, record


def gateway_of(endpoints: list[str], opened: etcd.Open | None = None) -> etcd.Gateway:
    return etcd.Gateway(etcd.check_endpoints(endpoints), opened or etcd.opener())


def changes(request: urllib.request.Request) -> bool:
    """Whether a request is a transaction that writes or removes."""
    data = request.data if isinstance(request.data, bytes) else b""
    return b"request_put" in data or b"request_delete_range" in data


def revokes_nothing(request: urllib.request.Request, timeout: float) -> Any:
    """Sends every request but those that end a lease."""
    if request.full_url.endswith("/revoke"):
        raise ConnectionRefusedError("Connection refused")
    return etcd.opener()(request, timeout)


class Deaf:
    """Sends every request, and loses the first answers to transactions: they took effect and nobody knows."""

    def __init__(self, lost: int) -> None:
        self.send = etcd.opener()
        self.lost = lost

    def __call__(self, request: urllib.request.Request, timeout: float) -> Any:
        reply = self.send(request, timeout)
        if changes(request) and self.lost > 0:
            self.lost -= 1
            reply.read()
            reply.close()
            raise TimeoutError("timed out")
        return reply


class EtcdStoreContract(StoreContract):
    """The contract on a cluster, every test below a prefix of its own, and what only etcd can get wrong."""

    @pytest.fixture
    def endpoints(self) -> list[str]:
        return os.environ["MESOPS_ETCD_ENDPOINTS"].split(",")

    @pytest.fixture
    def prefix(self) -> str:
        return f"/mesops/test/{uuid.uuid4().hex}"

    @pytest.fixture
    def make(self, endpoints: list[str], prefix: str) -> Make:
        def make(service: str = "catalog", step: Callable[[str], None] | None = None) -> Store:
            keys = StoreKeys(service, gateway_of(endpoints), prefix)
            keys.step = step or keys.step
            return EtcdStore(keys)

        return make

    @pytest.fixture
    def deaf(self, endpoints: list[str], prefix: str) -> Callable[[int], EtcdStore]:
        return lambda lost: EtcdStore(StoreKeys("catalog", gateway_of(endpoints, Deaf(lost)), prefix))

    @pytest.mark.parametrize("lost", [1, 2])
    def test_lost_answers_do_not_count_twice(self, make: Make, deaf: Callable[[int], EtcdStore], lost: int) -> None:
        lease = deaf(lost).acquire(ALICE, self.TTL)
        seen = make().read().lock
        assert seen is not None
        assert seen.token == lease.token
        assert lease.expires_in > self.TTL - 5
        assert deaf(lost).write(record(), lease.token, self.TTL).lease.token == lease.token
        assert make().read().history == [record()]
        change = deaf(lost).set_control("pause", "ops", "")
        assert (change.before, change.after) == (None, make().read().control)
        deaf(lost).close(ended(), lease.token)
        assert make().read().history == [ended()]
        assert len(make().read().audit) == 1
        second = make().acquire(ALICE, self.TTL)
        third = deaf(lost).acquire(BOB, self.TTL, takeover=second.id)
        broken = deaf(lost).break_lock("ops", "")
        assert broken is not None
        assert broken.token == third.token
        assert make().read().lock is None
        assert len(make().read().audit) == 3
        with pytest.raises(StoreError, match="no answer within"):
            deaf(99).acquire(ALICE, self.TTL)

    def test_request_that_arrives_late_is_fenced_off(self, endpoints: list[str], prefix: str, make: Make) -> None:
        """A write that was given up must not replace the one that was made after it."""
        late: list[urllib.request.Request] = []
        send = etcd.opener()

        def hold_back(request: urllib.request.Request, timeout: float) -> Any:
            if changes(request):
                late.append(request)
                raise TimeoutError("timed out")
            return send(request, timeout)

        token = make().acquire(ALICE, self.TTL).token
        make().write(record(step=0), token, self.TTL)
        store = EtcdStore(StoreKeys("catalog", gateway_of(endpoints, hold_back), prefix))
        store.keys.gateway.timeout = 0.1
        with suppress(StoreError):
            store.write(record(step=1), token, self.TTL)
        assert late
        make().write(record(step=2), token, self.TTL)
        with send(late[0], 5.0) as reply:
            assert b'"succeeded"' not in reply.read()
        assert make().read().open_record == record(step=2)

    def test_person_gets_through_to_a_run_that_writes_all_the_time(
        self, endpoints: list[str], prefix: str, make: Make
    ) -> None:
        """The run writes before every single transaction of the flag, and before many of the broken lock."""
        token = make().acquire(ALICE, self.TTL).token
        make().write(record(), token, self.TTL)
        writes = 0

        def step(name: str) -> None:
            nonlocal writes
            if name == "before transaction" and writes < 40:
                writes += 1
                make().write(record(step=writes), token, self.TTL)

        person = EtcdStore(StoreKeys("catalog", gateway_of(endpoints), prefix))
        person.keys.step = step
        # The deadline of an operation is not what this is about: 40 writes are within it on a fast machine only.
        person.keys.gateway.timeout = 60
        assert person.set_control("abort", "ops", "").after is not None
        flagged = writes
        assert 0 < flagged < 40
        broken = person.break_lock("ops", "")
        assert broken is not None
        assert (broken.token, writes, make().read().lock) == (token, 40, None)

    @pytest.mark.parametrize("moment", [1, 2, 3])
    def test_abort_that_comes_between_is_not_overwritten(self, make: Make, moment: int) -> None:
        token = make().acquire(ALICE, self.TTL).token
        make().write(record(), token, self.TTL)
        requests = 0

        def step(name: str) -> None:
            nonlocal requests
            requests += name == "before transaction"
            if name == "before transaction" and requests == moment:
                make().set_control("abort", "ops", "")

        with pytest.raises(Refused, match="was aborted by ops"):
            make(step=step).set_control("pause", "deploy", "")
        seen = make().read()
        assert seen.control is not None
        assert seen.control.flag == "abort"
        assert [one["by"] for one in seen.audit] == ["ops"]

    @pytest.mark.parametrize("moment", [1, 2, 3])
    def test_abort_that_comes_while_a_promotion_is_forgotten_stays(self, make: Make, moment: int) -> None:
        token = make().acquire(ALICE, self.TTL).token
        make().write(record(), token, self.TTL)
        make().set_control("promote", "ops", "")
        requests = 0

        def step(name: str) -> None:
            nonlocal requests
            requests += name == "before transaction"
            if name == "before transaction" and requests == moment:
                make().set_control("abort", "ops", "")

        left = make(step=step).clear_control(token)
        assert left is not None
        assert (left.flag, make().read().control) == ("abort", left)

    @pytest.mark.parametrize("moment", [1, 2, 3])
    @pytest.mark.parametrize("what", ["write", "close", "release", "renew", "clear"])
    def test_lock_that_is_broken_between_two_requests_is_lost(
        self, make: Make, endpoints: list[str], prefix: str, what: str, moment: int
    ) -> None:
        """Even while the lease that was broken lives on in etcd: the transaction alone is the fence."""
        breaker = EtcdStore(StoreKeys("catalog", gateway_of(endpoints, revokes_nothing), prefix))
        token = make().acquire(ALICE, self.TTL).token
        make().write(record(), token, self.TTL)
        make().set_control("promote", "ops", "")
        requests = 0

        def step(name: str) -> None:
            nonlocal requests
            requests += name == "before transaction"
            if name == "before transaction" and requests == moment:
                breaker.break_lock("ops", "")
                make().acquire(BOB, self.TTL)

        acts: dict[str, Callable[[Store], Any]] = {
            "write": lambda store: store.write(record(step=2), token, self.TTL),
            "close": lambda store: store.close(ended(), token),
            "release": lambda store: store.release(token),
            "renew": lambda store: store.renew(token, self.TTL),
            "clear": lambda store: store.clear_control(token),
        }
        store = make(step=step)
        if what == "release":
            lost = not store.release(token) or requests < moment
            assert lost
        else:
            with suppress(LockLost):
                acts[what](store)
                assert requests < moment
        view = make().read()
        if requests >= moment:
            assert view.lock is not None
            assert view.lock.holder == BOB
            assert (view.open_record, view.control is None) == (record(), False)

    def test_lock_that_changes_hands_while_it_is_broken_is_named_right(self, make: Make) -> None:
        token = make().acquire(ALICE, self.TTL).token
        requests = 0

        def step(name: str) -> None:
            nonlocal requests
            requests += name == "before transaction"
            if name == "before transaction" and requests == 2:
                make().release(token)
                make().acquire(BOB, self.TTL)

        broken = make(step=step).break_lock("ops", "")
        assert broken is not None
        assert broken.holder == BOB
        view = make().read()
        assert (view.lock, [one["what"] for one in view.audit]) == (
            None,
            ["broke the lock of ops@desk (rollback of catalog)"],
        )

    def test_members_are_asked_until_one_answers(self, endpoints: list[str], prefix: str) -> None:
        silent = ["http://127.0.0.1:1", *endpoints]
        store = EtcdStore(StoreKeys("catalog", gateway_of(silent), prefix))
        token = store.acquire(ALICE, self.TTL).token
        assert store.release(token)

    def test_record_that_is_too_large_for_etcd_is_refused(self, make: Make) -> None:
        store = make()
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(text="x" * 1_490_000), token, self.TTL)
        with pytest.raises(
            StoreError, match=r"has 1\.5 MiB, but etcd takes records of up to 1\.4 MiB; use the backend file"
        ):
            store.write(record(text="x" * 1_550_000), token, self.TTL)

    def test_damaged_key_is_named(self, make: Make, endpoints: list[str], prefix: str) -> None:
        gateway = gateway_of(endpoints)
        make().acquire(ALICE, self.TTL)
        for name in ("lock", "control"):
            gateway.begin()
            etcd_requests.transact(gateway, [], [etcd_json.put(f"{prefix}/catalog/{name}", "{")])
            with pytest.raises(StoreError, match=rf"key {prefix}/catalog/{name} in etcd is damaged .* etcdctl del"):
                make().read()
            gateway.begin()
            etcd_requests.transact(gateway, [], [etcd_json.delete(f"{prefix}/catalog/{name}")])
        assert make().read().lock is None

    def test_no_lease_stays_behind(self, make: Make, endpoints: list[str]) -> None:
        def leases() -> set[str]:
            gateway = gateway_of(endpoints)
            gateway.begin()
            return {one["ID"] for one in gateway.call("/v3/lease/leases", {}).get("leases", [])}

        before = leases()
        store = make()
        first = store.acquire(ALICE, self.TTL)
        second = store.acquire(BOB, self.TTL, takeover=first.id)
        store.renew(second.token, 2 * self.TTL)
        store.close(ended(), second.token)
        third = store.acquire(ALICE, self.TTL)
        store.release(third.token)
        store.acquire(ALICE, self.TTL)
        store.break_lock("ops", "")
        assert leases() <= before
