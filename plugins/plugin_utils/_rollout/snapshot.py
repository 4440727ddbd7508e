# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout sees of the estate: hosts of the service, and where they are servers. No Ansible in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Node:
    """A host of the service: what it has, or why it does not say.

    What it runs is named as ``naming.joined`` does: a version and, where hosts keep configurations, the
    digest of one.
    """

    current: str | None = None
    previous: str | None = None
    """What was current before."""
    running: str | None = None
    """What its process was started on."""
    reason: str = ""
    """Why it gave no answer; empty when it did."""
    wanted: str = ""
    """The digest of the configuration that the inventory has for it; empty where it keeps none."""
    changes: str = ""
    """The names of the settings in which that one differs from the active one."""


@dataclass(frozen=True)
class Server:
    """A host of the service at one load balancer."""

    admin: str
    """ready, drain or maint."""
    up: bool
    percent: float = 100.0
    """Its weight in percent of the configured one."""
    check: str = field(default="", compare=False)
    """What the last health check said of it."""
    weight: int = 100
    """The configured one."""
    algorithm: str = ""
    """How its backend is balanced, in HAProxy's own word; empty when that is not known."""

    @property
    def serving(self) -> bool:
        """Whether it takes traffic."""
        return self.admin == "ready" and self.up


@dataclass(frozen=True)
class Snapshot:
    """Nodes by host, and servers by load balancer and host."""

    nodes: Mapping[str, Node]
    servers: Mapping[str, Mapping[str, Server]]

    def available(self) -> dict[str, set[str]]:
        """The hosts that take traffic, per load balancer."""
        return {one: {host for host, server in found.items() if server.serving} for one, found in self.servers.items()}


def down_at(host: str, snapshot: Snapshot, kept: Mapping[str, Collection[str]]) -> list[str]:
    """The load balancers that do not see a host up, other than those where somebody has taken it out."""
    return [name for name, found in snapshot.servers.items() if host not in kept.get(name, ()) and not found[host].up]


def is_there(host: str, target: str, snapshot: Snapshot, kept: Mapping[str, Collection[str]]) -> bool:
    """Whether a host runs its target and has its whole share of traffic."""
    node = snapshot.nodes[host]
    return (node.current, node.running) == (target, target) and all(
        found[host].serving and found[host].percent >= 100
        for name, found in snapshot.servers.items()
        if host not in kept.get(name, ())
    )
