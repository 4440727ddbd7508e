# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration is activated, or everything stays as it was; on a HAProxy that answers as 2.6 or 3.0 do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import Held, take_lock
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import (
    complaints,
    configuration,
    deploy,
    server_states,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.configuration import File
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.loading import DeployError, Machine

CONFIG = "global\n    maxconn 10\nbackend catalog\n    server one 10.0.0.1:8001 check\n"
REFUSED_3_0 = """\
[NOTICE]   (234) : haproxy version is 3.0.11-1+deb13u5
[NOTICE]   (234) : path to executable is /usr/sbin/haproxy
[ALERT]    (234) : config : parsing [{path}:2] : unknown keyword 'maxcon' in 'global' section.
[ALERT]    (234) : config : Error(s) found in configuration file : {path}
[WARNING]  (234) : Loading failure!
"""
REFUSED_2_6 = """\
[NOTICE]   (405) : haproxy version is 2.6.12-1+deb12u4
[NOTICE]   (405) : path to executable is /usr/sbin/haproxy
[ALERT]    (405) : config : Parsing [{path}:2]: unknown keyword 'maxcon' in 'global' section.
[ALERT]    (405) : config : Fatal errors found in configuration.
[WARNING]  (405) : Loading failure!
"""
TAKEN = "[ALERT]    (234) : Starting frontend edge: cannot bind socket (Address already in use) [0.0.0.0:80]\n"


class Haproxy:
    """A host with a HAProxy of one version."""

    def __init__(self, root: Path, version: str) -> None:
        self.config = root / "haproxy.cfg"
        self.version = version
        self.running = False
        self.enabled = False
        self.unit_stale = False
        self.refuses = ""  # What -c says, with rc 1.
        self.breaks = ""  # What a reload or start says although -c was content.
        self.loaded = ""
        self.worker = 100
        self.reloads = 0
        self.time = 0.0
        self.commands: list[str] = []
        self.admin = "0"
        self.killed_at = ""  # The run dies at this command.

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        line = " ".join(command)
        if self.killed_at and self.killed_at in line:
            raise KeyboardInterrupt
        if command[1] != "show":
            self.commands.append(line)
        if "-c" in command:
            path = command[-1]
            assert Path(path).exists()
            return (1, "", self.refuses.format(path=path)) if self.refuses else (0, "", "")
        if command[0] == "journalctl":
            return 0, self.breaks.format(path=self.config), ""
        return self.systemctl(command[1])

    def systemctl(self, verb: str) -> tuple[int, str, str]:
        if verb == "show":
            active = "active" if self.running else "inactive"
            return (
                0,
                f"ActiveState={active}\nUnitFileState={'enabled' if self.enabled else 'disabled'}\n"
                f"NeedDaemonReload={'yes' if self.unit_stale else 'no'}\n",
                "",
            )
        if verb == "start":
            if self.breaks:
                return 1, "", "Job for haproxy.service failed."
            self.running, self.loaded = True, self.on_disk()
        if verb == "enable":
            self.enabled = True
        if verb == "daemon-reload":
            self.unit_stale = False
        return 0, "", ""

    def on_disk(self) -> str:
        return configuration.digest_in(self.config.read_text())

    def ask(self, command: str) -> str:
        if self.killed_at and self.killed_at in command:
            raise KeyboardInterrupt
        if command == "show proc":
            failed = " [failed: 1]" if self.breaks else " [failed: 0]"
            return (
                f"#<PID> <type> <reloads> <uptime> <version>\n50 master {self.reloads}{failed} 0d00h05m02s 3.0\n"
                f"# workers\n{self.worker} worker 0 0d00h05m01s 3.0\n# programs\n"
            )
        if command == f"@!{self.worker} show servers state":
            values = f"3 catalog 1 one 10.0.0.1 2 {self.admin} 1 1 9 6 3 4 6 0 0 0 - 8001 - 0 0 - - 0"
            return f"1\n# {' '.join(server_states.STATE_FIELDS)}\n{values}\n"
        if command == f"@!{self.worker} show env {configuration.DIGEST_NAME}":
            return f"{configuration.DIGEST_NAME}={self.loaded}\n" if self.loaded else "Variable not found\n"
        assert command == "reload"
        return self.reload()

    def reload(self) -> str:
        self.commands.append("reload")
        self.reloads += 1
        if not self.breaks:
            self.worker, self.loaded = self.worker + 1, self.on_disk()
        if self.version == "2.6":
            raise ConnectionResetError("the master executes itself anew")
        return f"Success={0 if self.breaks else 1}\n--\n{self.breaks.format(path=self.config)}"

    def clock(self) -> float:
        self.time += 0.05
        return self.time

    def machine(self) -> Machine:
        return Machine(self.run, self.ask, self.clock, lambda _seconds: None)


@pytest.fixture(params=["2.6", "3.0"])
def haproxy(request: pytest.FixtureRequest, tmp_path: Path) -> Haproxy:
    return Haproxy(tmp_path, str(request.param))


def wanted(root: Path, text: str = CONFIG, files: Sequence[File] = (), **changed: Any) -> configuration.Wanted:
    base: dict[str, Any] = {
        "config": File(str(root / "haproxy.cfg"), text),
        "files": tuple(files),
        "binary": "/bin/true",
        "state_file": str(root / "state"),
        "run_dir": str(root),
        "exclusive_dirs": (str(root / "certs"),),
    }
    return configuration.Wanted(**{**base, **changed})


def put(haproxy: Haproxy, root: Path, text: str = CONFIG, files: Sequence[File] = (), **changed: Any) -> deploy.Outcome:
    haproxy.commands.clear()
    return deploy.Deployment(haproxy.machine(), wanted(root, text, files, **changed)).deploy()


def refusal(haproxy: Haproxy, root: Path, text: str = CONFIG, **changed: Any) -> str:
    with pytest.raises(DeployError) as caught:
        put(haproxy, root, text, **changed)
    return str(caught.value)


def test_first_run_starts_and_the_second_changes_nothing(haproxy: Haproxy, tmp_path: Path) -> None:
    first = put(haproxy, tmp_path)
    assert first.actions == ["install", "start", "enable"]
    assert [one.split()[-1] for one in haproxy.commands][-1] == "haproxy.service"
    assert haproxy.config.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "haproxy.cfg.last-good").read_text() == haproxy.config.read_text()
    assert server_states.parse_state((tmp_path / "state").read_text())[("catalog", "one")]["srv_op_state"] == "0"
    second = put(haproxy, tmp_path)
    assert (second.actions, second.diff, haproxy.commands) == ([], [], [])
    assert second.worker_pid == haproxy.worker


