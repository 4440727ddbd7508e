# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store holds, in the form in which both stores keep it: JSON, and how it is read back. No Ansible."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.stores import Control, Holder, Lease


def to_text(value: Mapping[str, Any]) -> str:
    """JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def to_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object, or ValueError."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is too deep for JSON") from error
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def new_store(place: str) -> dict[str, Any]:
    """What a store remembers of itself: the place where it was made, and an id that no other one has."""
    return {"place": place, "id": f"s{secrets.token_hex(6)}"}


def is_store_id(value: Any) -> bool:
    """Whether a value has the form of a store's id, which YAML takes for nothing but text."""
    return isinstance(value, str) and re.fullmatch(r"s[0-9a-f]{12}", value) is not None


def store_name(data: Mapping[str, Any]) -> str:
    """The name that a store goes by, or ValueError when what is stored is none."""
    place, name = data.get("place"), data.get("id")
    if not (isinstance(place, str) and place.isprintable() and len(place) <= 300):
        raise ValueError("it names no place")
    if not is_store_id(name):
        raise ValueError("it has no id")
    return f"{place} #{name}"


def lease_to_data(lease: Lease) -> dict[str, Any]:
    """A lease as it is stored."""
    data = asdict(lease)
    del data["expires_in"], data["number"]
    return data


def lease_from_data(data: Mapping[str, Any], expires_in: float) -> Lease:
    """A stored lease, or ValueError."""
    try:
        holder = {one.name: data["holder"][one.name] for one in fields(Holder) if one.name in data["holder"]}
        return Lease(
            token=str(data["token"]),
            holder=Holder(**holder),
            acquired_at=float(data["acquired_at"]),
            renewed_at=float(data["renewed_at"]),
            ttl=float(data["ttl"]),
            expires_in=expires_in,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no lease ({error})") from error


def control_from_data(data: Mapping[str, Any]) -> Control:
    """A stored flag, or ValueError."""
    try:
        return Control(**{one.name: data[one.name] for one in fields(Control)})
    except KeyError as error:
        raise ValueError(f"it is no flag ({error} is missing)") from error
