# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration that is to be activated, and how a worker tells that it has loaded it.

What the running worker has loaded is asked from the worker itself: every configuration ends in a ``setenv`` with the
digest of its text and files, which "show env" gives back. So a run that was killed between two steps, a plain
"systemctl reload" and a reboot all converge without any record to go stale.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core import files
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import server_states

DIGEST_NAME = "MESOPS_CONFIG_SHA256"


@dataclass(frozen=True)
class File(files.File):
    """A file that must be on disk; ``loaded`` says that HAProxy reads it, so that a change needs a reload."""

    loaded: bool = True


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for."""

    config: File
    files: tuple[File, ...] = ()
    exclusive_dirs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    unit: str = "haproxy.service"
    binary: str = "/usr/sbin/haproxy"
    state_file: str = server_states.STATE_FILE
    run_dir: str = "/run"
    reload_timeout: float = 30.0
    settle_timeout: float = 10.0
    check_mode: bool = False


def digest(config: str, files: Sequence[File]) -> str:
    """Digest of everything that HAProxy reads."""
    total = hashlib.sha256(config.encode())
    for one in sorted(files, key=lambda item: item.path):
        if one.loaded:
            total.update(f"\0{one.path}\0{one.content}".encode())
    return total.hexdigest()


def with_digest(config: str, sha256: str) -> str:
    """Append the digest, after the last line so that line numbers stay those of the template's output."""
    trailer = f'# What a worker has loaded: "show env {DIGEST_NAME}".\nglobal\n    setenv {DIGEST_NAME} {sha256}\n'
    return f"{config.rstrip()}\n\n{trailer}"


def digest_in(text: str) -> str:
    """Return the digest that a configuration or a "show env" reply carries."""
    found = re.search(DIGEST_NAME + r"[ =]([0-9a-f]{64})", text)
    return found.group(1) if found else ""
