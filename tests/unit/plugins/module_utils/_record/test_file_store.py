# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store in files keeps the contract, and stays readable wherever a process is killed and whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import store_files
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced
from ansible_collections.mesops.platform.plugins.module_utils._record.file_store import FileStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_files import StoreFiles
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import Locked, LockLost, Store, StoreError
from contracts.store_contract import ALICE, BOB, Killed, Make, StoreContract, Timing, ended, record
from hypothesis import given, settings
from hypothesis import strategies as st

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
TTL = 45.0


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_795_516_800.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> FileStore:
    return FileStore(StoreFiles("catalog", str(tmp_path / "rollouts")), clock=clock.read)


class TestFileStore(StoreContract):
    @pytest.fixture
    def timing(self, clock: Clock) -> Timing:
        return Timing(clock.read, clock.sleep)

    @pytest.fixture
    def make(self, clock: Clock) -> Any:
        with tempfile.TemporaryDirectory(dir=MEMORY) as root:

            def make(service: str = "catalog", step: Callable[[str], None] | None = None) -> Store:
                files = StoreFiles(service, f"{root}/rollouts")
                files.step = step or files.step
                return FileStore(files, clock=clock.read)

            yield make

    def test_make_gives_the_protocol(self, make: Make) -> None:
        assert isinstance(make(), FileStore)


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("passed", "free"), [(0.0, False), (44.9, False), (45.0, True), (1e6, True), (-3600.0, False)])
def test_lease_runs_out_by_the_clock(store: FileStore, clock: Clock, passed: float, free: bool) -> None:
    store.acquire(ALICE, TTL)
    clock.now += passed
    lock = store.read().lock
    assert (lock is None) is free
    if lock is not None:
        # Even when the clock was set back by an hour nobody is told to wait longer than a whole lease.
        assert 0 < lock.expires_in <= TTL
    if free:
        store.acquire(BOB, TTL)
    else:
        with pytest.raises(Locked):
            store.acquire(BOB, TTL)


def test_clock_that_is_set_forward_costs_the_lock_but_no_write(store: FileStore, clock: Clock) -> None:
    token = store.acquire(ALICE, TTL).token
    clock.now += 3600
    other = store.acquire(BOB, TTL).token
    with pytest.raises(LockLost):
        store.write(record(), token, TTL)
    store.write(record(step=2), other, TTL)
    assert store.read().open_record == record(step=2)


@pytest.mark.parametrize("moved", [-1e9, -3600.0, 3600.0, 1e9])
def test_of_two_holders_that_a_clock_has_made_only_the_later_one_acts(
    store: FileStore, clock: Clock, tmp_path: Path, moved: float
) -> None:
    """In the store by its token, on hosts by its number: whatever the coordinator's clock did in between."""
    first = store.acquire(ALICE, TTL)
    clock.now += abs(moved)
    second = store.acquire(BOB, TTL)
    clock.now -= abs(moved) - moved
    assert second.number > first.number
    with pytest.raises(LockLost):
        store.write(record(), first.token, TTL)
    assert not store.release(first.token)
    Fence("catalog", second.number, store.read().store, directory=str(tmp_path / "fences")).claim()
    with pytest.raises(Fenced):
        Fence("catalog", first.number, store.read().store, directory=str(tmp_path / "fences")).claim()
    store.write(record(), second.token, TTL)


def test_records_of_before_there_was_an_order_stand_behind_the_others(store: FileStore) -> None:
    token = store.acquire(ALICE, TTL).token
    for name, at in (("r1", 5.0), ("r2", 9e9)):
        Path(store.files.base, "records", f"{name}.json").write_text(json.dumps(ended(name, started_at=at)))
    store.write(ended("r3", started_at=1.0), token, TTL)
    store.write(ended("r1", started_at=5.0), token, TTL)
    assert [one["id"] for one in store.read().history] == ["r3", "r2", "r1"]


def test_store_of_before_there_were_names_gets_one_and_one_without_its_lock_gets_another(store: FileStore) -> None:
    store.acquire(ALICE, TTL)
    first = store.read().store
    Path(store.files.base, "store.json").unlink()
    store.break_lock("ops", "")
    assert "#" not in store.read().store
    number = store.acquire(ALICE, TTL).number
    second = store.read().store
    assert (number > 1, second != first) == (True, True)
    # Numbers begin anew, so hosts must not take them for those that they know.
    Path(store.files.base, "lock.json").unlink()
    assert store.acquire(ALICE, TTL).number == 1
    assert store.read().store not in (first, second)


