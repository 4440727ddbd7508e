# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations of one service on one host: those that are kept, and the active one. No Ansible in here.

    /etc/default/<service>, /etc/systemd/system/<service>.service       the active configuration
    /opt/<service>/configurations/<digest>/environment and unit         one complete configuration each
    /opt/<service>/configurations/.key                                  makes the digests; root's only

What is active is told by its content, never by a link or a note: so a file that somebody edited by hand is a
configuration of its own, which a rollout replaces and a rollback brings back.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import (
    Configuration,
    encoded,
    environment_file,
    unit_file,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import DIGEST

ENVIRONMENT, UNIT = "environment", "unit"
KEY = ".key"
BESIDE = ".beside-"
VARIABLE = "SERVICE_CONFIGURATION"
"""Tells a process, and whoever looks at it, the configuration that it was started with."""
_MARKED = re.compile(rf'^{VARIABLE}="({DIGEST.pattern})"\n\Z', re.M)


def marked(environment: str, digest: str) -> str:
    """The environment as a process gets it."""
    return f'{environment}{VARIABLE}="{digest}"\n'


def no_step(_name: str) -> None:
    """Tests put a crash here."""


@dataclass
class Shelf:
    """The configurations of one service on disk.

    They belong to ``uid`` and ``owner_gid``; the group ``gid`` may read the environment. ``etc`` is where /etc lies in.
    """

    base: str
    service: str
    uid: int = 0
    gid: int = 0
    owner_gid: int = 0
    etc: str = "/"
    step: Callable[[str], None] = no_step

    def __post_init__(self) -> None:
        self.places = {
            ENVIRONMENT: os.path.join(self.etc, environment_file(self.service).lstrip("/")),
            UNIT: os.path.join(self.etc, unit_file(self.service).lstrip("/")),
        }
        self.modes = {ENVIRONMENT: (0o640, self.gid), UNIT: (0o644, self.owner_gid)}
        self._passing_key = secrets.token_bytes(32)

    def path(self, digest: str) -> str:
        """The directory of a configuration."""
        return os.path.join(self.base, digest)

    @property
    def kept(self) -> bool:
        """Whether configurations are kept on this host: only then a digest means the same tomorrow."""
        return os.path.exists(self.path(KEY))

    def name(self, configuration: Configuration | None) -> str:
        """The digest of a configuration; it holds for this run only while none are kept."""
        if configuration is None:
            return ""
        if not self.kept:
            return configuration.digest(self._passing_key)
        with open(self.path(KEY), "rb") as handle:
            return configuration.digest(handle.read())

    def active(self) -> Configuration | None:
        """What the unit starts with; nothing where there is no unit and no environment."""
        found = {kind: _read(path) for kind, path in self.places.items()}
        if not any(os.path.exists(path) for path in self.places.values()):
            return None
        return Configuration.of(_MARKED.sub("", found[ENVIRONMENT]), found[UNIT])

    def changed_at(self) -> float:
        """When the active configuration was written last, in seconds since the epoch; 0 where there is nothing."""
        return max((os.lstat(path).st_ctime for path in self.places.values() if os.path.lexists(path)), default=0.0)

    def exposed(self) -> list[str]:
        """Active files that belong to somebody else than they should, or that others may read."""
        found = []
        for kind, path in self.places.items():
            mode, group = self.modes[kind]
            if os.path.exists(path):
                seen = os.stat(path)
                if (seen.st_mode & 0o7777, seen.st_uid, seen.st_gid) != (mode, self.uid, group):
                    found.append(path)
        return found

    def stored(self) -> tuple[str, ...]:
        """The digests of the configurations that are kept, the oldest first."""
        names = [name for name in _listed(self.base) if DIGEST.fullmatch(name)]
        return tuple(sorted(names, key=lambda name: (os.lstat(self.path(name)).st_mtime, name)))

    def leftovers(self) -> list[str]:
        """What a killed run has left."""
        return [name for name in _listed(self.base) if name.startswith(BESIDE)]

    def load(self, digest: str) -> Configuration:
        """A configuration that is kept."""
        return Configuration(*(_read(os.path.join(self.path(digest), kind)) for kind in (ENVIRONMENT, UNIT)))

    def create(self) -> None:
        """Make the directory and the key."""
        self.step("create configurations")
        if not os.path.isdir(self.base):
            os.mkdir(self.base, 0o750)
        os.chmod(self.base, 0o750)
        os.chown(self.base, self.uid, self.gid)
        if not self.kept:
            self._unmark()
            self._replace(self.path(KEY), self._passing_key, 0o600, self.owner_gid)

    def _unmark(self) -> None:
        """Take the name out of what is active: it was made with a key that is lost, and means nothing here."""
        place = self.places[ENVIRONMENT]
        found = _read(place)
        if _MARKED.search(found):
            self._replace(place, encoded(_MARKED.sub("", found)), *self.modes[ENVIRONMENT])

    def store(self, configuration: Configuration) -> None:
        """Keep a configuration; what is kept already stays as it is."""
        digest = self.name(configuration)
        if os.path.isdir(self.path(digest)):
            return
        beside = self.path(BESIDE + digest)
        shutil.rmtree(beside, ignore_errors=True)
        self.step("store configuration")
        os.mkdir(beside, 0o750)
        os.chown(beside, self.uid, self.gid)
        for kind, text in ((ENVIRONMENT, configuration.environment), (UNIT, configuration.unit)):
            mode, group = self.modes[kind]
            write_atomically(os.path.join(beside, kind), encoded(text), mode, (self.uid, group))
        directories.sync(beside)
        self.step("show configuration")
        os.rename(beside, self.path(digest))
        directories.sync(self.base)

    def enforce(self, digest: str) -> None:
        """Let a configuration that is kept be the active one. The marked environment comes last: it proves both."""
        wanted = self.load(digest)
        self.step("write unit")
        self._replace(self.places[UNIT], encoded(wanted.unit), *self.modes[UNIT])
        self.step("write environment")
        self._replace(self.places[ENVIRONMENT], encoded(marked(wanted.environment, digest)), *self.modes[ENVIRONMENT])

    def protect(self) -> None:
        """Give the active files their owner and mode."""
        for kind, path in self.places.items():
            mode, group = self.modes[kind]
            if os.path.exists(path):
                os.chown(path, self.uid, group)
                os.chmod(path, mode)

    def remove(self, digest: str) -> None:
        """Keep a configuration no longer."""
        hidden = self.path(BESIDE + digest)
        os.rename(self.path(digest), hidden)
        shutil.rmtree(hidden)

    def _replace(self, path: str, content: bytes, mode: int, group: int) -> None:
        beside = os.path.join(os.path.dirname(path), f"{BESIDE}{os.path.basename(path)}")
        with replacing(path, mode, (self.uid, group), beside=beside, durable=True) as file:
            file.write(content)


def _listed(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""
