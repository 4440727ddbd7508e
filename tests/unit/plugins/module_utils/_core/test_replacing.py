# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file has the old or the new content whatever happens, and nobody reads it who may not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing, write_atomically

STEPS = ("begin", "write", "flush", "show", "keep")


class Killed(BaseException):
    """The run ends here."""


def killed_at(wanted: str) -> Callable[[str], None]:
    def step(name: str) -> None:
        if name == wanted:
            raise Killed

    return step


@pytest.mark.parametrize("step", STEPS)
def test_run_that_ends_anywhere_leaves_old_or_new_and_the_next_one_converges(tmp_path: Path, step: str) -> None:
    path, beside = tmp_path / "file", tmp_path / ".new"
    path.write_text("old")
    with pytest.raises(Killed), replacing(str(path), beside=str(beside), durable=True, step=killed_at(step)) as stream:
        stream.write(b"new")
    assert path.read_text() == ("new" if step == "keep" else "old")
    with replacing(str(path), beside=str(beside)) as stream:
        stream.write(b"9")
    assert path.read_text() == "9"
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(str(path), "\udcff")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])


@pytest.mark.parametrize(("mode", "found"), [(0o644, 0o644), (0o600, 0o600), (None, 0o640)])
def test_the_mode_is_the_wanted_one_from_the_first_byte_on(tmp_path: Path, mode: int | None, found: int) -> None:
    before = os.umask(0o027)
    try:
        with replacing(str(tmp_path / "file"), mode, (-1, os.getegid())) as stream:
            (beside,) = tmp_path.iterdir()
            assert beside.stat().st_mode & 0o7777 == found
            stream.write(b"text")
        assert (tmp_path / "file").stat().st_mode & 0o7777 == found
    finally:
        os.umask(before)


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".new").symlink_to("precious")
    with (
        pytest.raises(OSError, match="symbolic link"),
        replacing(str(tmp_path / "file"), beside=str(tmp_path / ".new")),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
