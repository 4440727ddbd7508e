# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of a release as a unit of its own: its text, from the service's real template, and its life under systemd."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import migration
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import COMMAND
from ansible_collections.mesops.platform.plugins.module_utils._release.migration import Result, Runner, Step
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import configuration
from hypothesis import given
from hypothesis import strategies as st

STEP = Step("catalog", "catalog.service", "1.4.0", "expand", "bin/catalog migrate --to 100%", 300)


def service_unit(**more: Any) -> str:
    """The service's unit as the app role writes it."""
    service = {"port": 3000, "command": "bin/catalog serve", "writable_paths": ["/srv/catalog"], **more}
    return configuration("catalog", service, "app-1")["unit"]


def directives(text: str) -> dict[str, list[tuple[str, str]]]:
    """Sections of a unit file with their lines, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            found[line] = []
        elif line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            assert separator, line
            found[list(found)[-1]].append((key, value))
    return found


# ------------------------------------------------------------------------------------------------------------ the unit


def test_a_step_runs_with_the_configuration_that_comes_with_its_release() -> None:
    step = replace(STEP, configuration="0123456789ab")
    kept = "/opt/catalog/configurations/0123456789ab"
    assert step.source == f"{kept}/unit"
    found = dict(directives(migration.unit_text(step, service_unit()))["[Service]"])
    assert found["EnvironmentFile"] == f"{kept}/environment"
    assert STEP.source == "/etc/systemd/system/catalog.service"
    with pytest.raises(Refused, match="is none; take it from app_release"):
        migration.check(replace(STEP, configuration="../x"), 1)


def test_unit_runs_the_step_once_from_its_own_release() -> None:
    found = directives(migration.unit_text(STEP, service_unit()))
    assert set(found) == {"[Unit]", "[Service]"}
    assert found["[Unit]"] == [
        ("Description", "expand of catalog 1.4.0"),
        ("After", "network-online.target"),
        ("Wants", "network-online.target"),
    ]
    expected = {
        "Type": "oneshot",
        "RemainAfterExit": "yes",
        "WorkingDirectory": "/opt/catalog/releases/1.4.0",
        "ExecStart": '"/opt/catalog/releases/1.4.0/bin/catalog" "migrate" "--to" "100%%"',
        "TimeoutStartSec": "300",
        "SyslogIdentifier": "catalog-expand",
    }
    values = [(key, value) for key, value in found["[Service]"] if key in expected]
    # Each of them once: a later line would win.
    assert sorted(values) == sorted(expected.items())


def test_unit_keeps_user_environment_limits_and_sandbox() -> None:
    before = directives(service_unit(limits={"memory_max": "512M"}))["[Service]"]
    after = directives(migration.unit_text(STEP, service_unit(limits={"memory_max": "512M"})))["[Service]"]
    kept = [(key, value) for key, value in before if key not in migration.REPLACED]
    release = [(key, value.replace("/opt/catalog/current/", "/opt/catalog/releases/1.4.0/")) for key, value in kept]
    assert [one for one in after if one in release] == release
    for needed in (
        ("User", "catalog"),
        ("Group", "catalog"),
        ("EnvironmentFile", "/etc/default/catalog"),
        ("EnvironmentFile", "-/opt/catalog/releases/1.4.0/.mesops-release"),
        ("MemoryMax", "512M"),
        ("ReadWritePaths", "/opt/catalog/shared /srv/catalog"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("TimeoutStopSec", "30"),
    ):
        assert needed in after
    assert not [value for _key, value in after if "/current" in value]
    assert {"Restart", "RestartSec", "ExecReload"} & {key for key, _value in after} == set()


def test_unit_is_one_that_a_parser_reads() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(migration.unit_text(STEP, service_unit()))
    assert parser.sections() == ["Unit", "Service"]


def test_another_root_and_a_broken_timeout() -> None:
    step = replace(STEP, root="/srv", timeout=86399.5)
    text = migration.unit_text(step, service_unit().replace("/opt/", "/srv/"))
    assert "EnvironmentFile=-/srv/catalog/releases/1.4.0/.mesops-release" in text
    # As systemd reads it, not as 8.64e+04.
    assert "TimeoutStartSec=86400\n" in text


def test_every_version_and_step_has_a_unit_of_its_own() -> None:
    steps = [
        replace(STEP, version=version, name=name) for version in ("1.4.0", "1.4") for name in ("expand", "contract")
    ]
    units = {step.own_unit for step in steps}
    assert len(units) == 4
    assert all(unit.endswith(".service") and "catalog-" in unit for unit in units)
    assert STEP.own_unit == replace(STEP, command="bin/other").own_unit


# -------------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "command", ["bin/migrate", "  bin/catalog migrate ", "migrate.sh --name 'two words'", "a/b-c_d+1.2/e x=$Y"]
)
def test_good_commands(command: str) -> None:
    assert COMMAND.read(command) == command.strip()
    migration.check(replace(STEP, command=command), 0)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "  ",
        "/bin/sh",
        "../other/bin",
        "bin/../../x",
        "bin/x\nExecStart=/bin/sh",
        "'bin/x' y",
        "bin/x " + "y" * 5000,
        "+/bin/sh",
        "@bin/x",
        "-bin/x'",
        "; /bin/sh",
        "bin/x 'y",
        "$HOME/x",
    ],
)
def test_bad_commands_are_refused(command: str) -> None:
    assert not COMMAND.fits(command)
    with pytest.raises(Refused) as why:
        migration.check(replace(STEP, command=command), 0)
    assert str(why.value) == (
        f"command {command!r} cannot be run; give one line of at most 4096 characters that begins with a "
        "plain path in the release, such as bin/catalog"
    )


@pytest.mark.parametrize(("timeout", "wait"), [(1, 0), (86400, 86400), (0.1 + 0.9, 0.5)])
def test_the_ends_of_what_is_possible(timeout: float, wait: float) -> None:
    migration.check(replace(STEP, timeout=timeout), wait)


# What systemd.service(5) and systemd.unit(5) say of a command line, and extract-word.c, load-fragment.c and
# env-util.c of systemd 252 do.


def _unquoted(text: str) -> list[tuple[str, bool]]:
    """Words without their quotes and escapes, each with whether it was bare, so that a lone ``;`` means something."""
    words: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        word, quote, begin = "", "", at
        while at < len(text) and (quote or text[at] not in " \t"):
            one = text[at]
            if one == "\\":
                at += 1
                assert text[at] in "\\\"'", "an escape that means something else"
                word += text[at]
            elif quote and one == quote:
                quote = ""
            elif not quote and one in "\"'":
                quote = one
            else:
                word += one
            at += 1
        assert not quote
        words.append((word, text[begin:at] == word))
    return words


def _expanded(word: str, sign: str, what: str) -> str:
    """A word in which the sign stands for itself when it is written twice."""
    parts = word.split(sign * 2)
    assert all(sign not in part for part in parts), f"{word!r} names {what}"
    return sign.join(parts)


def commands_of(line: str) -> list[list[str]]:
    """What systemd makes of the value of ExecStart=: one list of words for each command."""
    commands: list[list[str]] = [[]]
    for word, bare in _unquoted(line):
        if bare and word == ";":
            commands.append([])
            continue
        if not commands[-1]:
            assert word[:1] == "/", f"{word!r} has a prefix, or is no path"
        commands[-1].append(_expanded(_expanded(word, "%", "a specifier"), "$", "a variable"))
    return commands


SPECIAL = ";+-@!:%$\\\"'`|&<>(){}[]*?~#= \t\n\0\u2028\xa0é日"
COMMANDS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abz/." + SPECIAL, max_size=20),
    st.builds("bin/x {}".format, st.text(alphabet="ab /" + SPECIAL, max_size=25)),
    st.lists(st.text(alphabet="ab/ " + SPECIAL, max_size=8), max_size=6).map(lambda some: shlex.join(["bin/x", *some])),
)


@given(COMMANDS)
def test_a_command_is_one_program_of_its_release_with_the_words_that_were_written(command: str) -> None:
    if not COMMAND.fits(command):
        with pytest.raises(Refused):
            migration.check(replace(STEP, command=command), 0)
        return
    text = migration.unit_text(replace(STEP, command=command), "[Service]\nUser=catalog\nExecStart=x\n")
    lines = text.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "[Service]",
        "Type",
        "RemainAfterExit",
        "WorkingDirectory",
        "ExecStart",
        "TimeoutStartSec",
        "SyslogIdentifier",
        "User",
    ]
    program, *arguments = shlex.split(command)
    assert commands_of(lines[4].partition("=")[2]) == [[f"/opt/catalog/releases/1.4.0/{program}", *arguments]]
    assert ".." not in program.split("/")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bin/x ; +/bin/sh -c 'id > /root/x'", [";", "+/bin/sh", "-c", "id > /root/x"]),
        ("bin/x \\; @/bin/sh sh", [";", "@/bin/sh", "sh"]),
        ("bin/x ';' !!/bin/sh", [";", "!!/bin/sh"]),
        ("bin/x $HOME ${HOME} $$ %i %% %n%u", ["$HOME", "${HOME}", "$$", "%i", "%%", "%n%u"]),
        ('bin/x a\\x41 \'b\\n\' "c\\"d" ""', ["ax41", "b\\n", 'c"d', ""]),
    ],
)
def test_what_would_mean_something_to_systemd_reaches_the_program_as_it_is(command: str, words: list[str]) -> None:
    line = migration.exec_start("/opt/catalog/releases/1.4.0", command)
    assert commands_of(line) == [["/opt/catalog/releases/1.4.0/bin/x", *words]]


def test_the_model_sees_what_an_unquoted_command_would_do() -> None:
    assert commands_of("/bin/x a ; /bin/sh -c id") == [["/bin/x", "a"], ["/bin/sh", "-c", "id"]]
    for bad in ("/bin/x ; +/bin/sh", "+/bin/x", "/bin/x %i", "/bin/x $HOME", "bin/x"):
        with pytest.raises(AssertionError, match=r"has a prefix|names a"):
            commands_of(bad)


@pytest.mark.parametrize(
    "said", ["", "User=root\n", "User=0\n", "User = 00 \n", "User=catalog\nUser=\n", "#User=catalog\n"]
)
def test_a_unit_that_runs_as_root_lends_itself_to_no_step(systemd: Systemd, said: str) -> None:
    source = Path(systemd.step.units) / "catalog.service"
    source.write_text(f"[Service]\n{said}ExecStart=/usr/sbin/cron\n")
    assert refused(systemd) == (
        f"{source} runs as root, and a release brings no command that does; give unit the service's own unit"
    )
    assert systemd.verbs() == []
    assert not Path(systemd.step.path).exists()


@pytest.mark.parametrize(
    ("changes", "wait", "sentence"),
    [
        ({"timeout": 0.5}, 5, "timeout 0.5 is not possible; give seconds from 1 to 86400"),
        ({"timeout": float("nan")}, 5, "timeout nan is not possible; give seconds from 1 to 86400"),
        ({"timeout": 1e9}, 5, "timeout 1e+09 is not possible; give seconds from 1 to 86400"),
        ({}, -1, "wait -1 is not possible; give seconds from 0 to 86400"),
        ({}, float("inf"), "wait inf is not possible; give seconds from 0 to 86400"),
        ({}, float("nan"), "wait nan is not possible; give seconds from 0 to 86400"),
        (
            {"unit": "../x.service"},
            5,
            "unit '../x.service' is no name of a service's unit; give one such as catalog.service",
        ),
        ({"unit": "catalog"}, 5, "unit 'catalog' is no name of a service's unit; give one such as catalog.service"),
    ],
)
def test_numbers_and_names_are_refused(changes: dict[str, Any], wait: float, sentence: str) -> None:
    with pytest.raises(Refused) as why:
        migration.check(replace(STEP, **changes), wait)
    assert str(why.value) == sentence


# --------------------------------------------------------------------------------------------------- life under systemd


@dataclass
class Systemd:
    """One unit of a step; ``lasts`` and ``end`` say how the program behaves."""

    path: Path
    lasts: float = 3.0
    end: tuple[str, str, int] = ("active", "success", 0)
    output: str = "applied 0001\n"
    now: float = 100.0
    active: str = "inactive"
    result: str = "success"
    status: int = 0
    job: bool = False
    began: float = 0.0
    starts: int = 0
    queued: int = 0
    """How often systemd is asked before the job that was queued begins."""
    silent: set[int] = field(default_factory=set)
    """Which of the questions for the state have no answer, counted from 1."""
    asked: int = 0
    commands: list[list[str]] = field(default_factory=list)
    start_fails: str = ""

    @property
    def step(self) -> Step:
        root = self.path / "opt"
        return replace(
            STEP, root=str(root), units=str(self.path / "units"), runtime_units=str(self.path / "run" / "units")
        )

    def runner(self) -> Runner:
        return Runner(self.step, self.run, lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        if self.active == "activating" and self.now - self.began >= self.lasts:
            self.active, self.result, self.status = self.end

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.commands.append(list(command))
        if command[0] == "journalctl":
            return 0, self.output, ""
        if "InvocationID" in command:
            return 0, f"InvocationID={'0123456789abcdef' if self.starts else ''}\n", ""
        action: Callable[[], tuple[int, str, str]] = {
            "show": self.show,
            "start": self.start,
            "stop": self.stop,
            "reset-failed": lambda: (0, "", ""),
            "daemon-reload": lambda: (0, "", ""),
        }[command[1]]
        return action()

    def show(self) -> tuple[int, str, str]:
        self.asked += 1
        if self.asked in self.silent:
            return 1, "", "Failed to connect to bus"
        if self.job:
            self.queued -= 1
            if self.queued < 0:
                self.job, self.active, self.began = False, "activating", self.now
        load = "loaded" if Path(self.step.path).exists() else "not-found"
        job = "17" if self.job else ""
        return (
            0,
            f"LoadState={load}\nActiveState={self.active}\nResult={self.result}\n"
            f"ExecMainStatus={self.status}\nJob={job}\n",
            "",
        )

    def start(self) -> tuple[int, str, str]:
        if self.start_fails:
            return 1, "", self.start_fails
        assert Path(self.step.path).exists()
        self.starts += 1
        self.job, self.result, self.status = True, "success", 0
        return 0, "", ""

    def stop(self) -> tuple[int, str, str]:
        self.active, self.job = "inactive", False
        return 0, "", ""

    def verbs(self) -> list[str]:
        return [one[1] for one in self.commands if one[0] == "systemctl" and one[1] != "show"]


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    made = Systemd(tmp_path)
    program = Path(made.step.release) / "bin" / "catalog"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "catalog.service").write_text(service_unit())
    return made


@pytest.mark.parametrize("queued", [0, 1, 5])
def test_step_that_succeeds(systemd: Systemd, queued: int) -> None:
    systemd.queued = queued
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(Path(systemd.step.path).read_text())
        systemd.sleep(seconds)

    result = Runner(systemd.step, systemd.run, lambda: systemd.now, sleep).carry_out(60)
    assert result == Result("done", output="applied 0001")
    assert systemd.starts == 1
    assert systemd.verbs() == ["daemon-reload", "start", "stop", "reset-failed", "daemon-reload"]
    assert "ExecStart=" in seen[0]
    assert not Path(systemd.step.path).exists()
    # The output is that of this very run.
    assert systemd.commands[-4][:2] == ["journalctl", "_SYSTEMD_INVOCATION_ID=0123456789abcdef"]


def test_step_that_is_over_before_anybody_looks(systemd: Systemd) -> None:
    systemd.lasts = 0
    assert systemd.runner().carry_out(60).state == "done"


def test_step_that_takes_longer_goes_on_and_is_joined(systemd: Systemd) -> None:
    assert systemd.runner().carry_out(1) == Result("running")
    assert systemd.verbs() == ["daemon-reload", "start"]
    assert Path(systemd.step.path).exists()
    # The next one may be another controller; a corrected command is not started beside it.
    again = Runner(replace(systemd.step, command="bin/other"), systemd.run, lambda: systemd.now, systemd.sleep)
    assert again.carry_out(0) == Result("running")
    assert systemd.runner().carry_out(60) == Result("done", output="applied 0001")
    assert systemd.starts == 1


def test_step_that_ended_while_nobody_looked_is_not_run_again(systemd: Systemd) -> None:
    systemd.runner().carry_out(1)
    systemd.sleep(60)
    assert systemd.active == "active"
    assert systemd.runner().carry_out(0) == Result("done", output="applied 0001")
    assert systemd.starts == 1
    # It is forgotten then, and a later rollout runs it anew.
    systemd.runner().carry_out(60)
    assert systemd.starts == 2


@pytest.mark.parametrize(
    ("end", "output", "reason"),
    [
        (
            ("failed", "exit-code", 3),
            "one\ntwo\nthree\nno such table: orders\n",
            "(exit-code, exit status 3): two | three | no such table: orders",
        ),
        (("failed", "signal", 9), "", "(signal, exit status 9): it wrote nothing"),
        (("failed", "timeout", 15), "applied 0001\n", "(it did not end within 300 s): applied 0001"),
        (("failed", "exit-code", 203), "", "(exit-code, exit status 203): it wrote nothing"),
        (("inactive", "success", 0), "half\n", "(it was stopped before its end): half"),
        (("inactive", "core-dump", 6), "half\n", "(core-dump, exit status 6): half"),
    ],
)
def test_step_that_fails(systemd: Systemd, end: tuple[str, str, int], output: str, reason: str) -> None:
    systemd.end, systemd.output = end, output
    result = systemd.runner().carry_out(60)
    assert result.state == "failed"
    assert result.reason == f"'{STEP.command}' of 1.4.0 failed {reason}"
    assert result.output == output.strip()
    assert not Path(systemd.step.path).exists()
    assert systemd.verbs()[-3:] == ["stop", "reset-failed", "daemon-reload"]


def test_failure_that_nobody_saw_is_told_once_and_then_tried_again(systemd: Systemd) -> None:
    systemd.end = ("failed", "exit-code", 1)
    systemd.runner().carry_out(1)
    systemd.sleep(60)
    assert systemd.runner().carry_out(60).state == "failed"
    assert systemd.starts == 1
    systemd.end = ("active", "success", 0)
    assert systemd.runner().carry_out(60).state == "done"
    assert systemd.starts == 2


@given(silent=st.sets(st.integers(1, 40), max_size=12))
def test_silence_of_systemd_neither_starts_nor_ends_a_step(
    tmp_path_factory: pytest.TempPathFactory, silent: set[int]
) -> None:
    path = tmp_path_factory.mktemp("step")
    made = Systemd(path, silent=silent)
    program = Path(made.step.release) / "bin" / "catalog"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    (path / "units").mkdir()
    (path / "units" / "catalog.service").write_text("[Unit]\n[Service]\nUser=catalog\n")
    assert made.runner().carry_out(60).state == "done"
    assert made.starts == 1


def test_systemd_that_stays_silent_is_told_and_nothing_is_touched(systemd: Systemd) -> None:
    systemd.silent = set(range(1, 1000))
    with pytest.raises(migration.Silent, match=r"^systemd says nothing of catalog-expand-"):
        systemd.runner().carry_out(4)
    assert systemd.verbs() == []
    assert systemd.now == pytest.approx(104, abs=0.2)


# ----------------------------------------------------------------------------------------------- what stands in the way


def refused(systemd: Systemd) -> str:
    with pytest.raises(Refused) as why:
        systemd.runner().carry_out(5)
    return str(why.value)


@pytest.mark.parametrize("how", ["missing", "no mode", "directory"])
def test_program_that_is_none(systemd: Systemd, how: str) -> None:
    program = Path(systemd.step.release) / "bin" / "catalog"
    program.unlink()
    if how == "no mode":
        program.write_text("")
        program.chmod(0o644)
    elif how == "directory":
        program.mkdir()
    assert refused(systemd) == (
        f"{program} is no executable file, so expand cannot run; correct the command or the release"
    )
    assert systemd.verbs() == []


def test_service_without_a_unit(systemd: Systemd) -> None:
    source = Path(systemd.step.units) / "catalog.service"
    source.unlink()
    assert refused(systemd) == (
        f"{source} cannot be read (No such file or directory); run site.yml for this host first"
    )
    assert systemd.verbs() == []


def test_systemd_that_does_not_start_it(systemd: Systemd) -> None:
    systemd.start_fails = "Unit is\nmasked.\n"
    assert refused(systemd) == f"systemctl start --no-block -- {systemd.step.own_unit} failed: Unit is masked."


def test_output_without_an_invocation_is_looked_for_by_unit(systemd: Systemd) -> None:
    systemd.active = "active"
    systemd.runner().carry_out(5)
    assert systemd.commands[2][:3] == ["journalctl", "--unit", systemd.step.own_unit]
