# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the directories and files of a daemon, each file verified before it takes its place. No Ansible in here."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, files
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically

CHECKED = "%s"
"""What stands for the path of the file in the command that checks it."""


class FilesError(Exception):
    """A file or directory cannot be as wanted; the text is one sentence for the user."""


@dataclass(frozen=True)
class Directory:
    """A directory of root's that a group may enter; without a group its owners are left as they are."""

    path: str
    gid: int | None = None
    mode: int = 0o750


@dataclass(frozen=True)
class File(files.File):
    """A file that the daemon reads."""

    check: str = ""
    """The command that must find it good, with ``%s`` for its path."""
    secret: bool = False
    """Whether its text is for nobody's eyes."""


@dataclass
class Made:
    """What differed and was made as wanted, or would be in check mode."""

    paths: list[str] = field(default_factory=list)
    diff: list[dict[str, Any]] = field(default_factory=list)


def parse_mode(text: str, path: str) -> int:
    """Read a mode such as 0640. Without its zero it is what YAML makes of a number that nobody has quoted."""
    if not re.fullmatch("0[0-7]{3}", text):
        raise FilesError(f'The mode {text} of {path} is none such as "0640", in quotes; correct it and run again')
    return int(text, 8)


def checked(command: str, path: str) -> list[str]:
    """The words of a checker's command for the file at ``path``."""
    if CHECKED not in command:
        raise FilesError(
            f"The command {command} has no %s, so it would check no file; say where the file's path belongs"
        )
    return [word.replace(CHECKED, path) for word in shlex.split(command)]


def make(
    wanted_directories: Sequence[Directory],
    wanted_files: Sequence[File],
    *,
    run: Run,
    scratch: str,
    check_mode: bool = False,
) -> Made:
    """Make all that differs, in this order; a file that its checker refuses ends it, and what was there stays.

    A file is checked when those before it are in place, since a checker follows their names in it. ``scratch`` is a
    directory for the candidates, which nobody else may read.
    """
    made = Made()
    for directory in wanted_directories:
        if _directory_differs(directory):
            made.diff.append(_difference(directory.path, _view(directory.path), _view_of(directory)))
            if not check_mode:
                directories.make(directory.path, directory.mode, directory.gid)
                if directory.gid is not None:
                    os.chown(directory.path, 0, directory.gid)
                os.chmod(directory.path, directory.mode)
            made.paths.append(directory.path)
    for file in wanted_files:
        if files.differs(file):
            made.diff += _differences(file)
            if not check_mode:
                _prove(file, run, scratch)
                files.write(file)
            made.paths.append(file.path)
    return made


def _directory_differs(wanted: Directory) -> bool:
    # Its owners and mode become those that are wanted, so only root may say by a link which directory that is.
    maker = os.lstat(wanted.path).st_uid if os.path.islink(wanted.path) else 0
    if maker != 0:
        raise FilesError(
            f"{wanted.path} is a link to {os.readlink(wanted.path)} that user {maker} has made; remove it, or make it "
            "as root, and run again"
        )
    if not os.path.isdir(wanted.path):
        if os.path.lexists(wanted.path):
            raise FilesError(f"{wanted.path} is no directory; move it away and run again")
        return True
    return _view(wanted.path) != _view_of(wanted)


def _prove(wanted: File, run: Run, scratch: str) -> None:
    """Let the product's own checker judge a candidate."""
    if not wanted.check:
        return
    candidate = os.path.join(scratch, os.path.basename(wanted.path))
    try:
        write_atomically(candidate, wanted.content)
        command = checked(wanted.check, candidate)
        status, out, err = run(command)
    finally:
        if os.path.exists(candidate):
            os.unlink(candidate)
    if status != 0:
        reason = " ".join(f"{out}\n{err}".replace(candidate, wanted.path).split())
        raise FilesError(
            f"{os.path.basename(command[0])} refuses {wanted.path}: {reason or 'no reason given'}; the file in use "
            "stays, correct the variable that this comes from and run again"
        )


def _view(path: str) -> dict[str, Any]:
    """What is shown of a path beside its text."""
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return {}
    return {"mode": f"{now.st_mode & 0o7777:04o}", "owner": now.st_uid, "group": now.st_gid}


def _view_of(wanted: Directory | files.File) -> dict[str, Any]:
    owners = _view(wanted.path) if wanted.gid is None else {"owner": 0, "group": wanted.gid}
    return {**owners, "mode": f"{wanted.mode:04o}"}


def _difference(path: str, before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after, "before_header": path, "after_header": path}


def _differences(wanted: File) -> list[dict[str, Any]]:
    found = []
    before = read_text(wanted.path)
    if before != wanted.content:
        found.append(
            {"prepared": f"{wanted.path} differs; it holds secrets, which are not shown.\n"}
            if wanted.secret
            else _difference(wanted.path, before, wanted.content)
        )
    if _view(wanted.path) not in ({}, _view_of(wanted)):
        found.append(_difference(wanted.path, _view(wanted.path), _view_of(wanted)))
    return found
