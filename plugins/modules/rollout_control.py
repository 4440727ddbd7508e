#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pause, resume, promote or abort the open rollout of a service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_control
short_description: Pause, resume, promote or abort the open rollout of a service
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Sets a flag that the rollout finds with its next write, a few seconds later. It needs no lock, and it is on record
    who has set it. When no run is under way, the next one that goes on with the rollout finds it.
  - The last flag counts, but an abort is not taken back.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
  - mesops.platform.rollout_store
options:
  flag:
    description:
      - V(pause) stops it before its next step, V(resume) takes that back, and ends a pause that a gate has asked for.
      - V(promote) goes on at once, without waiting for the rest of the gates.
      - V(abort) rolls back.
      - V(clear) is for the rollout itself. It forgets the flag O(obeyed), while O(token) holds the lock.
    type: str
    choices: [pause, resume, promote, abort, clear]
    required: true
  note:
    description: Why, for the record.
    type: str
    default: ""
  by:
    description: Who, for the record.
    type: str
    default: ""
  token:
    description: Shows who holds the lock. Only for O(flag=clear).
    type: str
  obeyed:
    description: The flag that was obeyed. One that somebody has set since stays. Only for O(flag=clear).
    type: str
    choices: [resume, promote, abort]
    default: promote
seealso:
  - module: mesops.platform.rollout_lock
  - module: mesops.platform.rollout_record
"""

EXAMPLES = r"""
- name: Wait until the shift has changed
  mesops.platform.rollout_control:
    service: catalog
    flag: pause
    by: deploy
    note: shift change
"""

RETURN = r"""
control:
  description: The flag as it is now, or V(null).
  returned: success
  type: dict
  sample: {flag: pause, by: deploy, note: shift change, at: 1795516800.0, rollout_id: catalog-20261124-120000}
rollout:
  description: The rollout that it is about.
  returned: success, except when O(flag=clear)
  type: dict
  sample: {id: catalog-20261124-120000, version: 1.4.0, status: running}
msg:
  description: What was done to which rollout, for a person.
  returned: always
  type: str
  sample: "rollout catalog-20261124-120000 of catalog 1.4.0: paused"
lock_lost:
  description: Whether the failure is that O(token) does not hold the lock any more.
  returned: on failure, when it is
  type: bool
store_error:
  description: Whether the failure is that the store cannot be used.
  returned: on failure, when it is
  type: bool
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._record import options, store_rules, stores

DONE = {"pause": "paused", "resume": "resumed", "promote": "promoted", "abort": "aborted"}


def clear(store: stores.Store, token: str, obeyed: str, check: bool) -> dict[str, Any]:
    """Forget a flag that was obeyed."""
    view = store.read(0, 0)
    if view.lock is None or view.lock.token != token:
        raise stores.LockLost(store.service, view.lock)
    left = view.control
    changed = store_rules.is_used_up(left, obeyed)
    if changed:
        left = None if check else store.clear_control(token, obeyed)
    return {
        "changed": changed,
        "control": options.shown_control(left),
        "msg": f"{obeyed} of {store.service} is forgotten" if changed else f"there is no {obeyed} to forget",
        "diff": _diff(view.control, left),
    }


def control(store: stores.Store, params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Set a person's flag, or see what that would do."""
    flag, by, note = params["flag"], params["by"], params["note"]
    if check:
        view = store.read(0, 0)
        change = store_rules.changed_control(
            store.service, view.open_record, view.control, flag=flag, by=by, note=note, at=time.time()
        )
    else:
        change = store.set_control(flag, by, note)
    record = change.record
    changed = change.before != change.after
    named = f"rollout {record['id']} of {store.service} {record.get('version', '')}".rstrip()
    done = DONE[flag] if changed else f"was {'not paused' if flag == stores.RESUME else DONE[flag] + ' already'}"
    return {
        "changed": changed,
        "control": options.shown_control(change.after),
        "rollout": {name: record.get(name) for name in ("id", "version", "status")},
        "msg": f"{named}: {done}",
        "diff": _diff(change.before, change.after),
    }


def _diff(before: stores.Control | None, after: stores.Control | None) -> dict[str, Any]:
    return {"before": options.shown_control(before) or {}, "after": options.shown_control(after) or {}}


def main() -> None:
    """Set the flag, and tell the kinds of failure apart."""
    module = AnsibleModule(
        argument_spec={
            **options.STORE_ARGUMENTS,
            "flag": {"type": "str", "choices": ["pause", "resume", "promote", "abort", "clear"], "required": True},
            "note": {"type": "str", "default": ""},
            "by": {"type": "str", "default": ""},
            "token": options.LOCK_ARGUMENTS["token"],
            "obeyed": {"type": "str", "choices": list(stores.USED_UP), "default": stores.PROMOTE},
        },
        required_if=[("flag", "clear", ("token",)), ("backend", "etcd", ("endpoints",))],
        supports_check_mode=True,
    )
    params = module.params
    try:
        store = options.open_store(params)
        if params["flag"] == "clear":
            result = clear(store, params["token"], params["obeyed"], module.check_mode)
        else:
            result = control(store, params, module.check_mode)
    except options.ERRORS as error:
        module.fail_json(**options.failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
