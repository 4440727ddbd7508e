# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command begins with a program of its release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import (
    check_command,
    check_installed_command,
    first_word,
    is_command,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import FILE, Entry, check_entries


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


@pytest.mark.parametrize(("command", "word"), [("bin/x --all", "bin/x"), ("'bin/a b' c", "bin/a b"), (None, None)])
def test_the_program_of_a_start_command_is_its_first_word(command: str | None, word: str | None) -> None:
    assert first_word(command) == word


@pytest.mark.parametrize("command", ["", "/bin/sh", "'' x", "bin/x 'y"])
def test_a_start_command_without_a_program_in_the_release_is_refused(command: str) -> None:
    with pytest.raises(Refused, match=r"^command "):
        first_word(command)


@pytest.mark.parametrize("value", [None, 5, ["bin/x"], {"bin/x": 1}, b"bin/x"])
def test_what_is_no_text_is_no_command(value: Any) -> None:
    assert not is_command(value)
