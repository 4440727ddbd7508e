# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Release archives: what may be in one, and how it is unpacked. Pure Python, no Ansible.

An archive is judged whole before the first byte is written: every member becomes an Entry, the entries together
become a tree, and the tree either keeps all its paths and links inside itself or is refused with one sentence.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Callable

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTORY = "directory"
FILE = "file"
SYMLINK = "symlink"
HARDLINK = "hardlink"

MAX_ENTRIES = 200_000
MAX_LINKS_FOLLOWED = 40
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
BLOCK = 4096
CHUNK = 1 << 20

_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def is_url(artifact: str | None) -> bool:
    """Whether an artifact is fetched from an address by the host itself."""
    return artifact is not None and artifact.lower().startswith(("http://", "https://"))


def without_credentials(artifact: str) -> str:
    """An artifact as it may be kept and shown: of an address neither user and password nor what follows the path."""
    if "://" not in artifact:
        return artifact
    scheme, _separator, rest = artifact.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


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


def _show(name: str) -> str:
    """A member's name fit for a one-line message."""
    text = name.encode("unicode_escape").decode("ascii")
    return f"'{text}'" if len(text) <= 120 else f"'{text[:117]}...'"


def split_member(name: str) -> tuple[str, ...]:
    """The path components of a member name; refuses every name that could leave the release."""
    if name.startswith("/"):
        raise Refused(f"member {_show(name)} is an absolute path; a release may only hold relative ones")
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) <= 0xDFFF for char in name) or "\\" in name:
        raise Refused(f"member {_show(name)} has a backslash, a control character or no UTF-8 in its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused(f"member {_show(name)} has '..' in its path, which could leave the release")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) or len(name.encode()) > MAX_PATH_BYTES:
        raise Refused(
            f"member {_show(name)} is longer than {MAX_NAME_BYTES} bytes in a name or {MAX_PATH_BYTES} in its path"
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
                f"it declares more than {max_size} bytes unpacked at member {_show(entry.name)}; "
                "raise max_size_mb if the release really is that big"
            )
        if entry.kind == FILE and entry.mode & (stat.S_ISUID | stat.S_ISGID):
            raise Refused(f"member {_show(entry.name)} carries a setuid or setgid bit; pack it with mode 0755 or 0644")
        if parts[:1] == (reserved,):
            raise Refused(f"member {_show(entry.name)} has the name that marks a complete release; rename it")
        known = entries.get(parts)
        if entry.kind == DIRECTORY and (known is None or known.kind == DIRECTORY):
            if parts:
                entries[parts] = entry
        elif known is None and parts:
            entries[parts] = entry
        else:
            raise Refused(f"member {_show(entry.name)} stands in it twice or takes the place of a directory")
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
                raise Refused(f"member {_show('/'.join(parts))} lies beneath {_show(parent.name)}, no directory")


def _check_links(entries: dict[tuple[str, ...], Entry]) -> None:
    for parts, entry in entries.items():
        if entry.kind == SYMLINK:
            try:
                if not entry.target or not entry.target.isprintable():
                    raise Refused("that is no path")
                resolve(entries, parts[:-1], entry.target)
            except Refused as why:
                raise Refused(
                    f"symlink {_show(entry.name)} points to {_show(entry.target)}: {why}; link inside the release only"
                ) from why
        elif entry.kind == HARDLINK:
            source = entries.get(split_member(entry.target))
            if source is None or source.kind != FILE:
                raise Refused(
                    f"hard link {_show(entry.name)} points to {_show(entry.target)}, which is no file of this archive"
                )


def is_zip(path: str) -> bool:
    """Whether the file begins like a zip archive."""
    with open(path, "rb") as handle:
        return handle.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _tar_entries(archive: tarfile.TarFile, limit: int) -> Iterator[Entry]:
    for member in archive:
        if member.isdir():
            yield Entry(member.name, DIRECTORY, mode=member.mode)
        elif member.isreg():
            yield Entry(member.name, FILE, member.size, member.mode)
        elif member.issym():
            yield Entry(member.name, SYMLINK, target=member.linkname)
        elif member.islnk():
            yield Entry(member.name, HARDLINK, target=member.linkname)
        else:
            raise Refused(f"member {_show(member.name)} is a device, a fifo or another kind that no release may hold")
    _check_tar_end(archive, limit)


def _check_tar_end(archive: tarfile.TarFile, limit: int) -> None:
    """Tarfile takes a cut at a member's edge for the end, and leaves the compressor's own check sum unread."""
    handle = archive.fileobj
    if handle is None:
        raise Refused("it cannot be read")
    handle.seek(archive.offset)
    if handle.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise Refused("it is truncated or damaged: its end mark is missing")
    seen = 0
    while chunk := handle.read(CHUNK):
        seen += len(chunk)
        if seen > limit:
            raise Refused("it goes on behind its end mark")


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    for member in archive.infolist():
        mode = member.external_attr >> 16
        kind = stat.S_IFMT(mode)
        if member.flag_bits & 0x1:
            raise Refused(f"member {_show(member.filename)} is encrypted")
        if "\\" in member.orig_filename or "\0" in member.orig_filename:
            raise Refused(f"member {_show(member.orig_filename)} has a backslash or a control character in its name")
        if member.is_dir():
            yield Entry(member.filename, DIRECTORY, mode=stat.S_IMODE(mode))
        elif kind == stat.S_IFLNK:
            if member.file_size > MAX_PATH_BYTES:
                raise Refused(f"symlink {_show(member.filename)} has a target longer than {MAX_PATH_BYTES} bytes")
            yield Entry(member.filename, SYMLINK, target=archive.read(member).decode("utf-8", "surrogateescape"))
        elif kind in (0, stat.S_IFREG):
            yield Entry(member.filename, FILE, member.file_size, stat.S_IMODE(mode) or 0o644)
        else:
            raise Refused(
                f"member {_show(member.filename)} is a device, a fifo or another kind that no release may hold"
            )


def inspect(path: str, max_size: int, reserved: str) -> Tree:
    """Read an archive's members, and check its own end mark; nothing is written."""
    with _reading():
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return check_entries(_zip_entries(archive), max_size, reserved)
        with tarfile.open(path, "r:*") as archive:
            return check_entries(_tar_entries(archive, max_size), max_size, reserved)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what the archive readers raise on a bad file into one sentence; trouble of the disk passes through."""
    try:
        yield
    except (*_DAMAGED, OSError, NotImplementedError, RuntimeError, UnicodeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"it is truncated, damaged or neither a tar archive nor a zip file ({reason})") from error


def check_command(tree: Tree, word: str) -> None:
    """The first word of the start command has to be an executable file of the release."""
    try:
        parts = resolve(tree.entries, (), word)
    except Refused as why:
        raise Refused(f"start command {_show(word)} cannot be used: {why}") from why
    entry = tree.entries.get(parts)
    if entry is not None and entry.kind == HARDLINK:
        entry = tree.entries.get(split_member(entry.target))
    if entry is None or entry.kind != FILE:
        raise Refused(
            f"start command {_show(word)} is no file of the release; give the path of an executable inside the archive"
        )
    if not entry.mode & 0o111:
        raise Refused(f"start command {_show(word)} is not executable; set its mode to 0755 before packing")


def read_member(path: str, tree: Tree, name: str) -> bytes | None:
    """The content of one file of a checked archive, or nothing when it has no such file."""
    entry = tree.entries.get(split_member(name))
    if entry is None or entry.kind != FILE:
        return None
    with _reading():
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return archive.read(entry.name)
        with tarfile.open(path, "r:*") as archive:
            source = archive.extractfile(entry.name)
            return source.read() if source is not None else None


def sha256(path: str) -> str:
    """The checksum of a file, written as `sha256:<hex>`."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _write(source: IO[bytes], destination: str, expected: int) -> None:
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        shutil.copyfileobj(source, handle, CHUNK)
        if handle.tell() != expected:
            raise Refused(f"it is truncated: '{os.path.basename(destination)}' ends early")
        handle.flush()
        # Begin to write it out now, so that the disk has little left to do, and others little to wait for, at the end.
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def unpack(path: str, tree: Tree, destination: str) -> None:
    """Write a checked tree into the empty, private directory *destination*: directories, files, then links."""
    for parts in sorted(parts for parts, entry in tree.entries.items() if entry.kind == DIRECTORY):
        os.mkdir(os.path.join(destination, *parts), 0o700)
    with _reading():
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    _unpack_file(tree, destination, info.filename, partial(archive.open, info))
        else:
            with tarfile.open(path, "r:*") as archive:
                for member in archive:
                    _unpack_file(tree, destination, member.name, partial(archive.extractfile, member))
    for parts, entry in tree.entries.items():
        if entry.kind == HARDLINK:
            source = os.path.join(destination, *split_member(entry.target))
            os.link(source, os.path.join(destination, *parts), follow_symlinks=False)
    for parts, entry in tree.entries.items():
        if entry.kind == SYMLINK:
            os.symlink(entry.target, os.path.join(destination, *parts))


def _unpack_file(tree: Tree, destination: str, name: str, opener: Callable[[], IO[bytes] | None]) -> None:
    parts = split_member(name)
    entry = tree.entries.get(parts)
    if entry is None or entry.kind != FILE:
        return
    source = opener()
    if source is None:
        raise Refused(f"member {_show(name)} cannot be read")
    with source:
        _write(source, os.path.join(destination, *parts), entry.size)


def own(tree: Tree, destination: str, uid: int, gid: int, private: bool) -> None:
    """Give every path to *uid*:*gid*: only the owner may write, and others may not even read when *private*."""
    wide = 0o750 if private else 0o755
    plain = 0o640 if private else 0o644
    paths = [(os.path.join(destination, *parts), entry) for parts, entry in tree.entries.items()]
    for path, entry in paths:
        os.chown(path, uid, gid, follow_symlinks=False)
        if entry.kind == DIRECTORY:
            os.chmod(path, wide)
        elif entry.kind == FILE:
            os.chmod(path, wide if entry.mode & 0o111 else plain)
    os.chown(destination, uid, gid)
    os.chmod(destination, wide)
