# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many hosts at once: every call is a process with a deadline, and a connection as Ansible makes it for a task.

The first half runs functions of the test in place of modules. The second half runs real modules through Ansible's own
ssh connection; the programs ssh and sudo are scripts that note how they were called and run the command here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import fleet as module
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Answer, Call, ControllerGone, Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import coordinator_store, store_client

ROOT = Path(__file__).parents[5]
LONG = 20.0
"""Seconds after which a test has failed; none takes that long."""

Act = Callable[[], Mapping[str, Any]]


# -------------------------------------------------------------------------------------------- processes and deadlines


class Scripted(Fleet):
    """A fleet whose modules are functions of the test. They run in children, as every module does."""

    def _handler(self, call: Call) -> Any:
        act: Act = call.arguments["act"]
        found = call.arguments.get("discovered")
        handler = SimpleNamespace(
            _is_pipelining_enabled=lambda *_args, **_named: False,
            _discovered_interpreter=found,
            run=lambda _tmp, _variables: act(),
            cleanup=lambda: None,
        )
        return handler, {}


Make = Callable[[int], Scripted]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes fleets with so many processes at most; a child that hangs ends with its test."""
    fleets: list[Scripted] = []
    monkeypatch.setattr(module, "MARGIN", LONG)
    monkeypatch.setattr(module, "TICK", 0.02)

    def made(forks: int) -> Scripted:
        fleets.append(Scripted(SimpleNamespace(), {"hostvars": {}}, forks))
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


# ------------------------------------------------------------------------------------------------- connection to a host

PREPARED = {"service": "catalog", "state": "prepared"}
SSH = """#!/bin/sh
printf '%s\\n' "$@" ---- >> "$(dirname "$0")/asked"
"""
HERE = """for last; do :; done
exec sh -c "$last"
"""
SUDO = """#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
"""


class Site:
    """An inventory, and scripts in place of ssh and sudo; ``silent-ssh`` runs nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, text in (("ssh", SSH + HERE), ("silent-ssh", SSH), ("sudo", SUDO)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)

    def fleet(self, hosts: Mapping[str, Mapping[str, Any]], kind: type[Fleet] = Fleet, **task: Any) -> Fleet:
        """A fleet as the action plugin of a task makes it."""
        common = {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(self.directory / "ssh"),
            "ansible_control_path_dir": str(self.directory / "cp"),
            "ansible_become_exe": str(self.directory / "sudo"),
            "ansible_pipelining": True,
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(self.directory / "remote"),
        }
        source = self.directory / "hosts.json"
        source.write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(source)])
        variables = VariableManager(loader=loader, inventory=inventory)
        action = SimpleNamespace(
            _templar=Templar(loader=loader, variables={}),
            _task=Task.load({"action": "ansible.builtin.debug", "connection": "ssh", **task}),
            _play_context=PlayContext(),
            _loader=loader,
            _shared_loader_obj=plugin_loader,
        )
        hostvars = HostVars(inventory=inventory, variable_manager=variables, loader=loader)
        return kind(action, {"hostvars": hostvars}, 4)

    def ask(self, fleet: Fleet, host: str = "app-1", check: bool = True, **more: Any) -> Answer:
        """Run a module that only needs a directory."""
        arguments = {**PREPARED, "root": str(self.directory)}
        return fleet.run({"x": Call(host, "app_release", {**arguments, **more}, check=check)})["x"]

    def asked(self, variables: Mapping[str, Any], **task: Any) -> list[str]:
        """How ssh is called for a host."""
        silent = {"ansible_ssh_executable": str(self.directory / "silent-ssh")}
        answer = self.ask(self.fleet({"app-1": {**silent, **variables}}, **task))
        assert answer.unreachable, answer.result
        return self.called()

    def called(self) -> list[str]:
        """How ssh was called the last time."""
        return (self.directory / "asked").read_text().split("----\n")[-2].splitlines()

    @property
    def prepared(self) -> bool:
        """Whether the module has done what it says."""
        return (self.directory / "catalog").exists()


@pytest.fixture(scope="module")
def warm() -> None:
    """Load plugins once, as the process that runs a play has loaded them; children would each load them anew."""
    plugin_loader.connection_loader.get("ssh", PlayContext(), None)
    plugin_loader.become_loader.get("sudo")
    plugin_loader.action_loader.get("ansible.legacy.normal", class_only=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: None) -> Site:
    monkeypatch.setattr(module, "MARGIN", LONG)
    return Site(tmp_path)


def test_a_module_runs_through_the_connection_that_the_hosts_variables_describe(site: Site) -> None:
    variables = {
        "ansible_host": "{{ address }}",
        "address": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "deploy",
    }
    answer = site.ask(site.fleet({"app-1": variables}), check=False)
    assert not answer.failed, answer.reason
    assert answer.result["changed"]
    assert site.prepared
    asked = site.called()
    assert {"Port=2222", 'User="deploy"'} <= set(asked)
    assert asked[-2:] == ["192.0.2.7", f"/bin/sh -c '{sys.executable} -I -S -'"]


def test_variables_of_a_connection_may_name_other_hosts(site: Site) -> None:
    """As they may in every task, where it is the usual way to write a jump host down."""
    jump = "-J {{ hostvars['app-1'].bastion }}-{{ groups['all'] | length }}"
    assert "192.0.2.1-1" in site.asked({"bastion": "192.0.2.1", "ansible_ssh_common_args": jump})


