# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventory passes every check that site.yml makes before it changes anything, once its vault is filled."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import estate
import pytest

EXAMPLE = estate.ROOT / "inventories" / "example"
VAULT = sorted(
    set(re.findall(r"\b(vault_\w+_(?:password|key))\b", (EXAMPLE / "group_vars/all/secrets.yml").read_text()))
)


def preflight(values: dict[str, str]) -> estate.Recap:
    """Run only what is checked before a host is touched: the plays tagged `always`."""
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            EXAMPLE,
            "site.yml",
            "--tags",
            "preflight",
            "-e",
            json.dumps(values),
        ],
        cwd=estate.ROOT,
        env=estate.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return estate.Recap.read(done.stdout + done.stderr, done.returncode)


def test_example_passes_with_its_secrets() -> None:
    recap = preflight(dict.fromkeys(VAULT, "a-secret-that-is-long-enough"))
    assert recap.status == 0, recap.output
    assert len(recap.hosts) == 11


@pytest.mark.parametrize("name", VAULT)
def test_a_missing_secret_is_named(name: str) -> None:
    recap = preflight({other: "a-secret-that-is-long-enough" for other in VAULT if other != name})
    assert recap.status != 0
    variable = name.removeprefix("vault_")
    # A database user's password is missed at the user, in brackets.
    named = f"({variable.removesuffix('_database_password')})" if variable.endswith("_database_password") else variable
    assert named in recap.output, recap.output
