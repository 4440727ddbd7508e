# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are wanted on disk: whether they are, and how they get there. No Ansible in here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import write_atomically


@dataclass(frozen=True)
class File:
    """A file of root's; without a group its owners are left as they are."""

    path: str
    content: str
    mode: int = 0o640
    gid: int | None = None


def differs(wanted: File) -> bool:
    """Whether the file on disk is not exactly the wanted one: text, mode or owners."""
    try:
        now = os.stat(wanted.path)
    except FileNotFoundError:
        return True
    wrong_owners = wanted.gid is not None and (now.st_uid, now.st_gid) != (0, wanted.gid)
    if wrong_owners or now.st_mode & 0o7777 != wanted.mode:
        return True
    # As bytes: reading a text makes one kind of line end of all.
    with open(wanted.path, "rb") as stream:
        return stream.read() != wanted.content.encode()


def write(wanted: File) -> None:
    """Install one file, its directory included."""
    directories.make(os.path.dirname(wanted.path))
    write_atomically(wanted.path, wanted.content, wanted.mode, None if wanted.gid is None else (0, wanted.gid))
