# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit and an environment file say is what systemd reads out of them."""

from __future__ import annotations

import re

from ansible_collections.mesops.platform.plugins.plugin_utils._service.unit_files import environment_text, sandbox_lines
from hypothesis import given, settings
from hypothesis import strategies as st


def read_as_systemd_does(text: str) -> dict[str, str]:
    """The quoting rules of systemd.exec(5) for a double-quoted value: a backslash stands before one of "\\$`."""
    return {
        key: re.sub(r"\\([\"\\$`])", r"\1", value)
        for key, value in re.findall(r'^(\w+)="((?:[^"\\]|\\.)*)"\n', text, re.MULTILINE | re.DOTALL)
    }


@settings(max_examples=2000)
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(), max_size=4))
def test_an_environment_survives_its_file(environment: dict[str, str]) -> None:
    if any("\r" in value or "\0" in value for value in environment.values()):
        return
    assert read_as_systemd_does(environment_text(environment)) == environment


def test_numbers_and_booleans_are_written_as_programs_expect() -> None:
    assert environment_text({"A": True, "B": 1, "C": 1.5}) == 'A="true"\nB="1"\nC="1.5"\n'


def test_an_override_replaces_a_directive_and_null_removes_it() -> None:
    lines = sandbox_lines({"UMask": "0077", "SystemCallFilter": None, "MemoryDenyWriteExecute": True})
    assert "UMask=0077" in lines
    assert "UMask=0027" not in lines
    assert "MemoryDenyWriteExecute=yes" in lines
    assert not [line for line in lines if line.startswith("SystemCallFilter")]
