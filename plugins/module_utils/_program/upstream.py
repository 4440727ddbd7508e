# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find an upstream archive: in the cache, in a mirror, or at its origin.

A cache and a mirror have the same layout, ``<program>/<version>/<file>`` with the release's list of checksums beside
it, so that a cache that was filled once can be carried into a plant and serve as the mirror. ``artifacts.lock`` at its
top, in the format of ``sha256sum``, says what was in it when it was filled.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible.module_utils import urls
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing
from ansible_collections.mesops.platform.plugins.module_utils._program.catalog import Archive
from ansible_collections.mesops.platform.plugins.module_utils._program.programs import listed_checksum
from ansible_collections.mesops.platform.plugins.module_utils._release import archives

TIMEOUT_S = 60
LOCK = "artifacts.lock"
Opener = Callable[[str], "IO[bytes]"]


class Unavailable(Exception):
    """The archive is not available from anywhere; the text is one sentence that says where it was looked for."""


@dataclass(frozen=True)
class Found:
    """A verified archive on the controller."""

    path: Path
    checksum: str
    source: str
    """``cache``, or the directory or address that it came from just now."""


def open_url(address: str) -> IO[bytes]:
    """Open an address; trouble of any kind is an OSError."""
    try:
        reply: IO[bytes] = urls.open_url(address, timeout=TIMEOUT_S)
    except urls.ConnectionError as error:
        raise OSError(str(error)) from error
    return reply


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hosts are worked on side by side: one of them fetches, the others wait and find it in the cache."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = take_lock(str(directory / ".lock"), math.inf, mode=0o666)
    try:
        yield
    finally:
        os.close(handle)


def _fetch(origin: str, file: str, directory: Path, opener: Opener) -> Path:
    """Copy one file into the cache; it is there whole or not at all."""
    target = directory / file
    with replacing(str(target), 0o644) as sink:
        if "://" in origin:
            with opener(f"{origin}/{file}") as source:
                shutil.copyfileobj(source, sink, archives.CHUNK)
        else:
            with (Path(origin).expanduser() / file).open("rb") as source:
                shutil.copyfileobj(source, sink, archives.CHUNK)
    return target


def _reason(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return str(getattr(error, "reason", None) or error.strerror or error)


def _wanted(archive: Archive, pinned: str, directory: Path) -> str | None:
    """The checksum that the archive must have: the pinned one, or the one in the release's own list."""
    if pinned:
        return pinned
    try:
        return listed_checksum((directory / archive.checksums).read_text(encoding="utf-8"), archive.file)
    except (OSError, ValueError):
        return None


def _prove(path: Path, archive: Archive, wanted: str | None, where: str) -> str:
    if wanted is None:
        raise Refused(
            f"{archive.file} of {archive.name} {archive.version} from {where} has no checksum to be held against; put "
            f"the release's {archive.checksums} beside it, or pin a sha256"
        )
    found = archives.sha256(str(path))
    if found != wanted:
        raise Refused(
            f"{archive.file} of {archive.name} {archive.version} from {where} has checksum {found}, not {wanted}; "
            "fetch it again, or correct the checksum if the file is right"
        )
    return found


def write_lock(directory: str, found: Sequence[tuple[Archive, Found]]) -> str:
    """Note the checksums of a mirror that was just filled; ``sha256sum --check artifacts.lock`` verifies it later."""
    lines = sorted(
        f"{one.checksum.removeprefix('sha256:')}  {archive.place}/{archive.file}\n" for archive, one in found
    )
    path = Path(directory).expanduser() / LOCK
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def find(archive: Archive, *, cache: str, mirror: str = "", pinned: str = "", opener: Opener = open_url) -> Found:
    """The archive, verified, in the cache.

    With a mirror, the origin is not asked. ``Unavailable`` is raised when nobody has it, ``Refused`` when what was
    found is not what it should be.
    """
    directory = Path(cache).expanduser() / archive.place
    with _alone(directory):
        kept = directory / archive.file
        if kept.is_file():
            wanted = _wanted(archive, pinned, directory)
            return Found(kept, _prove(kept, archive, wanted, f"the cache {directory}"), "cache")
        origin = f"{mirror.rstrip('/')}/{archive.place}" if mirror else archive.url
        try:
            if not pinned:
                _fetch(origin, archive.checksums, directory, opener)
            kept = _fetch(origin, archive.file, directory, opener)
        except OSError as error:
            where = "the mirror" if mirror else "its origin"
            raise Unavailable(
                f"{archive.file} of {archive.name} {archive.version} is neither in the cache {directory} nor at "
                f"{where} {origin} ({_reason(error)})"
            ) from error
        try:
            return Found(kept, _prove(kept, archive, _wanted(archive, pinned, directory), origin), origin)
        except Refused:
            kept.unlink()
            raise
