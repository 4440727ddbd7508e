# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout is asked to do, and how its hosts are cut into batches. No Ansible in here.

Every complaint is one sentence that names the value, the rule and the way out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import Drain, Share
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service

STATIC = ("static-rr", "first", "source", "uri", "url_param", "hdr", "rdp-cookie", "hash")
"""How HAProxy names what balances without a regard to a share of a server's weight, or refuses one."""


@dataclass(frozen=True)
class Settings:
    """A rollout as asked for, checked."""

    service: Service
    hosts: tuple[str, ...]
    """The hosts of the service that take part, in inventory order."""
    balancers: tuple[str, ...]
    backends: tuple[str, ...]
    addresses: Mapping[str, str] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    version: str = ""
    configuration_only: bool = False
    """Whether the version is the one that runs, and only the configuration is another."""
    artifact: str = ""
    checksum: str = ""
    batches: tuple[Share, ...] = (1, "25%")
    min_available: Share = "50%"
    weights: tuple[int, ...] = (10, 100)
    min_healthy_time: float = 10.0
    drain_deadline: float = Drain.deadline
    drain_on_timeout: str = Drain.on_timeout
    condemned_deadline: float = Drain.condemned
    gates: Mapping[str, GateSpec] = field(default_factory=dict)
    pause_timeout: float = 3600.0
    prove_stop: bool = False
    migrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """How many servers of the service have to stay available at every load balancer."""
        total = len(self.hosts) + len(self.excluded)
        return amount(self.min_available, total, math.ceil)


def amount(share: Share, total: int, rounding: Any = math.floor) -> int:
    """A share of a total as a whole number."""
    if isinstance(share, str):
        return int(rounding(total * int(share[:-1]) / 100))
    return share


def sizes(total: int, batches: Sequence[Share]) -> list[int]:
    """How many hosts each batch has; the last given size repeats until all hosts are in one."""
    found: list[int] = []
    left = total
    while left > 0:
        share = batches[min(len(found), len(batches) - 1)]
        found.append(min(left, max(1, amount(share, total))))
        left -= found[-1]
    return found


def make_batches(
    settings: Settings,
    available: Mapping[str, Collection[str]],
    kept_out: Mapping[str, Collection[str]] | None = None,
) -> list[list[str]]:
    """Cut the hosts into batches, or refuse what would leave too few servers.

    ``available`` has the servers of the service that take traffic now, per load balancer, excluded hosts included, and
    ``kept_out`` those that take none when their turn is over either. Hosts that take none anywhere come first: they
    cost no capacity.
    """
    serving = set().union(*available.values()) if available else set()
    ordered = [host for host in settings.hosts if host not in serving]
    ordered += [host for host in settings.hosts if host in serving]
    batches, begin = [], 0
    for size in sizes(len(ordered), settings.batches):
        batches.append(ordered[begin : begin + size])
        begin += size
    total = len(settings.hosts) + len(settings.excluded)
    for number, batch in enumerate(batches, 1):
        for balancer, names in available.items():
            # Servers that are out now come back with the batches before this one.
            recovered = {host for earlier in batches[: number - 1] for host in earlier}
            recovered -= set((kept_out or {}).get(balancer, ()))
            taken = set(batch) & set(names)
            left = len((set(names) | recovered) - set(batch))
            if taken and left < settings.least:
                raise PlanError(
                    f"Batch {number} would take {len(taken)} of {quantity(total, 'server')} of {settings.service.name} "
                    f"out of traffic, which leaves {left} at {balancer}, but min_available is "
                    f"{settings.min_available} ({settings.least} of {total}); use smaller batches, bring servers back, "
                    f"or lower it, in app_services.{settings.service.name}.rollout or with -e for this run."
                )
    return batches
