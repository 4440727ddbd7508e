# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of servers, how each of them is to be for that, and what is refused before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import (
    READY,
    Key,
    RuntimeFailure,
    Server,
    View,
)

ON_TIMEOUT = ["fail", "revert", "kill", "report"]


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for; ``state`` and ``weight`` absent means to read only."""

    backends: tuple[str, ...]
    servers: tuple[str, ...] = ()
    state: str | None = None
    weight: str | None = None
    wait: float = 60.0
    on_timeout: str = "fail"
    min_available: int = 0
    fresh: bool = True
    check_mode: bool = False
    unless: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Server to administrative states in which somebody else has put it, so that it is left alone."""

    @property
    def reads_only(self) -> bool:
        """Whether nothing is to be changed."""
        return self.state is None and self.weight is None


@dataclass(frozen=True)
class Goal:
    """How one server is to be."""

    admin: str
    weight: int


def select(view: View, wanted: Wanted) -> list[Server]:
    """The servers that are meant, in the order of the request; a name that does not exist fails."""
    if not wanted.reads_only and not wanted.servers:
        raise RuntimeFailure("A change needs the names of its servers; give them in 'server'.")
    found: list[Server] = []
    for backend in dict.fromkeys(wanted.backends):
        members = [one.name for one in view.servers.values() if one.backend == backend]
        if not members:
            known = ", ".join(dict.fromkeys(one.backend for one in view.servers.values())) or "none"
            raise RuntimeFailure(f"HAProxy has no backend '{backend}' with servers; it has {known}.")
        for name in dict.fromkeys(wanted.servers or members):
            if name not in members:
                raise RuntimeFailure(f"Backend '{backend}' has no server '{name}'; it has {', '.join(members)}.")
            found.append(view.servers[(backend, name)])
    return found


def weight_of(text: str, server: Server) -> int:
    """Translate a weight, "10%" of the configured one or a whole number; refuse what HAProxy would make 0 or cut."""
    given = re.fullmatch(r"([0-9]{1,5})(%?)", text)
    if not given:
        raise RuntimeFailure(
            f"Weight '{text}' is neither a percentage of the configured weight, such as 10%, nor a whole number "
            "from 0 to 256; give one of them."
        )
    number = int(given.group(1))
    weight = number * server.weight_configured // 100 if given.group(2) else number
    if weight > 256:
        raise RuntimeFailure(f"Weight {text} of {server.label} would be {weight}, but HAProxy knows at most 256.")
    if number and not weight:
        raise RuntimeFailure(
            f"Weight {text} of {server.label} would be 0, because its configured weight is "
            f"{server.weight_configured}; configure a larger one, such as 100, or give a whole number."
        )
    return weight


def goals(targets: Sequence[Server], wanted: Wanted) -> dict[Key, Goal]:
    """How each server is to be, by key."""
    return {
        one.key: Goal(wanted.state or one.admin, one.weight if wanted.weight is None else weight_of(wanted.weight, one))
        for one in targets
    }


def guard_capacity(view: View, wanted: Mapping[Key, Goal], min_available: int) -> None:
    """Refuse to take servers out of a backend that would keep too few others which are up and ready."""
    leaving = [
        server
        for server in view.of(wanted)
        if server.available and (wanted[server.key].admin != READY or not wanted[server.key].weight)
    ]
    for backend in dict.fromkeys(one.backend for one in leaving):
        names = [one.label for one in leaving if one.backend == backend]
        members = [one for one in view.servers.values() if one.backend == backend]
        left = sum(one.available for one in members if one.key not in wanted)
        if left < min_available:
            raise RuntimeFailure(
                f"Taking {', '.join(names)} out of traffic would leave {left} of {quantity(len(members), 'server')} of "
                f"backend '{backend}' up and ready, but min_available is {min_available}; bring others up first, "
                "or lower it (for one rollout with -e rollout_min_available)."
            )
