#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the files of a systemd unit, run it with the files on disk, and verify that it is ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon
short_description: Make the files of a systemd unit, run it with the files on disk and verify that it is ready
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Makes O(directories), O(contents) and the O(unit) file where they are not as wanted. Each file is verified by the
    product's own checker before it replaces the one in use, by one rename; a file that is refused fails the module
    before anything is restarted or reloaded.
  - Reloads systemd when a unit file changed, enables the unit, starts it, and restarts or reloads it when one of its
    O(files) is newer than the process that runs.
  - What decides is what runs, not what the playbook wrote. A playbook that was killed between writing a file and
    restarting the unit converges on its next run; no handler is needed.
  - Then waits until the unit is ready, and fails with the last lines of its journal when it is not.
  - One execution does all of it, so that C(throttle) or C(serial) moves on only when a host serves again.
  - Texts of files are neither in the system's log nor among the arguments that Ansible reports.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  name:
    description: The unit, with its suffix, such as V(etcd.service).
    type: str
    required: true
  directories:
    description:
      - Directories to make before the files. They and those of their parents that are missing belong to root and to
        O(group), with mode 0750.
    type: list
    elements: path
    default: []
  contents:
    description:
      - Files to make, in this order. They belong to root, so that the process cannot change what it is told.
      - Whether a change needs a restart or a reload is said by O(files) and O(reload_files). Some need neither.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it lies. Parents that are missing are made with mode 0755.
        type: path
        required: true
      content:
        description: Its text.
        type: str
        required: true
      mode:
        description: Its mode, as a text such as V("0640").
        type: str
        default: "0640"
      group:
        description: Its group, that of O(group) when not given.
        type: str
      validate:
        description:
          - A command that ends with status 0 when the file is good; C(%s) in it stands for the path of the candidate.
          - It runs without a shell when the file is to be replaced, with the files before it in place, and not in check
            mode.
        type: str
        default: ""
      secret:
        description: Whether a difference of its text is only mentioned and not shown.
        type: bool
        default: false
  group:
    description: The group of O(directories) and O(contents), usually that of the process.
    type: str
    default: root
  unit:
    description:
      - The text of the unit file, which becomes C(/etc/systemd/system/<name>) and is one of O(files) by itself. The
        unit file is left alone when not given.
    type: str
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
    description:
      - Whether the unit must run.
      - V(prepared) only makes the directories and files and leaves the unit as it is, such as before the installation
        of a package whose daemon must never run with other settings.
    type: str
    choices: [started, stopped, prepared]
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

- name: Configure and run a daemon
  mesops.platform.daemon:
    name: alertmanager.service
    group: alertmanager
    contents:
      - path: /etc/alertmanager/alertmanager.yml
        content: "{{ alertmanager_config | to_nice_yaml }}"
        validate: amtool check-config %s
        secret: true
    unit: "{{ lookup('ansible.builtin.template', 'alertmanager.service.j2') }}"
    reload_files:
      - /etc/alertmanager/alertmanager.yml
    enabled: true
    ready:
      url: http://127.0.0.1:9093/-/ready
"""

RETURN = r"""
action:
  description: What was done, one of V(none), V(started), V(stopped), V(restarted), V(reloaded).
  returned: always
  type: str
  sample: restarted
made:
  description: The directories and files that differed and were made, or would be in check mode.
  returned: success
  type: list
  elements: path
  sample: [/etc/alertmanager/alertmanager.yml]
ready_after:
  description: Seconds until the unit was ready, 0 when nothing was waited for.
  returned: success, unless O(state=prepared)
  type: float
  sample: 1.52
before:
  description: The unit before, with its keys C(active), C(enabled) and C(exists).
  returned: success, unless O(state=prepared)
  type: dict
after:
  description: The unit after, or as it would be in check mode.
  returned: success, unless O(state=prepared)
  type: dict
"""

from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._daemon.deploy import make_files, run_unit
from ansible_collections.mesops.platform.plugins.module_utils._daemon.layout import FilesError


def main() -> None:
    """Make the files, read the unit, plan, apply, wait."""
    module = QuietModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directories": {"type": "list", "elements": "path", "default": []},
            "contents": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0640"},
                    "group": {"type": "str"},
                    "validate": {"type": "str", "default": ""},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                },
            },
            "group": {"type": "str", "default": "root"},
            "unit": {"type": "str"},
            "files": {"type": "list", "elements": "path", "default": []},
            "reload_files": {"type": "list", "elements": "path", "default": []},
            "on_change": {"type": "str", "choices": ["restart", "reload", "none"], "default": "restart"},
            "state": {"type": "str", "choices": ["started", "stopped", "prepared"], "default": "started"},
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
    try:
        made = make_files(module)
    except FilesError as error:
        module.fail_json(msg=f"{error}.")
    except OSError as error:
        module.fail_json(msg=f"A file of {module.params['name']} could not be made: {error}.")
    result: dict[str, Any] = {"changed": bool(made.paths), "action": "none", "made": made.paths, "diff": made.diff}
    if module.params["state"] != "prepared":
        run_unit(module, result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
