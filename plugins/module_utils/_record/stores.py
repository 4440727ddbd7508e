# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of rollouts: what it holds, the rules that both of its backends keep, and its lock. No Ansible.

Per service there are the ``records`` of its rollouts, a mark on the one that is ``open``, a person's ``control`` flag,
a ``lock`` and an ``audit`` list. A store that was left in the middle of a step heals by how it is read: the mark counts
only while its record exists and has no ``ended_at``, a flag counts only for the open rollout, a lock only until its
lease runs out.

The lock is a lease. Its token is what fences a writer off: whoever does not hold it any more writes nothing. A token is
no secret among the administrators who can read the store; it keeps apart runs, not people. What a run changes outside
the store is fenced by a number that the store gives it with the lock, higher each time. A number means something within
its store only, so a store has a name, made once and kept in it. Times are seconds since the epoch, durations are
seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record.state import SUCCEEDED

POLL = 0.5
GRACE = 2.0
"""How long a store may take to notice that a lease has run out: etcd looks twice a second and then has to agree."""
KEEP = 20
HISTORY = 20
AUDIT = 20

PAUSE, RESUME, PROMOTE, ABORT = "pause", "resume", "promote", "abort"
FLAGS = (PAUSE, RESUME, PROMOTE, ABORT)
USED_UP = (RESUME, PROMOTE, ABORT)
"""Flags that are forgotten once they are obeyed; a pause lasts until it is taken back."""
PAUSED = "paused"
"""The status of a rollout that waits for a person."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,149}")


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: the controlling process, so that another one on its host can see whether it is gone."""

    user: str
    host: str
    pid: int = 0
    boot: str = ""
    """The boot of the holder's host; only within it does the process id mean that process."""
    process_started: str = ""
    """When the process began, as its host counts it."""
    what: str = ""
    """What it does, such as ``rollout of catalog 1.4.0``."""
    rollout_id: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


@dataclass(frozen=True)
class Lease:
    """The lock as somebody holds it."""

    token: str
    holder: Holder
    acquired_at: float
    renewed_at: float
    ttl: float
    """Seconds from a renewal until the lease runs out."""
    expires_in: float
    """Seconds until it runs out, when it was read."""
    number: int = 0
    """Grows with every acquisition; for whoever has just acquired it, 0 otherwise."""

    @property
    def id(self) -> str:
        """Names the lease without being its token."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:12]

    @property
    def renewed_ago(self) -> float:
        """Seconds since the last renewal, by the clock that the lease runs out by."""
        return max(0.0, self.ttl - self.expires_in)

    @property
    def age(self) -> float:
        """Seconds since it was acquired."""
        return max(0.0, self.renewed_at - self.acquired_at) + self.renewed_ago

    @property
    def summary(self) -> str:
        """Who holds it, and for how long, for a person."""
        details = (self.holder.what, f"pid {self.holder.pid}" if self.holder.pid else "")
        told = ", ".join(part for part in details if part)
        return f"{self.holder}{f' ({told})' if told else ''} for {duration(self.age)}"

    def is_meant(self, takeover: str | None) -> bool:
        """Whether *takeover* names this lease, by its token or by its id."""
        return takeover in (self.token, self.id)

    def to_dict(self) -> dict[str, Any]:
        """What may be shown: everything but the token."""
        data = {**asdict(self), "id": self.id, "summary": self.summary}
        del data["token"], data["number"]
        return data


@dataclass(frozen=True)
class Control:
    """A flag that a person has set for the open rollout."""

    flag: str
    by: str
    note: str
    at: float
    rollout_id: str


@dataclass(frozen=True)
class View:
    """All that a store holds of one service at one moment."""

    lock: Lease | None
    open_record: dict[str, Any] | None
    revision: int
    """A number that grows with every change of lock or record."""
    control: Control | None
    history: list[dict[str, Any]]
    """Whole records, newest first, the open one included."""
    audit: list[dict[str, Any]]
    """Who changed what by hand, newest first: ``at``, ``by`` and ``what``."""
    store: str
    """The name of the store: its place when it was made, and an id. Without an id while nobody has used it."""


@dataclass(frozen=True)
class Written:
    """What a write brings back."""

    control: Control | None
    revision: int
    lease: Lease


@dataclass(frozen=True)
class Change:
    """What became of a person's flag."""

    before: Control | None
    after: Control | None
    record: dict[str, Any]
    """The open rollout that it is about."""


