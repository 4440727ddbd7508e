# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark of a complete release: a file in it that names the release, and that its unit reads. No Ansible in here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import CHECKSUM
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Release

MARKER = ".mesops-release"


def read_mark(directory: str, version: str) -> Release:
    """The release in a directory; it is complete when its mark names the version."""
    try:
        with open(os.path.join(directory, MARKER), encoding="ascii") as handle:
            lines = dict(line.rstrip("\n").split("=", 1) for line in handle if "=" in line)
    except (OSError, ValueError):
        return Release(version, False)
    checksum = lines.get("SERVICE_CHECKSUM", "")
    complete = lines.get("SERVICE_VERSION") == version and bool(CHECKSUM.fullmatch(checksum))
    return Release(version, complete, lines.get("SERVICE_INSTALLED_AT", ""), checksum)


def write_mark(directory: str, release: Release) -> None:
    """Mark the release in a directory as complete."""
    write_atomically(
        os.path.join(directory, MARKER),
        f"SERVICE_VERSION={release.version}\nSERVICE_CHECKSUM={release.checksum}\n"
        f"SERVICE_INSTALLED_AT={release.installed_at}\n",
        0o644,
    )


def utc_now(clock: Callable[[], float] = time.time) -> str:
    """The time as it stands in a marker."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
