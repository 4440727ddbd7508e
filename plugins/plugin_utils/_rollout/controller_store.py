# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a rollout, reached from the controller itself, for a controller that reaches etcd.

It costs milliseconds where a module execution on a coordinator costs half a second, so every write is done before the
step that it describes begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import options, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import (
    HEARTBEAT_INTERVAL,
    RETRY_PAUSE,
    StoreClient,
    StoreSettings,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


class ControllerStore(StoreClient):
    """Asks the store itself, without a host in between."""

    def __init__(self, fleet: Fleet, settings: StoreSettings, tell: Callable[[str], None]) -> None:
        defaults = {name: one.get("default") for name, one in options.STORE_ARGUMENTS.items()}
        try:
            self._store = options.open_store({**defaults, **settings.options})
        except Refused as why:
            raise PlanError(f"rollout_store: {why}.") from why
        super().__init__(fleet, settings, tell)

    def _look(self) -> Mapping[str, Any]:
        try:
            return options.shown_view(self._store.read())
        except stores.StoreError as error:
            raise world.StoreLost(str(error)) from error

    def _holder(self) -> Mapping[str, Any] | None:
        try:
            return options.shown_lock(self._store.read(0, 0).lock)
        except stores.StoreError as error:
            raise world.StoreLost(str(error)) from error

    def _acquire(self, takeover: str | None) -> Mapping[str, Any]:
        settings = self.settings
        holder = stores.Holder(**settings.holder)
        try:
            lease = stores.acquire_patiently(
                self._store, holder, settings.ttl, takeover=takeover, clock=time.monotonic, sleep=self.fleet.sleep
            )
            self._token = lease.token
            self._heard()
            view = self._store.read()
        except stores.Locked as error:
            raise PlanError(str(error)) from error
        except (stores.StoreError, stores.LockError) as error:
            self.release()
            raise world.StoreLost(str(error)) from error
        return {**options.shown_view(view), "fence": lease.number}

    def _save(self, record: Record) -> None:
        self.begin_save(record)

    def begin_save(self, record: Record) -> dict[str, Call]:
        """Write the record now; no execution has to ride along."""
        self._note(self._attempt(record))
        return {}

    def note(self, answers: dict[str, Any]) -> None:
        """Nothing rode along."""

    def keep_alive(self) -> None:
        """Renew the lease when it is time; a renewal that fails is only tried again, unless the lock is lost."""
        if not self._token or time.monotonic() - self._heard_at < HEARTBEAT_INTERVAL:
            return
        error = self._attempt(None)
        if isinstance(error, world.LockLost):
            self._note(error)
        elif error is not None:
            self._heard_at = time.monotonic() - HEARTBEAT_INTERVAL + RETRY_PAUSE

    def _clear(self, flag: str) -> None:
        try:
            self._store.clear_control(self._token, flag)
        except stores.LockError as error:
            self.lose(str(error))
            self.confirm()
        except stores.StoreError as error:
            raise world.StoreLost(str(error)) from error

    def _close(self, record: Record) -> Exception | None:
        try:
            self._store.close(record.to_dict(), self._token)
        except stores.LockError as error:
            return world.LockLost(str(error))
        except stores.StoreError as error:
            return world.StoreLost(str(error))
        return None

    def _release(self, token: str) -> None:
        try:
            self._store.release(token)
        except stores.StoreError as error:
            self._tell(f"the lock could not be let go of, its lease ends by itself: {error}")

    def _renew(self) -> Exception | None:
        return self._attempt(None)

    def _attempt(self, record: Record | None) -> Exception | None:
        """Write a record, or only renew the lease; why it did not succeed."""
        try:
            written = self._store.write(record.to_dict() if record else None, self._token, self.settings.ttl)
        except stores.LockError as error:
            return world.LockLost(str(error))
        except stores.StoreError as error:
            return world.StoreLost(str(error))
        self._heard()
        self._take_in(options.shown_control(written.control))
        return None
