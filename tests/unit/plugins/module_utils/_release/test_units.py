# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart a unit and see that it serves, with a systemd that can be told how processes behave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.systemd import properties_of
from ansible_collections.mesops.platform.plugins.module_utils._release import units
from ansible_collections.mesops.platform.plugins.module_utils._release.units import (
    Machine,
    NotReady,
    Ready,
    Runner,
    Started,
    Unit,
)
from hypothesis import given
from hypothesis import strategies as st

NAME = "catalog.service"
RESTART_SEC = 2.0
STOP_TIMEOUT = 30.0
HTTP = {"type": "http", "url": "http://127.0.0.1:3000/readyz"}


@dataclass
class Process:
    """How a release behaves once it is started."""

    ready: float = 1.0
    """Seconds until it answers."""
    dies: float | None = None
    """Seconds until it ends by itself."""
    status: int = 1
    stop: float = 0.2
    stubborn: bool = False
    """Whether it ignores SIGTERM."""


@dataclass
class Systemd:
    """One unit with Type=exec and Restart=on-failure, and the clock; it behaves as systemd 252 was seen to."""

    release: Process = field(default_factory=Process)
    active: str = "inactive"
    restarts: int = 0
    result: str = "success"
    status: int = 0
    now: float = 1000.0
    since: float = 0.0
    commands: list[str] = field(default_factory=list)
    journal: str = "listening on port 3000\n"
    start_fails: str = ""

    def begin(self) -> None:
        self.active, self.since, self.result, self.status = "active", self.now, "success", 0

    @classmethod
    def running(cls, release: Process | None = None) -> Systemd:
        """The process of the release before, which runs; ``release`` is what is started next."""
        unit = cls()
        unit.begin()
        unit.release = release or Process()
        return unit

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and processes die and be restarted."""
        end = self.now + seconds
        while True:
            dies = self.release.dies
            if self.active == "active" and dies is not None and self.since + dies <= end:
                self.now, self.status = self.since + dies, self.release.status
                if self.status == 0:
                    self.active, self.result = "inactive", "success"
                else:
                    self.active, self.result, self.since = "activating", "exit-code", self.now
            elif self.active == "activating" and self.since + RESTART_SEC <= end:
                self.now = self.since + RESTART_SEC
                self.restarts += 1
                self.begin()
            else:
                break
        self.now = end

    @property
    def machine(self) -> Machine:
        return Machine(self.run, self.sample, lambda: self.now, self.pass_by)

    @property
    def runner(self) -> Runner:
        return Runner(self.machine, NAME)

    def sample(self, probe: Mapping[str, Any]) -> dict[str, Any]:
        if probe.get("type") == "systemd":
            return {"phase": "success" if self.restarts == 0 else "failure", "text": f"{self.restarts} restarts"}
        good = self.active == "active" and self.now - self.since >= self.release.ready
        return {"phase": "success" if good else "failure", "text": "ready" if good else "connection refused"}

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        assert command[-1] == NAME or command[0] == "journalctl"
        words = command[0] if command[0] == "journalctl" else command[1]
        self.commands.append(words)
        return {
            "journalctl": lambda: (0, self.journal, ""),
            "show": self.show,
            "stop": self.stop,
            "start": self.start,
            "reset-failed": self.reset,
        }[words]()

    def show(self) -> tuple[int, str, str]:
        sub = {"active": "running", "activating": "auto-restart", "failed": "failed"}.get(self.active, "dead")
        pid = 100 if self.active == "active" else 0
        return (
            0,
            f"LoadState=loaded\nActiveState={self.active}\nSubState={sub}\nResult={self.result}\n"
            f"NRestarts={self.restarts}\nMainPID={pid}\nExecMainStatus={self.status}\n"
            f"ExecMainStartTimestampMonotonic={int(self.since * 1e6)}\n",
            "",
        )

    def stop(self) -> tuple[int, str, str]:
        stubborn = self.active == "active" and self.release.stubborn
        self.now += STOP_TIMEOUT if stubborn else self.release.stop if self.active == "active" else 0.0
        self.active, self.result, self.restarts = ("failed", "timeout", 0) if stubborn else ("inactive", "success", 0)
        return 0, "", ""

    def start(self) -> tuple[int, str, str]:
        if self.start_fails:
            return 1, "", self.start_fails
        if self.active == "activating":
            # The job waits for the restart that is due, and the count goes on.
            self.now = max(self.now, self.since + RESTART_SEC)
            self.restarts += 1
        else:
            self.restarts = 0
        self.begin()
        self.now += 0.05
        return 0, "", ""

    def reset(self) -> tuple[int, str, str]:
        assert self.active == "failed"
        self.active, self.restarts, self.result = "inactive", 0, "success"
        return 0, "", ""


def restart(systemd: Systemd, ready: Ready | None = None) -> Started:
    """What app_release does when the release has changed."""
    started = Started()
    systemd.runner.restart(systemd.runner.read(), "1.4.0", started)
    systemd.runner.wait_ready(ready or Ready({"ready": HTTP}), "1.4.0", started)
    return started


# -------------------------------------------------------------------------------------------------------- what is there

SHOWN = """\
LoadState=loaded
ActiveState=active
SubState=running
Result=success
NRestarts=2
MainPID=4711
ExecMainStatus=0
ExecMainStartTimestampMonotonic=7500000
InactiveEnterTimestampMonotonic=5000000
TimeoutStopUSec=30s
"""


def test_unit_of() -> None:
    assert units.unit_of(properties_of(SHOWN)) == Unit(True, 4711, "active", "running", "success", 2, 0, 7.5, 5.0)


def test_unit_of_that_has_never_run() -> None:
    assert units.unit_of(properties_of("LoadState=loaded\nMainPID=\nNRestarts=[not set]\n")) == Unit(exists=True)
    assert units.unit_of(properties_of("Result=a=b\n")).result == "a=b"
    nothing = Unit()
    assert (nothing.exists, nothing.restarts, nothing.status, nothing.pid) == (False, 0, 0, 0)


@pytest.mark.parametrize("state", ["not-found", "masked", "error", "bad-setting"])
def test_unit_that_cannot_be_started_does_not_exist(state: str) -> None:
    assert not units.unit_of(properties_of(SHOWN.replace("loaded", state))).exists


@given(st.text(max_size=80))
def test_unit_of_of_anything(text: str) -> None:
    assert not units.unit_of(properties_of(text)).exists


def test_host_without_systemd_has_no_unit() -> None:
    machine = Machine(lambda _command: (127, SHOWN, ""), lambda _probe: {}, lambda: 0.0, lambda _seconds: None)
    assert Runner(machine, NAME).read() == Unit()


@pytest.mark.parametrize(
    ("unit", "running", "swapped_at", "stale"),
    [
        (Unit(pid=1, started_at=50), "1.4.0", 99, False),
        (Unit(pid=1, started_at=50), "1.3.0", 10, True),
        (Unit(pid=0), None, 10, True),
        # What cannot be seen is decided by the times.
        (Unit(pid=1, started_at=50), None, 49, False),
        (Unit(pid=1, started_at=50), None, 51, True),
    ],
)
def test_stale(unit: Unit, running: str | None, swapped_at: float, stale: bool) -> None:
    assert unit.is_stale(running, "1.4.0", swapped_at) is stale


# ------------------------------------------------------------------------------------------------------------- restarts


def test_restart_measures_stop_and_start() -> None:
    systemd = Systemd.running(Process(ready=1.5, stop=0.7))
    started = restart(systemd)
    assert started.restarted
    assert not started.killed
    assert started.stop_s == pytest.approx(0.7)
    assert started.start_s == pytest.approx(1.5, abs=0.11)
    assert started.samples == {"ready": {"phase": "success", "text": "ready"}}
    assert [command for command in systemd.commands if command != "show"] == ["stop", "start"]


def test_start_of_a_unit_that_does_not_run() -> None:
    systemd = Systemd()
    started = restart(systemd)
    assert (started.stop_s, started.killed) == (0, False)
    assert "stop" not in systemd.commands


def test_failed_unit_is_reset_first() -> None:
    systemd = Systemd(active="failed", restarts=60, result="exit-code")
    restart(systemd)
    assert [command for command in systemd.commands if command != "show"] == ["reset-failed", "start"]


@given(crashes=st.integers(1, 50), into=st.floats(0, 1.9))
def test_unit_between_two_crashes_is_not_blamed_for_the_release_before(crashes: int, into: float) -> None:
    systemd = Systemd(active="activating", restarts=crashes, result="exit-code", since=1000.0 - into)
    systemd.release = Process(ready=5.0)
    ready = Ready({"ready": HTTP}, {"running": {"type": "systemd"}})
    started = restart(systemd, ready)
    # Neither by the wait, nor by the gate that counts restarts; and it is not held up by systemd's pause.
    assert started.samples["running"] == {"phase": "success", "text": "0 restarts"}
    assert started.start_s == pytest.approx(5.0, abs=0.11)
    assert started.stop_s == 0


def test_old_process_that_had_to_be_killed_is_told() -> None:
    systemd = Systemd.running(Process(stubborn=True))
    started = restart(systemd)
    assert started.killed
    assert started.stop_s == STOP_TIMEOUT
    assert started.start_s < 2


def test_unit_that_does_not_start() -> None:
    systemd = Systemd.running()
    systemd.start_fails = "Job for catalog.service failed.\nSee journal."
    systemd.journal = "\n  no such file: bin/catalog  \n\n"
    with pytest.raises(NotReady) as why:
        restart(systemd)
    assert why.value.gate == "activation"
    assert str(why.value) == (
        "release 1.4.0 is active but catalog.service does not start on it: Job for catalog.service failed. "
        "See journal. Its journal ends with: no such file: bin/catalog"
    )


def test_unit_that_cannot_be_stopped_is_refused() -> None:
    systemd = Systemd.running()
    runner = Runner(
        Machine(lambda command: (1, "", "Access denied\n"), systemd.sample, lambda: 0.0, systemd.pass_by), NAME
    )
    with pytest.raises(Refused, match=r"^catalog.service cannot be stopped: Access denied$"):
        runner.restart(Unit(pid=5, active="active"), "1.4.0", Started())


# ---------------------------------------------------------------------------------------------------- until it is ready


def not_ready(systemd: Systemd, **ready: Any) -> tuple[str, str, float]:
    """Gate, reason, and how long it took to find out."""
    begin = systemd.now
    with pytest.raises(NotReady) as why:
        restart(systemd, Ready({"ready": HTTP}, **ready))
    return why.value.gate, str(why.value), systemd.now - begin


def test_ready_later() -> None:
    assert restart(Systemd.running(Process(ready=59.0))).start_s == pytest.approx(59.0, abs=0.11)


def test_never_ready() -> None:
    gate, reason, took = not_ready(Systemd.running(Process(ready=1e9)), timeout=45)
    assert gate == "ready"
    assert reason == (
        "release 1.4.0 is not ready after 45 s: connection refused. Its journal ends with: listening on port 3000"
    )
    assert took == pytest.approx(45, abs=0.5)


def test_crash_loop_ends_the_wait_early() -> None:
    _gate, reason, took = not_ready(Systemd.running(Process(dies=0.5, status=3)), timeout=600)
    assert "release 1.4.0 died 3 times (exit status " in reason
    assert took == pytest.approx(3 * (0.5 + RESTART_SEC), abs=0.5)


def test_two_crashes_are_borne_when_it_recovers() -> None:
    systemd = Systemd.running(Process(dies=0.5))

    def sleep(seconds: float) -> None:
        systemd.pass_by(seconds)
        if systemd.restarts == 2:
            systemd.release = Process(ready=0.1)

    started = Started()
    runner = Runner(Machine(systemd.run, systemd.sample, lambda: systemd.now, sleep), NAME)
    runner.restart(runner.read(), "1.4.0", started)
    runner.wait_ready(Ready({"ready": HTTP}), "1.4.0", started)
    assert started.samples["ready"]["phase"] == "success"


def test_crashes_of_long_ago_are_no_matter_of_this_wait() -> None:
    # The unit was running already, so it is only waited for; it has died five times since it was started.
    systemd = Systemd(active="active", restarts=5, since=1000.0, release=Process(ready=3.0))
    started = Started()
    systemd.runner.wait_ready(Ready({"ready": HTTP}), "1.4.0", started)
    assert not started.restarted
    assert started.start_s == pytest.approx(3.0, abs=0.11)


def test_crash_loop_of_a_unit_that_was_left_running() -> None:
    systemd = Systemd(active="active", restarts=5, since=1000.0, release=Process(dies=0.5))
    with pytest.raises(NotReady, match=r"release 1\.4\.0 died 3 times"):
        systemd.runner.wait_ready(Ready({"ready": HTTP}, timeout=600), "1.4.0", Started())
    assert systemd.restarts == 8


@pytest.mark.parametrize(("active", "result"), [("inactive", "success"), ("failed", "exit-code")])
def test_unit_that_ends_fails_at_once(active: str, result: str) -> None:
    systemd = Systemd.running(Process(ready=1e9))

    def sleep(seconds: float) -> None:
        systemd.pass_by(seconds)
        systemd.active, systemd.result, systemd.status = active, result, 7

    started = Started()
    runner = Runner(Machine(systemd.run, systemd.sample, lambda: systemd.now, sleep), NAME)
    runner.restart(runner.read(), "1.4.0", started)
    begin = systemd.now
    with pytest.raises(NotReady) as why:
        runner.wait_ready(Ready({"ready": HTTP}), "1.4.0", started)
    assert f"release 1.4.0 ended ({result}, exit status 7): connection refused." in str(why.value)
    assert systemd.now - begin < 1


def test_all_probes_have_to_pass_in_the_same_round_and_the_first_that_does_not_is_named() -> None:
    answers = iter([("failure", "success"), ("success", "failure"), ("success", "success")])
    round_: list[str] = []

    def sample(probe: Mapping[str, Any]) -> dict[str, Any]:
        if not round_:
            round_.extend(next(answers))
        return {"phase": round_.pop(0), "text": str(probe["type"])}

    systemd = Systemd.running()
    runner = Runner(Machine(systemd.run, sample, lambda: systemd.now, systemd.pass_by), NAME)
    both = {"ready": {"type": "http"}, "port": {"type": "tcp"}}
    started = Started()
    runner.wait_ready(Ready(both), "1.4.0", started)
    assert next(answers, None) is None
    assert set(started.samples) == {"ready", "port"}
    answers = iter([("success", "failure")])
    with pytest.raises(NotReady) as why:
        runner.wait_ready(Ready(both, timeout=0), "1.4.0", started)
    assert why.value.gate == "port"


@pytest.mark.parametrize("phase", ["failure", "error", "no_data", "raw"])
def test_only_success_is_ready(phase: str) -> None:
    systemd = Systemd.running()
    runner = Runner(
        Machine(systemd.run, lambda _probe: {"phase": phase, "text": "x"}, lambda: systemd.now, systemd.pass_by), NAME
    )
    with pytest.raises(NotReady, match="is not ready after 5 s: x"):
        runner.wait_ready(Ready({"ready": HTTP}, timeout=5), "1.4.0", Started())


def test_probes_of_once_are_sampled_once_whatever_they_say() -> None:
    systemd = Systemd.running(Process(ready=2.0))
    taken: list[str] = []

    def sample(probe: Mapping[str, Any]) -> dict[str, Any]:
        taken.append(str(probe["type"]))
        return systemd.sample(probe) if probe["type"] == "http" else {"phase": "failure", "text": "version is 1.3.0"}

    started = Started()
    runner = Runner(Machine(systemd.run, sample, lambda: systemd.now, systemd.pass_by), NAME)
    runner.restart(runner.read(), "1.4.0", started)
    runner.wait_ready(Ready({"ready": HTTP}, {"version": {"type": "tcp"}}), "1.4.0", started)
    assert taken.count("tcp") == 1
    assert taken[-1] == "tcp"
    assert started.samples["version"] == {"phase": "failure", "text": "version is 1.3.0"}


@pytest.mark.parametrize(("journal", "end"), [((0, " \n\n", ""), "refused."), ((1, "no journal", ""), "refused.")])
def test_journal_that_says_nothing_is_not_mentioned(journal: tuple[int, str, str], end: str) -> None:
    systemd = Systemd.running(Process(ready=1e9))

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        return journal if command[0] == "journalctl" else systemd.run(command)

    runner = Runner(Machine(run, systemd.sample, lambda: systemd.now, systemd.pass_by), NAME)
    with pytest.raises(NotReady) as why:
        runner.wait_ready(Ready({"ready": HTTP}, timeout=1), "1.4.0", Started())
    assert str(why.value).endswith(end)


def test_last_words_are_few_and_on_one_line() -> None:
    systemd = Systemd(journal="first\n" + "x" * 1000 + "\nlast\n")
    assert systemd.runner.journal() == f"Its journal ends with: first | {'x' * 200} | last"


# -------------------------------------------------------------------------------------------------- the proof of a stop


def prove(systemd: Systemd, ready: Ready | None = None) -> Started:
    wanted = ready or Ready({"ready": HTTP}, prove_stop=True)
    started = restart(systemd, wanted)
    systemd.runner.prove_stop(wanted, "1.4.0", started)
    return started


def test_release_that_stops_is_started_again() -> None:
    systemd = Systemd.running(Process(ready=2.0, stop=0.5))
    started = prove(systemd, Ready({"ready": HTTP}, {"running": {"type": "systemd"}}))
    assert [command for command in systemd.commands if command != "show"] == ["stop", "start", "stop", "start"]
    assert systemd.active == "active"
    assert started.samples["running"]["phase"] == "success"
    # Both starts and the stop between them are what the release costs; the first stop is that of the release before.
    assert started.stop_s == pytest.approx(0.5)
    assert started.start_s == pytest.approx(2.0 + 0.5 + 2.0, abs=0.25)


def test_release_that_ignores_sigterm_is_found_out() -> None:
    systemd = Systemd.running(Process(stubborn=False))
    started = restart(systemd)
    systemd.release = Process(stubborn=True)
    with pytest.raises(NotReady) as why:
        systemd.runner.prove_stop(Ready({"ready": HTTP}), "1.4.0", started)
    assert why.value.gate == "stops"
    assert str(why.value) == "release 1.4.0 ignored SIGTERM: catalog.service had to be killed after 30 s"


def test_release_that_does_not_come_back_is_found_out() -> None:
    systemd = Systemd.running()
    started = restart(systemd)
    systemd.release = Process(ready=1e9)
    with pytest.raises(NotReady, match=r"release 1\.4\.0 is not ready after 5 s"):
        systemd.runner.prove_stop(Ready({"ready": HTTP}, timeout=5), "1.4.0", started)
