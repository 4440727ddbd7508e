# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of one file does on a host what the module does here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
from ansible.errors import AnsibleLookupError
from ansible_collections.mesops.platform.plugins.lookup.host_script import LookupModule
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.host_script import host_script
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.imports import PACKAGE, NotCarried

TOP = "from __future__ import annotations\n"


def written(**sources: str) -> str:
    found = {f"{PACKAGE}._core.{name}": f'"""Head."""\n{TOP}{text}' for name, text in sources.items()}
    return host_script(f"{PACKAGE}._core.program", found.get)


def from_core(module: str, names: str) -> str:
    return f"from {PACKAGE}._core.{module} import {names}\n"


@pytest.fixture
def state_script(tmp_path: Path) -> Path:
    path = tmp_path / "haproxy_state.py"
    path.write_text(LookupModule(None, None).run(["_haproxy.state_program"])[0], encoding="utf-8")
    return path


def test_the_script_of_the_load_balancers_runs_alone(state_script: Path) -> None:
    ended = subprocess.run([sys.executable, "-I", str(state_script)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "usage: haproxy_state.py before-start|before-reload|save|guard\n")
    assert "ansible_collections" not in state_script.read_text(encoding="utf-8")


def test_it_locks_and_replaces_with_what_the_kernel_has(state_script: Path, tmp_path: Path) -> None:
    program = run_path(str(state_script))
    names = program["_save"].__globals__
    names.update(LOCK=str(tmp_path / "lock"), STATE_FILE=str(tmp_path / "state"), ask=lambda _socket, _command: "")
    program["_save"]("backend catalog\n    server one 10.0.0.1:80 check\n", marked=True)
    assert program["FRESH_MARK"] in (tmp_path / "state").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["haproxy_state.py", "lock", "state"]


def test_relatives_of_relatives_stand_once_and_before_who_needs_them() -> None:
    text = written(
        program=from_core("a", "a") + from_core("b", "b") + "print(a() + b())\n",
        a=from_core("b", "b") + "def a():\n    return b()\n",
        b="def b():\n    return 21\n",
    )
    assert (text.count("def b()"), text.count("Head"), text.count(TOP)) == (1, 1, 1)
    assert subprocess.check_output([sys.executable, "-I", "-c", text], text=True) == "42\n"


@pytest.mark.parametrize(
    ("program", "relative", "reason"),
    [
        ("a = 1\n" + from_core("a", "b"), "a = b = 1\n", "define a twice; rename one"),
        (from_core("a", "a as b"), "a = 1\n", "under their own names"),
        (f"from {PACKAGE}._core import a\n", "a = 1\n", "takes functions from modules"),
        ("def f():\n    " + from_core("a", "a"), "a = 1\n", "within a function; do it at the top"),
        ("import yaml\n", "", "which hosts do not have"),
    ],
)
def test_what_does_not_fit_into_one_file_is_refused(program: str, relative: str, reason: str) -> None:
    with pytest.raises(NotCarried, match=reason):
        written(program=program, a=relative)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(AnsibleLookupError, match="nothing is no module of this collection; correct the name"):
        LookupModule(None, None).run(["_core.nothing"])
