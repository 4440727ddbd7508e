# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier rollouts say: which version has proved itself on a host, whom they left behind, which way is closed.

A history is a list of finished records as JSON, newest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of

History = Sequence[Mapping[str, Any]]


def record_of(one: Mapping[str, Any]) -> Record:
    """A record of the history."""
    return Record.from_dict(one)


def proved(host: str, history: History) -> tuple[str | None, set[str]]:
    """The version that last proved itself on a host, and those that have failed there since.

    Proof is a rollout or rollback that was done, or having been brought back to a version. Where the history does not
    reach so far it is what the host ran before the first of the failed attempts.
    """
    failed: set[str] = set()
    before: str | None = None
    for one in history:
        seen = part_of(one, host)
        if not seen:
            continue
        forward = one.get("kind") == "rollout"
        target, previous = seen.get("target"), seen.get("previous")
        if (one.get("status"), seen.get("phase")) == (state.SUCCEEDED, state.DONE) and target not in failed:
            return target, failed
        if previous != target:
            # A rollback says no to what it goes away from, a rollout that was not done to what it brought.
            failed.update(str(one) for one in [target if forward else previous] if one)
        if seen.get("phase") == state.ROLLED_BACK and previous not in failed:
            return previous, failed
        before = (previous if forward else target) or before
    return (before if before not in failed else None), failed


def last_of(host: str, history: History) -> Mapping[str, Any]:
    """What the last rollout in which a host took part says of it; empty when there is none."""
    return next((seen for one in history if (seen := part_of(one, host))), {})


def part_of(one: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    """What a record says of a host, those that have left it included."""
    found: Mapping[str, Any] = one.get("hosts", {}).get(host) or {}
    gone: Mapping[str, Any] = one.get("left", {}).get(host) or {}
    if found or not gone:
        return found
    # It is still as far out of traffic as it was then.
    return {**gone, "phase": state.FAILED} if gone.get("phase") in state.OUT else gone


def left_out(last: Mapping[str, Any]) -> bool:
    """Whether the rollout that said this of a host left it out of traffic."""
    return last.get("phase") == state.FAILED or bool(last.get("left_out") and last.get("phase") in state.UNTOUCHED)


def left_behind(host: str, history: History) -> bool:
    """Whether an earlier rollout left the host out of traffic, and no later one has brought it back."""
    return left_out(last_of(host, history))


def left_behind_at(host: str, balancer: str, history: History) -> bool:
    """Whether it was the rollout that left the host out of traffic which took it out at this load balancer.

    A host that could not be mended may have been taken out there by somebody else before, and a load balancer may have
    been no part of that rollout.
    """
    last: Mapping[str, Any] = next((one for one in history if part_of(one, host)), {})
    seen = last_of(host, history)
    kept = host in last.get("kept_out", {}).get(balancer, ())
    kept = kept or balancer in (*seen.get("kept_at", ()), *seen.get("let_in_at", ()))
    asked = balancer in (*last.get("asked", ()), *last.get("balancers", ()))
    return left_behind(host, history) and asked and not kept


def way_closed(version: str | None, history: History) -> str:
    """The migration that cannot be undone and is newer than the last proof of a version, or nothing.

    ``version`` may be a version with a configuration: migrations are a matter of the version alone.
    """
    for one in history if version else ():
        if (one.get("kind"), one.get("status"), one.get("version")) == (
            "rollout",
            state.SUCCEEDED,
            version_of(version or ""),
        ):
            break
        record = record_of(one)
        if record.frozen_by:
            return closed_by(record)
    return ""


def closed_by(record: Record) -> str:
    """The migration that closes a record's way back, with the release that it came with; or nothing."""
    name = record.frozen_by
    return f"{name} of {record.service} {record.version}" if name in record.migrations else name
