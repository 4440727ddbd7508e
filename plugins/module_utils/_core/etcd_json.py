# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, values and the parts of a transaction, as etcd's v3 JSON gateway takes and gives them. No Ansible.

Keys and values travel in base64, 64-bit numbers as strings.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """A key as it is stored."""

    key: str
    value: bytes
    revision: int
    """Of the cluster, when the key was changed last."""
    lease: int
    """The lease that it goes with, or 0."""


def encode(value: str | bytes) -> str:
    """For the gateway."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def pairs(answer: Mapping[str, Any]) -> list[Pair]:
    """What a range brought."""
    return [
        Pair(
            key=base64.b64decode(one["key"]).decode("utf-8", "replace"),
            value=base64.b64decode(one.get("value", "")),
            revision=int(one["mod_revision"]),
            lease=int(one.get("lease", 0)),
        )
        for one in answer.get("kvs", ())
    ]


def get(key: str) -> dict[str, Any]:
    """Read one key."""
    return {"request_range": {"key": encode(key)}}


def get_newest(prefix: str, limit: int) -> dict[str, Any]:
    """Read the keys below a prefix, the one that was created last first; a limit of 0 is none."""
    behind = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    found = {"key": encode(prefix), "range_end": encode(behind), "sort_order": "DESCEND", "sort_target": "CREATE"}
    return {"request_range": {**found, "limit": str(limit)}}


def put(key: str, value: str, lease: int = 0) -> dict[str, Any]:
    """Write one key, which goes away with its lease if it has one."""
    return {"request_put": {"key": encode(key), "value": encode(value), **({"lease": str(lease)} if lease else {})}}


def delete(key: str) -> dict[str, Any]:
    """Remove one key, if it is there."""
    return {"request_delete_range": {"key": encode(key)}}


def unchanged(key: str, pair: Pair | None) -> dict[str, Any]:
    """The condition that a key still is as it was read, or still is not there."""
    revision = str(pair.revision) if pair is not None else "0"
    return {"key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
