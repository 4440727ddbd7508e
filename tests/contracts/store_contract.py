# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store of rollouts does. Inherit, and give a fixture ``make``.

Each store that ``make`` gives stands for a process of its own that reaches the same place. Time is real unless
``timing`` says otherwise.
"""

from __future__ import annotations

import math
import multiprocessing
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import stores
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import (
    Holder,
    Locked,
    LockLost,
    Store,
    StoreError,
    View,
    acquire_patiently,
)

ALICE = Holder("deploy", "ci-7", 4242, "boot 1", "777", "rollout of catalog 1.4.0", "r1")
BOB = Holder("ops", "desk", 17, what="rollback of catalog")
UNKNOWN = "0123456789abcdef"
DEADLINE = 60.0


class Make(Protocol):
    """Gives a store as another process would have it."""

    def __call__(self, service: str = "catalog", step: Callable[[str], None] | None = None) -> Store: ...


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@dataclass
class Timing:
    """The clock that leases run out by, as far as a test can tell, and how to let time pass."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def record(name: str = "r1", **more: Any) -> dict[str, Any]:
    return {"id": name, "service": "catalog", "version": "1.4.0", "status": "running", "started_at": 1.0, **more}


def ended(name: str = "r1", **more: Any) -> dict[str, Any]:
    return record(name, **{"status": "done", "ended_at": 9.0, **more})


def state(view: View) -> tuple[Any, ...]:
    """What matters of a view when processes are killed."""
    control = view.control.flag if view.control else None
    return (view.lock.token if view.lock else None, view.open_record, control, view.history)


