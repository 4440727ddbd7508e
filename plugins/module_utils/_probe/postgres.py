# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type postgres: whether a cluster of Patroni has a leader and the standbys that it needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import json_object, request
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import COORDINATOR, ProbeType
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    ERROR,
    FAILURE,
    SUCCESS,
    Sample,
    Tools,
    reason,
    sample,
)

MIB = 1 << 20
TIMEOUT = 3


def _describe(_probe: Mapping[str, Any]) -> str:
    return "replication is healthy"


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Judge replication by what Patroni's members say of the cluster; the first that answers is believed."""
    members, reason = _members(probe, tools)
    if not members:
        return sample(ERROR, reason)
    leaders = [
        one["name"] for one in members if one.get("role") in ("leader", "master") and one.get("state") == "running"
    ]
    if len(leaders) != 1:
        return sample(
            FAILURE, f"{quantity(len(leaders), 'member')} lead, not one ({', '.join(map(_state_of, members))})"
        )
    others = [one for one in members if one["name"] not in leaders]
    most = float(probe.get("max_lag_mb", 16))
    confirmed = _seen_streaming(probe, tools, members, leaders[0])
    standbys = [one for one in others if one["name"] in confirmed and _lag(one) <= most * MIB]
    least = int(probe.get("min_standbys", 1))
    if len(standbys) < least:
        told = ", ".join(_state_of(one) for one in others if one not in standbys)
        what = f"{leaders[0]} leads and {_streaming(len(standbys))} with at most {most:g} MiB lag, fewer than {least}"
        return sample(FAILURE, f"{what} ({told or 'there are no others'})")
    if probe.get("synchronous") and not any(one.get("role") in ("sync_standby", "quorum_standby") for one in standbys):
        return sample(FAILURE, f"{leaders[0]} leads but no standby that streams is synchronous")
    return sample(SUCCESS, f"{leaders[0]} leads, {_streaming(len(standbys))}")


def _members(probe: Mapping[str, Any], tools: Tools) -> tuple[list[Mapping[str, Any]], str]:
    """The members of the cluster, or why nobody names them."""
    reasons = []
    for endpoint in probe["endpoints"]:
        url = f"{str(endpoint).rstrip('/')}/cluster"
        try:
            status, body = tools.fetch(request({}, url), float(probe.get("timeout", TIMEOUT)))
        except OSError as error:
            reasons.append(f"{url}: {reason(error)}")
            continue
        found = json_object(body).get("members") if status == 200 else None
        if isinstance(found, list) and found and all(isinstance(one, dict) and one.get("name") for one in found):
            return found, ""
        reasons.append(f"{url} answered {status}{' without members' if status == 200 else ''}")
    return [], "; ".join(reasons) or "no endpoint is given"


def _seen_streaming(
    probe: Mapping[str, Any], tools: Tools, members: Sequence[Mapping[str, Any]], leader: str
) -> set[str]:
    """Members that stream: those that say so, and those that only run while the leader says so.

    Patroni before 3.1 calls every standby running. A newer one says so only of a standby that does not stream.
    """
    found = {str(one["name"]) for one in members if one.get("state") == "streaming"}
    unsure = {str(one["name"]) for one in members if one.get("state") == "running" and one["name"] != leader}
    if not unsure:
        return found
    url = next(str(one.get("api_url") or "") for one in members if one["name"] == leader)
    if not url:
        return found
    try:
        _status, body = tools.fetch(request({}, url), float(probe.get("timeout", TIMEOUT)))
    except (OSError, ValueError):
        return found
    rows = json_object(body).get("replication")
    seen = {str(one.get("application_name")) for one in rows or () if one.get("state") == "streaming"}
    return found | (unsure & seen)


def _lag(member: Mapping[str, Any]) -> float:
    """Bytes behind the leader; what is not known is infinite."""
    lag = member.get("lag")
    return lag if isinstance(lag, int) and not isinstance(lag, bool) else math.inf


def _streaming(standbys: int) -> str:
    return f"{quantity(standbys, 'standby', 'standbys')} {'streams' if standbys == 1 else 'stream'}"


def _state_of(member: Mapping[str, Any]) -> str:
    """For instance "pg-2 replica is running, lag unknown"."""
    lag = f", lag {member['lag']}" if "lag" in member else ""
    return f"{member['name']} {member.get('role')} is {member.get('state')}{lag}"


TYPE = ProbeType(
    name="postgres",
    place=COORDINATOR,
    keys={
        "endpoints": (
            *keys.TEXTS,
            scalars.when(
                lambda value: all(map(keys.is_url, value)), "addresses such as http://pg-1:8008, one for each member"
            ),
        ),
        "min_standbys": keys.WHOLE,
        "max_lag_mb": keys.NOT_NEGATIVE,
        "synchronous": (scalars.BOOLEAN,),
        "timeout": keys.TIMEOUT,
    },
    required=("endpoints",),
    documentation=(
        "C(endpoints) (Patroni's REST API); C(min_standbys) 1, C(max_lag_mb) 16, C(synchronous) false, C(timeout) 3"
    ),
    describe=_describe,
    take=_take,
)
