# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that both stores keep: what they file, what a flag means, how long a record stays. No Ansible."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import (
    ABORT,
    FLAGS,
    PAUSE,
    RESUME,
    USED_UP,
    Change,
    Control,
    Lease,
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,149}")


def check_record(service: str, record: Mapping[str, Any]) -> None:
    """Refuse a record that the store could not file."""
    name = record.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise Refused(
            f"record id {str(name)[:200]!r} is no plain name; use 1 to 150 letters, digits and any of '._+~-', "
            "beginning with a letter or a digit"
        )
    if started_at(record) is None:
        raise Refused(f"record {name} has started_at {record['started_at']!r}; give it as seconds since the epoch")
    if record.get("service", service) != service:
        raise Refused(
            f"record {name} is about {record.get('service')!r}, not about {service}; write it to its own store"
        )


def check_final(record: Mapping[str, Any]) -> None:
    """Refuse to close a rollout that goes on."""
    if not has_ended(record):
        raise Refused(
            f"record {record.get('id')} has no ended_at, so its rollout is not over; end it before it is closed"
        )


def check_alone(service: str, record: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    """Refuse to open a second rollout; *found* is the one that is open."""
    if found is not None and found.get("id") != record.get("id"):
        raise Refused(
            f"rollout {found.get('id')} of {service} is still open, so {record.get('id')} cannot begin; finish or "
            "revert the first one"
        )


def started_at(record: Mapping[str, Any]) -> float | None:
    """When a rollout began, 0 when that is not known, or None when it is no number."""
    found = record.get("started_at", 0)
    return float(found) if isinstance(found, (int, float)) else None


def has_ended(record: Mapping[str, Any]) -> bool:
    """Whether a rollout is over."""
    return bool(record.get("ended_at"))


def open_one(marked: str | None, record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The open record, if the mark and what it leads to still mean one."""
    return record if marked and record is not None and not has_ended(record) else None


def control_for(control: Control | None, record: Mapping[str, Any] | None) -> Control | None:
    """The flag, unless it was set for a rollout that is over."""
    return control if control is not None and record is not None and control.rollout_id == record.get("id") else None


def changed_control(
    service: str, record: dict[str, Any] | None, current: Control | None, *, flag: str, by: str, note: str, at: float
) -> Change:
    """What a person's flag makes of the one that is set. The last word counts, but an abort is not taken back."""
    if record is None:
        raise Refused(
            f"no rollout of {service} is open, so there is nothing to {flag}; begin one with ansible-playbook "
            f"mesops.platform.rollout -e rollout_service={service}"
        )
    if flag not in FLAGS:
        raise Refused(f"flag {flag!r} is unknown; use one of {', '.join(FLAGS)}")
    if current is not None and current.flag == ABORT and flag != ABORT:
        raise Refused(
            f"rollout {record['id']} of {service} was aborted by {current.by or 'somebody'}, which is not taken back; "
            "let it go back, and then roll out again"
        )
    if flag == RESUME and current is not None:
        return Change(current, None if current.flag == PAUSE else current, record)
    if flag == RESUME and record.get("status") != state.PAUSED:
        return Change(None, None, record)
    if current is not None and current.flag == flag:
        return Change(current, current, record)
    return Change(current, Control(flag, by, note, round(at, 3), str(record["id"])), record)


def is_used_up(control: Control | None, obeyed: str) -> bool:
    """Whether the flag that is set is the one that was obeyed."""
    return control is not None and control.flag == obeyed and obeyed in USED_UP


def audited_control(change: Change, flag: str, note: str) -> str:
    """A change of flag as it stands in the audit list."""
    return f"{flag} rollout {change.record['id']} of version {change.record.get('version', '?')}{_because(note)}"


def audited_break(lease: Lease, reason: str) -> str:
    """A broken lock as it stands in the audit list."""
    return f"broke the lock of {lease.holder} ({lease.holder.what or 'purpose unknown'}){_because(reason)}"


def audited_takeover(lease: Lease) -> str:
    """A lock taken from a dead holder as it stands in the audit list."""
    return f"took over the lock of {lease.holder} ({lease.holder.what or 'purpose unknown'}), whose process was gone"


def _because(text: str) -> str:
    return f": {text}" if text else ""


def audit_entry(at: float, by: str, what: str) -> dict[str, Any]:
    """One entry of the audit list."""
    return {"at": round(at, 3), "by": by, "what": what}


def prunable(records: Sequence[Mapping[str, Any]], keep: int, closed: str) -> list[str]:
    """Ids of the records to remove so that *keep* stay, of records that stand newest first; the oldest comes first.

    Never the one that was just *closed*, one that has not ended, or the last that succeeded: a rollback goes by it.
    """
    last = next((one.get("id") for one in records if one.get("status") == state.SUCCEEDED), None)
    spare = [str(one["id"]) for one in reversed(records[max(keep, 1) :]) if has_ended(one)]
    return [name for name in spare if name not in (closed, last)]
