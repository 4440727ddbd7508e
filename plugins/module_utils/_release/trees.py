# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release archive holds, as a tree that keeps all its paths and links inside itself, or is refused. No Ansible.

An archive is judged whole before the first byte is written: every member becomes an Entry, and the entries together
become a tree.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

DIRECTORY = "directory"
FILE = "file"
SYMLINK = "symlink"
HARDLINK = "hardlink"
MAX_ENTRIES = 200_000
MAX_LINKS_FOLLOWED = 40
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
BLOCK = 4096


@dataclass(frozen=True)
class Entry:
    """One member of an archive, as the archive declares it."""

    name: str
    kind: str
    size: int = 0
    mode: int = 0o644
    target: str = ""


@dataclass(frozen=True)
class Tree:
    """The checked content of an archive: relative path -> entry, directories that are only implied included."""

    entries: dict[tuple[str, ...], Entry]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def disk_size(self) -> int:
        """Bytes that the unpacked release takes on disk, block by block."""
        return sum(BLOCK + -(-entry.size // BLOCK) * BLOCK for entry in self.entries.values())


def printable(name: str) -> str:
    """A member's name fit for a one-line message."""
    text = name.encode("unicode_escape").decode("ascii")
    return f"'{text}'" if len(text) <= 120 else f"'{text[:117]}...'"


def split_member(name: str) -> tuple[str, ...]:
    """The path components of a member name; refuses every name that could leave the release."""
    if name.startswith("/"):
        raise Refused(f"member {printable(name)} is an absolute path; a release may only hold relative ones")
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) <= 0xDFFF for char in name) or "\\" in name:
        raise Refused(f"member {printable(name)} has a backslash, a control character or no UTF-8 in its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused(f"member {printable(name)} has '..' in its path, which could leave the release")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) or len(name.encode()) > MAX_PATH_BYTES:
        raise Refused(
            f"member {printable(name)} is longer than {MAX_NAME_BYTES} bytes in a name or {MAX_PATH_BYTES} in its path"
        )
    return parts


def resolve(entries: dict[tuple[str, ...], Entry], start: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Where a path leads from the directory *start* inside the tree, links followed as the kernel would.

    A way that leaves the tree, even for one step, is refused, and so is a loop.
    """
    where = list(start)
    todo = list(reversed(path.split("/")))
    if path.startswith("/"):
        raise Refused("it is absolute")
    followed = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not where:
                raise Refused("it leaves the release")
            where.pop()
            continue
        where.append(part)
        entry = entries.get(tuple(where))
        if entry is not None and entry.kind == SYMLINK:
            followed += 1
            if followed > MAX_LINKS_FOLLOWED:
                raise Refused("it goes round in a circle")
            if entry.target.startswith("/"):
                raise Refused("it is absolute")
            where.pop()
            todo.extend(reversed(entry.target.split("/")))
    return tuple(where)


def check_entries(found: Iterable[Entry], max_size: int, reserved: str) -> Tree:
    """Judge all members of an archive together; *reserved* is the one top-level name that the store itself writes."""
    entries: dict[tuple[str, ...], Entry] = {}
    total = 0
    for count, entry in enumerate(found, start=1):
        parts = split_member(entry.name)
        if count > MAX_ENTRIES:
            raise Refused(f"it has more than {MAX_ENTRIES} members")
        total += entry.size
        if total > max_size:
            raise Refused(
                f"it declares more than {max_size} bytes unpacked at member {printable(entry.name)}; "
                "raise max_size_mb if the release really is that big"
            )
        if entry.kind == FILE and entry.mode & (stat.S_ISUID | stat.S_ISGID):
            raise Refused(
                f"member {printable(entry.name)} carries a setuid or setgid bit; pack it with mode 0755 or 0644"
            )
        if parts[:1] == (reserved,):
            raise Refused(f"member {printable(entry.name)} has the name that marks a complete release; rename it")
        known = entries.get(parts)
        if entry.kind == DIRECTORY and (known is None or known.kind == DIRECTORY):
            if parts:
                entries[parts] = entry
        elif known is None and parts:
            entries[parts] = entry
        else:
            raise Refused(f"member {printable(entry.name)} stands in it twice or takes the place of a directory")
    _add_parents(entries)
    _check_links(entries)
    if not entries:
        raise Refused("it is empty")
    return Tree(entries)


def _add_parents(entries: dict[tuple[str, ...], Entry]) -> None:
    for parts in list(entries):
        for depth in range(1, len(parts)):
            parent = entries.setdefault(parts[:depth], Entry("/".join(parts[:depth]), DIRECTORY, mode=0o755))
            if parent.kind != DIRECTORY:
                raise Refused(
                    f"member {printable('/'.join(parts))} lies beneath {printable(parent.name)}, no directory"
                )


def _check_links(entries: dict[tuple[str, ...], Entry]) -> None:
    for parts, entry in entries.items():
        if entry.kind == SYMLINK:
            try:
                if not entry.target or not entry.target.isprintable():
                    raise Refused("that is no path")
                resolve(entries, parts[:-1], entry.target)
            except Refused as why:
                raise Refused(
                    f"symlink {printable(entry.name)} points to {printable(entry.target)}: {why}; "
                    "link inside the release only"
                ) from why
        elif entry.kind == HARDLINK:
            source = entries.get(split_member(entry.target))
            if source is None or source.kind != FILE:
                raise Refused(
                    f"hard link {printable(entry.name)} points to {printable(entry.target)}, which is no file of this "
                    "archive"
                )
