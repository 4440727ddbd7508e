# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command begins with a program of its release."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._app import deploy
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import migration
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import (
    COMMAND,
    check_command,
    check_installed_command,
    program_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.migration import Step
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import FILE, Entry, check_entries
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_migrations
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import service_errors
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("word", ["missing", "data", "dir", "../x", "up/../../x"])
def test_a_start_command_has_to_be_an_executable_of_the_release(tmp_path: Path, word: str) -> None:
    members = [Entry("bin/run", FILE, 1, 0o755), Entry("data", FILE, 1, 0o644), Entry("dir/x", FILE, 0, 0o755)]
    tree = check_entries(members, 1 << 20, ".mark")
    for one in members:
        (tmp_path / one.name).parent.mkdir(exist_ok=True)
        (tmp_path / one.name).touch(one.mode)
    for good in ("bin/run", "./bin/run"):
        check_command(tree, good)
        check_installed_command(str(tmp_path), "1", good)
    with pytest.raises(Refused, match="start command"):
        check_command(tree, word)
    with pytest.raises(Refused, match="start command"):
        check_installed_command(str(tmp_path), "1", word)


@pytest.mark.parametrize(
    ("command", "program"),
    [("bin/x --all 'two words'", "bin/x"), (" ./run", "./run"), ("a/b-c_d+1.2/e", "a/b-c_d+1.2/e")],
)
def test_a_command_begins_with_its_program(command: str, program: str) -> None:
    assert program_of(command) == program


@pytest.mark.parametrize(
    "command", ["", " ", "/bin/sh", "'' x", "bin/x 'y", "'bin/a b' c", "bin/x\\ y", "bin/../x", "-x"]
)
def test_a_command_without_a_program_in_the_release_is_refused(command: str) -> None:
    with pytest.raises(Refused) as why:
        program_of(command)
    wanted = "one line of at most 4096 characters that begins with a plain path in the release, such as bin/catalog"
    assert str(why.value) == f"command {command!r} cannot be run; give {wanted}"


@pytest.mark.parametrize("value", [None, 5, ["bin/x"], {"bin/x": 1}, b"bin/x"])
def test_what_is_no_text_is_no_command(value: Any) -> None:
    assert not COMMAND.fits(value)


class Accepted(Exception):
    """The module goes on to what is on the host."""


def run(command: str) -> None:
    """What the module that installs a release does with its start command."""
    module: Any = SimpleNamespace(params={"service": "catalog", "command": command})
    with mock.patch.object(deploy, "store_of", side_effect=Accepted):
        deploy.run(module)


@given(st.one_of(st.text(), st.text(alphabet="ab/.-+ '\"\\\n\u2028é", max_size=12)))
def test_what_the_preflight_accepts_the_hosts_accept_and_nothing_else(command: str) -> None:
    """A start command and a command of a migration; either is asked of the inventory first and of a module later."""
    if service_errors("catalog", {"port": 3000, "command": command}):
        with pytest.raises(Refused, match=r"^command "):
            run(command)
        with pytest.raises(PlanError, match=r"^m\.expand\.command is "):
            check_migrations({"expand": {"command": command}}, "m")
        with pytest.raises(Refused, match=r"^command "):
            migration.check(Step("catalog", "catalog.service", "1", "expand", command, 300), 0)
    else:
        with pytest.raises(Accepted):
            run(command)
        step = check_migrations({"expand": {"command": command}}, "m")["expand"]
        migration.check(Step("catalog", "catalog.service", "1", "expand", step["command"], 300), 0)
        assert program_of(step["command"]) == program_of(command)
