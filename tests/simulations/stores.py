# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a simulation: the product's file store on files in memory, and one run's way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import stores
from ansible_collections.mesops.platform.plugins.module_utils._record.file_store import FileStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_files import StoreFiles
from simulations.plain import copied


@dataclass
class MemoryFiles(StoreFiles):
    """Files that are a mapping. Who reads them changes nothing in them, so what is in them is shared."""

    content: dict[str, dict[str, Any]] = field(default_factory=dict)
    audit: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False

    def read(self, name: str) -> dict[str, Any] | None:
        """The object in a file."""
        return self.content.get(name)

    def records(self) -> list[str]:
        """The names of the files of records."""
        return [name.partition("/")[2] for name in self.content if name.startswith("records/")]

    def replace(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a file."""
        self.content[name] = dict(value)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.content.pop(name, None)

    def read_audit(self, limit: int) -> list[dict[str, Any]]:
        """The last entries of the audit list."""
        return self.audit[: -limit - 1 : -1] if limit > 0 else []

    def append_audit(self, entry: Mapping[str, Any]) -> None:
        """Add an entry to the audit list."""
        self.audit.append(dict(entry))

    @contextmanager
    def alone(self, shared: bool = False, create: bool = False) -> Iterator[bool]:
        """Nobody else is there."""
        if self.down:
            raise stores.StoreError("the store gives no answer")
        yield True


class MemoryStore(FileStore):
    """``FileStore`` on files in memory, which gives no answer while it is told not to."""

    def __init__(self, service: str, clock: Callable[[], float]) -> None:
        self.memory = MemoryFiles(service)
        super().__init__(self.memory, clock)
        self.silences: list[tuple[float, float]] = []
        """From when to when it gave no answer, as far as that is over."""
        self._silent_since = 0.0
        self.taken = 0
        """How often its lock was taken."""

    @property
    def down(self) -> bool:
        """Whether it gives no answer."""
        return self.memory.down

    def fall_silent(self) -> None:
        """Give no answer from now on."""
        if not self.down:
            self.memory.down, self._silent_since = True, self.clock()

    def speak_again(self) -> None:
        """Give answers again."""
        if self.down:
            self.memory.down = False
            self.silences.append((self._silent_since, self.clock()))

    def silent_s(self, seconds: float) -> float:
        """For how many of the last seconds it gave no answer."""
        now = self.clock()
        silences = [*self.silences, (self._silent_since, now)] if self.down else self.silences
        return sum(max(0.0, end - max(begin, now - seconds)) for begin, end in silences)

    @property
    def held(self) -> stores.Lease | None:
        """The lease of whoever has the lock."""
        return self._read_lock()[1]

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> stores.View:
        """See everything; the record that is open may be changed, but by those who asked for no history."""
        view = super().read(history, audit)
        return replace(view, open_record=copied(view.open_record)) if history and view.open_record else view


class Client:
    """One run's way to the store: its requests and their answers may be lost; implements ``stores.Store``."""

    def __init__(self, store: MemoryStore) -> None:
        self.service = store.service
        self._store = store
        self.trouble = ""
        """What happens to the next request: store fails, store lost or store twice."""
        self.lost = False
        """Whether this run was told that it does not hold the lock any more."""
        self.robbed = False
        """Whether it took the lock from somebody who held it."""
        self.unsaid = False
        """Whether the store may not have the last record."""
        self.number = 0
        """The how manieth that took the lock this run is, as the simulation counts."""

    def silent_s(self, seconds: float) -> float:
        """For how many of the last seconds the store gave no answer."""
        return self._store.silent_s(seconds)

    def _ask(self, act: Callable[[], Any]) -> Any:
        trouble, self.trouble = self.trouble, ""
        if trouble == "store fails":
            raise stores.StoreError("the store gave no answer")
        try:
            answer = act()
            if trouble == "store twice":
                answer = act()
        except stores.LockLost:
            self.lost = True
            raise
        if trouble == "store lost":
            raise stores.StoreError("the store's answer was lost")
        return answer

    def read(self, history: int = stores.HISTORY, audit: int = stores.AUDIT) -> stores.View:
        """See everything."""
        found: stores.View = self._ask(lambda: self._store.read(history, audit))
        return found

    def acquire(self, holder: stores.Holder, ttl: float, *, takeover: str | None = None) -> stores.Lease:
        """Take the lock."""
        held = self._store.held
        lease: stores.Lease = self._ask(lambda: self._store.acquire(holder, ttl, takeover=takeover))
        self.robbed = held is not None and not held.is_meant(takeover)
        self._store.taken += 1
        self.number = self._store.taken
        return lease

    def renew(self, token: str, ttl: float) -> stores.Lease:
        """Hold it for longer."""
        lease: stores.Lease = self._ask(lambda: self._store.renew(token, ttl))
        return lease

    def release(self, token: str) -> bool:
        """Let go of it."""
        released: bool = self._ask(lambda: self._store.release(token))
        return released

    def break_lock(self, by: str, reason: str) -> stores.Lease | None:
        """Not for runs."""
        raise AssertionError("a run breaks no lock")

    def write(self, record: Mapping[str, Any] | None, token: str, ttl: float) -> stores.Written:
        """Write the record."""
        self.unsaid |= record is not None
        written: stores.Written = self._ask(lambda: self._store.write(record, token, ttl))
        self.unsaid &= record is None
        return written

    def close(self, record: Mapping[str, Any], token: str, keep: int = stores.KEEP) -> None:
        """Write the final record."""
        self.unsaid = True
        self._ask(lambda: self._store.close(record, token, keep))
        self.unsaid = False

    def set_control(self, flag: str, by: str, note: str) -> stores.Change:
        """Not for runs."""
        raise AssertionError("a run sets no flag")

    def clear_control(self, token: str, obeyed: str = stores.PROMOTE) -> stores.Control | None:
        """Forget a flag that was obeyed."""
        left: stores.Control | None = self._ask(lambda: self._store.clear_control(token, obeyed))
        return left