def test_locked_tells_age_and_renewal(store: FileStore, clock: Clock) -> None:
    token = store.acquire(ALICE, TTL).token
    for _ in range(48):
        clock.now += 15
        store.renew(token, TTL)
    clock.now += 3
    with pytest.raises(Locked, match=r"for 12 min; its lease was renewed 3 s ago and ends in 42 s\."):
        store.acquire(BOB, TTL)


def test_another_process_is_waited_for_and_then_named(store: FileStore) -> None:
    store.acquire(ALICE, TTL)
    now = [0.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    store.files.timer, store.files.sleep, store.files.timeout = lambda: now[0], sleep, 3.0
    descriptor = os.open(store.files.base, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for act in (store.read, lambda: store.acquire(BOB, TTL), lambda: store.break_lock("x", "y")):
            with pytest.raises(StoreError, match=r"in use by another process for 3 s; look for it with fuser -v"):
                act()
        assert len(waits) < 250
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # Readers do not keep each other out.
        assert store.read().lock is not None
    finally:
        os.close(descriptor)


# --- killed ---------------------------------------------------------------------------------------------------------

WRITE = st.tuples(st.just("write"), st.integers(0, 9))
OTHERS = st.sampled_from(["close", "release", "pause", "resume", "promote", "abort", "break", "clear", "heartbeat"])
SCRIPT = st.lists(st.tuples(st.one_of(WRITE, OTHERS), st.one_of(st.none(), st.integers(0, 15))), max_size=12)


@settings(max_examples=400, deadline=None)
@given(SCRIPT)
def test_any_run_killed_anywhere_loses_nothing_that_was_acknowledged(script: list[Any]) -> None:
    """A record is what was acknowledged last, or what a killed process was about to write; never anything else."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        clock = Clock()
        number, token, opened = 0, "", False
        # What the open record may be, by what was acknowledged and what was cut off.
        may: list[dict[str, Any] | None] = [None]
        for what, kill in script:
            steps = [0]

            def step(_name: str, steps: list[int] = steps, kill: int | None = kill) -> None:
                steps[0] += 1
                if kill is not None and steps[0] > kill:
                    raise Killed

            run = FileStore(StoreFiles("catalog", f"{root}/rollouts", step=step), clock=clock.read)
            plain = FileStore(StoreFiles("catalog", f"{root}/rollouts"), clock=clock.read)
            lock = plain.read().lock
            if lock is None:
                token = plain.acquire(ALICE, TTL).token
            elif lock.token != token:
                token = lock.token
            found = plain.read().open_record
            assert found in may
            may, opened = [found], found is not None
            try:
                if isinstance(what, tuple):
                    name = str(found["id"]) if found else f"r{number}"
                    number += 0 if found else 1
                    fresh = record(name, step=what[1], started_at=float(number))
                    may.append(fresh)
                    run.write(fresh, token, TTL)
                    may = [fresh]
                elif what == "close":
                    done = ended(str(found["id"]) if found else f"r{number}", started_at=float(number))
                    number += 0 if found else 1
                    may.append(None)
                    run.close(done, token, keep=2)
                    may = [None]
                elif what == "release":
                    assert run.release(token)
                elif what == "break":
                    assert run.break_lock("ops", "") is not None
                elif what == "clear":
                    run.clear_control(token)
                elif what == "heartbeat":
                    run.write(None, token, TTL)
                else:
                    run.set_control(what, "ops", "")
            except Killed:
                pass
            except Refused:
                assert not opened or plain.read().control is not None
            view = plain.read()
            assert view.open_record in may
            assert view.control is None or (view.open_record or {}).get("id") == view.control.rollout_id
            # Nothing is unfinished but the open record, and no old one was lost but by pruning.
            assert [one for one in view.history if not one.get("ended_at")] == [
                one for one in [view.open_record] if one is not None
            ]


def test_process_that_is_really_killed(tmp_path: Path) -> None:
    """SIGKILL in the middle of writes and closes, over and over: it always reads, and its number only grows."""
    last = -1
    for attempt in range(15):
        begun, begins = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                own = FileStore(StoreFiles("catalog", str(tmp_path)))
                lock = own.read().lock
                token = own.acquire(ALICE, TTL, takeover=lock.id if lock else None).token
                step = last + 1
                while True:
                    own.write(record("open", step=step), token, TTL)
                    os.write(begins, b".")
                    own.write(ended(f"done-{step % 3}", started_at=float(step)), token, TTL)
                    step += 1
            finally:
                os._exit(1)
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        time.sleep(0.002 * attempt)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        view = FileStore(StoreFiles("catalog", str(tmp_path))).read()
        if view.open_record is not None:
            assert view.open_record["step"] >= last
            last = int(view.open_record["step"])
    assert last > 0


def test_torn_audit_line_costs_only_itself(store: FileStore) -> None:
    for _ in range(2):
        store.acquire(ALICE, TTL)
        store.break_lock("ops", "")
    path = Path(store.files.base, "audit.jsonl")
    path.write_bytes(path.read_bytes()[:-7])
    assert len(store.read().audit) == 1
    store.acquire(ALICE, TTL)
    store.break_lock("desk", "")
    assert [one["by"] for one in store.read().audit] == ["desk", "ops"]


def test_long_audit_is_read_from_its_end(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_files, "AUDIT_BYTES", 400)
    for number in range(20):
        store.acquire(ALICE, TTL)
        store.break_lock(f"ops-{number}", "")
    names = [one["by"] for one in store.read().audit]
    assert names == [f"ops-{number}" for number in range(19, 19 - len(names), -1)]
    assert 1 < len(names) < 5


# --- what a disk and its owner do -----------------------------------------------------------------------------------


def test_looking_changes_nothing(store: FileStore, tmp_path: Path) -> None:
    store.read()
    assert not store.release("x")
    assert store.break_lock("x", "y") is None
    with pytest.raises(LockLost):
        store.write(record(), "x", TTL)
    with pytest.raises(LockLost):
        store.close(ended(), "x")
    assert os.listdir(tmp_path) == []


def test_nobody_else_may_look(store: FileStore, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        token = store.acquire(ALICE, TTL).token
        store.write(record(), token, TTL)
        store.set_control("pause", "ops", "")
    finally:
        os.umask(previous)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o750}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    assert sorted(str(path.relative_to(store.files.base)) for path in files) == [
        "audit.jsonl",
        "control.json",
        "lock.json",
        "open.json",
        "records/r1.json",
        "store.json",
    ]


DAMAGED = {
    "store.json": "then it counts as a new store, and takes the place of this one with adopt in rollout_store",
    "lock.json": "then nobody holds the lock, and it counts as a new store",
    "open.json": "then no rollout counts as unfinished",
    "control.json": "then no flag is set",
    "records/r1.json": "then this rollout is not on record any more",
}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"x": 1}', '{"id": 1, "started_at": "x"}', "\0\0"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_named_with_the_way_out(store: FileStore, name: str, content: str) -> None:
    token = store.acquire(ALICE, TTL).token
    store.write(record(), token, TTL)
    store.set_control("pause", "ops", "")
    path = Path(store.files.base, name)
    path.write_text(content)
    with pytest.raises(StoreError) as refused:
        store.read()
    assert str(refused.value).startswith(f"{path} is damaged (")
    assert str(refused.value).endswith(f"restore it from a backup, or move it away: {DAMAGED[name]}")
    assert "\n" not in str(refused.value)
    path.unlink()
    assert store.read().history == ([] if name.startswith("records") else [record()])


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, r"the disk of .*/catalog is full; make room there"),
        (errno.EDQUOT, r"the disk of .*/catalog is full; make room there"),
        (errno.EACCES, r"may not be used by user id \d+; run it as root"),
        (errno.EROFS, r"is mounted read-only; mount it writable, or name another directory"),
        (errno.EIO, r"cannot be used \(Input/output error\); mend it, or name another directory"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_trouble_with_the_disk_is_one_sentence_and_leaves_what_was_there(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int, says: str
) -> None:
    token = store.acquire(ALICE, TTL).token
    store.write(record(step=1), token, TTL)

    def fail(*arguments: Any, **_named: Any) -> None:
        name = arguments[0] if isinstance(arguments[0], str) else None
        raise OSError(number, os.strerror(number), name)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=says):
            store.write(record(step=2), token, TTL)
    assert store.read().open_record == record(step=1)
    store.write(record(step=2), token, TTL)
    assert store.read().open_record == record(step=2)


def test_full_disk_between_lock_and_record_keeps_the_old_record(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = store.acquire(ALICE, TTL).token
    store.write(record(step=1), token, TTL)
    real = os.fsync
    left = [2]

    def fail(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="is full"):
            store.write(record(step=2), token, TTL)
    assert store.read().open_record == record(step=1)


def test_file_in_the_way_is_named(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("")
    with pytest.raises(
        StoreError, match=r"/rollouts\S* is in the way of a directory or file of the store; move it away"
    ):
        store.acquire(ALICE, TTL)


def test_link_in_the_way_is_not_followed(store: FileStore, tmp_path: Path) -> None:
    token = store.acquire(ALICE, TTL).token
    target = tmp_path / "target"
    target.write_text("precious")
    Path(store.files.base, ".new").symlink_to(target)
    with pytest.raises(StoreError, match="is in the way"):
        store.write(record(), token, TTL)
    assert target.read_text() == "precious"