def test_without_an_address_a_host_is_called_by_its_name(site: Site) -> None:
    assert site.asked({})[-2] == "app-1"


@pytest.mark.parametrize(("call_checks", "task_checks"), [(True, False), (False, True)])
def test_in_check_mode_a_module_only_foretells(site: Site, call_checks: bool, task_checks: bool) -> None:
    answer = site.ask(site.fleet({"app-1": {}}, check_mode=task_checks), check=call_checks)
    assert answer.result.get("changed"), answer.reason
    assert not site.prepared


def test_it_becomes_another_user_and_runs_there(site: Site) -> None:
    answer = site.ask(site.fleet({"app-1": {}}, become=True))
    assert answer.result.get("changed"), answer.reason
    assert f"{site.directory}/sudo -H -S -n  -u root /bin/sh" in site.called()[-1]


@pytest.mark.parametrize(
    ("variables", "task", "user"),
    [
        ({}, {}, None),
        ({"ansible_become": False}, {"become": True}, None),
        (
            {"ansible_become": "{{ 'yes' }}", "ansible_become_user": "{{ account }}", "account": "catalog"},
            {},
            "catalog",
        ),
    ],
)
def test_it_becomes_whom_the_play_or_the_host_says(
    site: Site, variables: dict[str, Any], task: dict[str, Any], user: str | None
) -> None:
    command = site.asked(variables, **task)[-1]
    assert (f"{site.directory}/sudo" in command) == (user is not None)
    assert user is None or f" -u {user} " in command


@pytest.mark.parametrize(("interpreter", "told"), [("auto_silent", "python3"), ("{{ python }}", "/opt/python")])
def test_the_interpreter_of_the_host_is_used(site: Site, interpreter: str, told: str) -> None:
    variables = {"ansible_python_interpreter": interpreter, "python": "/opt/python"}
    assert site.asked(variables)[-1] == f"/bin/sh -c '{told} -I -S -'"


@pytest.mark.parametrize(
    ("variables", "unreachable", "reason"),
    [
        ({"ansible_ssh_executable": "/bin/false"}, True, "exit status 1"),
        (
            {"ansible_connection": "carrier_pigeon"},
            False,
            "the connection plugin carrier_pigeon of app-1 was not found",
        ),
        ({"ansible_become": True, "ansible_become_method": "plea"}, False, "the become plugin plea was not found"),
        ({"ansible_host": "{{ nobody_knows }}"}, False, "'nobody_knows' is undefined"),
    ],
)
def test_a_host_without_a_connection_says_why(
    site: Site, variables: dict[str, Any], unreachable: bool, reason: str
) -> None:
    answer = site.ask(site.fleet({"app-1": variables}))
    assert (answer.failed, answer.unreachable) == (True, unreachable)
    assert reason in answer.reason


class InCollection(Fleet):
    """The children of a test load the collection as ansible-playbook does; pytest has imported it as plain packages."""

    def _execute(self, call: Call) -> dict[str, Any]:
        for name in [name for name in sys.modules if name.split(".")[0] == "ansible_collections"]:
            del sys.modules[name]
        plugin_loader.init_plugin_loader([str(ROOT / "collections")])
        return super()._execute(call)


def test_without_pipelining_modules_run_the_usual_way_and_the_interpreter_that_was_found_is_kept(site: Site) -> None:
    variables = {
        "ansible_connection": "local",
        "ansible_pipelining": False,
        "ansible_python_interpreter": "auto_silent",
    }
    fleet = site.fleet({"app-1": variables}, InCollection)
    answer = site.ask(fleet)
    assert answer.result.get("changed"), answer.reason
    assert not site.prepared
    assert "_interpreter" not in answer.result
    found = answer.result["ansible_facts"]["discovered_interpreter_python"]
    _handler, known = fleet._handler(Call("app-1", "app_release"))
    assert known["ansible_python_interpreter"] == found


def test_a_call_that_needs_its_action_plugin_has_it(site: Site) -> None:
    """It brings the archive from the controller. The module itself does not know what a number in YAML has lost."""
    fleet = site.fleet({"app-1": {}}, InCollection)
    arguments = {**PREPARED, "version": 1.1}
    answer = fleet.run({"x": Call("app-1", "app_release", arguments, action=True)})["x"]
    assert answer.failed
    assert answer.reason.startswith("version 1.1 is a number in YAML")


def test_what_an_action_plugin_brings_runs_without_the_wrapper_and_nothing_stays_behind(site: Site) -> None:
    root = site.directory / "opt"
    root.mkdir()
    archive = site.directory / "catalog-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("bin/catalog"))
    arguments = {
        **PREPARED,
        "root": str(root),
        "state": "installed",
        "version": "1.0",
        "artifact": str(archive),
        "checksum": archives.sha256(str(archive)),
    }
    fleet = site.fleet({"app-1": {"ansible_ssh_transfer_method": "piped"}}, InCollection)
    answer = fleet.run({"x": Call("app-1", "app_release", arguments, action=True)})["x"]
    assert not answer.failed, answer.reason
    assert (root / "catalog/releases/1.0/bin/catalog").is_file()
    programs = [line for line in (site.directory / "asked").read_text().splitlines() if f"'{sys.executable} " in line]
    assert programs == [f"/bin/sh -c '{sys.executable} -I -S -'"] * 2
    assert list((site.directory / "remote").iterdir()) == []
