# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does with its store, however it reaches it: take the lock, write, hear what a person wants, let go.

``ControllerStore`` and ``CoordinatorStore`` are the two ways to it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world

HEARTBEAT_INTERVAL = 5.0
PATIENCE = 30.0
"""Seconds for which a write is tried again before the rollout halts."""
RETRY_PAUSE = 2.0


def slept() -> float:
    """A clock that only grows, also while this machine sleeps, where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class StoreSettings:
    """Where the record is, and from which hosts the store can be reached."""

    options: Mapping[str, Any]
    """Options of the modules rollout_lock, rollout_record and rollout_control."""
    coordinators: Sequence[str]
    """Hosts to run them on: one for files; any, the first that answers, for etcd."""
    holder: Mapping[str, Any]
    ttl: float
    is_dead: Callable[[Mapping[str, Any]], bool]
    """Whether the holder of a lease is known to be no more."""
    adopt: str = ""
    """The id of the store that is given up, and in whose place this one comes."""
    others: Sequence[str] = ()
    """Load balancers that may hold a store of files of their own, from when they were the coordinator."""


class StoreClient(ABC):
    """One run, as its service's store knows it: whether it may still act, and what a person wants."""

    def __init__(self, fleet: Fleet, settings: StoreSettings, tell: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.settings = settings
        self.control: world.Control | None = None
        self.coordinator = settings.coordinators[0]
        self.fence = Fence(str(settings.options["service"]), adopt=settings.adopt)
        """How this run shows itself to hosts; without a number until it has the lock."""
        self._tell = tell
        self._token = ""
        self._heard_at = 0.0
        self._renewed = 0.0
        self._error: Exception | None = None
        self._flag: Mapping[str, Any] | None = None
        self._used: list[Mapping[str, Any]] = []
        """Flags that were obeyed. An answer that was under way meanwhile still has them, and is not obeyed again."""
        self._unclear: list[str] = []
        """Those of them that the store may still hold."""

    # ----------------------------------------------------------------------------------------------------- one way each

    @abstractmethod
    def _look(self) -> Mapping[str, Any]:
        """All that is there, as the module rollout_record shows it. Raises StoreLost."""

    @abstractmethod
    def _holder(self) -> Mapping[str, Any] | None:
        """Who has the lock, as the module rollout_lock shows it. Raises StoreLost."""

    @abstractmethod
    def _acquire(self, takeover: str | None) -> Mapping[str, Any]:
        """Take the lock, and see what is there; PlanError when somebody else has it, StoreLost when nobody knows."""

    @abstractmethod
    def begin_save(self, record: Record) -> dict[str, Call]:
        """Write the record, or give the execution that does, to ride along with a step."""

    @abstractmethod
    def note(self, answers: dict[str, Answer]) -> None:
        """Take the answer to a write out of those of a round."""

    @abstractmethod
    def keep_alive(self) -> None:
        """Renew the lease when it is time; a renewal that fails is only tried again, unless the lock is lost."""

    @abstractmethod
    def _save(self, record: Record) -> None:
        """Write the record now; ``error`` says what came of it."""

    @abstractmethod
    def _renew(self) -> Exception | None:
        """Renew the lease now; why that did not succeed."""

    @abstractmethod
    def _clear(self, flag: str) -> None:
        """Let the store forget a flag; StoreLost when it does not."""

    @abstractmethod
    def _close(self, record: Record) -> Exception | None:
        """Write the final record and let go of the lock; LockLost or StoreLost when that did not succeed."""

    @abstractmethod
    def _release(self, token: str) -> None:
        """Let go of the lock."""

    # ------------------------------------------------------------------------------------------------- the same in both

    def read(self) -> Mapping[str, Any]:
        """What is there, without taking the lock; the history without the record that is not finished."""
        found = dict(self._look())
        self._known(0, str(found.get("store", "")))
        found["history"] = _ended(found)
        return found

    def open(self) -> world.StoreView:
        """Take the lock and read what is there; PlanError says who has it, or who holds another store."""
        lock = self._holder()
        takeover = None
        if lock and self.settings.is_dead(lock):
            self._tell(
                f"the holder of the lock is a process of this machine that is no more ({lock['holder']['what']})"
            )
            takeover = str(lock["id"])
        found = self._acquire(takeover)
        self._known(int(found["fence"]), str(found["store"]))
        self._take_in(found.get("control"))
        return world.StoreView(found.get("open_record"), _ended(found), self.fence.number)

    def save(self, record: Record) -> None:
        """Write the record; trouble is borne for a while before it counts."""
        self.confirm()

        def attempt() -> Exception | None:
            self._save(record)
            return self.error()

        self._patiently(attempt)
        self._clear_again()

    def close(self, record: Record) -> None:
        """Write the final record and let go of the lock."""
        self._patiently(lambda: self._close(record))
        self._token = ""

    def _patiently(self, attempt: Callable[[], Exception | None]) -> None:
        """Try it again while the store does not do it, for a while; a lock that is lost does not come back."""
        deadline = time.monotonic() + PATIENCE
        while (error := attempt()) is not None:
            if isinstance(error, world.LockLost) or time.monotonic() > deadline:
                raise error
            self._tell(f"the store does not take the record, trying again: {error}")
            self.fleet.sleep(RETRY_PAUSE)

    def release(self) -> None:
        """Let go of the lock; where that is not possible the lease ends by itself."""
        token, self._token = self._token, ""
        if token:
            self._release(token)

    def clear_control(self) -> None:
        """Forget the flag that was obeyed, here at once and in the store, where one that came after it stays."""
        flag, self._flag, self.control = self._flag, None, None
        if flag is not None and flag not in self._used:
            self._used.append(flag)
            self._unclear.append(str(flag["flag"]))
            self._clear(self._unclear[-1])
            self._unclear.pop()

    def _clear_again(self) -> None:
        """Try what the store did not take, so that the next run does not obey a flag once more."""
        with suppress(world.StoreLost):
            while self._unclear:
                self._clear(self._unclear[-1])
                self._unclear.pop()

    def _take_in(self, given: Mapping[str, Any] | None) -> None:
        """The flag that the store has brought back, unless it was obeyed before."""
        self._flag = given if given and given not in self._used else None
        found = self._flag
        self.control = world.Control(found["flag"], found.get("by", ""), found.get("note", "")) if found else None

    def error(self) -> Exception | None:
        """The error of the last write, once; a lock that is lost stays lost."""
        error = self._error
        if not isinstance(error, world.LockLost):
            self._error = None
        return error

    def _note(self, error: Exception | None) -> None:
        if not isinstance(self._error, world.LockLost):
            self._error = error

    def lose(self, why: str) -> None:
        """Take note that somebody else has come."""
        self._error = world.LockLost(why)

    def confirm(self) -> None:
        """Raise LockLost when this run is known not to hold the lock; who slept beyond its lease asks the store first.

        A store that gives no answer is no proof: hosts refuse this run as soon as its successor has come to them.
        """
        if self._token and self._error is None and slept() - self._renewed >= self.settings.ttl:
            self._renewed = slept()
            error = self._renew()
            self._error = error if isinstance(error, world.LockLost) else None
        if isinstance(self._error, world.LockLost):
            raise self._error

    def _heard(self) -> None:
        self._heard_at, self._renewed = time.monotonic(), slept()

    def _known(self, number: int, store: str) -> None:
        self.fence = replace(self.fence, number=number, store=store)


def _ended(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in found.get("history") or [] if one.get("ended_at")]
