# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs from upstream archives on one host: what is there, and how a version gets in. No Ansible in here.

    <root>/<program>/<version>/   the executables of one version, or its whole tree with links to them, and the marker
                                  that says that they are all there
    <bin>/<command>               a link to the version that is in use, swapped by rename

Everything is judged and unpacked beside, and becomes visible by one rename, so that a killed run leaves nothing that
the next one takes for a program.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import archives, trees

if TYPE_CHECKING:
    from ansible_collections.mesops.platform.plugins.module_utils._program.catalog import Archive

ROOT = "/opt/mesops/programs"
BIN = "/usr/local/bin"
MARKER = ".mesops-program"
KEEP = 2
MAX_SIZE = 2 << 30

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64})\s+\*?(?:\./)?(?P<file>\S+)")


@dataclass(frozen=True)
class Place:
    """Where programs and their commands lie."""

    root: str = ROOT
    bin: str = BIN

    def version(self, archive: Archive) -> str:
        """The directory of one version."""
        return os.path.join(self.root, archive.name, archive.version)

    def link(self, command: str) -> str:
        """The link of one command."""
        return os.path.join(self.bin, command)


def check_checksum(checksum: str) -> str:
    """A pinned checksum as the user writes it."""
    if not _CHECKSUM.fullmatch(checksum.lower()):
        raise Refused(
            f"checksum {checksum[:200]!r} is not of the form sha256:<64 hex digits>; take it from the release's page"
        )
    return checksum.lower()


def listed_checksum(text: str, file: str) -> str | None:
    """The checksum that a list in the format of ``sha256sum`` has for a file, or nothing.

    A text that is one checksum and nothing else, as beside Grafana's archives, is that of the file.
    """
    if re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        return f"sha256:{text.strip().lower()}"
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found and found.group("file") == file:
            return f"sha256:{found.group('digest').lower()}"
    return None


def installed(place: Place, archive: Archive) -> str | None:
    """The checksum of the archive that a complete version came from, or nothing when it is not there."""
    directory = place.version(archive)
    try:
        with open(os.path.join(directory, MARKER), encoding="utf-8") as handle:
            checksum = str(json.load(handle)["checksum"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(os.access(os.path.join(directory, command), os.X_OK) for command in archive.members)
    return checksum if whole else None


def in_use(place: Place, archive: Archive) -> str | None:
    """The version that the commands lead to, or nothing when they lead nowhere or to several."""
    found = set()
    for command in archive.members:
        try:
            target = os.readlink(place.link(command))
        except OSError:
            return None
        directory, name = os.path.split(target)
        if name != command or os.path.dirname(directory) != os.path.join(place.root, archive.name):
            return None
        found.add(os.path.basename(directory))
    return found.pop() if len(found) == 1 else None


def check_links(place: Place, archive: Archive) -> None:
    """Refuse to take the place of a program that somebody else put there."""
    for command in archive.members:
        path = place.link(command)
        if os.path.lexists(path) and not os.path.islink(path):
            raise Refused(f"{path} is no link of this collection but a file of its own; move it away, then run again")


def _top(tree: trees.Tree, archive: Archive) -> tuple[str, ...]:
    """The directory in which everything lies, of an archive that is kept whole."""
    if not archive.whole:
        return ()
    tops = {parts[0] for parts in tree.entries}
    if len(tops) != 1:
        raise Refused(f"{archive.file} holds no single directory; it is no archive of {archive.name} {archive.version}")
    return (tops.pop(),)


def unpack(path: str, checksum: str, place: Place, archive: Archive) -> None:
    """Take the executables, or the whole tree, out of an archive that has been verified."""
    found = archives.sha256(path)
    if found != checksum:
        raise Refused(f"{archive.file} arrived with checksum {found}, not {checksum}; run again")
    tree = archives.inspect(path, MAX_SIZE, MARKER)
    top = _top(tree, archive)
    for member in archive.members.values():
        entry = tree.entries.get((*top, *trees.split_member(member)))
        if entry is None or entry.kind != trees.FILE:
            raise Refused(f"{archive.file} holds no {member}; it is no archive of {archive.name} {archive.version}")
    target = place.version(archive)
    parent = os.path.dirname(target)
    directories.make(parent)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=parent) as scratch:
        whole, chosen = os.path.join(scratch, "whole"), os.path.join(scratch, "chosen")
        os.mkdir(whole)
        archives.unpack(path, tree, whole)
        if archive.whole:
            archives.own(tree, whole, os.geteuid(), os.getegid(), private=False)
            os.rename(os.path.join(whole, *top), chosen)
            for command, member in archive.members.items():
                os.symlink(member, os.path.join(chosen, command))
        else:
            os.mkdir(chosen)
            for command, member in archive.members.items():
                destination = os.path.join(chosen, command)
                os.rename(os.path.join(whole, member), destination)
                os.chmod(destination, 0o755)
        with open(os.path.join(chosen, MARKER), "w", encoding="utf-8") as handle:
            json.dump({"checksum": checksum, "file": archive.file}, handle)
        os.chmod(chosen, 0o755)
        if os.path.lexists(target):
            os.rename(target, os.path.join(scratch, "old"))
        os.rename(chosen, target)


def use(place: Place, archive: Archive) -> None:
    """Let the commands lead to this version."""
    directories.make(place.bin)
    for command in archive.members:
        path = place.link(command)
        beside = f"{path}.mesops-new"
        if os.path.lexists(beside):
            os.unlink(beside)
        os.symlink(os.path.join(place.version(archive), command), beside)
        os.rename(beside, path)


def prune(place: Place, archive: Archive, keep: int = KEEP) -> list[str]:
    """Remove all but the newest versions by time of arrival, never the one in use; what was removed."""
    parent = os.path.join(place.root, archive.name)
    others = [
        entry for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False) and entry.name != archive.version
    ]
    others.sort(key=lambda entry: (not entry.name.startswith("."), entry.stat().st_ctime), reverse=True)
    gone = others[keep - 1 :]
    for entry in gone:
        shutil.rmtree(entry.path, ignore_errors=True)
    return [entry.name for entry in gone]
