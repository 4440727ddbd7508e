# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of the rollout store have in common: options, and how an error becomes a result. No Ansible."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service
from ansible_collections.mesops.platform.plugins.module_utils._record import etcd, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd_store import EtcdStore
from ansible_collections.mesops.platform.plugins.module_utils._record.file_store import FileStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_files import DIRECTORY, StoreFiles
from ansible_collections.mesops.platform.plugins.module_utils._record.store_keys import PREFIX, StoreKeys
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import Control, Holder, Lease, Store

BACKENDS = ["file", "etcd"]
"""The first is the default."""
TTL = 45.0
MIN_TTL, MAX_TTL = 1.0, 3600.0
STORE_ARGUMENTS: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "backend": {"type": "str", "choices": BACKENDS, "default": BACKENDS[0]},
    "directory": {"type": "path", "default": DIRECTORY},
    "endpoints": {"type": "list", "elements": "str", "default": []},
    "prefix": {"type": "str", "default": PREFIX},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "cert_file": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "timeout": {"type": "float", "default": stores.TIMEOUT},
}
STORE_OPTIONS = tuple(name for name in STORE_ARGUMENTS if name != "service")
"""Those of them that say where the store is."""
LOCK_ARGUMENTS: dict[str, Any] = {
    "holder": {
        "type": "dict",
        "options": {
            "user": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "pid": {"type": "int", "default": Holder.pid},
            "boot": {"type": "str", "default": Holder.boot},
            "process_started": {"type": "str", "default": Holder.process_started},
            "what": {"type": "str", "default": Holder.what},
            "rollout_id": {"type": "str", "default": Holder.rollout_id},
        },
    },
    "ttl": {"type": "float", "default": TTL},
    # Not secret, and returned: a value that is no_log would be cut out of the results.
    "token": {"type": "str", "no_log": False},
    "takeover": {"type": "str"},
    "patient": {"type": "bool", "default": True},
}

_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


def open_store(params: Mapping[str, Any]) -> Store:
    """The store that the options describe. Reaches nothing yet."""
    service = check_service(params["service"])
    if params["timeout"] <= 0:
        raise Refused(f"timeout {params['timeout']:g} is not positive; give seconds, such as {stores.TIMEOUT:g}")
    if params["backend"] == "file":
        if not params["directory"].startswith("/"):
            raise Refused(f"directory {params['directory']!r} is no absolute path; begin it with /")
        return FileStore(StoreFiles(service, params["directory"], params["timeout"]))
    prefix = params["prefix"].rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise Refused(f"prefix {params['prefix']!r} is no path of plain names; write it like {PREFIX}")
    gateway = etcd.Gateway(
        etcd.check_endpoints(params["endpoints"]),
        etcd.opener(*(params[name] or "" for name in ("ca_file", "cert_file", "key_file"))),
        params["username"] or "",
        params["password"] or "",
        params["timeout"],
    )
    return EtcdStore(StoreKeys(service, gateway, prefix))


def check_ttl(params: Mapping[str, Any]) -> float:
    """How long a lease is to last."""
    ttl = float(params["ttl"])
    if not MIN_TTL <= ttl <= MAX_TTL:
        raise Refused(f"ttl {ttl:g} is out of range; give {MIN_TTL:g} to {MAX_TTL:g} seconds, such as {TTL:g}")
    return ttl


def holder_of(params: Mapping[str, Any]) -> Holder:
    """Who takes the lock."""
    return Holder(**{one.name: params["holder"][one.name] for one in fields(Holder)})


def acquire(store: Store, params: Mapping[str, Any]) -> Lease:
    """Take the lock as the options say, at once or after a lease that runs out."""
    holder, ttl, takeover = holder_of(params), check_ttl(params), params["takeover"]
    if not params["patient"]:
        return store.acquire(holder, ttl, takeover=takeover)
    return stores.acquire_patiently(store, holder, ttl, takeover=takeover, clock=time.monotonic, sleep=time.sleep)


def shown_lock(lease: Lease | None) -> dict[str, Any] | None:
    """A lease as a result, without its token."""
    return None if lease is None else lease.to_dict()


def shown_control(control: Control | None) -> dict[str, Any] | None:
    """A flag as a result."""
    return None if control is None else asdict(control)


def shown_view(view: stores.View) -> dict[str, Any]:
    """All that a store holds, as a result."""
    return {
        "lock": shown_lock(view.lock),
        "open_record": view.open_record,
        "control": shown_control(view.control),
        "history": view.history,
        "audit": view.audit,
        "revision": view.revision,
        "store": view.store,
    }


def failure(error: Exception) -> dict[str, Any]:
    """The result of a module that an error has ended; a flag tells the kinds apart."""
    result: dict[str, Any] = {"msg": str(error)}
    if isinstance(error, stores.Locked):
        result.update(locked=True, lock=shown_lock(error.lease))
    elif isinstance(error, stores.LockLost):
        result.update(lock_lost=True, lock=shown_lock(error.lease))
    elif isinstance(error, stores.StoreError):
        result.update(store_error=True)
    return result


ERRORS = (stores.StoreError, stores.LockError, Refused)
"""What the modules turn into a failure."""
