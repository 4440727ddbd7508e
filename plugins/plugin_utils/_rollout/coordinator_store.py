# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a rollout, reached through a coordinator: a host that runs the modules of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import store_id
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import (
    HEARTBEAT_INTERVAL,
    RETRY_PAUSE,
    StoreClient,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

WRITE, HEARTBEAT = "store", "heartbeat"
CALL_TIMEOUT = 20.0


class CoordinatorStore(StoreClient):
    """Runs the modules of the store on the first coordinator that answers."""

    def _look(self) -> Mapping[str, Any]:
        return self._ask("rollout_record", {"state": "read"}, beside=self._others())

    def _holder(self) -> Mapping[str, Any] | None:
        lock: Mapping[str, Any] | None = self._ask("rollout_lock", {"state": "read"}, beside=self._others()).get("lock")
        return lock

    def _acquire(self, takeover: str | None) -> Mapping[str, Any]:
        settings = self.settings
        arguments = {"state": "opened", "ttl": settings.ttl, "holder": dict(settings.holder)}
        if takeover:
            arguments["takeover"] = takeover
        found = self._ask("rollout_record", arguments, patience=settings.ttl, refuse=False)
        if found.get("failed"):
            raise (PlanError if found.get("locked") else world.StoreLost)(str(found["msg"]))
        self._token = str(found["token"])
        self._heard()
        return found

    def _save(self, record: Record) -> None:
        self.note(self.fleet.run(self.begin_save(record)))

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

    def _close(self, record: Record) -> Exception | None:
        arguments = {"state": "closed", "token": self._token, "record": record.to_dict()}
        found = self._ask("rollout_record", arguments, refuse=False)
        if not found.get("failed"):
            return None
        return (world.LockLost if found.get("lock_lost") else world.StoreLost)(str(found["msg"]))

    def _release(self, token: str) -> None:
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
