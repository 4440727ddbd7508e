# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations of one service on one host: its environment, secrets included, and its unit. No Ansible in here.

    /etc/default/<service>, /etc/systemd/system/<service>.service       the configuration in force
    /opt/<service>/configurations/<digest>/environment and unit         one complete configuration each
    /opt/<service>/configurations/.key                                  makes the digests; root's only

What is in force is told by its content, never by a link or a note: so a file that somebody edited by hand is a
configuration of its own, which a rollout replaces and a rollback brings back. A digest leaves the host, in records and
reports. It is keyed, because the plain hash of a short secret tells the secret to whoever can count; the same
configuration has another digest on each host.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._release.names import DIGEST, DIGITS

ENVIRONMENT, UNIT = "environment", "unit"
KEY = ".key"
BESIDE = ".beside-"
VARIABLE = "SERVICE_CONFIGURATION"
"""Tells a process, and whoever looks at it, the configuration that it was started with."""
SHORTEST_SECRET = 6
"""Shorter values, such as "info" or "8080", are left in what is said, or nobody could read it."""

_ASSIGNMENT = re.compile(r"""^[ \t]*([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\n]*)""", re.M | re.S)
_PASSWORD = re.compile(r"://[^:@/\s]*:([^@/\s]+)@")
_MARKED = re.compile(rf'^{VARIABLE}="({DIGEST.pattern})"\n\Z', re.M)


def environment_file(service: str) -> str:
    """Where the unit reads the environment of the process."""
    return f"/etc/default/{service}"


def unit_file(service: str) -> str:
    """Where systemd finds the unit."""
    return f"/etc/systemd/system/{service}.service"


@dataclass(frozen=True)
class Configuration:
    """Two texts; the first may hold secrets and is shown to nobody."""

    environment: str = field(default="", repr=False)
    unit: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: str, unit: str) -> Configuration:
        """From two texts as somebody has written them; each of their lines ends."""
        return cls(*(f"{text}\n" if text and not text.endswith("\n") else text for text in (environment, unit)))

    def digest(self, key: bytes) -> str:
        """Its name on the host that has the key."""
        content = b"".join(_bytes(f"{len(text)}:{text}") for text in (self.environment, self.unit))
        return hmac.new(key, content, sha256).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Difference:
    """The names of the settings that tell two configurations apart, never their values."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def text(self) -> str:
        """For a person, such as "LOG_LEVEL, new GREETING, without COLOUR"."""
        words = [*self.changed, *(f"new {one}" for one in self.added), *(f"without {one}" for one in self.removed)]
        return ", ".join(words)


def difference(before: Configuration | None, after: Configuration | None) -> Difference:
    """Compare variables of the environment by name, and directives of the unit, which are called "unit <name>"."""
    old, new = _settings(before), _settings(after)
    found = Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    )
    if not found and (before or Configuration()) != (after or Configuration()):
        return Difference(changed=("comments or the order of lines",))
    return found


def _settings(configuration: Configuration | None) -> dict[str, list[str]]:
    """Every setting by name: a variable counts once, as the last one does for systemd, a directive may have several."""
    if configuration is None:
        return {}
    found = {name: [value.rstrip()] for name, value in _ASSIGNMENT.findall(configuration.environment)}
    for line in configuration.unit.splitlines():
        name, assigned, value = line.partition("=")
        if assigned and not name.lstrip().startswith(("#", ";")):
            found.setdefault(f"unit {name.strip()}", []).append(value.strip())
    return found


def secrets_of(configuration: Configuration | None) -> list[str]:
    """What must not leave the host: values of the environment that are long enough, their lines, and passwords in URLs.

    The longest come first, for one may be part of another.
    """
    if configuration is None:
        return []
    values = {_unquoted(value.strip()) for _name, value in _ASSIGNMENT.findall(configuration.environment)}
    parts = {part for value in values for part in (*value.splitlines(), *_PASSWORD.findall(value))}
    return sorted((one for one in values | parts if len(one) >= SHORTEST_SECRET), key=len, reverse=True)


def masked(told: Any, secret: Sequence[str]) -> Any:
    """A text, or lists and mappings of texts, without secrets: a service may say them when it fails."""
    if isinstance(told, str):
        for one in secret:
            told = told.replace(one, "***")
    elif isinstance(told, dict):
        return {key: masked(value, secret) for key, value in told.items()}
    elif isinstance(told, list):
        return [masked(one, secret) for one in told]
    return told


def _unquoted(value: str) -> str:
    if value[:1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.S)
    return value.strip("'")


def marked(environment: str, digest: str) -> str:
    """The environment as a process gets it."""
    return f'{environment}{VARIABLE}="{digest}"\n'


def running_configuration(pid: int, proc: str = "/proc") -> str:
    """The digest of what a process was started with, or nothing when it does not say."""
    try:
        with open(f"{proc}/{pid}/environ", encoding="utf-8", errors="replace") as handle:
            variables = dict(one.partition("=")[::2] for one in handle.read().split("\0"))
    except OSError:
        return ""
    found = variables.get(VARIABLE, "")
    return found if DIGEST.fullmatch(found) else ""


def _no_step(_name: str) -> None:
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
    step: Callable[[str], None] = _no_step

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

    def in_force(self) -> Configuration | None:
        """What the unit starts with; nothing where there is no unit and no environment."""
        found = {kind: _read(path) for kind, path in self.places.items()}
        if not any(os.path.exists(path) for path in self.places.values()):
            return None
        return Configuration.of(_MARKED.sub("", found[ENVIRONMENT]), found[UNIT])

    def changed_at(self) -> float:
        """When what is in force was written last, in seconds since the epoch; 0 where there is nothing."""
        return max((os.lstat(path).st_ctime for path in self.places.values() if os.path.lexists(path)), default=0.0)

    def exposed(self) -> list[str]:
        """Files in force that belong to somebody else than they should, or that others may read."""
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
        """Take the name out of what is in force: it was made with a key that is lost, and means nothing here."""
        place = self.places[ENVIRONMENT]
        found = _read(place)
        if _MARKED.search(found):
            self._replace(place, _bytes(_MARKED.sub("", found)), *self.modes[ENVIRONMENT])

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
            write_atomically(os.path.join(beside, kind), _bytes(text), mode, (self.uid, group))
        directories.sync(beside)
        self.step("show configuration")
        os.rename(beside, self.path(digest))
        directories.sync(self.base)

    def enforce(self, digest: str) -> None:
        """Let a configuration that is kept be the one in force. The marked environment comes last: it proves both."""
        wanted = self.load(digest)
        self.step("write unit")
        self._replace(self.places[UNIT], _bytes(wanted.unit), *self.modes[UNIT])
        self.step("write environment")
        self._replace(self.places[ENVIRONMENT], _bytes(marked(wanted.environment, digest)), *self.modes[ENVIRONMENT])

    def protect(self) -> None:
        """Give the files in force their owner and mode."""
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


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
