# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a rollout, reached through a coordinator or from the controller itself: to a rollout they are the same.

The store is one in files, as it is. In place of the fleet something runs the modules of the store here, on a clock that
moves when somebody waits.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing, options, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.file_store import FileStore
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._record.store_files import StoreFiles
from ansible_collections.mesops.platform.plugins.modules import rollout_control, rollout_lock, rollout_record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import (
    controller_store,
    coordinator_store,
    store_client,
    world,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import CoordinatorStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import StoreClient, StoreSettings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from contracts.store_contract import BOB, ended, record

MODULES = {"rollout_control": rollout_control, "rollout_lock": rollout_lock, "rollout_record": rollout_record}
HOLDER: dict[str, Any] = {
    "user": "deploy",
    "host": "ci-7",
    "pid": 4242,
    "boot": "b",
    "process_started": "77",
    "what": "rollout of it",
}
TTL = 45.0


@dataclass
class Clock:
    """Time that passes when somebody waits."""

    now: float = 1000.0
    meanwhile: Callable[[], None] = lambda: None
    """What happens whenever somebody waits."""

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.meanwhile()


@dataclass
class Estate:
    """The store, the hosts from which it is reached, and what is wrong with them."""

    directory: str
    clock: Clock
    down: bool = False
    """Whether the store does not do what it is asked."""
    refused: int = 0
    """How often it was asked meanwhile."""
    unreachable: set[str] = field(default_factory=set)
    directories: dict[str, str] = field(default_factory=dict)
    """Where hosts have stores of their own."""
    remembered: str = ""
    """The store that hosts remember."""

    @property
    def files(self) -> FileStore:
        """The store as somebody else reaches it."""
        return FileStore(StoreFiles("catalog", self.directory), clock=lambda: self.clock.now)

    @property
    def lock(self) -> stores.Lease | None:
        return self.files.read().lock


class Troubled(StoreFiles):
    """Files that are down while the estate says so."""

    estate: Estate

    @contextmanager
    def alone(self, shared: bool = False, create: bool = False) -> Iterator[bool]:
        if self.estate.down:
            self.estate.refused += 1
            raise stores.StoreError("the disk is full")
        with super().alone(shared, create) as exists:
            yield exists


class Coordinators:
    """Stands in for the fleet. A background call ends the next time that somebody waits."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.tick: Callable[[], None] = lambda: None
        self.calls: list[Call] = []
        self.pending: dict[str, Call] = {}
        self.answers: dict[str, Answer] = {}

    def run(self, calls: Mapping[str, Call]) -> dict[str, Answer]:
        self.estate.clock.now += 0.1
        found = {key: self._execute(call) for key, call in calls.items()}
        self.tick()
        return found

    def begin(self, key: str, call: Call) -> None:
        assert not self.busy(key)
        self.pending[key] = call

    def collect(self, key: str) -> Answer | None:
        return self.answers.pop(key, None)

    def busy(self, key: str) -> bool:
        return key in self.pending

    def sleep(self, seconds: float) -> None:
        end = self.estate.clock.now + seconds
        while self.estate.clock.now < end - 1e-6:
            self.estate.clock.sleep(min(0.5, end - self.estate.clock.now))
            for key in list(self.pending):
                self.answers[key] = self._execute(self.pending.pop(key))
            self.tick()

    def _execute(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.host in self.estate.unreachable:
            return Answer({"unreachable": True, "msg": f"{call.host} is silent"}, unreachable=True)
        output = io.StringIO()
        directory = self.estate.directories.get(call.host, self.estate.directory)
        with (
            patch_module_args({**call.arguments, "directory": directory}),
            redirect_stdout(output),
            suppress(SystemExit),
        ):
            MODULES[call.module].main()
        return Answer(json.loads(output.getvalue()))


@pytest.fixture
def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Estate:
    found = Estate(str(tmp_path / "rollouts"), Clock())
    clock = SimpleNamespace(monotonic=lambda: found.clock.now, sleep=found.clock.sleep)
    monkeypatch.setattr(store_client, "slept", lambda: found.clock.now)
    monkeypatch.setattr(fencing.Fence, "remembered", lambda self: found.remembered)
    for module in (store_client, coordinator_store, controller_store, options):
        monkeypatch.setattr(module, "time", clock)

    def opened(service: str, directory: str, timeout: float) -> StoreFiles:
        files = Troubled(service, directory, timeout)
        files.estate = found
        return files

    monkeypatch.setattr(options, "StoreFiles", opened)
    monkeypatch.setattr(options, "FileStore", lambda files: FileStore(files, clock=lambda: found.clock.now))
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda *_args, **_named: None)
    return found


@dataclass
class Run:
    """One run of a rollout, as far as its store is concerned."""

    store: StoreClient
    fleet: Coordinators
    told: list[str]

    def wait(self, seconds: float) -> None:
        self.fleet.sleep(seconds)


Make = Callable[..., Run]


def run_of(kind: type[StoreClient], estate: Estate, *coordinators: str, dead: Callable[..., bool] | None = None) -> Run:
    told: list[str] = []
    fleet = Coordinators(estate)
    given = {"service": "catalog", "directory": estate.directory}
    settings = StoreSettings(given, coordinators or ("lb-1",), HOLDER, TTL, dead or (lambda _lease: False))
    store = kind(cast(Fleet, fleet), settings, told.append)
    fleet.tick = store.keep_alive
    return Run(store, fleet, told)


@pytest.fixture(params=[CoordinatorStore, ControllerStore], ids=["coordinator", "controller"])
def make(request: pytest.FixtureRequest, estate: Estate) -> Make:
    """Begins runs that reach the store in one of the two ways."""

    def made(**more: Any) -> Run:
        return run_of(request.param, estate, **more)

    return made


def written(name: str = "r1", **more: Any) -> Record:
    return Record(name, "catalog", "1.4.0", "deploy@ci-7", 1.0, **more)


def finished(name: str = "r1") -> Record:
    return written(name, status="done", ended_at=9.0)


# ------------------------------------------------------------------------------------------------------------- opening


def test_opening_takes_the_lock_and_gives_back_what_is_there(make: Make, estate: Estate) -> None:
    files = estate.files
    token = files.acquire(BOB, TTL).token
    files.write(ended("r0"), token, TTL)
    files.write(record("r1"), token, TTL)
    files.set_control("pause", "ops", "call from the shop")
    files.release(token)
    run = make()
    opened = run.store.open()
    assert opened.record == record("r1")
    assert list(opened.history) == [ended("r0")], "the one that is not finished is no history"
    assert run.store.control == world.Control("pause", "ops", "call from the shop")
    assert estate.lock is not None
    assert estate.lock.holder == stores.Holder(**HOLDER)
    assert (estate.lock.ttl, run.told) == (TTL, [])


def test_an_empty_store_opens(make: Make) -> None:
    run = make()
    assert run.store.open() == world.StoreView(None, [], 1)
    assert run.store.control is None


def test_a_holder_who_lives_is_named_within_a_heartbeat(make: Make, estate: Estate) -> None:
    token = estate.files.acquire(BOB, TTL).token
    estate.clock.meanwhile = lambda: cast(None, estate.files.renew(token, TTL))
    begin = estate.clock.now
    with pytest.raises(PlanError, match=r"catalog is locked by ops@desk \(rollback of catalog, pid 17\) for"):
        make().store.open()
    assert estate.clock.now - begin < 10
    assert estate.lock is not None
    assert estate.lock.token == token


def test_a_holder_who_died_is_succeeded_when_its_lease_ends(make: Make, estate: Estate) -> None:
    dead = estate.files.acquire(BOB, TTL)
    begin = estate.clock.now
    make().store.open()
    assert TTL <= estate.clock.now - begin <= TTL + stores.GRACE + 2
    assert estate.lock is not None
    assert estate.lock.token != dead.token


def test_a_holder_known_to_be_dead_is_succeeded_at_once_and_on_record(make: Make, estate: Estate) -> None:
    estate.files.acquire(BOB, TTL)
    seen: list[Mapping[str, Any]] = []

    def dead(lease: Mapping[str, Any]) -> bool:
        seen.append(lease)
        return True

    run = make(dead=dead)
    begin = estate.clock.now
    run.store.open()
    assert estate.clock.now - begin < 2
    assert seen[0]["holder"]["pid"] == BOB.pid
    assert run.told == [
        "the holder of the lock is a process of this machine that is no more (rollback of catalog)",
    ]
    assert "took over the lock of ops@desk" in estate.files.read().audit[0]["what"]


def test_a_store_that_is_down_opens_nothing(make: Make, estate: Estate) -> None:
    estate.down = True
    with pytest.raises(world.StoreLost, match="the disk is full"):
        make().store.open()


def test_a_store_that_goes_down_while_it_is_opened_is_not_left_locked(
    make: Make, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = FileStore.acquire

    def acquire(self: FileStore, *args: Any, **named: Any) -> stores.Lease:
        lease = taken(self, *args, **named)
        Path(self.files.base, "open.json").write_text("{")
        return lease

    monkeypatch.setattr(FileStore, "acquire", acquire)
    with pytest.raises(world.StoreLost, match=r"open\.json"):
        make().store.open()
    Path(estate.directory, "catalog/open.json").unlink()
    assert estate.lock is None


def test_looking_takes_no_lock(make: Make, estate: Estate) -> None:
    token = estate.files.acquire(BOB, TTL).token
    estate.files.write(ended("r0"), token, TTL)
    estate.files.write(record("r1"), token, TTL)
    found = make().store.read()
    assert found["open_record"] == record("r1")
    assert found["history"] == [ended("r0")]
    assert found["lock"]["holder"]["user"] == "ops"
    assert found["lock"]["summary"].startswith("ops@desk (rollback of catalog, pid 17) for")
    assert "token" not in found["lock"]
    assert estate.lock is not None
    assert estate.lock.token == token
    estate.down = True
    with pytest.raises(world.StoreLost, match="the disk is full"):
        make().store.read()


def test_every_run_gets_a_higher_number_whatever_the_clock_says(make: Make, estate: Estate) -> None:
    first, second = make(), make()
    opened = first.store.open()
    assert (first.store.fence.number, first.store.fence.store) == (opened.fence, estate.files.read().store)
    first.store.release()
    estate.clock.now -= 600
    assert second.store.open().fence > opened.fence


def test_who_only_looks_has_no_number_but_a_store(make: Make, estate: Estate) -> None:
    run = make()
    run.store.read()
    assert (run.store.fence.number, run.store.fence.store) == (0, estate.files.read().store)


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.fixture
def run(make: Make) -> Run:
    """A run that holds the lock."""
    made = make()
    made.store.open()
    return made


def test_what_is_saved_is_there_and_brings_a_persons_flag_back(run: Run, estate: Estate) -> None:
    run.store.save(written(reason="first"))
    assert run.store.control is None
    estate.files.set_control("promote", "ops", "it is fine")
    run.store.save(written(reason="second"))
    assert estate.files.read().open_record == written(reason="second").to_dict()
    assert run.store.control == world.Control("promote", "ops", "it is fine")


def test_a_promotion_that_was_obeyed_is_forgotten_everywhere(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.files.set_control("promote", "ops", "")
    run.store.save(written())
    run.store.clear_control()
    assert run.store.control is None
    assert estate.files.read().control is None
    run.store.save(written())
    assert run.store.control is None


def test_a_flag_that_cannot_be_forgotten_is_trouble_of_the_store(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.files.set_control("promote", "ops", "")
    run.store.save(written())
    estate.down = True
    with pytest.raises(world.StoreLost, match="the disk is full"):
        run.store.clear_control()


def test_a_store_that_is_down_for_a_while_is_borne(run: Run, estate: Estate) -> None:
    estate.down = True
    recover = run.fleet.tick

    def tick() -> None:
        recover()
        estate.down = estate.refused < 4

    run.fleet.tick = tick
    run.store.save(written())
    assert estate.files.read().open_record == written().to_dict()
    assert run.told
    assert set(run.told) == {"the store does not take the record, trying again: the disk is full"}


@pytest.mark.parametrize("what", ["save", "close"])
def test_a_store_that_stays_down_ends_the_patience(run: Run, estate: Estate, what: str) -> None:
    run.store.save(written())
    estate.down = True
    begin = estate.clock.now
    with pytest.raises(world.StoreLost, match="the disk is full"):
        getattr(run.store, what)(finished())
    assert store_client.PATIENCE < estate.clock.now - begin < store_client.PATIENCE + 5


@pytest.mark.parametrize("what", ["save", "close"])
def test_whoever_lost_the_lock_writes_nothing_and_does_not_try_again(run: Run, estate: Estate, what: str) -> None:
    run.store.save(written())
    estate.files.break_lock("ops", "the runner is gone")
    begin = estate.clock.now
    with pytest.raises(world.LockLost, match="this run does not hold the lock of catalog any more"):
        getattr(run.store, what)(finished())
    assert estate.clock.now - begin < 1
    assert estate.files.read().open_record == written().to_dict()


def ride(run: Run, change: Record) -> None:
    """Write a record in the same round as something else."""
    answers = run.fleet.run(run.store.begin_save(change))
    answers["app-1"] = Answer({"changed": True})
    run.store.note(answers)
    assert list(answers) == ["app-1"], "what is not the store's is left"


def test_a_record_rides_along_with_a_step(run: Run, estate: Estate) -> None:
    ride(run, written(reason="on its way"))
    assert run.store.error() is None
    assert estate.files.read().open_record == written(reason="on its way").to_dict()


def test_the_error_of_a_write_that_rode_along_is_told_once(run: Run, estate: Estate) -> None:
    estate.down = True
    ride(run, written())
    assert isinstance(run.store.error(), world.StoreLost)
    assert run.store.error() is None
    estate.down = False
    estate.files.break_lock("ops", "")
    ride(run, written())
    assert isinstance(run.store.error(), world.LockLost)
    assert isinstance(run.store.error(), world.LockLost), "what is lost stays lost"


def test_the_error_of_a_write_is_over_when_the_next_one_succeeds(run: Run, estate: Estate) -> None:
    estate.down = True
    ride(run, written())
    estate.down = False
    ride(run, written())
    assert run.store.error() is None


# ---------------------------------------------------------------------------------------------------------- the lease


def test_the_lease_outlives_every_wait(run: Run, estate: Estate) -> None:
    token = run.store._token
    for _ in range(4):
        run.wait(TTL)
        assert estate.lock is not None
        assert estate.lock.token == token
        assert estate.lock.renewed_ago < 10
    assert run.store.error() is None


def test_the_lease_is_renewed_now_and_then_and_not_all_the_time(run: Run, estate: Estate) -> None:
    before = estate.files.read().revision
    run.wait(60)
    assert 8 <= estate.files.read().revision - before <= 12


def test_a_write_renews_the_lease(run: Run, estate: Estate) -> None:
    run.wait(4)
    run.store.save(written())
    before = estate.files.read().revision
    run.wait(4)
    assert estate.files.read().revision == before
    assert estate.lock is not None
    assert estate.lock.renewed_ago < 5


def test_a_renewal_brings_a_persons_flag(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.files.set_control("abort", "ops", "")
    run.wait(10)
    assert run.store.control == world.Control("abort", "ops", "")


def test_without_a_lock_nothing_is_renewed(make: Make, estate: Estate) -> None:
    run = make()
    run.wait(30)
    run.store.read()
    run.wait(30)
    run.store.open()
    run.store.release()
    run.wait(30)
    assert estate.lock is None
    assert run.store.error() is None


def test_a_renewal_that_fails_is_tried_again_and_is_no_trouble_of_the_rollout(run: Run, estate: Estate) -> None:
    estate.down = True
    run.wait(20)
    assert 2 <= estate.refused <= 10
    assert run.store.error() is None
    estate.down = False
    run.wait(TTL)
    assert run.store.error() is None
    assert estate.lock is not None
    assert estate.lock.renewed_ago < 10


def test_a_renewal_that_finds_the_lock_lost_is_trouble(run: Run, estate: Estate) -> None:
    estate.files.break_lock("ops", "")
    run.wait(10)
    with pytest.raises(world.LockLost, match="nobody holds it now"):
        run.store.confirm()
    with pytest.raises(world.LockLost, match="nobody holds it now"):
        run.store.save(written())
    error = run.store.error()
    assert isinstance(error, world.LockLost)
    assert "nobody holds it now" in str(error)


def test_whoever_slept_beyond_its_lease_asks_before_it_acts(run: Run, estate: Estate) -> None:
    run.store.confirm()
    estate.clock.now += TTL + 1
    other = estate.files.acquire(BOB, TTL)
    with pytest.raises(world.LockLost, match="now it is held by ops@desk"):
        run.store.confirm()
    run.store.release()
    assert estate.lock is not None
    assert estate.lock.token == other.token


def test_whoever_slept_and_still_holds_the_lock_goes_on(run: Run, estate: Estate) -> None:
    """Nobody came, but the lease has run out: it is lost all the same, as the store says."""
    estate.clock.now += TTL - 1
    run.store.confirm()
    assert estate.lock is not None
    estate.clock.now += TTL + 1
    estate.down = True
    run.store.confirm()
    asked = estate.refused
    run.store.confirm()
    assert estate.refused == asked, "a store that gives no answer is not asked at every step"


@pytest.mark.parametrize("recovers", [False, True])
def test_a_renewal_does_not_hide_that_a_record_was_not_written(run: Run, estate: Estate, recovers: bool) -> None:
    """The step with which the record rides takes longer than a heartbeat, and only then somebody asks for the error."""
    estate.down = True
    writes = run.store.begin_save(written())
    answers = run.fleet.run(writes)
    estate.down = not recovers
    run.wait(12)
    run.store.note(answers)
    assert isinstance(run.store.error(), world.StoreLost)
    assert estate.files.read().open_record is None


# ------------------------------------------------------------------------------------------------------------- the end


def test_closing_writes_the_last_word_and_lets_go(run: Run, estate: Estate) -> None:
    run.store.save(written())
    run.store.close(finished())
    view = estate.files.read()
    assert (view.lock, view.open_record, view.history) == (None, None, [finished().to_dict()])
    run.wait(30)
    assert run.store.error() is None, "nobody renews a lease that was let go"


def test_closing_bears_a_store_that_is_down_for_a_while(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.down = True
    recover = run.fleet.tick

    def tick() -> None:
        recover()
        estate.down = estate.refused < 4

    run.fleet.tick = tick
    run.store.close(finished())
    assert estate.files.read().history == [finished().to_dict()]
    assert "the store does not take the record, trying again: the disk is full" in run.told


def test_letting_go_frees_the_lock_and_never_fails(run: Run, estate: Estate, make: Make) -> None:
    run.store.release()
    assert estate.lock is None
    run.store.release()
    other = make()
    other.store.open()
    estate.down = True
    other.store.release()
    estate.down = False
    assert estate.lock is not None
    other.wait(TTL + 1)
    assert estate.lock is None, "its lease ends by itself"


# -------------------------------------------------------------------------------------------- through which coordinator


@pytest.fixture
def three(estate: Estate) -> Run:
    """A run that reaches its store through any of three hosts, as with etcd."""
    return run_of(CoordinatorStore, estate, "lb-1", "lb-2", "lb-3")


def hosts(run: Run) -> list[str]:
    found = [call.host for call in run.fleet.calls]
    run.fleet.calls.clear()
    return found


def test_the_first_coordinator_that_answers_is_kept(three: Run, estate: Estate) -> None:
    estate.unreachable = {"lb-1"}
    three.store.open()
    assert hosts(three) == ["lb-1", "lb-2", "lb-2"]
    estate.unreachable = set()
    three.store.save(written())
    assert hosts(three) == ["lb-2"]
    estate.files.set_control("promote", "ops", "")
    three.store.save(written())
    assert hosts(three) == ["lb-2"]
    estate.unreachable = {"lb-2", "lb-3"}
    three.store.clear_control()
    assert hosts(three) == ["lb-2", "lb-3", "lb-1"]
    assert three.store.coordinator == "lb-1"


def test_a_write_and_a_renewal_go_on_with_the_next_coordinator(three: Run, estate: Estate) -> None:
    three.store.open()
    hosts(three)
    estate.unreachable = {"lb-1"}
    three.store.save(written())
    assert hosts(three) == ["lb-1", "lb-2"]
    assert three.told == ["the store does not take the record, trying again: lb-1 is silent"]
    estate.unreachable = {"lb-1", "lb-2"}
    three.wait(10)
    assert hosts(three) == ["lb-2", "lb-3"]
    assert three.store.error() is None


def test_every_coordinator_that_is_silent_is_named(three: Run, estate: Estate) -> None:
    estate.unreachable = {"lb-1", "lb-2", "lb-3"}
    with pytest.raises(world.StoreLost) as why:
        three.store.open()
    assert str(why.value) == "lb-1: lb-1 is silent; lb-2: lb-2 is silent; lb-3: lb-3 is silent"
    assert len(hosts(three)) == 3


def test_what_the_store_itself_refuses_is_not_asked_elsewhere(three: Run, estate: Estate) -> None:
    estate.down = True
    with pytest.raises(world.StoreLost, match="the disk is full"):
        three.store.read()
    assert hosts(three) == ["lb-1"]


def test_while_a_write_is_under_way_no_renewal_begins(estate: Estate) -> None:
    run = run_of(CoordinatorStore, estate)
    run.store.open()
    run.fleet.begin(coordinator_store.WRITE, next(iter(run.store.begin_save(written()).values())))
    estate.clock.now += 10
    run.store.keep_alive()
    assert not run.fleet.busy(coordinator_store.HEARTBEAT)


def test_waiting_for_the_lock_is_given_its_time(estate: Estate) -> None:
    """A module that watches another one's lease is not given up meanwhile."""
    run = run_of(CoordinatorStore, estate)
    run.store.open()
    limits = {call.arguments["state"]: call.timeout for call in run.fleet.calls}
    assert limits["opened"] >= TTL + stores.GRACE
    assert limits["read"] < TTL


# ------------------------------------------------------------------------------------------- from the controller itself


def beside(estate: Estate, *, adopt: str = "") -> Run:
    """A run whose load balancer lb-2 was the coordinator once, and keeps a store of its own."""
    fleet = Coordinators(estate)
    given = {"service": "catalog", "directory": estate.directory}
    settings = StoreSettings(given, ["lb-1"], HOLDER, TTL, lambda _lease: False, adopt, ["lb-2"])
    told: list[str] = []
    return Run(CoordinatorStore(cast(Fleet, fleet), settings, told.append), fleet, told)


def used(directory: str) -> FileStore:
    found = FileStore(StoreFiles("catalog", directory))
    found.close(ended(), found.acquire(BOB, TTL).token)
    return found


@pytest.mark.parametrize("what", ["open", "read"])
def test_a_store_on_another_load_balancer_is_noticed_and_named(estate: Estate, tmp_path: Path, what: str) -> None:
    other = used(str(tmp_path / "lb-2"))
    estate.directories = {"lb-2": other.files.directory}
    run = beside(estate)
    with pytest.raises(PlanError) as why:
        getattr(run.store, what)()
    (mine,) = {estate.files.read().store}
    assert str(why.value) == (
        f"The rollouts of catalog are recorded in {other.read().store}, but this run goes by the store {mine}; set "
        "rollout_store.coordinators to [lb-2], or move the directory of catalog from lb-2 to lb-1, so that they go on "
        "there."
    )
    assert estate.lock is None, "nothing was taken"
    assert len({id(one) for one in run.fleet.calls}) == 2, "it costs no round of its own"


def test_a_store_that_is_given_up_or_long_succeeded_is_no_obstacle(estate: Estate, tmp_path: Path) -> None:
    other = used(str(tmp_path / "lb-2"))
    estate.directories = {"lb-2": other.files.directory}
    beside(estate, adopt=fencing.store_id(other.read().store)).store.open()
    estate.files.break_lock("ops", "")
    estate.remembered = estate.files.read().store
    beside(estate).store.open()


def test_a_load_balancer_that_never_was_the_coordinator_or_is_silent_is_no_obstacle(
    estate: Estate, tmp_path: Path
) -> None:
    estate.directories = {"lb-2": str(tmp_path / "empty")}
    run = beside(estate)
    run.store.open()
    run.store.release()
    used(str(tmp_path / "empty"))
    estate.unreachable = {"lb-2"}
    beside(estate).store.open()


def test_from_the_controller_no_host_is_in_between(estate: Estate) -> None:
    run = run_of(ControllerStore, estate, "lb-1", "lb-2")
    run.store.open()
    run.store.save(written())
    assert run.store.begin_save(written()) == {}
    run.wait(30)
    run.store.close(finished())
    assert run.fleet.calls == []
    assert run.store.coordinator == "lb-1", "probes that belong nowhere in particular run there"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"backend": "etcd", "endpoints": ["pg-1:2379"]},
            "rollout_store: endpoint 'pg-1:2379' is no URL of an etcd member",
        ),
        ({"backend": "etcd", "endpoints": []}, "rollout_store: endpoints is empty; name at least one etcd member"),
        ({"directory": "rollouts"}, "rollout_store: directory 'rollouts' is no absolute path; begin it with /."),
    ],
)
def test_options_that_lead_to_no_store_are_refused(given: dict[str, Any], sentence: str) -> None:
    settings = StoreSettings({"service": "catalog", **given}, ["lb-1"], HOLDER, TTL, lambda _lease: False)
    with pytest.raises(PlanError) as why:
        ControllerStore(cast(Fleet, None), settings, lambda _text: None)
    assert str(why.value).startswith(sentence)
    assert str(why.value).endswith(".")