def in_processes(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do some work in as many processes; an exception in one of them is a failure here."""
    context = multiprocessing.get_context("fork")

    def child(number: int, sink: Any) -> None:
        try:
            sink.send((True, work(number)))
        except Exception as error:
            sink.send((False, repr(error)))

    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    children = [context.Process(target=child, args=(number, pipes[number][1]), daemon=True) for number in range(count)]
    for one in children:
        one.start()
    try:
        answers = []
        for source, _sink in pipes:
            assert source.poll(DEADLINE), "a process did not end"
            answers.append(source.recv())
    finally:
        for one in children:
            one.kill()
            one.join()
    assert all(good for good, _answer in answers), answers
    return [answer for _good, answer in answers]


class StoreContract:
    """Inherit as ``class TestSomeStore(StoreContract)``."""

    TTL = 60.0
    """Seconds that no test takes."""
    SHORT = 3.0
    """Seconds until a lease runs out in tests that wait for it."""
    ROUNDS = 40

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    @pytest.fixture
    def timing(self) -> Timing:
        return Timing()

    @pytest.fixture
    def store(self, make: Make) -> Store:
        return make()

    # ----------------------------------------------------------------------------------------------------- the lock

    def test_empty_store_holds_nothing(self, store: Store) -> None:
        view = store.read()
        assert (view.lock, view.open_record, view.control, view.history, view.audit) == (None, None, None, [], [])

    def test_lock_says_who_holds_it(self, store: Store, make: Make) -> None:
        lease = store.acquire(ALICE, self.TTL)
        seen = make().read().lock
        assert seen is not None
        assert (seen.token, seen.holder, seen.id) == (lease.token, ALICE, lease.id)
        assert self.TTL - 5 < seen.expires_in <= seen.ttl
        assert lease.token not in repr(lease.to_dict())

    def test_only_one_holds_the_lock_and_the_other_learns_who(self, store: Store, make: Make) -> None:
        lease = store.acquire(ALICE, self.TTL)
        with pytest.raises(Locked) as refused:
            make().acquire(BOB, self.TTL)
        assert refused.value.lease.token == lease.token
        assert re.fullmatch(
            r"catalog is locked by deploy@ci-7 \(rollout of catalog 1\.4\.0, pid 4242\) for \d s; its lease was "
            r"renewed \d s ago and ends in (59|60) s\. Wait for it, or, if you know that it is dead, break the lock: "
            r"ansible-playbook mesops\.platform\.unlock -e rollout_service=catalog",
            str(refused.value),
        )

    def test_released_lock_is_free(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        assert make().release(token)
        assert make().read().lock is None
        assert not make().release(token)
        assert make().acquire(BOB, self.TTL).token != token

    def test_somebody_elses_lock_is_not_released(self, store: Store, make: Make) -> None:
        old = store.acquire(ALICE, self.TTL).token
        store.release(old)
        new = make().acquire(BOB, self.TTL).token
        assert not store.release(old)
        seen = store.read().lock
        assert seen is not None
        assert seen.token == new

    def test_lease_that_nobody_renews_is_free(self, store: Store, make: Make, timing: Timing) -> None:
        old = store.acquire(ALICE, self.SHORT)
        lease = acquire_patiently(make(), BOB, self.TTL, clock=timing.clock, sleep=timing.sleep)
        seen = make().read().lock
        assert seen is not None
        assert (seen.token, seen.holder) == (lease.token, BOB)
        with pytest.raises(LockLost, match=r"ops@desk \(rollback of catalog, pid 17\)"):
            store.write(record(), old.token, self.TTL)
        assert make().read().history == []

    def test_lease_that_ran_out_does_not_come_back(self, store: Store, make: Make, timing: Timing) -> None:
        token = store.acquire(ALICE, self.SHORT).token
        deadline = timing.clock() + 10 * self.SHORT
        while make().read().lock is not None and timing.clock() < deadline:
            timing.sleep(0.2)
        for act in (
            lambda: store.renew(token, self.TTL),
            lambda: store.write(record(), token, self.TTL),
            lambda: store.close(ended(), token),
            lambda: store.clear_control(token),
        ):
            with pytest.raises(LockLost, match="nobody holds it now") as lost:
                act()
            assert lost.value.lease is None
        assert not store.release(token)
        assert make().read().history == []

    @pytest.mark.parametrize("by", ["renew", "write"])
    def test_lease_that_is_renewed_lives_on(self, store: Store, make: Make, timing: Timing, by: str) -> None:
        token = store.acquire(ALICE, self.SHORT).token
        begin = timing.clock()
        while timing.clock() - begin < 2.5 * self.SHORT:
            if by == "renew":
                store.renew(token, self.SHORT)
            else:
                store.write(record(), token, self.SHORT)
            timing.sleep(self.SHORT / 5)
        with pytest.raises(Locked):
            make().acquire(BOB, self.TTL)

    def test_lease_can_be_made_longer(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.SHORT).token
        assert store.renew(token, self.TTL).expires_in == self.TTL
        seen = make().read().lock
        assert seen is not None
        assert seen.expires_in > self.TTL - 5

    def test_sign_of_life_refuses_at_once(self, store: Store, make: Make, timing: Timing) -> None:
        token = store.acquire(ALICE, self.TTL).token

        def sleep(seconds: float) -> None:
            timing.sleep(seconds)
            store.renew(token, self.TTL)

        begin = timing.clock()
        with pytest.raises(Locked):
            acquire_patiently(make(), BOB, self.TTL, clock=timing.clock, sleep=sleep)
        assert timing.clock() - begin < 5

    def test_new_holder_refuses_at_once(self, store: Store, make: Make, timing: Timing) -> None:
        tokens = [store.acquire(ALICE, self.TTL).token]

        def sleep(seconds: float) -> None:
            timing.sleep(seconds)
            store.release(tokens[-1])
            tokens.append(store.acquire(ALICE, self.TTL).token)

        with pytest.raises(Locked) as refused:
            acquire_patiently(make(), BOB, self.TTL, clock=timing.clock, sleep=sleep)
        assert refused.value.lease.token == tokens[1]
        assert len(tokens) == 2

    @pytest.mark.parametrize("name", ["id", "token"])
    def test_dead_holder_is_replaced_at_once(self, store: Store, make: Make, name: str) -> None:
        dead = store.acquire(ALICE, self.TTL)
        lease = make().acquire(BOB, self.TTL, takeover=getattr(dead, name))
        with pytest.raises(LockLost):
            store.write(record(), dead.token, self.TTL)
        make().write(record(), lease.token, self.TTL)
        entry = make().read().audit[0]
        assert entry["by"] == "ops@desk"
        assert entry["what"] == "took over the lock of deploy@ci-7 (rollout of catalog 1.4.0), whose process was gone"

    def test_only_the_dead_lease_is_taken_over(self, store: Store, make: Make) -> None:
        dead = store.acquire(ALICE, self.TTL)
        lease = make().acquire(BOB, self.TTL, takeover=dead.id)
        with pytest.raises(Locked):
            make().acquire(ALICE, self.TTL, takeover=dead.id)
        make().release(lease.token)
        assert make().acquire(ALICE, self.TTL, takeover=dead.id)
        assert len(make().read().audit) == 1

    def test_broken_lock_is_free_and_on_record(self, store: Store, make: Make) -> None:
        lease = store.acquire(ALICE, self.TTL)
        broken = make().break_lock("ops@desk", "the runner is gone")
        assert broken is not None
        assert (broken.token, broken.expires_in > self.TTL - 5) == (lease.token, True)
        with pytest.raises(LockLost, match="nobody holds it now"):
            store.renew(lease.token, self.TTL)
        entry = make().read().audit[0]
        assert entry["by"] == "ops@desk"
        assert entry["what"] == "broke the lock of deploy@ci-7 (rollout of catalog 1.4.0): the runner is gone"
        assert make().break_lock("ops@desk", "") is None
        assert len(make().read().audit) == 1

    # ------------------------------------------------------------------------------------------------------ the record

    def test_record_is_open_until_it_has_ended(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(step=1), token, self.TTL)
        assert make().read().open_record == record(step=1)
        store.write(record(step=2), token, self.TTL)
        assert make().read().open_record == record(step=2)
        assert make().read().history == [record(step=2)]
        store.write(ended(), token, self.TTL)
        view = make().read()
        assert (view.open_record, view.history) == (None, [ended()])
        assert view.lock is not None

    def test_whoever_does_not_hold_the_lock_writes_nothing(self, store: Store, make: Make) -> None:
        with pytest.raises(LockLost):
            store.write(record(), UNKNOWN, self.TTL)
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(step=1), token, self.TTL)
        before = make().read()
        for act in (
            lambda: make().write(record(step=2), UNKNOWN, self.TTL),
            lambda: make().write(None, UNKNOWN, self.TTL),
            lambda: make().close(ended(), UNKNOWN),
            lambda: make().clear_control(UNKNOWN),
        ):
            with pytest.raises(LockLost, match=r"deploy@ci-7 \(rollout of catalog 1\.4\.0, pid 4242\)") as lost:
                act()
            assert lost.value.lease is not None
            assert lost.value.lease.token == token
        after = make().read()
        assert (state(after), after.audit) == (state(before), before.audit)

    def test_revision_grows_with_every_change(self, store: Store) -> None:
        seen = [store.read().revision]
        token = store.acquire(ALICE, self.TTL).token
        seen.append(store.read().revision)
        for step in range(3):
            written = store.write(record(step=step), token, self.TTL)
            assert store.read().revision == written.revision
            seen.append(written.revision)
        store.close(ended(), token)
        seen.append(store.read().revision)
        assert seen == sorted(set(seen))

    def test_heartbeat_changes_no_record_and_brings_the_flag(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        assert store.write(None, token, self.TTL).control is None
        make().set_control("pause", "ops", "")
        written = store.write(None, token, self.TTL)
        assert written.control is not None
        assert (written.control.flag, written.lease.token) == ("pause", token)
        assert make().read().history == [record()]

    def test_unfinished_rollout_outlives_its_holder(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        store.release(token)
        other = make()
        token = other.acquire(BOB, self.TTL).token
        assert other.read().open_record == record()
        other.write(record(step=2), token, self.TTL)
        assert make().read().history == [record(step=2)]

    def test_every_lock_has_a_higher_number_than_those_before_it(self, store: Store, make: Make) -> None:
        """Whatever comes between, and whoever ends the lock before it."""
        numbers = []
        lease = store.acquire(ALICE, self.TTL)
        for number in range(6):
            numbers.append(lease.number)
            make().renew(lease.token, self.TTL)
            if number == 1:
                make().write(record(), lease.token, self.TTL)
            if number < 3:
                lease = make().acquire(BOB, self.TTL, takeover=lease.id)
                continue
            (make().break_lock("ops", "") if number == 3 else make().release(lease.token))
            lease = make().acquire(ALICE, self.TTL)
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        seen = make().read()
        assert seen.lock is not None
        assert (seen.lock.number, "number" in lease.to_dict()) == (0, False)

    def test_store_has_one_name_of_its_own(self, store: Store, make: Make) -> None:
        place = store.read().store
        assert "#" not in place
        token = store.acquire(ALICE, self.TTL).token
        name = make().read().store
        assert re.fullmatch(re.escape(place) + r" #s[0-9a-f]{12}", name)
        store.close(ended(), token)
        make().acquire(BOB, self.TTL)
        assert make().read().store == name
        make("parts").acquire(ALICE, self.TTL)
        assert make("parts").read().store != name

    def test_rollouts_stand_in_the_order_in_which_they_began_whatever_their_controllers_clocks_say(
        self, store: Store, make: Make
    ) -> None:
        for number, at in enumerate((9e9, 5.0, 7.0, 0.0)):
            token = make().acquire(ALICE, self.TTL).token
            make().write(record(f"r{number}", started_at=at), token, self.TTL)
            make().close(ended(f"r{number}", started_at=at), token)
        assert [one["id"] for one in make().read().history] == ["r3", "r2", "r1", "r0"]
        token = store.acquire(ALICE, self.TTL).token
        store.close(ended("r4", started_at=1.0), token, keep=2)
        assert [one["id"] for one in make().read().history] == ["r4", "r3"]

    def test_second_rollout_waits_for_the_first(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        with pytest.raises(Refused, match="rollout r1 of catalog is still open, so r2 cannot begin"):
            store.write(record("r2"), token, self.TTL)
        assert make().read().history == [record()]
        store.write(ended(status="superseded"), token, self.TTL)
        store.write(record("r2", started_at=2.0), token, self.TTL)
        view = make().read()
        assert view.open_record == record("r2", started_at=2.0)
        assert view.history == [record("r2", started_at=2.0), ended(status="superseded")]

    def test_closing_ends_everything(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        make().set_control("pause", "ops", "")
        store.close(ended(), token)
        assert state(make().read()) == (None, None, None, [ended()])
        with pytest.raises(LockLost):
            store.write(record(), token, self.TTL)
        assert state(make().read()) == (None, None, None, [ended()])

    def test_closing_again_changes_nothing(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        store.close(ended(), token)
        store.close(ended(), token)
        other = make().acquire(BOB, self.TTL).token
        store.close(ended(), token)
        seen = make().read()
        assert seen.lock is not None
        assert (seen.lock.token, seen.history) == (other, [ended()])
        with pytest.raises(LockLost):
            store.close(ended(status="failed"), token)

    def test_rollout_that_goes_on_is_not_closed(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        with pytest.raises(Refused, match="record r1 has no ended_at"):
            store.close(record(), token)
        assert make().read().open_record == record()

    def finish(self, store: Store, number: int, status: str = "done") -> None:
        token = store.acquire(ALICE, self.TTL).token
        name = f"r{number:03d}"
        store.write(record(name, started_at=float(number)), token, self.TTL)
        store.close(ended(name, started_at=float(number), status=status), token, keep=4)

    def test_history_is_newest_first_and_old_records_go(self, store: Store, make: Make) -> None:
        for number in range(7):
            self.finish(store, number)
        assert [one["id"] for one in make().read().history] == ["r006", "r005", "r004", "r003"]
        assert [one["id"] for one in make().read(history=2).history] == ["r006", "r005"]
        assert make().read(history=0).history == []

    def test_last_success_stays_however_old(self, store: Store, make: Make) -> None:
        self.finish(store, 0)
        self.finish(store, 1)
        for number in range(2, 9):
            self.finish(store, number, "rolled_back")
        assert [one["id"] for one in make().read().history] == ["r008", "r007", "r006", "r005", "r001"]

    def test_open_record_is_found_behind_a_short_history(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record("r1", started_at=5.0), token, self.TTL)
        store.write(ended("r2", started_at=6.0), token, self.TTL)
        for limit in (0, 1):
            assert make().read(history=limit).open_record == record("r1", started_at=5.0)

    @pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 151, None, 7])
    def test_record_needs_a_plain_id(self, store: Store, name: Any) -> None:
        token = store.acquire(ALICE, self.TTL).token
        with pytest.raises(Refused, match="is no plain name"):
            store.write({**record(), "id": name}, token, self.TTL)
        assert store.read().history == []

    @pytest.mark.parametrize("at", ["yesterday", None, [1]])
    def test_record_needs_a_time_if_it_has_one(self, store: Store, at: Any) -> None:
        token = store.acquire(ALICE, self.TTL).token
        with pytest.raises(Refused, match=r"record r1 has started_at .*; give it as seconds since the epoch"):
            store.write(record(started_at=at), token, self.TTL)

    def test_record_of_another_service_is_refused(self, store: Store) -> None:
        token = store.acquire(ALICE, self.TTL).token
        with pytest.raises(Refused, match="'parts', not about catalog"):
            store.write({**record(), "service": "parts"}, token, self.TTL)

    def test_services_do_not_meet(self, make: Make) -> None:
        names = ("catalog", "catalog-2", "catalo")
        tokens = {name: make(name).acquire(ALICE, self.TTL).token for name in names}
        for name in names:
            make(name).write({**record(name), "service": name}, tokens[name], self.TTL)
        for name in names:
            assert [one["id"] for one in make(name).read().history] == [name]

    def test_any_json_comes_back_as_it_was(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        odd = record(
            text="ä\u2028\0\ud800'\"\n", deep=[{"a": [1, 1.5, None, True, -(2**60)]}], large=["x" * 1000] * 1200
        )
        store.write(odd, token, self.TTL)
        assert make().read().open_record == odd
        store.write(record(figure=math.nan), token, self.TTL)
        seen = make().read().open_record
        assert seen is not None
        assert math.isnan(seen["figure"])
        store.close(ended(figure=math.nan), token)
        store.close(ended(figure=math.nan), token)

    # -------------------------------------------------------------------------------------------------- a person's flag

    @pytest.mark.parametrize("flag", ["pause", "promote", "abort"])
    def test_flag_comes_back_with_the_next_write(self, store: Store, make: Make, flag: str) -> None:
        token = store.acquire(ALICE, self.TTL).token
        assert store.write(record(), token, self.TTL).control is None
        change = make().set_control(flag, "ops", "customer call")
        assert (change.before, change.record) == (None, record())
        assert change.after is not None
        assert (change.after.flag, change.after.by, change.after.note) == (flag, "ops", "customer call")
        assert change.after.rollout_id == "r1"
        assert store.write(record(step=2), token, self.TTL).control == change.after
        assert make().read().control == change.after
        entry = make().read().audit[0]
        assert (entry["by"], entry["what"]) == ("ops", f"{flag} rollout r1 of version 1.4.0: customer call")

    def test_last_flag_counts(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        flags = ["pause", "pause", "resume", "resume", "promote", "resume", "pause", "promote", "abort", "abort"]
        seen = []
        for flag in flags:
            change = make().set_control(flag, "ops", "")
            assert make().read().control == change.after
            seen.append(change.after.flag if change.after else None)
        assert seen == ["pause", "pause", None, None, "promote", "promote", "pause", "promote", "abort", "abort"]
        # What changes nothing leaves no entry; the newest entry comes first.
        audit = [one["what"].split()[0] for one in make().read().audit]
        assert audit == ["abort", "promote", "pause", "promote", "resume", "pause"]
        assert [one["what"].split()[0] for one in make().read(audit=2).audit] == ["abort", "promote"]
        assert make().read(audit=0).audit == []

    @pytest.mark.parametrize("flag", ["pause", "resume", "promote"])
    def test_abort_is_not_taken_back(self, store: Store, make: Make, flag: str) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        store.set_control("abort", "ops", "")
        with pytest.raises(Refused, match="was aborted by ops, which is not taken back"):
            make().set_control(flag, "deploy", "")
        seen = store.write(None, token, self.TTL).control
        assert seen is not None
        assert seen.flag == "abort"

    @pytest.mark.parametrize("flag", ["pause", "resume", "promote", "abort"])
    def test_flag_needs_an_open_rollout(self, store: Store, make: Make, flag: str) -> None:
        with pytest.raises(Refused, match=f"no rollout of catalog is open, so there is nothing to {flag}"):
            store.set_control(flag, "ops", "")
        token = store.acquire(ALICE, self.TTL).token
        store.close(ended(), token)
        with pytest.raises(Refused, match="nothing to"):
            make().set_control(flag, "ops", "")
        assert make().read().audit == []

    def test_flag_waits_for_the_run_that_goes_on(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        store.release(token)
        make().set_control("abort", "ops", "")
        token = store.acquire(BOB, self.TTL).token
        seen = store.write(record(), token, self.TTL).control
        assert seen is not None
        assert seen.flag == "abort"

    @pytest.mark.parametrize("how", ["write", "close"])
    def test_flag_does_not_reach_the_next_rollout(self, store: Store, make: Make, how: str) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        make().set_control("abort", "ops", "")
        if how == "write":
            store.write(ended(), token, self.TTL)
        else:
            store.close(ended(), token)
            token = store.acquire(ALICE, self.TTL).token
        assert store.write(record("r2"), token, self.TTL).control is None
        assert make().read().control is None

    def test_obeyed_promotion_is_forgotten(self, store: Store, make: Make) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        make().set_control("promote", "ops", "")
        assert store.clear_control(token) is None
        assert make().read().control is None
        assert store.clear_control(token) is None

    @pytest.mark.parametrize("flag", ["pause", "resume", "promote", "abort"])
    @pytest.mark.parametrize("obeyed", ["resume", "promote", "abort"])
    def test_only_the_flag_that_was_obeyed_is_forgotten(self, store: Store, make: Make, flag: str, obeyed: str) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(status="paused"), token, self.TTL)
        given = make().set_control(flag, "ops", "").after
        assert given is not None
        left = store.clear_control(token, obeyed)
        assert left == (None if flag == obeyed else given)
        assert make().read().control == left

    def test_pause_of_a_gate_ends_by_a_persons_word_and_another_rollout_has_nothing_to_resume(
        self, store: Store, make: Make
    ) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        assert make().set_control("resume", "ops", "").after is None
        store.write(record(status="paused"), token, self.TTL)
        assert make().set_control("resume", "ops", "").after is not None
        seen = store.write(record(status="paused"), token, self.TTL).control
        assert seen is not None
        assert seen.flag == "resume"
        assert store.clear_control(token, "resume") is None

    @pytest.mark.parametrize("flag", ["pause", "abort"])
    def test_flag_that_came_after_the_promotion_stays(self, store: Store, make: Make, flag: str) -> None:
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        make().set_control("promote", "ops", "")
        make().set_control(flag, "ops", "")
        left = store.clear_control(token)
        assert left is not None
        assert left.flag == flag
        assert make().read().control == left

    # ------------------------------------------------------------------------------------------- killed, and at once

    OPERATIONS: ClassVar[dict[str, Callable[[Store, str], Any]]] = {
        "acquire": lambda store, _token: store.acquire(BOB, StoreContract.TTL),
        "take over": lambda store, token: store.acquire(BOB, StoreContract.TTL, takeover=token),
        "renew": lambda store, token: store.renew(token, StoreContract.TTL),
        "renew for longer": lambda store, token: store.renew(token, 2 * StoreContract.TTL),
        "release": lambda store, token: store.release(token),
        "break": lambda store, _token: store.break_lock("ops", "test"),
        "write": lambda store, token: store.write(record("r2", started_at=2.0, step=2), token, StoreContract.TTL),
        "write first": lambda store, token: store.write(record("r2", started_at=2.0), token, StoreContract.TTL),
        "write last": lambda store, token: store.write(ended("r2", started_at=2.0), token, StoreContract.TTL),
        "close": lambda store, token: store.close(ended("r2", started_at=2.0), token, keep=1),
        "control": lambda store, _token: store.set_control("abort", "ops", ""),
        "resume": lambda store, _token: store.set_control("resume", "ops", ""),
        "clear": lambda store, token: store.clear_control(token),
    }

    def prepared(self, make: Make, service: str, operation: str) -> str:
        """A service in the state in which the operation means something; the token of the lock."""

        def named(one: dict[str, Any]) -> dict[str, Any]:
            return {**one, "service": service}

        store = make(service)
        token = store.acquire(ALICE, self.TTL).token
        store.close(named(ended("r0", started_at=0.0)), token)
        token = store.acquire(ALICE, self.TTL).token
        store.write(named(ended("r1", started_at=1.0)), token, self.TTL)
        if operation != "write first":
            store.write(named(record("r2", started_at=2.0)), token, self.TTL)
            store.set_control("promote" if operation == "clear" else "pause", "ops", "")
        if operation == "acquire":
            store.release(token)
        return token

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_killed_anywhere_it_has_happened_or_not(self, make: Make, operation: str) -> None:
        steps = self.killed(make, operation, -1)
        assert steps > 0
        for number in range(steps):
            self.killed(make, operation, number)

    def killed(self, make: Make, operation: str, number: int) -> int:
        """Kill the operation at a step, or at none; how many steps there are."""
        service = f"s{number}" if number >= 0 else "whole"
        token = self.prepared(make, service, operation)

        def plain(view: View) -> tuple[Any, ...]:
            lock, opened, control, history = state(view)
            holder = view.lock.holder.user if lock and view.lock else None
            without = [{**one, "service": ""} for one in history]
            return holder, opened and {**opened, "service": ""}, control, without

        before = plain(make(service).read())
        steps = 0

        def step(_name: str) -> None:
            nonlocal steps
            steps += 1
            if steps == number + 1:
                raise Killed

        run = cast(Store, _Renamed(make(service, step), service))
        if number < 0:
            self.OPERATIONS[operation](run, token)
            self.expected = plain(make(service).read())
            return steps
        with suppress(Killed):
            self.OPERATIONS[operation](run, token)
        found = make(service).read()
        # A record that has ended closes its rollout, even if the process dies before it lets go of the lock, and old
        # records may be left that were to be removed.
        left = [self.expected[3][0], *before[3][1:]]
        between: dict[str, list[tuple[Any, ...]]] = {
            "write last": [(before[0], None, None, left)],
            "close": [(holder, None, None, left[:size]) for holder in (before[0], None) for size in range(1, 4)],
        }
        assert plain(found) in [before, self.expected, *between.get(operation, [])]
        self.go_on(make(service), service, found)
        return steps

    def go_on(self, store: Store, service: str, found: View) -> None:
        """Whoever comes next can finish what is there and roll out again."""
        lease = store.acquire(BOB, self.TTL, takeover=found.lock.id if found.lock else None)
        if found.open_record is not None:
            store.write({**found.open_record, "ended_at": 8.0}, lease.token, self.TTL)
        fresh = {**record("r9", started_at=9.0), "service": service}
        assert store.write(fresh, lease.token, self.TTL).control is None
        store.close({**fresh, "ended_at": 9.0}, lease.token)
        view = store.read()
        assert (view.lock, view.open_record, view.control) == (None, None, None)
        assert view.history[0]["id"] == "r9"
        assert all(one.get("ended_at") for one in view.history)

    def test_race_for_the_lock_has_one_winner(self, make: Make) -> None:
        racers, rounds = 3, self.ROUNDS
        barrier = multiprocessing.get_context("fork").Barrier(racers)

        def race(_number: int) -> list[str]:
            tokens = []
            for one in range(rounds):
                store = make(f"race-{one}")
                barrier.wait(DEADLINE)
                try:
                    tokens.append(store.acquire(ALICE, self.TTL).token)
                except Locked:
                    tokens.append("")
            return tokens

        won = in_processes(racers, race)
        for one in range(rounds):
            winners = [tokens[one] for tokens in won if tokens[one]]
            seen = make(f"race-{one}").read().lock
            assert seen is not None
            assert winners == [seen.token]

    def test_race_to_take_over_has_one_winner(self, make: Make) -> None:
        racers, rounds = 3, self.ROUNDS
        barrier = multiprocessing.get_context("fork").Barrier(racers)
        dead = [make(f"race-{one}").acquire(ALICE, self.TTL).token for one in range(rounds)]

        def race(_number: int) -> list[bool]:
            won = []
            for one in range(rounds):
                store = make(f"race-{one}")
                barrier.wait(DEADLINE)
                try:
                    store.acquire(BOB, self.TTL, takeover=dead[one])
                    won.append(True)
                except Locked:
                    won.append(False)
            return won

        won = in_processes(racers, race)
        assert [sum(one[number] for one in won) for number in range(rounds)] == [1] * rounds

    def test_holders_never_overlap(self, make: Make) -> None:
        """Each adds one to a number that it has read; if two ever held the lock at once, one would be missing."""
        adders, times = 3, max(4, self.ROUNDS // 4)
        first = make()
        token = first.acquire(ALICE, self.TTL).token
        first.write(record(number=0), token, self.TTL)
        first.release(token)

        def add(_number: int) -> None:
            store = make()
            for _ in range(times):
                deadline = time.monotonic() + DEADLINE
                while True:
                    try:
                        token = store.acquire(ALICE, self.TTL).token
                        break
                    except Locked:
                        assert time.monotonic() < deadline
                        time.sleep(0.005)
                opened = store.read().open_record
                assert opened is not None
                store.write({**opened, "number": opened["number"] + 1}, token, self.TTL)
                store.release(token)

        in_processes(adders, add)
        assert make().read().open_record == record(number=adders * times)

    def test_flag_and_writes_at_once_lose_nothing(self, make: Make) -> None:
        store = make()
        token = store.acquire(ALICE, self.TTL).token
        store.write(record(), token, self.TTL)
        times = max(5, self.ROUNDS // 4)

        def work(number: int) -> None:
            own = make()
            for step in range(times):
                if number == 0:
                    own.write(record(step=step), token, self.TTL)
                else:
                    own.set_control("pause" if step % 2 == 0 else "resume", "ops", str(step))

        in_processes(2, work)
        view = make().read(audit=1000)
        assert view.open_record == record(step=times - 1)
        assert len(view.audit) == times

    def test_lock_that_is_broken_while_it_is_used_is_lost_at_once(self, make: Make) -> None:
        """A write and a broken lock at once: the write that came too late has left nothing."""
        for one in range(max(5, self.ROUNDS // 4)):
            service = f"broken-{one}"
            token = make(service).acquire(ALICE, self.TTL).token
            barrier = multiprocessing.get_context("fork").Barrier(2)

            def work(number: int, service: str = service, token: str = token, barrier: Any = barrier) -> int:
                store = make(service)
                barrier.wait(DEADLINE)
                if number == 1:
                    store.break_lock("ops", "")
                    return 0
                written = 0
                with suppress(LockLost):
                    while written < 10_000:
                        fresh = {**record(step=written + 1), "service": service}
                        written = written + 1 if store.write(fresh, token, self.TTL) else written
                return written

            written, _broken = in_processes(2, work)
            opened = make(service).read().open_record
            assert (opened or {"step": 0})["step"] == written
            assert make(service).read().lock is None

    def test_errors_are_told_apart(self) -> None:
        assert not issubclass(Locked, StoreError)
        assert not issubclass(LockLost, StoreError)
        assert issubclass(Locked, stores.LockError)
        assert issubclass(LockLost, stores.LockError)


class _Renamed:
    """Lets an operation write records of whatever service the store is for."""

    def __init__(self, store: Store, service: str) -> None:
        self._store = store
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*values: Any, **named: Any) -> Any:
            changed = [{**one, "service": self._service} if isinstance(one, dict) else one for one in values]
            return method(*changed, **named)

        return call
