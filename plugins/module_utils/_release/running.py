# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release and which configuration a process was started with. No Ansible in here."""

from __future__ import annotations

import os

from ansible_collections.mesops.platform.plugins.module_utils._release.naming import DIGEST
from ansible_collections.mesops.platform.plugins.module_utils._release.shelf import VARIABLE


def running_version(releases: str, pid: int, proc: str = "/proc") -> str | None:
    """The one of the releases that a process was started on: its working directory, or what its environment says."""
    inside = os.path.realpath(releases) + "/"
    try:
        where = os.readlink(f"{proc}/{pid}/cwd")
        if where.startswith(inside):
            return where[len(inside) :].split("/", 1)[0]
    except OSError:
        # In a container even root may not look there, but the environment can be read.
        pass
    try:
        with open(f"{proc}/{pid}/environ", "rb") as handle:
            variables = handle.read().split(b"\0")
    except OSError:
        return None
    return next((one[16:].decode("utf-8", "replace") for one in variables if one.startswith(b"SERVICE_VERSION=")), None)


def running_configuration(pid: int, proc: str = "/proc") -> str:
    """The digest of what a process was started with, or nothing when it does not say."""
    try:
        with open(f"{proc}/{pid}/environ", encoding="utf-8", errors="replace") as handle:
            variables = dict(one.partition("=")[::2] for one in handle.read().split("\0"))
    except OSError:
        return ""
    found = variables.get(VARIABLE, "")
    return found if DIGEST.fullmatch(found) else ""
