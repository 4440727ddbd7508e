#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take, renew, release, break and show the lock of a service's rollouts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_lock
short_description: Take, renew, release, break and show the lock of a service's rollouts
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Only the holder of a service's lock rolls it out. The lock is a lease that ends by itself when its holder dies, and
    every write to the store proves that it is still held.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.rollout_store
  - mesops.platform.rollout_store.lock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=acquired) takes the lock, so the second time it is locked. The other states may be repeated.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(read) shows who holds the lock.
      - V(acquired) takes it for O(holder).
      - V(renewed) keeps the lock of O(token) for another O(ttl), and brings back a person's flag. That counts as no
        change.
      - V(released) lets go of it, if O(token) still holds it.
      - V(broken) takes it from whoever holds it, on record. Only for a holder that is known to be dead.
    type: str
    choices: [read, acquired, renewed, released, broken]
    default: read
  by:
    description: Who breaks the lock, for the record.
    type: str
    default: ""
  reason:
    description: Why the lock is broken, for the record.
    type: str
    default: ""
seealso:
  - module: mesops.platform.rollout_record
  - module: mesops.platform.rollout_control
"""

EXAMPLES = r"""
- name: Show who rolls the catalog out
  mesops.platform.rollout_lock:
    service: catalog

- name: Break the lock of a controller that is gone
  mesops.platform.rollout_lock:
    service: catalog
    state: broken
    by: on-call
    reason: the runner was deleted
    backend: etcd
    endpoints: ["http://10.0.0.11:2379", "http://10.0.0.12:2379", "http://10.0.0.13:2379"]
"""

RETURN = r"""
lock:
  description:
    - Who holds the lock after this task, or V(null). With O(state=broken) the lock that was broken. On failure, the
      lock that was in the way.
  returned: always, but for errors of the store
  type: dict
  contains:
    id:
      description: Names this lease, for O(takeover).
      type: str
    holder:
      description: The holder as it was given.
      type: dict
    summary:
      description: Who holds it and for how long, for a person.
      type: str
    acquired_at:
      description: When the lock was taken, in seconds since the epoch.
      type: float
    renewed_at:
      description: When it was renewed last, in seconds since the epoch.
      type: float
    ttl:
      description: Seconds from a renewal until the lease runs out.
      type: float
    expires_in:
      description: Seconds until it runs out.
      type: float
  sample:
    id: 3f0a6d1c92be
    holder: {user: deploy, host: ci-7, pid: 4242, what: rollout of catalog 1.4.0}
    summary: deploy@ci-7 (rollout of catalog 1.4.0, pid 4242) for 12 min
    acquired_at: 1795516800.0
    renewed_at: 1795517520.0
    ttl: 45.0
    expires_in: 42.0
token:
  description: What the holder shows from now on.
  returned: when O(state=acquired), except in check mode
  type: str
  sample: 8c1f4d2ab3e64c0d9a7be5f6210c3d4e
fence:
  description: The number of this lock, higher than that of every lock before it. What is changed under it shows it.
  returned: when O(state=acquired), except in check mode
  type: int
  sample: 17
control:
  description: The flag that a person has set for the open rollout, or V(null).
  returned: when O(state=read) or O(state=renewed)
  type: dict
  sample: {flag: pause, by: deploy, note: shift change, at: 1795516800.0, rollout_id: catalog-20261124-120000}
store:
  description: The name of the store, its place when it was made and an id. Without the id while nobody has used it.
  returned: when O(state=read)
  type: str
  sample: "lb-1:/var/lib/mesops/rollouts #s3f0a6d1c92be"
locked:
  description: Whether the failure is that somebody else holds the lock.
  returned: on failure, when it is
  type: bool
lock_lost:
  description: Whether the failure is that O(token) does not hold the lock any more.
  returned: on failure, when it is
  type: bool
store_error:
  description: Whether the failure is that the store cannot be used.
  returned: on failure, when it is
  type: bool
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._record import options, stores


def act(store: stores.Store, params: Mapping[str, Any]) -> dict[str, Any]:
    """Do it for real."""
    state = params["state"]
    if state == "acquired":
        lease = options.acquire(store, params)
        shown = options.shown_lock(lease)
        diff = {"before": {}, "after": shown}
        return {"changed": True, "lock": shown, "token": lease.token, "fence": lease.number, "diff": diff}
    if state == "renewed":
        written = store.write(None, params["token"], options.check_ttl(params))
        control = options.shown_control(written.control)
        return {"changed": False, "lock": options.shown_lock(written.lease), "control": control}
    if state == "released":
        released = store.release(params["token"])
        return {"changed": released, "lock": options.shown_lock(store.read(0, 0).lock)}
    broken = options.shown_lock(store.break_lock(params["by"], params["reason"]))
    return {"changed": broken is not None, "lock": broken, "diff": {"before": broken or {}, "after": {}}}


def look(store: stores.Store, params: Mapping[str, Any]) -> dict[str, Any]:
    """Say what it would be like."""
    state = params["state"]
    view = store.read(0, 0)
    lock = options.shown_lock(view.lock)
    if state == "acquired":
        options.check_ttl(params)
        if view.lock is not None and not view.lock.is_meant(params["takeover"]):
            raise stores.Locked(store.service, view.lock)
        return {"changed": True, "lock": lock, "diff": {"before": lock or {}, "after": params["holder"]}}
    held = view.lock is not None and view.lock.token == params["token"]
    if state == "renewed":
        options.check_ttl(params)
        if not held:
            raise stores.LockLost(store.service, view.lock)
    if state == "released":
        return {"changed": held, "lock": None if held else lock}
    if state == "broken":
        return {"changed": lock is not None, "lock": lock, "diff": {"before": lock or {}, "after": {}}}
    return {"changed": False, "lock": lock, "control": options.shown_control(view.control), "store": view.store}


def main() -> None:
    """Look or act, and tell the kinds of failure apart."""
    module = AnsibleModule(
        argument_spec={
            **options.STORE_ARGUMENTS,
            **options.LOCK_ARGUMENTS,
            "state": {
                "type": "str",
                "choices": ["read", "acquired", "renewed", "released", "broken"],
                "default": "read",
            },
            "by": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
        },
        required_if=[
            ("state", "acquired", ("holder",)),
            ("state", "renewed", ("token",)),
            ("state", "released", ("token",)),
            ("backend", "etcd", ("endpoints",)),
        ],
        supports_check_mode=True,
    )
    try:
        store = options.open_store(module.params)
        only_looks = module.check_mode or module.params["state"] == "read"
        result = (look if only_looks else act)(store, module.params)
    except options.ERRORS as error:
        module.fail_json(**options.failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
