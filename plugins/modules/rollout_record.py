#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, open, write and close the record of a service's rollout."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_record
short_description: Read, open, write and close the record of a service's rollout
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - A rollout is written down before each of its steps, so that whoever comes after a killed run goes on from there. One
    execution does all that belongs to a step. It writes the record only while O(token) holds the lock, renews the
    lease, and brings back the flag that a person may have set.
  - The record is the rollout's own. The store looks at its C(id), C(service), C(version), C(status), C(started_at) and
    C(ended_at) only. A record without C(ended_at) is open, and there is one of them at most.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.rollout_store
  - mesops.platform.rollout_store.lock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - A record is large, and it shows by itself what has changed.
  idempotent:
    support: partial
    details:
      - O(state=opened) takes the lock, so the second time it is locked. The other states may be repeated, and
        O(state=written) always renews the lease.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(read) shows everything.
      - V(opened) takes the lock for O(holder) and shows everything.
      - V(written) writes O(record) and renews the lease.
      - V(closed) writes the final O(record), which has to have C(ended_at), and removes the flag, the lock and old
        records. It may be repeated after a failure.
    type: str
    choices: [read, opened, written, closed]
    default: read
  record:
    description: The record. Its C(id) is a plain name of up to 150 characters.
    type: dict
  keep:
    description:
      - How many records O(state=closed) leaves. The last one that succeeded is left in any case, because a rollback
        goes by it.
    type: int
    default: 20
  history:
    description: How many records to show.
    type: int
    default: 20
seealso:
  - module: mesops.platform.rollout_lock
  - module: mesops.platform.rollout_control
"""

EXAMPLES = r"""
- name: See how the last rollouts of the catalog ended
  mesops.platform.rollout_record:
    service: catalog
    history: 5
  register: rollouts

- name: Take the lock, and see whether a rollout was left unfinished
  mesops.platform.rollout_record:
    service: catalog
    state: opened
    holder:
      user: deploy
      host: ci-7
      what: rollout of catalog 1.4.0
  register: opened

- name: Write down what comes next
  mesops.platform.rollout_record:
    service: catalog
    state: written
    token: "{{ opened.token }}"
    record:
      id: catalog-20261124-120000
      service: catalog
      version: "1.4.0"
      status: running
      started_at: 1795516800.0
"""

RETURN = r"""
open_record:
  description: The record of the rollout that is not finished, or V(null).
  returned: when O(state=read) or O(state=opened)
  type: dict
history:
  description: The records, the newest first and the open one included.
  returned: when O(state=read) or O(state=opened)
  type: list
  elements: dict
audit:
  description: What was done by hand, the newest first.
  returned: when O(state=read) or O(state=opened)
  type: list
  elements: dict
  contains:
    at:
      description: When, in seconds since the epoch.
      type: float
    by:
      description: Who.
      type: str
    what:
      description: What.
      type: str
control:
  description: The flag that a person has set for the open rollout, or V(null).
  returned: success, except when O(state=closed)
  type: dict
  sample: {flag: pause, by: deploy, note: shift change, at: 1795516800.0, rollout_id: catalog-20261124-120000}
lock:
  description:
    - Who holds the lock, or V(null). See M(mesops.platform.rollout_lock) for its keys. On failure, the lock that was
      in the way.
  returned: always, but for errors of the store
  type: dict
token:
  description: What the holder shows from now on.
  returned: when O(state=opened), except in check mode
  type: str
  sample: 8c1f4d2ab3e64c0d9a7be5f6210c3d4e
fence:
  description: The number of this lock, higher than that of every lock before it. What is changed under it shows it.
  returned: when O(state=opened), except in check mode
  type: int
  sample: 17
store:
  description:
    - The name of the store, its place when it was made and an id. Without the id while nobody has used it.
  returned: when O(state=read) or O(state=opened)
  type: str
  sample: "lb-1:/var/lib/mesops/rollouts #s3f0a6d1c92be"
remembered:
  description: The store whose rollouts have changed the service on this host, empty when none has.
  returned: when O(state=read)
  type: str
  sample: "lb-1:/var/lib/mesops/rollouts #s3f0a6d1c92be"
