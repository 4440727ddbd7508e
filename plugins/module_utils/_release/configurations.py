# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a service: its environment, secrets included, and its unit, as texts. No Ansible in here.

A digest leaves the host, in records and reports. It is keyed, because the plain hash of a short secret tells the secret
to whoever can count; the same configuration has another digest on each host.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._release.naming import DIGITS

SHORTEST_SECRET = 6
"""Shorter values, such as "info" or "8080", are left in what is said, or nobody could read it."""

_ASSIGNMENT = re.compile(r"""^[ \t]*([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\n]*)""", re.M | re.S)
_PASSWORD = re.compile(r"://[^:@/\s]*:([^@/\s]+)@")


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
        content = b"".join(encoded(f"{len(text)}:{text}") for text in (self.environment, self.unit))
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


def encoded(text: str) -> bytes:
    """A text as it stands in a file; what was no UTF-8 there is written as it was read."""
    return text.encode("utf-8", "surrogateescape")
