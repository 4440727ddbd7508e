#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a systemd unit with the files on disk, and prove that it is ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon
short_description: Run a systemd unit with the files on disk and prove that it is ready
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Reloads systemd when a unit file changed, enables the unit, starts it, and restarts or reloads it when one of its
    O(files) is newer than the process that runs.
  - What decides is what runs, not what the playbook wrote. A playbook that was killed between writing a file and
    restarting the unit converges on its next run; no handler is needed.
  - Then waits until the unit is ready, and fails with the last lines of its journal when it is not.
  - One execution does all of it, so that C(throttle) or C(serial) moves on only when a host serves again.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  name:
    description: The unit, with its suffix, such as V(etcd.service).
    type: str
    required: true
  files:
    description:
      - Files that the process reads when it starts, unit files and drop-ins included.
      - A file that changed after the process started makes the unit stale. A file that does not exist does not count.
    type: list
    elements: path
    default: []
  reload_files:
    description:
      - Files that the process reads again when it is reloaded. When one of them changed since its last start or reload,
        and none of O(files) needs a restart, the unit is reloaded.
    type: list
    elements: path
    default: []
  on_change:
    description: What a unit needs of which one of O(files) changed.
    type: str
    choices: [restart, reload, none]
    default: restart
  state:
    description: Whether the unit must run.
    type: str
    choices: [started, stopped]
    default: started
  enabled:
    description: Whether the unit starts at boot. Left as it is when not given.
    type: bool
  wait:
    description:
      - Whether to wait for systemd to report the start.
      - V(false) returns at once (C(systemctl --no-block)); for members of a cluster that become ready only together.
    type: bool
    default: true
  ready:
    description: How to see that the unit serves. Without it, systemd's word counts.
    type: dict
    suboptions:
      url:
        description:
          - An HTTP URL on the host itself. The status decides, as in a health check of HAProxy; a redirection is not
            followed, and the body is not waited for.
        type: str
      status:
        description: HTTP statuses that count as ready, or ranges such as V(200-299). Any 2xx when empty.
        type: list
        elements: str
        default: []
      host:
        description: The Host header that it is asked with. That of O(ready.url) when empty.
        type: str
        default: ""
      within:
        description: Seconds within which it must answer.
        type: float
        default: 5
      tcp:
        description: An address such as V(127.0.0.1:5432) that must accept a connection.
        type: str
      timeout:
        description: Seconds until the unit must be ready.
        type: float
        default: 60
      interval:
        description: Seconds between two samples.
        type: float
        default: 0.5
"""

EXAMPLES = r"""
- name: Run the service, one node at a time
  mesops.platform.daemon:
    name: catalog.service
    files:
      - /etc/systemd/system/catalog.service
      - /etc/catalog/environment
    enabled: true
    ready:
      url: http://127.0.0.1:8080/readyz
      timeout: 90
  throttle: 1
"""

RETURN = r"""
action:
  description: What was done, one of V(none), V(started), V(stopped), V(restarted), V(reloaded).
  returned: always
  type: str
  sample: restarted
ready_after:
  description: Seconds until the unit was ready, 0 when nothing was waited for.
  returned: success
  type: float
  sample: 1.52
before:
  description: The unit before, with its keys C(active), C(enabled) and C(exists).
  returned: always
  type: dict
after:
  description: The unit after, or as it would be in check mode.
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils import daemon as core


def main() -> None:
    """Read the unit, plan, apply, wait."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "reload_files": {"type": "list", "elements": "path", "default": []},
            "on_change": {"type": "str", "choices": ["restart", "reload", "none"], "default": "restart"},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "enabled": {"type": "bool"},
            "wait": {"type": "bool", "default": True},
            "ready": {
                "type": "dict",
                "options": {
                    "url": {"type": "str"},
                    "status": {"type": "list", "elements": "str", "default": []},
                    "host": {"type": "str", "default": ""},
                    "within": {"type": "float", "default": 5},
                    "tcp": {"type": "str"},
                    "timeout": {"type": "float", "default": 60},
                    "interval": {"type": "float", "default": 0.5},
                },
                "mutually_exclusive": [["url", "tcp"]],
                "required_one_of": [["url", "tcp"]],
            },
        },
        supports_check_mode=True,
    )
    params = module.params
    name = params["name"]

    def systemctl(*arguments: str) -> str:
        rc, out, err = module.run_command(["systemctl", *arguments])
        if rc != 0:
            raise core.DaemonError(f"systemctl {' '.join(arguments)} failed: {(err or out).strip()}")
        return str(out)

    def read() -> core.Unit:
        boot_time = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
        return core.parse_unit(name, systemctl("show", name, "--property", ",".join(core.PROPERTIES)), boot_time)

    def journal() -> str:
        command = ["journalctl", "--unit", name, "--lines", str(core.JOURNAL_LINES), "--no-pager", "--output", "cat"]
        return str(module.run_command(command)[1]).strip()

    result: dict[str, object] = {"changed": False, "action": "none"}
    try:
        before = read()
        plan = core.plan(
            before,
            state=params["state"],
            enabled=params["enabled"],
            on_change=params["on_change"],
            changed_at=core.newest_change(params["files"]),
            reload_at=core.newest_change(params["reload_files"]),
            unread=core.unread_files(before, params["files"]),
        )
        running = params["state"] == "started"
        wanted = {
            "active": "active" if running else "inactive",
            "enabled": before.enabled if params["enabled"] is None else params["enabled"],
            "exists": True,
        }
        result.update(changed=plan.changed, action=plan.action, before=before.summary(), ready_after=0.0)
        if module.check_mode:
            after: dict[str, object] = wanted
        else:
            for command in plan.commands:
                block = [] if params["wait"] or command[0] not in ("start", "restart") else ["--no-block"]
                systemctl(*block, *command)
            if running and params["ready"]:
                ready = params["ready"]
                probe = (
                    core.http_probe(ready["url"], ready["status"], ready["within"], ready["host"])
                    if ready["url"]
                    else core.tcp_probe(ready["tcp"], ready["within"])
                )
                result["ready_after"] = core.wait_ready(
                    probe,
                    read,
                    timeout=ready["timeout"],
                    interval=ready["interval"],
                    clock=time.monotonic,
                    sleep=time.sleep,
                )
            after = read().summary()
    except core.DaemonError as error:
        module.fail_json(msg=f"{error}. Its last log lines:\n{journal()}", **result)
    result["after"] = after
    if plan.changed:
        result["diff"] = {
            "before": {**before.summary(), "action": "none"},
            "after": {**after, "action": plan.action},
            "before_header": name,
            "after_header": name,
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
