# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Release archives, tar and zip: read into a tree that is judged before the first byte is written, then unpacked."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Callable

from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import (
    DIRECTORY,
    FILE,
    HARDLINK,
    MAX_PATH_BYTES,
    SYMLINK,
    Entry,
    Tree,
    check_entries,
    printable,
    split_member,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


CHUNK = 1 << 20

_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


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
            raise Refused(
                f"member {printable(member.name)} is a device, a fifo or another kind that no release may hold"
            )
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
            raise Refused(f"member {printable(member.filename)} is encrypted")
        if "\\" in member.orig_filename or "\0" in member.orig_filename:
            raise Refused(
                f"member {printable(member.orig_filename)} has a backslash or a control character in its name"
            )
        if member.is_dir():
            yield Entry(member.filename, DIRECTORY, mode=stat.S_IMODE(mode))
        elif kind == stat.S_IFLNK:
            if member.file_size > MAX_PATH_BYTES:
                raise Refused(f"symlink {printable(member.filename)} has a target longer than {MAX_PATH_BYTES} bytes")
            yield Entry(member.filename, SYMLINK, target=archive.read(member).decode("utf-8", "surrogateescape"))
        elif kind in (0, stat.S_IFREG):
            yield Entry(member.filename, FILE, member.file_size, stat.S_IMODE(mode) or 0o644)
        else:
            raise Refused(
                f"member {printable(member.filename)} is a device, a fifo or another kind that no release may hold"
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
        raise Refused(f"member {printable(name)} cannot be read")
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


def flush(path: str) -> None:
    """Bring a release to the disk before it becomes visible, so that no power cut leaves empty files in it.

    File by file: syncfs would write out all that others have changed on the file system, and let a database wait.
    """
    for directory, _directories, files in os.walk(path):
        for one in (os.path.join(directory, name) for name in files):
            if not os.path.islink(one):
                directories.sync(one)
        directories.sync(directory)
