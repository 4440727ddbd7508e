# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of rollouts: what it holds, what can be done with it, and its lock. No Ansible.

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
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

POLL = 0.5
GRACE = 2.0
"""How long a store may take to notice that a lease has run out: etcd looks twice a second and then has to agree."""
TIMEOUT = 6.0
"""Seconds for one operation, however many requests or other processes it has to wait for."""
KEEP = 20
HISTORY = 20
AUDIT = 20

PAUSE, RESUME, PROMOTE, ABORT = "pause", "resume", "promote", "abort"
FLAGS = (PAUSE, RESUME, PROMOTE, ABORT)
USED_UP = (RESUME, PROMOTE, ABORT)
"""Flags that are forgotten once they are obeyed; a pause lasts until it is taken back."""


def new_token() -> str:
    """What the holder of a lock shows from then on."""
    return secrets.token_hex(16)


def _span(seconds: float) -> str:
    """For a person: ``42 s``, ``12 min``, ``3 h``."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"


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
        return f"{self.holder}{f' ({told})' if told else ''} for {_span(self.age)}"

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
            f"{service} is locked by {lease.summary}; its lease was renewed {_span(lease.renewed_ago)} ago and ends "
            f"in {_span(lease.expires_in)}. Wait for it, or, if you know that it is dead, break the lock: "
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

    @property
    def service(self) -> str:
        """Whose rollouts it holds."""

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
