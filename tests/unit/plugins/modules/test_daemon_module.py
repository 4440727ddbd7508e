# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One execution makes the files and runs the unit with them; a dry run foretells both."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mesops.platform.plugins.module_utils._daemon import deploy
from ansible_collections.mesops.platform.plugins.modules import daemon

NAME = "catalog.service"


class Host:
    """A host with one unit that runs for a minute, and a checker that refuses a text with "bad" in it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.unit, self.config = root / NAME, root / "config"
        self.commands: list[Sequence[str]] = []
        self.started = time.clock_gettime(time.CLOCK_MONOTONIC) - 60
        monkeypatch.setattr(deploy, "UNITS", str(root))
        monkeypatch.setattr(deploy, "group_id", lambda _name, _check_mode: None)
        monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _module, command: self.run(command))

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        if command[0] == "check":
            return int("bad" in Path(command[1]).read_text()), "", ""
        if command[:2] != ["systemctl", "show"]:
            self.commands.append(command)
            self.started = time.clock_gettime(time.CLOCK_MONOTONIC)
        said = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "UnitFileState": "enabled",
            "NeedDaemonReload": "no",
            "FragmentPath": str(self.unit),
            "ExecMainStartTimestampMonotonic": int(self.started * 1e6),
            "StateChangeTimestampMonotonic": int(self.started * 1e6),
        }
        return 0, "".join(f"{key}={value}\n" for key, value in said.items()), ""

    def play(self, text: str = "good", check: bool = False, **more: Any) -> dict[str, Any]:
        """Run the module with a unit and one file."""
        given = {
            "name": NAME,
            "contents": [{"path": str(self.config), "content": text, "validate": "check %s", "secret": True}],
            "unit": "[Service]\nExecStart=/bin/catalog\n",
            **more,
        }
        with (
            patch_module_args({**given, "_ansible_check_mode": check, "_ansible_diff": True}),
            pytest.raises(SystemExit),
        ):
            daemon.main()
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_files_are_made_and_the_unit_runs_with_them(host: Host) -> None:
    found = host.play()
    assert (found["changed"], found["action"]) == (True, "restarted")
    assert found["made"] == [str(host.config), str(host.unit)]
    assert (host.config.read_text(), host.commands) == ("good", [["systemctl", "restart", NAME]])
    headers = [one.get("after_header", one.get("prepared")) for one in found["diff"]]
    assert headers == [f"{host.config} differs; it holds secrets, which are not shown.\n", str(host.unit), NAME]


def test_second_run_changes_nothing(host: Host) -> None:
    host.play()
    found = host.play()
    assert (found["changed"], found["action"], found["made"], found["diff"]) == (False, "none", [], [])
    assert len(host.commands) == 1


def test_run_killed_before_the_restart_converges_on_the_next(host: Host) -> None:
    host.play(state="prepared")
    assert host.commands == []
    found = host.play()
    assert (found["made"], found["action"]) == ([], "restarted")


@pytest.mark.parametrize(
    ("watched", "action"),
    [([], "none"), (["files"], "restarted"), (["reload_files"], "reloaded")],
    ids=["neither", "restart", "reload"],
)
def test_changed_file_needs_what_the_lists_say_and_a_dry_run_foretells_it(
    host: Host, watched: list[str], action: str
) -> None:
    host.play()
    host.commands.clear()
    lists: dict[str, Any] = {key: [str(host.config)] for key in watched}
    foretold = host.play("better", check=True, **lists)
    assert (foretold["action"], foretold["made"], host.config.read_text()) == (action, [str(host.config)], "good")
    assert host.commands == []
    done = host.play("better", **lists)
    assert (done["action"], done["made"], host.config.read_text()) == (action, [str(host.config)], "better")
    assert len(host.commands) == (action != "none")
    assert (foretold["changed"], done["changed"]) == (True, True)


def test_refused_file_touches_nothing_that_runs(host: Host) -> None:
    host.play()
    host.commands.clear()
    found = host.play("bad", unit="[Service]\nExecStart=/bin/other\n", files=[str(host.config)])
    assert found["failed"]
    assert found["msg"].startswith(f"check refuses {host.config}: ")
    assert (host.config.read_text(), host.commands) == ("good", [])
    assert "other" not in host.unit.read_text()


def test_directory_that_cannot_be_made_is_one_sentence(host: Host) -> None:
    host.config.mkdir()
    found = host.play()
    assert found["msg"].startswith(f"A file of {NAME} could not be made: ")
