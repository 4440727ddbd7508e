# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every plugin explains itself, and carries its licence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
SOURCES = sorted(path for path in (ROOT / "plugins").rglob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, object]]:
    names = [f"mesops.platform.{path.stem}" for path in MODULES]
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-doc", "--json", "-t", "module", *names],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, dict[str, object]] = json.loads(done.stdout)
    return loaded


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_is_documented(path: Path, documents: dict[str, dict[str, object]]) -> None:
    document = documents[f"mesops.platform.{path.stem}"]
    assert "error" not in document, document
    doc = document["doc"]
    assert isinstance(doc, dict)
    assert doc["short_description"]
    assert {"check_mode", "diff_mode"} <= set(doc["attributes"])
    assert "mesops.platform." in str(document["examples"])
    assert document["return"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_carries_its_licence(path: Path) -> None:
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text()
