# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a rollout, reached through a coordinator: a host that runs the modules of the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils import rollout_world as world
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import PlanError
from ansible_collections.mesops.platform.plugins.module_utils.rollout_state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils.fleet import Answer, Call, Fleet

WRITE, HEARTBEAT = "store", "heartbeat"
HEARTBEAT_INTERVAL = 5.0
PATIENCE = 30.0
"""Seconds for which a write is tried again before the rollout halts."""
RETRY_PAUSE = 2.0
CALL_TIMEOUT = 20.0


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


class LiveStore:
    """Reads and writes one service's store, and keeps its lease."""

    def __init__(self, fleet: Fleet, settings: StoreSettings, tell: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.settings = settings
        self.control: world.Control | None = None
        self.coordinator = settings.coordinators[0]
        self._tell = tell
        self._token = ""
        self._heard_at = 0.0
        self._error: Exception | None = None

    def read(self) -> Mapping[str, Any]:
        """What is there, without taking the lock; the history without the record that is not finished."""
        found = dict(self._ask("rollout_record", {"state": "read"}))
        found["history"] = [one for one in found.get("history") or [] if one.get("ended_at")]
        return found

    def open(self) -> world.Opened:
        """Take the lock and read what is there; PlanError says who has it."""
        settings = self.settings
        arguments = {"state": "opened", "ttl": settings.ttl, "holder": dict(settings.holder)}
        lock = self._ask("rollout_lock", {"state": "read"}).get("lock")
        if lock and settings.is_dead(lock):
            self._tell(
                f"the holder of the lock is a process of this machine that is no more ({lock['holder']['what']})"
            )
            arguments["takeover"] = lock["id"]
        found = self._ask("rollout_record", arguments, patience=settings.ttl, refuse=False)
        if found.get("failed"):
            raise (PlanError if found.get("locked") else world.StoreLost)(str(found["msg"]))
        self._token, self._heard_at = str(found["token"]), time.monotonic()
        self._take_in(found)
        ended = [one for one in found.get("history") or [] if one.get("ended_at")]
        return world.Opened(found.get("open_record"), ended)

    def save(self, record: Record) -> None:
        """Write the record; trouble is borne for a while before it counts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.note(self.fleet.run(self.begin_save(record)))
            error = self.error()
            if error is None:
                return
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
            self._error = self._heard(answer)

    def _heard(self, answer: Answer) -> Exception | None:
        """Take in what the store has answered; why it did not do what it was asked."""
        if answer.unreachable:
            self._next_coordinator()
        if answer.result.get("lock_lost"):
            return world.LockLost(answer.reason)
        if answer.failed:
            return world.StoreLost(answer.reason)
        self._heard_at = time.monotonic()
        self._take_in(answer.result)
        return None

    def error(self) -> Exception | None:
        """The error of the last write, once."""
        error, self._error = self._error, None
        return error

    def keep_alive(self) -> None:
        """Renew the lease in the background when it is time; called whenever the fleet waits."""
        if not self._token:
            return
        answer = self.fleet.collect(HEARTBEAT)
        if answer is not None:
            error = self._heard(answer)
            if isinstance(error, world.LockLost):
                self._error = error
            elif error is not None:
                # The next write finds out by itself; a renewal that failed is only tried again.
                self._heard_at = time.monotonic() - HEARTBEAT_INTERVAL + RETRY_PAUSE
        quiet = time.monotonic() - self._heard_at
        if quiet > HEARTBEAT_INTERVAL and not self.fleet.busy(HEARTBEAT) and not self.fleet.busy(WRITE):
            arguments = {"state": "renewed", "token": self._token, "ttl": self.settings.ttl}
            self.fleet.begin(HEARTBEAT, self._call("rollout_lock", arguments))

    def clear_control(self) -> None:
        """Forget the flag that was obeyed."""
        self.control = None
        self._ask("rollout_control", {"flag": "clear", "token": self._token})

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

    def _take_in(self, found: Mapping[str, Any]) -> None:
        given = found.get("control")
        self.control = world.Control(given["flag"], given.get("by", ""), given.get("note", "")) if given else None

    def _next_coordinator(self) -> None:
        """With etcd any host will do: go on to the next."""
        everybody = list(self.settings.coordinators)
        self.coordinator = everybody[(everybody.index(self.coordinator) + 1) % len(everybody)]

    def _ask(
        self, module: str, arguments: Mapping[str, Any], patience: float = 0, refuse: bool = True
    ) -> Mapping[str, Any]:
        """Run a module of the store on the first coordinator that answers; StoreLost when it fails, unless told."""
        reasons = []
        for _attempt in self.settings.coordinators:
            answer = self.fleet.run({WRITE: self._call(module, arguments, patience)})[WRITE]
            if not answer.unreachable:
                if answer.failed and refuse:
                    raise world.StoreLost(answer.reason)
                return answer.result
            reasons.append(f"{self.coordinator}: {answer.reason}")
            self._next_coordinator()
        text = "; ".join(dict.fromkeys(reasons))
        if refuse:
            raise world.StoreLost(text)
        return {"failed": True, "msg": text}
