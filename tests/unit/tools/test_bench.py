# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of ``make bench`` take too long to run here; that they load with what make sets is seen."""

from __future__ import annotations

import os
import subprocess
import sys

import estate
import pytest
from bench.__main__ import PARTS


@pytest.mark.parametrize("part", PARTS)
def test_a_part_loads_as_make_runs_it(part: str) -> None:
    rule = f"load: ; @{sys.executable} -c 'from bench import {part}; print({part}.measure.__name__)'"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["make", "--silent", "--eval", rule, "load"],
        cwd=estate.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "measure\n"), done.stderr
