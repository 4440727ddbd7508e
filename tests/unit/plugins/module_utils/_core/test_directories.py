# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import directories


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o777], ids=oct, autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("wanted", [0o755, 0o750])
def test_directory_and_its_missing_parents_have_the_wanted_mode(tmp_path: Path, wanted: int) -> None:
    directories.make(str(tmp_path / "a/b/c"), wanted)
    assert [mode(tmp_path / one) for one in ("a", "a/b", "a/b/c")] == [wanted] * 3


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o711)
    directories.make(str(tmp_path / "a"))
    directories.make(str(tmp_path / "a/b"))
    assert mode(tmp_path / "a") == 0o711
    assert mode(tmp_path / "a/b") == 0o755


def test_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(NotADirectoryError):
        directories.make(str(tmp_path / "a/b"))
