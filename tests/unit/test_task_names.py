# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios and pages that wait for a task by its name wait for one that exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import estate
import pytest
import yaml

NAMED = re.compile(r"TASK \[mesops\.platform\.(\w+) : ([^\]\"\n{]+)")


def names(tasks: Any) -> set[str]:
    """The names of tasks, those within blocks included; a template's begin only."""
    found = set()
    for task in tasks or []:
        found.add(task.get("name", "").split("{{")[0])
        for block in ("block", "rescue", "always"):
            found |= names(task.get(block))
    return found


def tasks_of(role: str) -> set[str]:
    """The names of all tasks of a role."""
    files = (estate.ROOT / "roles" / role / "tasks").glob("*.yml")
    return set().union(*(names(yaml.safe_load(path.read_text())) for path in files))


WAITED_FOR = sorted(
    {
        (path, role, name.strip())
        for pattern in ("molecule/*/tests/*.py", "docs/**/*.md", "tests/*.py", "tools/**/*.py", "demo/*.py")
        for path in estate.ROOT.glob(pattern)
        for role, name in NAMED.findall(path.read_text())
        if not name.startswith("Validating arguments")
    }
)


@pytest.mark.parametrize(("path", "role", "name"), WAITED_FOR)
def test_task_exists(path: Path, role: str, name: str) -> None:
    assert any(one.startswith(name) or (one and name.startswith(one)) for one in tasks_of(role)), (
        f"{path.relative_to(estate.ROOT)} names a task that role {role} has not: {name!r}"
    )
