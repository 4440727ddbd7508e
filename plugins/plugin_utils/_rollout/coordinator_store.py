# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a rollout, reached through a coordinator: a host that runs the modules of the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, store_id
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Answer, Call, Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

WRITE, HEARTBEAT = "store", "heartbeat"
HEARTBEAT_INTERVAL = 5.0
PATIENCE = 30.0
"""Seconds for which a write is tried again before the rollout halts."""
RETRY_PAUSE = 2.0
CALL_TIMEOUT = 20.0


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


class HeldStore:
    """What a run knows of its store, however it reaches it: whether it may still act, and what a person wants."""

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

    def _clear(self, flag: str) -> None:
        """Let the store forget a flag; StoreLost when it does not."""
        raise NotImplementedError

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

    def _renew(self) -> Exception | None:
        """Renew the lease now; why that did not succeed."""
        raise NotImplementedError

    def _heard(self) -> None:
        self._heard_at, self._renewed = time.monotonic(), slept()

    def _known(self, number: int, store: str) -> None:
        self.fence = replace(self.fence, number=number, store=store)


class CoordinatorStore(HeldStore):
    """Reads and writes one service's store, and keeps its lease."""

    def read(self) -> Mapping[str, Any]:
        """What is there, without taking the lock; the history without the record that is not finished."""
        found = dict(self._ask("rollout_record", {"state": "read"}, beside=self._others()))
        self._known(0, str(found.get("store", "")))
        found["history"] = [one for one in found.get("history") or [] if one.get("ended_at")]
        return found

    def open(self) -> world.Opened:
        """Take the lock and read what is there; PlanError says who has it, or who holds another store."""
        settings = self.settings
        arguments = {"state": "opened", "ttl": settings.ttl, "holder": dict(settings.holder)}
        lock = self._ask("rollout_lock", {"state": "read"}, beside=self._others()).get("lock")
        if lock and settings.is_dead(lock):
            self._tell(
                f"the holder of the lock is a process of this machine that is no more ({lock['holder']['what']})"
            )
            arguments["takeover"] = lock["id"]
        found = self._ask("rollout_record", arguments, patience=settings.ttl, refuse=False)
        if found.get("failed"):
            raise (PlanError if found.get("locked") else world.StoreLost)(str(found["msg"]))
        self._token = str(found["token"])
        self._heard()
        self._known(int(found["fence"]), str(found["store"]))
        self._take_in(found.get("control"))
        ended = [one for one in found.get("history") or [] if one.get("ended_at")]
        return world.Opened(found.get("open_record"), ended, self.fence.number)

    def save(self, record: Record) -> None:
        """Write the record; trouble is borne for a while before it counts."""
        self.confirm()
        deadline = time.monotonic() + PATIENCE
        while True:
            self.note(self.fleet.run(self.begin_save(record)))
            error = self.error()
            if error is None:
                return self._clear_again()
            if isinstance(error, world.LockLost) or time.monotonic() > deadline:
                raise error
            self._tell(f"the store does not take the record, trying again: {error}")
            self.fleet.sleep(RETRY_PAUSE)

    def begin_save(self, record: Record) -> dict[str, Call]:
        """The execution that writes the record and renews the lease, to ride along with a step."""
        more = {"token": self._token, "ttl": self.settings.ttl, "record": record.to_dict()}
        return {WRITE: self._call("rollout_record", {"state": "written", **more})}

    def note(self, answers: dict[str, Answer]) -> None:
        """Take the answer to a write out of those of a round."""
        answer = answers.pop(WRITE, None)
        if answer is not None:
            self._note(self._taken(answer))

    def _taken(self, answer: Answer) -> Exception | None:
        """Take in what the store has answered; why it did not do what it was asked."""
        if answer.unreachable:
            self._next_coordinator()
        if answer.result.get("lock_lost"):
            return world.LockLost(answer.reason)
        if answer.failed:
            return world.StoreLost(answer.reason)
        self._heard()
        self._take_in(answer.result.get("control"))
        return None

    def keep_alive(self) -> None:
        """Renew the lease in the background when it is time; called whenever the fleet waits."""
        if not self._token:
            return
        answer = self.fleet.collect(HEARTBEAT)
        if answer is not None:
            error = self._taken(answer)
            if isinstance(error, world.LockLost):
                self._note(error)
            elif error is not None:
                # The next write finds out by itself; a renewal that failed is only tried again.
                self._heard_at = time.monotonic() - HEARTBEAT_INTERVAL + RETRY_PAUSE
        quiet = time.monotonic() - self._heard_at
        if quiet > HEARTBEAT_INTERVAL and not self.fleet.busy(HEARTBEAT) and not self.fleet.busy(WRITE):
            self.fleet.begin(HEARTBEAT, self._call("rollout_lock", self._renewal))

    @property
    def _renewal(self) -> dict[str, Any]:
        return {"state": "renewed", "token": self._token, "ttl": self.settings.ttl}

    def _renew(self) -> Exception | None:
        return self._taken(self.fleet.run({WRITE: self._call("rollout_lock", self._renewal)})[WRITE])

    def _clear(self, flag: str) -> None:
        self._ask("rollout_control", {"flag": "clear", "obeyed": flag, "token": self._token})

    def close(self, record: Record) -> None:
        """Write the final record and let go of the lock."""
        deadline = time.monotonic() + PATIENCE
        arguments = {"state": "closed", "token": self._token, "record": record.to_dict()}
        while True:
            found = self._ask("rollout_record", arguments, refuse=False)
            if not found.get("failed"):
                self._token = ""
                return
            if found.get("lock_lost"):
                raise world.LockLost(str(found["msg"]))
            if time.monotonic() > deadline:
                raise world.StoreLost(str(found["msg"]))
            self._tell(f"the store does not take the record, trying again: {found['msg']}")
            self.fleet.sleep(RETRY_PAUSE)

    def release(self) -> None:
        """Let go of the lock; where that is not possible the lease ends by itself."""
        token, self._token = self._token, ""
        if token:
            self._ask("rollout_lock", {"state": "released", "token": token}, refuse=False)

    def _call(self, module: str, arguments: Mapping[str, Any], patience: float = 0) -> Call:
        everything = {**self.settings.options, **arguments}
        return Call(self.coordinator, module, everything, timeout=CALL_TIMEOUT + patience)

    def _next_coordinator(self) -> None:
        """With etcd any host will do: go on to the next."""
        everybody = list(self.settings.coordinators)
        self.coordinator = everybody[(everybody.index(self.coordinator) + 1) % len(everybody)]

    def _ask(
        self,
        module: str,
        arguments: Mapping[str, Any],
        patience: float = 0,
        refuse: bool = True,
        beside: Mapping[str, Call] | None = None,
    ) -> Mapping[str, Any]:
        """Run a module of the store on the first coordinator that answers; StoreLost when it fails, unless told.

        Calls ``beside`` it look at what may be another store of this service.
        """
        reasons = []
        for _attempt in self.settings.coordinators:
            answers = self.fleet.run({WRITE: self._call(module, arguments, patience), **(beside or {})})
            answer = answers.pop(WRITE)
            if not answer.unreachable:
                if answer.result.get("lock_lost") and refuse:
                    self.lose(answer.reason)
                    self.confirm()
                if answer.failed and refuse:
                    raise world.StoreLost(answer.reason)
                self._refuse_another(answer.result, answers)
                return answer.result
            reasons.append(f"{self.coordinator}: {answer.reason}")
            self._next_coordinator()
        text = "; ".join(dict.fromkeys(reasons))
        if refuse:
            raise world.StoreLost(text)
        return {"failed": True, "msg": text}

    def _others(self) -> dict[str, Call]:
        """A look at each load balancer that may hold a store of its own."""
        arguments = {**self.settings.options, "state": "read", "history": 1}
        return {name: Call(name, "rollout_record", arguments, timeout=CALL_TIMEOUT) for name in self.settings.others}

    def _refuse_another(self, found: Mapping[str, Any], answers: Mapping[str, Answer]) -> None:
        """Refuse to begin beside a store that another load balancer holds; one that cannot be asked proves nothing."""
        for name, answer in answers.items():
            other = answer.result
            used = not answer.failed and (other.get("history") or other.get("lock"))
            if not used or other.get("remembered") == found.get("store"):
                continue
            if self.settings.adopt and store_id(str(other.get("store"))) == self.settings.adopt:
                continue
            service = self.fence.name
            raise PlanError(
                f"The rollouts of {service} are recorded in {other.get('store')}, but this run goes by the store "
                f"{found.get('store')}; set rollout_store.coordinators to [{name}], or move the directory of {service} "
                f"from {name} to {self.coordinator}, so that they go on there."
            )
