# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of an etcd cluster: transactions and leases. No Ansible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.etcd_json import Pair, pairs
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd import Gateway, LeaseGone
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import StoreError


@dataclass(frozen=True)
class Outcome:
    """What came of a transaction."""

    succeeded: bool
    revision: int
    found: list[list[Pair]]
    """What its reads brought, in their order."""


def transact(gateway: Gateway, compare: Sequence[Mapping[str, Any]], success: Sequence[Mapping[str, Any]]) -> Outcome:
    """Do everything if all conditions hold, and nothing otherwise."""
    answer = gateway.call("/v3/kv/txn", {"compare": list(compare), "success": list(success)})
    reads = [one["response_range"] for one in answer.get("responses", ()) if "response_range" in one]
    return Outcome(bool(answer.get("succeeded")), int(answer["header"]["revision"]), [pairs(one) for one in reads])


def grant(gateway: Gateway, ttl: int) -> tuple[int, float]:
    """A new lease: its number, and how long it lasts, which may be longer than asked for."""
    answer = gateway.call("/v3/lease/grant", {"TTL": str(ttl)})
    return int(answer["ID"]), float(answer["TTL"])


def keep_alive(gateway: Gateway, lease: int) -> bool:
    """Renew a lease; False when it is gone."""
    answer = gateway.call("/v3/lease/keepalive", {"ID": str(lease)})
    return int(answer.get("result", {}).get("TTL", 0)) > 0


def time_to_live(gateway: Gateway, lease: int) -> float:
    """How long a lease will last; 0 when it is gone."""
    answer = gateway.call("/v3/lease/timetolive", {"ID": str(lease)})
    return max(0.0, float(answer.get("TTL", 0)))


def revoke(gateway: Gateway, lease: int) -> None:
    """End a lease. One that cannot be ended runs out by itself, so failing is no trouble."""
    with suppress(LeaseGone, StoreError):
        gateway.call("/v3/lease/revoke", {"ID": str(lease)})
