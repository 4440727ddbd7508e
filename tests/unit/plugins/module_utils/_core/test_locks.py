# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One process at a time, and none for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import locks


def test_the_lock_of_a_file_is_given_up_in_time_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    held = locks.take_lock(path, 1)
    with pytest.raises(locks.Held, match=r"lock \S+ is held by somebody else for 0\.1 s"):
        locks.take_lock(path, 0.1)
    os.close(held)
    os.close(locks.take_lock(path, 0.1))


def test_a_directory_has_many_readers_or_one_writer_and_nothing_is_left(tmp_path: Path) -> None:
    path = str(tmp_path)
    with locks.directory(path, 0, shared=True):
        with locks.directory(path, 0, shared=True):
            pass
        with pytest.raises(locks.Held), locks.directory(path, 0):
            pass
    with locks.directory(path, 0), pytest.raises(locks.Held), locks.directory(path, 0, shared=True):
        pass
    assert os.listdir(path) == []
