# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all members of a cluster are set to: the patch that it needs, written and waited for. No Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._patroni.api import (
    Clock,
    Fetch,
    Member,
    PatroniError,
    Sleep,
)

NO_CONFIG = 502
"""What ``GET /config`` answers while etcd holds no configuration."""
CONFIG_CYCLES = 2


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any], purge: Sequence[str] = ()) -> dict[str, Any]:
    """The smallest patch that brings ``current`` to ``wanted``; Patroni takes ``None`` as "remove".

    Keys that only ``current`` has stay, save below the dotted paths in ``purge``, where ``wanted`` is the whole truth.
    """
    return _patch(current, wanted, frozenset(purge), "")


def _patch(current: Mapping[str, Any], wanted: Mapping[str, Any], purge: frozenset[str], path: str) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for key, value in wanted.items():
        have = current.get(key)
        if isinstance(value, dict):
            inner = _patch(have if isinstance(have, dict) else {}, value, purge, f"{path}.{key}" if path else key)
            if inner or not isinstance(have, dict):
                patch[key] = inner
        elif value is None:
            if key in current:
                patch[key] = None
        elif have != value or isinstance(have, bool) != isinstance(value, bool):
            patch[key] = value
    if path in purge:
        patch.update({key: None for key in current if key not in wanted})
    return patch


def apply_patch(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``current`` as it is after ``patch``."""
    result = dict(current)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            have = result.get(key)
            result[key] = apply_patch(have if isinstance(have, dict) else {}, value)
        else:
            result[key] = value
    return result


def read_config(fetch: Fetch, members: Sequence[Member]) -> tuple[Member, dict[str, Any]]:
    """The first member that answers, and the dynamic configuration (empty when none was stored yet)."""
    reasons = []
    for member in members:
        try:
            status, answer = fetch("GET", f"{member.url}/config", None)
        except OSError as error:
            reasons.append(f"{member.url}: {getattr(error, 'reason', error)}")
            continue
        if status == 200 and isinstance(answer, dict):
            return member, answer
        if status == NO_CONFIG:
            return member, {}
        reasons.append(f"{member.url}: status {status}")
    raise PatroniError(f"No member gave its dynamic configuration ({'; '.join(reasons)}).")


def write_config(fetch: Fetch, member: Member, current: Mapping[str, Any], patch: Mapping[str, Any]) -> None:
    """Store the patch; a cluster without any configuration yet gets it whole."""
    method, body = ("PATCH", patch) if current else ("PUT", apply_patch({}, patch))
    status, answer = fetch(method, f"{member.url}/config", body)
    if status == 401:
        raise PatroniError(
            f"{member.url} refused the user name or password of its REST API; "
            "set the ones that its configuration file has."
        )
    if status != 200:
        raise PatroniError(f"{member.url} refused the new configuration with status {status}: {answer}")


def wait_applied(
    fetch: Fetch, members: Sequence[Member], *, timeout: float, interval: float, clock: Clock, sleep: Sleep
) -> None:
    """Wait until each answering member went through its loop often enough to have seen a new configuration."""

    def last_seen() -> dict[str, int]:
        seen = {}
        for member in members:
            try:
                answer = fetch("GET", f"{member.url}/patroni", None)[1]
            except OSError:
                continue
            if isinstance(answer, dict) and answer.get("dcs_last_seen"):
                seen[member.name] = int(answer["dcs_last_seen"])
        return seen

    previous = last_seen()
    cycles = dict.fromkeys(previous, 0)
    deadline = clock() + timeout
    while any(count < CONFIG_CYCLES for count in cycles.values()) and clock() < deadline:
        sleep(interval)
        now = last_seen()
        for name in list(cycles):
            if name not in now:
                del cycles[name]
            elif now[name] > previous[name]:
                previous[name] = now[name]
                cycles[name] += 1