revision:
  description: A number that grows with every change of lock or record.
  returned: success, except when O(state=closed)
  type: int
  sample: 17
locked:
  description: Whether the failure is that somebody else holds the lock.
  returned: on failure, when it is
  type: bool
lock_lost:
  description: Whether the failure is that O(token) does not hold the lock any more. Nothing was written.
  returned: on failure, when it is
  type: bool
store_error:
  description: Whether the failure is that the store cannot be used.
  returned: on failure, when it is
  type: bool
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import options, store_rules, stores
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced

LOGGED = 1000


class Module(AnsibleModule):  # type: ignore[misc]
    """Keeps whole records, which can be long and come every few seconds, out of the system's log."""

    def log(self, msg: Any, log_args: Any = None) -> None:
        """Log the beginning."""
        super().log(str(msg)[:LOGGED])


def opened(store: stores.Store, params: Mapping[str, Any]) -> dict[str, Any]:
    """Take the lock and read; if that cannot be read, nobody would know the token, so let go again."""
    lease = options.acquire(store, params)
    try:
        view = store.read(params["history"])
    except stores.StoreError:
        with suppress(stores.StoreError):
            store.release(lease.token)
        raise
    shown = {**options.shown_view(view), "lock": options.shown_lock(lease)}
    return {"changed": True, **shown, "token": lease.token, "fence": lease.number}


def act(store: stores.Store, params: Mapping[str, Any]) -> dict[str, Any]:
    """Do it for real."""
    if params["state"] == "opened":
        return opened(store, params)
    if params["state"] == "written":
        written = store.write(params["record"], params["token"], options.check_ttl(params))
        control = options.shown_control(written.control)
        lock = options.shown_lock(written.lease)
        return {"changed": True, "control": control, "revision": written.revision, "lock": lock}
    store.close(params["record"], params["token"], params["keep"])
    return {"changed": True, "lock": None}


def look(store: stores.Store, params: Mapping[str, Any]) -> dict[str, Any]:
    """Say what is there, or refuse what would be refused."""
    view = store.read(params["history"])
    shown = options.shown_view(view)
    if params["state"] == "read":
        return {"changed": False, **shown, "remembered": Fence(store.service).remembered()}
    if params["state"] == "opened":
        options.check_ttl(params)
        if view.lock is not None and not view.lock.is_meant(params["takeover"]):
            raise stores.Locked(store.service, view.lock)
        return {"changed": True, **shown}
    store_rules.check_record(store.service, params["record"])
    if view.lock is None or view.lock.token != params["token"]:
        raise stores.LockLost(store.service, view.lock)
    if params["state"] == "closed":
        store_rules.check_final(params["record"])
        return {"changed": True, "lock": None}
    if not store_rules.has_ended(params["record"]):
        store_rules.check_alone(store.service, params["record"], view.open_record)
    return {"changed": True, **{name: shown[name] for name in ("control", "revision", "lock")}}


def main() -> None:
    """Look or act, and tell the kinds of failure apart."""
    module = Module(
        argument_spec={
            **options.STORE_ARGUMENTS,
            **options.LOCK_ARGUMENTS,
            "state": {"type": "str", "choices": ["read", "opened", "written", "closed"], "default": "read"},
            "record": {"type": "dict"},
            "keep": {"type": "int", "default": stores.KEEP},
            "history": {"type": "int", "default": stores.HISTORY},
        },
        required_if=[
            ("state", "opened", ("holder",)),
            ("state", "written", ("token", "record")),
            ("state", "closed", ("token", "record")),
            ("backend", "etcd", ("endpoints",)),
        ],
        supports_check_mode=True,
    )
    params = module.params
    try:
        for option, least in (("keep", 1), ("history", 0)):
            if params[option] < least:
                raise Refused(f"{option} {params[option]} is too small; give {least} or more")
        store = options.open_store(params)
        result = (look if module.check_mode or params["state"] == "read" else act)(store, params)
    except (*options.ERRORS, Fenced) as error:
        module.fail_json(**options.failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
