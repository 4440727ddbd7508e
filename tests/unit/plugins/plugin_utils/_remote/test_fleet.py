# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many hosts at once: every call is a process with a deadline. Functions of the test run in place of modules."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import fleet as module
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.executor import Executor
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import ControllerGone, Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import coordinator_store, store_client

LONG = 20.0
"""Seconds after which a test has failed; none takes that long."""

Act = Callable[[], Mapping[str, Any]]


class Scripted(Executor):
    """Its modules are functions of the test. They run in children, as every module does."""

    def _handler(self, call: Call, interpreter: str) -> Any:
        act: Act = call.arguments["act"]
        found = call.arguments.get("discovered")
        handler = SimpleNamespace(
            _is_pipelining_enabled=lambda *_args, **_named: False,
            _discovered_interpreter=found,
            run=lambda _tmp, _variables: act(),
            cleanup=lambda: None,
        )
        return handler, {}


Make = Callable[[int], Fleet]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes fleets with so many processes at most; a child that hangs ends with its test."""
    fleets: list[Fleet] = []
    monkeypatch.setattr(module, "MARGIN", LONG)
    monkeypatch.setattr(module, "TICK", 0.02)

    def made(forks: int) -> Fleet:
        fleets.append(Fleet(SimpleNamespace(), {"hostvars": {}}, forks))
        fleets[-1].executor = Scripted(SimpleNamespace(), {}, os.getppid())
        return fleets[-1]

    yield made
    for one in fleets:
        one.end()


def call(act: Act, host: str = "app-1", timeout: float = 0.0, **more: Any) -> Call:
    return Call(host, "app_release", {"act": act, **more}, timeout=timeout)


def gone(pid: int) -> bool:
    """Whether a process of ours is no more, not even as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Signals:
    """A pipe: what children have said, and what they wait for."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def give(self, text: bytes = b"x") -> None:
        os.write(self.writer, text)

    def take(self, size: int = 1) -> bytes:
        return os.read(self.reader, size)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def signals() -> Iterator[Callable[[], Signals]]:
    """Makes pipes."""
    made: list[Signals] = []

    def make_one() -> Signals:
        made.append(Signals())
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def hang() -> Mapping[str, Any]:
    signal.pause()
    return {}


def test_all_hosts_are_asked_at_once_and_every_answer_is_its_own(make: Make, signals: Callable[[], Signals]) -> None:
    left, right = signals(), signals()

    def meet(mine: Signals, other: Signals) -> Act:
        """Ends only when the other one has begun."""

        def act() -> Mapping[str, Any]:
            mine.give()
            other.take()
            return {"pid": os.getpid()}

        return act

    answers = make(2).run({"a": call(meet(left, right)), "b": call(meet(right, left), "app-2")})
    assert not answers["a"].failed
    assert not answers["b"].failed
    assert len({answers["a"].result["pid"], answers["b"].result["pid"], os.getpid()}) == 3


def test_no_more_processes_than_asked_run_at_once(make: Make, signals: Callable[[], Signals]) -> None:
    begun, ended = signals(), signals()
    fleet, hosts, forks = make(3), 8, 3
    seen = released = 0
    most: list[int] = []
    os.set_blocking(begun.reader, False)

    def act() -> Mapping[str, Any]:
        begun.give()
        ended.take()
        return {}

    def tick() -> None:
        """Let one end whenever as many have begun as there may be."""
        nonlocal seen, released
        with suppress(BlockingIOError):
            seen += len(begun.take(100))
        if seen - released >= min(forks, hosts - released):
            most.append(seen - released)
            released += 1
            ended.give()

    fleet.tick = tick
    answers = fleet.run({f"app-{number}": call(act, f"app-{number}") for number in range(hosts)})
    assert len(answers) == hosts
    assert max(most) == forks


def test_a_host_that_hangs_is_given_up_and_the_others_answer(
    make: Make, monkeypatch: pytest.MonkeyPatch, signals: Callable[[], Signals]
) -> None:
    monkeypatch.setattr(module, "MARGIN", 0.3)
    told = signals()

    def silent() -> Mapping[str, Any]:
        told.give(str(os.getpid()).encode())
        return hang()

    calls = {"bad": call(silent, "app-1"), "good": call(lambda: {"changed": True}, "app-2", timeout=LONG)}
    answers = make(2).run(calls)
    assert answers["bad"].unreachable
    assert answers["bad"].failed
    assert answers["bad"].reason == "app-1: it gave no answer for 0 s"
    assert answers["good"] == Answer({"changed": True})
    assert gone(int(told.take(20)))


def test_a_deadline_is_the_modules_own_time_and_some_for_the_connection(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, clock = make(1), SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=None))
    monkeypatch.setattr(module, "MARGIN", 30.0)
    fleet.begin("slow", call(hang, timeout=60))
    for now, busy in ((1089.9, True), (1090.1, False)):
        clock.now = now
        fleet._advance(0)
        assert fleet.busy("slow") is busy
    answer = fleet.collect("slow")
    assert answer is not None
    assert answer.reason == "app-1: it gave no answer for 90 s"


def die() -> Mapping[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def no_json() -> Mapping[str, Any]:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    return loop


@pytest.mark.parametrize("act", [die, no_json])
def test_a_child_that_ends_without_an_answer_has_failed(make: Make, act: Act) -> None:
    answer = make(1).run({"x": call(act, "lb-1")})["x"]
    assert answer.failed
    assert not answer.unreachable
    assert answer.reason == "app_release on lb-1 ended without an answer"


def fail(error: Exception) -> Act:
    def act() -> Mapping[str, Any]:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "unreachable", "reason"),
    [
        (AnsibleConnectionFailure("no route to host"), True, "no route to host"),
        (AnsibleError("no such plugin"), False, "no such plugin"),
        (KeyError("ansible_host"), False, "KeyError: 'ansible_host'"),
    ],
)
def test_every_exception_is_an_answer(make: Make, error: Exception, unreachable: bool, reason: str) -> None:
    answer = make(1).run({"x": call(fail(error))})["x"]
    assert (answer.failed, answer.unreachable, answer.reason) == (True, unreachable, reason)


def test_a_long_answer_comes_whole(make: Make) -> None:
    text = "x" * 1_000_000
    assert make(1).run({"x": call(lambda: {"text": text})})["x"].result == {"text": text}


@pytest.mark.parametrize(
    ("answer", "failed", "reason"),
    [
        (Answer({"changed": True}), False, "no reason given"),
        (Answer({"failed": True, "msg": "one\n  two"}), True, "one two"),
        (Answer({"msg": "timed out"}, unreachable=True), True, "timed out"),
    ],
)
def test_an_answer_says_whether_and_why_it_failed(answer: Answer, failed: bool, reason: str) -> None:
    assert (answer.failed, answer.reason) == (failed, reason)


def wait_for(fleet: Fleet, key: str) -> Answer:
    deadline = time.monotonic() + LONG
    while (answer := fleet.collect(key)) is None and time.monotonic() < deadline:
        fleet.sleep(0.02)
    assert answer is not None
    return answer


def test_a_background_call_goes_on_while_others_are_waited_for(make: Make, signals: Callable[[], Signals]) -> None:
    fleet, held = make(2), signals()

    def act() -> Mapping[str, Any]:
        held.take()
        return {"beat": 1}

    fleet.begin("heartbeat", call(act))
    assert fleet.run({"store": call(lambda: {"stored": True})}) == {"store": Answer({"stored": True})}
    assert fleet.busy("heartbeat")
    assert fleet.collect("heartbeat") is None
    held.give()
    assert wait_for(fleet, "heartbeat") == Answer({"beat": 1})
    assert not fleet.busy("heartbeat")
    assert fleet.collect("heartbeat") is None, "an answer is given once"


def test_a_call_that_waits_for_its_turn_is_under_way(make: Make, signals: Callable[[], Signals]) -> None:
    fleet, held = make(1), signals()

    def act() -> Mapping[str, Any]:
        held.take()
        return {}

    fleet.begin("first", call(act))
    fleet.begin("second", call(lambda: {"turn": 2}))
    assert fleet.busy("second")
    assert not fleet.busy("third")
    held.give()
    assert wait_for(fleet, "second") == Answer({"turn": 2})


def test_whoever_waits_hears_the_tick_and_no_longer_than_asked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    pauses: list[float] = []
    ticks: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        clock.now += seconds

    fleet = make(1)
    monkeypatch.setattr(module, "TICK", 0.5)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    fleet.tick = lambda: ticks.append(clock.now)
    fleet.sleep(1.2)
    assert pauses == [0.5, 0.5, 0.2]
    assert ticks == pytest.approx([0.5, 1.0, 1.2])
    fleet.sleep(-1)
    assert len(pauses) == 3


def test_the_tick_may_begin_a_call_of_its_own(make: Make) -> None:
    """The lease is renewed by it."""
    fleet = make(2)

    def tick() -> None:
        fleet.tick = lambda: None
        fleet.begin("heartbeat", call(lambda: {"beat": 1}))

    fleet.tick = tick
    assert fleet.run({"x": call(lambda: {"x": 1})}) == {"x": Answer({"x": 1})}
    assert wait_for(fleet, "heartbeat") == Answer({"beat": 1})


def test_the_lease_is_renewed_while_every_process_is_busy(
    make: Make, monkeypatch: pytest.MonkeyPatch, signals: Callable[[], Signals]
) -> None:
    """Hosts that install or restart for a minute are as many as there are processes, and there are more of them."""
    monkeypatch.setattr(coordinator_store, "HEARTBEAT_INTERVAL", 0.1)
    monkeypatch.setattr(module, "MARGIN", 1.0)
    fleet, renewed = make(2), signals()

    def act() -> Mapping[str, Any]:
        renewed.give(b"xxx")
        return {"token": "secret", "fence": 1, "store": "a" * 32}

    def busy() -> Mapping[str, Any]:
        renewed.take()
        return {}

    settings = store_client.StoreSettings({"act": act, "service": "catalog"}, ["lb-1"], {}, 45.0, lambda _lease: False)
    store = coordinator_store.CoordinatorStore(fleet, settings, lambda _text: None)
    store.open()
    renewed.take(100)
    fleet.tick = store.keep_alive
    answers = fleet.run({name: call(busy, name) for name in ("app-1", "app-2", "app-3")})
    assert [answer.reason for answer in answers.values() if answer.failed] == []


def test_what_still_runs_at_the_end_is_ended(make: Make, signals: Callable[[], Signals]) -> None:
    fleet, told = make(1), signals()

    def act() -> Mapping[str, Any]:
        told.give(str(os.getpid()).encode())
        return hang()

    fleet.begin("x", call(act, timeout=LONG))
    pid = int(told.take(20))
    assert not gone(pid)
    fleet.end()
    assert gone(pid)
    assert not fleet.busy("x")


def test_nothing_is_begun_for_a_controller_that_is_gone(make: Make, tmp_path: Path) -> None:
    fleet, trace = make(1), tmp_path / "trace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getppid", lambda: 1)
        with pytest.raises(ControllerGone):
            fleet.run({"x": call(lambda: {"written": trace.write_text("x")})})
    assert not trace.exists()
    # Nothing that catches ordinary errors, such as a rescue or a retry, keeps it alive.
    assert not issubclass(ControllerGone, Exception)


def test_a_child_does_not_have_the_signal_handlers_of_the_play(make: Make) -> None:
    """Ansible's worker answers SIGTERM by ending its whole process group, which is the parent's too."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_args: None) for number in numbers}
    try:
        act = lambda: {"default": all(signal.getsignal(number) == signal.SIG_DFL for number in numbers)}  # noqa: E731
        assert make(1).run({"x": call(act)})["x"].result == {"default": True}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
