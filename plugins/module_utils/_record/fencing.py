# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers of who may change a service on it. No Ansible.

Whoever takes a service's lock gets a number from the store, higher each time. Every execution of that run shows it, and
a host carries out nothing for a number below the highest that it has seen: a controller that slept beyond its lease
wakes up with a number that is known to be old. The number means something within its store only, so the host remembers
the store too, and refuses another one until a person says that the first is given up. No clock takes part in it.

The memory outlives a reboot, because a controller may sleep longer than a host is down.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, locks
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import write_atomically

DIRECTORY = "/var/lib/mesops/fences"
ARGUMENTS: dict[str, Any] = {
    "fence": {"type": "int", "default": 0},
    "fence_store": {"type": "str", "default": ""},
    "fence_adopt": {"type": "str", "default": ""},
}
"""What the modules that a rollout runs take."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Fenced(Exception):
    """This run may not change the service here; one sentence that says who does, and the way out."""


@dataclass(frozen=True)
class Seen:
    """What a host remembers: the highest number, and the store that it is of."""

    store: str = ""
    number: int = 0


@dataclass(frozen=True)
class Fence:
    """One run, as it shows itself to one host."""

    name: str
    """Whose fence it is: the service."""
    number: int = 0
    """The store's number of the lock. 0 takes no part in the order and leaves no trace."""
    store: str = ""
    """The store that the number is of, as it names itself."""
    adopt: str = ""
    """The id of the store in whose place this one comes, when a person has said so."""
    directory: str = field(default_factory=lambda: DIRECTORY)

    @classmethod
    def of(cls, name: str, params: Mapping[str, Any]) -> Fence:
        """The fence that a module's parameters describe."""
        return cls(name, params["fence"], params["fence_store"], params["fence_adopt"])

    @property
    def options(self) -> dict[str, Any]:
        """The parameters that describe it to a module."""
        return {"fence": self.number, "fence_store": self.store, "fence_adopt": self.adopt}

    def remembered(self) -> str:
        """The store that the host remembers; nothing when it has seen none."""
        return _read(self._path).store

    def claim(self, write: bool = True) -> None:
        """Keep out everybody with a lower number; Fenced when there is a higher one, or another store."""
        self.check()
        if not (write and self.number):
            return
        directories.make(self.directory)
        # Two that come at once must not leave the lower number behind.
        with locks.directory(self.directory, math.inf):
            self.check()
            _write(self._path, Seen(self.store, self.number))

    def superseded(self) -> bool:
        """Whether somebody else has come since."""
        try:
            self.check()
        except Fenced:
            return True
        return False

    def check(self) -> None:
        """Raise Fenced when this run may not change anything here."""
        if not (self.number or self.store):
            return
        if not _NAME.fullmatch(self.name):
            raise Fenced(f"fence of {self.name!r} is of no plain name; give the name of a service.")
        seen = _read(self._path)
        if seen.store and seen.store != self.store:
            if not self.adopt or self.adopt != store_id(seen.store):
                raise Fenced(self._another(seen))
        elif self.number and seen.number > self.number:
            raise Fenced(
                f"A newer run changes {self.name} here now (number {seen.number} of its lock), so this one (number "
                f"{self.number}) changes nothing; see which one: ansible-playbook mesops.platform.status"
            )

    def _another(self, seen: Seen) -> str:
        way = f"run it once with adopt: {store_id(seen.store)} in rollout_store"
        return (
            f"The rollouts of {self.name} here go by the store {seen.store}, but this run goes by the store "
            f"{self.store}; let rollout_store and rollout_balancers lead to the first one again, or, if that one is "
            f"given up for good, {way}."
        )

    @property
    def _path(self) -> str:
        return os.path.join(self.directory, f"{self.name}.json")


def store_id(store: str) -> str:
    """The id at the end of a store's name, by which a person gives it up: ``... #s3f0a6d1c92be``."""
    return store.rpartition("#")[2]


def _read(path: str) -> Seen:
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
        return Seen(str(found["store"]), int(found["number"]))
    except FileNotFoundError:
        return Seen()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Fenced(
            f"{path} is damaged, so nobody knows who may change this service here; see that no rollout of it runs, and "
            "remove the file."
        ) from error


def _write(path: str, seen: Seen) -> None:
    write_atomically(path, json.dumps({"store": seen.store, "number": seen.number}))
