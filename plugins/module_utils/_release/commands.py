# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that a release brings: how they may begin, and that their programs are in it. No Ansible in here."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import (
    FILE,
    HARDLINK,
    Tree,
    printable,
    resolve,
    split_member,
)

LONGEST_COMMAND = 4096
"""Characters; a line of a unit file ends at a mebibyte."""


def _command(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > LONGEST_COMMAND:
        raise ValueError
    program = shlex.split(value)[0]
    # As it stands, so that quotes hide nothing.
    if value.split()[0] != program or ".." in program.split("/"):
        raise ValueError
    if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._/+-]*", program):
        raise ValueError
    return value.strip()


COMMAND = scalars.Rule(
    _command,
    f"one line of at most {LONGEST_COMMAND} characters that begins with a plain path in the release, such as "
    "bin/catalog",
)
"""What a service is started with, and a migration; arguments may have quotes."""


def program_of(command: str) -> str:
    """The path in the release with which a command begins."""
    if not COMMAND.fits(command):
        raise Refused(f"command {command!r} cannot be run; give {COMMAND.wanted}")
    return command.split(maxsplit=1)[0]


def check_command(tree: Tree, word: str) -> None:
    """The first word of the start command has to be an executable file of the release."""
    try:
        parts = resolve(tree.entries, (), word)
    except Refused as why:
        raise Refused(f"start command {printable(word)} cannot be used: {why}") from why
    entry = tree.entries.get(parts)
    if entry is not None and entry.kind == HARDLINK:
        entry = tree.entries.get(split_member(entry.target))
    if entry is None or entry.kind != FILE:
        raise Refused(
            f"start command {printable(word)} is no file of the release; "
            "give the path of an executable inside the archive"
        )
    if not entry.mode & 0o111:
        raise Refused(f"start command {printable(word)} is not executable; set its mode to 0755 before packing")


def check_installed_command(release: str, version: str, word: str) -> None:
    """The start command of a release that is installed already."""
    where = os.path.realpath(release)
    program = os.path.realpath(os.path.join(where, word))
    if not program.startswith(where + "/") or not os.path.isfile(program):
        raise Refused(f"start command '{word}' is no file of release {version}; correct the command or the release")
    if not os.stat(program).st_mode & 0o111:
        raise Refused(f"start command '{word}' of release {version} is not executable; build a new release")
