# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that are as wanted whatever the umask of the login is. No Ansible in here."""

from __future__ import annotations

import os


def sync(path: str) -> None:
    """Bring to the disk what was made, renamed or removed in a directory, or a file's content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make(path: str, mode: int = 0o755, gid: int | None = None) -> None:
    """Make a directory and the parents that are missing, all with this very mode; what is there stays as it is.

    ``os.makedirs`` takes the umask off the mode, and gives it to the last directory only. Under a umask of 077, which
    hardened hosts have, other users could not enter. With ``gid`` they belong to root and to that group.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for one in reversed(missing):
        try:
            os.mkdir(one, 0o700)
        except FileExistsError:
            # Another process was faster, and gives it its mode.
            continue
        if gid is not None:
            os.chown(one, 0, gid)
        os.chmod(one, mode)