# ------------------------------------------------------------------------------------------------- flags, exactly once


@pytest.mark.parametrize("flag", ["promote", "abort"])
def test_a_flag_that_was_obeyed_is_not_obeyed_again_by_an_answer_that_was_under_way(
    run: Run, estate: Estate, flag: str
) -> None:
    run.store.save(written())
    given = asdict(cast(stores.Control, estate.files.set_control(flag, "ops", "").after))
    run.store.save(written())
    run.store.clear_control()
    run.store._take_in(given)
    assert run.store.control is None
    assert estate.files.read().control is None
    run.store._take_in({**given, "at": given["at"] + 1})
    assert run.store.control == world.Control(flag, "ops", ""), "one that came later is another one"


def test_a_flag_that_could_not_be_forgotten_is_forgotten_with_the_next_write(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.files.set_control("promote", "ops", "")
    run.store.save(written())
    estate.down = True
    with pytest.raises(world.StoreLost, match="the disk is full"):
        run.store.clear_control()
    estate.down = False
    run.store.save(written())
    assert (run.store.control, estate.files.read().control) == (None, None)


def test_whoever_lost_the_lock_leaves_the_flag_to_its_successor(run: Run, estate: Estate) -> None:
    run.store.save(written())
    estate.files.set_control("promote", "ops", "")
    run.store.save(written())
    estate.files.break_lock("ops", "")
    with pytest.raises(world.LockLost):
        run.store.clear_control()
    assert estate.files.read().control is not None