def test_a_change_is_checked_reloaded_and_verified(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    haproxy.admin = "8"
    outcome = put(haproxy, tmp_path, CONFIG + "    timeout server 5s\n")
    assert outcome.actions == ["install", "reload"]
    assert [one.split()[0] for one in haproxy.commands] == ["/bin/true", "reload"]
    assert (outcome.worker_pid, haproxy.loaded) == (101, outcome.sha256)
    assert server_states.parse_state((tmp_path / "state").read_text())[("catalog", "one")]["srv_admin_state"] == "8"
    assert [one["after_header"] for one in outcome.diff] == [str(haproxy.config)]


@pytest.mark.parametrize("said", [REFUSED_2_6, REFUSED_3_0])
def test_what_haproxy_refuses_is_named_by_line_and_changes_nothing(haproxy: Haproxy, tmp_path: Path, said: str) -> None:
    put(haproxy, tmp_path)
    before = haproxy.config.read_text()
    haproxy.refuses = said
    text = refusal(haproxy, tmp_path, CONFIG.replace("maxconn", "maxcon"))
    assert "at line 2, \"maxcon 10\": unknown keyword 'maxcon' in 'global' section; nothing was changed" in text
    assert haproxy.config.read_text() == before
    assert "reload" not in haproxy.commands
    assert not list(tmp_path.glob("mesops-haproxy-*"))
    assert "line 2" in refusal(haproxy, tmp_path, CONFIG.replace("maxconn", "maxcon"), check_mode=True)


@pytest.mark.parametrize("moment", ["show servers state", "reload"])
def test_a_killed_run_converges(haproxy: Haproxy, tmp_path: Path, moment: str) -> None:
    put(haproxy, tmp_path)
    haproxy.killed_at = moment
    with pytest.raises(KeyboardInterrupt):
        put(haproxy, tmp_path, CONFIG + "# new\n")
    haproxy.killed_at = ""
    assert haproxy.on_disk() != haproxy.loaded
    outcome = put(haproxy, tmp_path, CONFIG + "# new\n")
    assert outcome.actions == ["reload"]
    assert haproxy.loaded == outcome.sha256
    assert put(haproxy, tmp_path, CONFIG + "# new\n").actions == []


def test_a_run_killed_after_installing_the_old_text_reloads_too(haproxy: Haproxy, tmp_path: Path) -> None:
    """An edit by hand was loaded; the run that put the old text back was killed, and the digest alone looks right."""
    put(haproxy, tmp_path)
    (tmp_path / "mesops-haproxy-pending").touch()
    assert put(haproxy, tmp_path).actions == ["reload"]


def test_an_edit_by_hand_is_undone(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    haproxy.config.write_text("rubbish\n")
    assert put(haproxy, tmp_path).actions == ["install", "reload"]
    haproxy.config.chmod(0o644)
    assert put(haproxy, tmp_path).actions == ["install"]


def test_a_reload_that_fails_restores_the_file_and_leaves_the_worker(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    before = haproxy.config.read_text()
    haproxy.breaks = TAKEN
    text = refusal(haproxy, tmp_path, CONFIG + "# new\n")
    assert "cannot bind socket (Address already in use) [0.0.0.0:80]" in text
    assert "the old worker keeps serving" in text
    assert haproxy.config.read_text() == before
    assert haproxy.worker == 100
    haproxy.breaks = ""
    assert put(haproxy, tmp_path, CONFIG + "# new\n").actions == ["install", "reload"]


def test_the_last_good_configuration_comes_back_when_the_one_on_disk_was_broken(
    haproxy: Haproxy, tmp_path: Path
) -> None:
    put(haproxy, tmp_path)
    good = haproxy.config.read_text()
    haproxy.config.write_text("rubbish\n")
    haproxy.breaks = TAKEN
    refusal(haproxy, tmp_path, CONFIG + "# new\n")
    assert haproxy.config.read_text() == good


def test_a_start_that_fails_restores_the_file(haproxy: Haproxy, tmp_path: Path) -> None:
    haproxy.config.write_text("as the package has it\n")
    haproxy.breaks = TAKEN
    assert "did not start: Starting frontend edge: cannot bind socket" in refusal(haproxy, tmp_path)
    assert haproxy.config.read_text() == "as the package has it\n"
    assert not haproxy.running


def test_a_new_worker_with_another_configuration_is_no_proof(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    other = "0" * 64

    def reload() -> str:
        haproxy.worker, haproxy.loaded = 101, other
        return "Success=1\n"

    haproxy.reload = reload  # type: ignore[method-assign]
    assert "has loaded another configuration" in refusal(haproxy, tmp_path, CONFIG + "# new\n")


def test_no_new_worker_in_time_is_a_failure(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    haproxy.reload = lambda: "Success=1\n"  # type: ignore[method-assign]
    assert "no new worker after 2 s" in refusal(haproxy, tmp_path, CONFIG + "# new\n", reload_timeout=2.0)


def test_a_silent_master_is_reported(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)

    def dead(_command: str) -> str:
        raise FileNotFoundError("no such socket")

    haproxy.ask = dead  # type: ignore[method-assign, assignment]
    assert "its master socket does not answer (no such socket)" in refusal(haproxy, tmp_path)


def test_certificates_are_checked_with_the_candidate_and_reload(haproxy: Haproxy, tmp_path: Path) -> None:
    path = tmp_path / "certs" / "edge.pem"
    text = f"{CONFIG}    # crt {path}\n"
    put(haproxy, tmp_path, text, [File(str(path), "first", 0o600)])
    assert path.stat().st_mode & 0o777 == 0o600
    outcome = put(haproxy, tmp_path, text, [File(str(path), "second", 0o600)])
    assert "reload" in outcome.actions
    assert "second" not in str(outcome.diff)
    other = put(haproxy, tmp_path, CONFIG)
    assert other.actions == ["install", "remove", "reload"]
    assert not path.exists()


def test_a_file_that_haproxy_does_not_read_needs_no_reload(haproxy: Haproxy, tmp_path: Path) -> None:
    unit = File(str(tmp_path / "unit" / "mesops.conf"), "first", 0o644, loaded=False)
    put(haproxy, tmp_path, CONFIG, [unit])
    haproxy.unit_stale = True
    outcome = put(haproxy, tmp_path, CONFIG, [File(unit.path, "second", 0o644, loaded=False)])
    assert outcome.actions == ["install", "daemon-reload"]
    assert haproxy.commands == ["systemctl daemon-reload"]
    assert [(one["before"], one["after"]) for one in outcome.diff] == [("first", "second")]


def test_check_mode_says_what_would_be_done(haproxy: Haproxy, tmp_path: Path) -> None:
    outcome = put(haproxy, tmp_path, check_mode=True, secrets=("10.0.0.1",))
    assert outcome.actions == ["install", "start", "enable"]
    assert not haproxy.config.exists()
    assert "10.0.0.1" not in outcome.diff[0]["after"]
    assert complaints.MASK in outcome.diff[0]["after"]


def test_bare_host(haproxy: Haproxy, tmp_path: Path) -> None:
    missing = str(tmp_path / "absent")
    assert put(haproxy, tmp_path, binary=missing, check_mode=True).changed
    assert "is not installed" in refusal(haproxy, tmp_path, binary=missing)
    assert haproxy.commands == []


def test_the_run_waits_for_first_checks_only_so_long(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    begin = haproxy.time
    original = haproxy.ask

    def never_checked(command: str) -> str:
        return original(command).replace(" 2 0 1 1 9 6 3 ", " 0 0 1 1 9 6 0 ")

    haproxy.ask = never_checked  # type: ignore[method-assign]
    put(haproxy, tmp_path, CONFIG + "# new\n", settle_timeout=5.0)
    assert 5 <= haproxy.time - begin < 10


def test_the_old_password_is_masked_as_well(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path, CONFIG + "    user 'a' insecure-password 'it'\\''s old'\n", secrets=("it's old",))
    diff = put(haproxy, tmp_path, CONFIG + "    user 'a' insecure-password 'fresh'\n", secrets=("fresh",)).diff
    shown = diff[0]["before"] + diff[0]["after"]
    assert shown.count(complaints.MASK) == 2
    assert "s old" not in shown
    assert "fresh" not in shown


def test_a_reload_waits_for_whoever_changes_servers_and_gives_up_in_time(haproxy: Haproxy, tmp_path: Path) -> None:
    put(haproxy, tmp_path)
    lock = tmp_path / Path(server_states.LOCK).name
    before = haproxy.config.read_text()
    held = take_lock(str(lock), 1)
    text = refusal(haproxy, tmp_path, CONFIG.replace("10\n", "11\n"))
    assert "was not reloaded" in text
    assert "reload" not in haproxy.commands
    assert haproxy.config.read_text() == before
    os.close(held)
    assert put(haproxy, tmp_path, CONFIG.replace("10\n", "11\n")).actions == ["install", "reload"]


def test_nobody_changes_servers_between_the_state_that_a_reload_hands_over_and_the_new_worker(
    haproxy: Haproxy, tmp_path: Path
) -> None:
    put(haproxy, tmp_path)
    lock = str(tmp_path / Path(server_states.LOCK).name)
    seen: list[str] = []
    original = haproxy.ask

    def ask(command: str) -> str:
        try:
            os.close(take_lock(lock, 0))
            seen.append("free")
        except Held:
            seen.append(command.rpartition(" ")[2])
        return original(command)

    haproxy.ask = ask  # type: ignore[method-assign]
    put(haproxy, tmp_path, CONFIG.replace("10\n", "11\n"))
    assert seen[-5:] == ["state", "reload", "proc", configuration.DIGEST_NAME, "free"]