class StoreError(Exception):
    """The store does not do what it is asked; one sentence that names the file or the endpoint and the way out."""


class LockError(Exception):
    """The lock is in the way."""

    def __init__(self, text: str, lease: Lease | None) -> None:
        super().__init__(text)
        self.lease = lease


class Locked(LockError):
    """Somebody else holds the lock."""

    lease: Lease

    def __init__(self, service: str, lease: Lease) -> None:
        super().__init__(
            f"{service} is locked by {lease.summary}; its lease was renewed {duration(lease.renewed_ago)} ago and ends "
            f"in {duration(lease.expires_in)}. Wait for it, or, if you know that it is dead, break the lock: "
            f"ansible-playbook mesops.platform.unlock -e rollout_service={service}",
            lease,
        )


class LockLost(LockError):
    """The token does not hold the lock any more; nothing was written. The lease is the one of who has it now."""

    def __init__(self, service: str, lease: Lease | None) -> None:
        gone = "nobody holds it now, so its lease ran out or somebody broke it"
        now = gone if lease is None else f"now it is held by {lease.summary}"
        super().__init__(
            f"this run does not hold the lock of {service} any more: {now}; look at what is under way before you run "
            "it again: ansible-playbook mesops.platform.status",
            lease,
        )


class Store(Protocol):
    """One service's rollouts. Every method raises StoreError when the store does not answer."""

    service: str

    def read(self, history: int = HISTORY, audit: int = AUDIT) -> View:
        """See everything, with at most so many records and audit entries. Changes nothing."""

    def acquire(self, holder: Holder, ttl: float, *, takeover: str | None = None) -> Lease:
        """Take the lock at once, with the next number, or raise Locked.

        *takeover* names the lease of a holder that is known to be dead.
        """

    def renew(self, token: str, ttl: float) -> Lease:
        """Hold the lock for another *ttl* seconds, or raise LockLost."""

    def release(self, token: str) -> bool:
        """Let go of the lock; whether this token still held it."""

    def break_lock(self, by: str, reason: str) -> Lease | None:
        """Take the lock from whoever holds it, on record; the lease that was broken."""

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> Written:
        """Renew the lease and write the record, open until it has ``ended_at``; or raise LockLost and write nothing.

        Without a record it is a heartbeat that brings back the flag.
        """

    def close(self, record: Mapping[str, Any], token: str, keep: int = KEEP) -> None:
        """Write the final record, forget mark and flag, release the lock, remove records beyond *keep*.

        May be repeated: what is closed already stays so, whoever holds the lock by then.
        """

    def set_control(self, flag: str, by: str, note: str) -> Change:
        """Set or clear a person's flag, or raise Refused when it would mean nothing."""

    def clear_control(self, token: str, obeyed: str = PROMOTE) -> Control | None:
        """Forget a flag that was obeyed; the flag that is left, because somebody has set another one meanwhile."""


def acquire_patiently(
    store: Store,
    holder: Holder,
    ttl: float,
    *,
    takeover: str | None = None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Lease:
    """Take the lock, if need be after the lease of a holder that gives no sign of life.

    A renewal shows that the holder lives, so it ends the wait with Locked within one heartbeat. So does a new holder.
    *clock* only has to grow.
    """
    begin = clock()
    first: Lease | None = None
    while True:
        try:
            return store.acquire(holder, ttl, takeover=takeover)
        except Locked as error:
            first = first or error.lease
            lives = (error.lease.token, error.lease.renewed_at) != (first.token, first.renewed_at)
            if lives or clock() - begin >= first.expires_in + GRACE:
                raise
        sleep(POLL)


# --- the rules that both backends keep ----------------------------------------------------------------------------


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
    if flag == RESUME and record.get("status") != PAUSED:
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
    last = next((one.get("id") for one in records if one.get("status") == SUCCEEDED), None)
    spare = [str(one["id"]) for one in reversed(records[max(keep, 1) :]) if has_ended(one)]
    return [name for name in spare if name not in (closed, last)]


# --- as text ------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """For a person: ``42 s``, ``12 min``, ``3 h``."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"


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
