# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process was started with is read from the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._release.running import (
    running_configuration,
    running_version,
)


def test_the_running_release_is_read_from_the_process(tmp_path: Path) -> None:
    releases = str(tmp_path / "releases")
    proc = tmp_path / "proc" / "7"
    proc.mkdir(parents=True)
    (proc / "environ").write_bytes(b"A=b\0SERVICE_VERSION=4\0")
    assert running_version(releases, 7, str(tmp_path / "proc")) == "4"
    os.symlink("/", proc / "cwd")
    assert running_version(releases, 7, str(tmp_path / "proc")) == "4"
    os.unlink(proc / "cwd")
    os.symlink(f"{releases}/3", proc / "cwd")
    assert running_version(releases, 7, str(tmp_path / "proc")) == "3"
    os.unlink(proc / "cwd")
    os.symlink(f"{releases}/3 (deleted)", proc / "cwd")
    assert running_version(releases, 7, str(tmp_path / "proc")) != "3"
    assert running_version(releases, 8, str(tmp_path / "proc")) is None


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (b"PATH=/bin\0SERVICE_CONFIGURATION=0123456789ab\0X=1\0", "0123456789ab"),
        (b"X=\nSERVICE_CONFIGURATION=0123456789ab\0", ""),
        (b"SERVICE_CONFIGURATION=something else\0", ""),
        (b"", ""),
    ],
)
def test_a_process_tells_what_it_was_started_with(tmp_path: Path, environ: bytes, told: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "environ").write_bytes(environ)
    assert running_configuration(7, str(tmp_path)) == told
    assert running_configuration(8, str(tmp_path)) == ""
