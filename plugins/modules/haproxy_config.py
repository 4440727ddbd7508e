#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a HAProxy configuration: check, install, reload, verify, or restore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_config
short_description: Activate a HAProxy configuration, or leave the running one alone
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Checks the candidate with the installed HAProxy, together with its certificates and maps, before anything is
    written. What HAProxy refuses fails in one sentence with the line's number and text, and nothing is changed.
  - Then installs all files atomically, writes the server state file from the running worker, reloads through the master
    socket and waits until a new worker answers that it has loaded this very configuration. If none does, the previous
    files come back and the old worker keeps serving. A running HAProxy is never restarted.
  - Meanwhile M(mesops.platform.haproxy_server) changes no server, so the new worker takes back nothing that it did.
  - Administrative state (drain, maint, weight) of every server that is still defined survives. Port, check port and
    TLS of a server always come from the configuration, although HAProxy's own state file would override them. A new
    server with health checks gets no traffic before they pass.
  - What decides is what the running worker has loaded, which it says itself. So a run that was killed between
    installing and reloading converges on the next run.
  - Starts and enables the unit where it does not run.
requirements:
  - HAProxy 2.6 or newer in master-worker mode with a master socket, as packaged by Debian.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  content:
    description:
      - The text of the configuration, usually a template lookup.
      - A C(global) section with the digest of text and files is appended, after the last line.
    type: str
    required: true
  path:
    description: Where the configuration is installed, with mode 0640 and the group of O(group).
    type: path
    default: /etc/haproxy/haproxy.cfg
  files:
    description: More files, installed in the same step. Their directories are created.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is installed.
        type: path
        required: true
      content:
        description: Its text. Never shown; the diff has its digest.
        type: str
        required: true
      mode:
        description: Its mode as an octal string.
        type: str
        default: "0640"
      loaded:
        description: Whether HAProxy reads it when it loads the configuration, so that a change needs a reload.
        type: bool
        default: true
  exclusive_dirs:
    description: Directories whose files are removed unless they are in O(files), once the configuration is active.
    type: list
    elements: path
    default: []
  secrets:
    description: Texts inside O(content) that must never be shown, such as the password of the statistics page.
    type: list
    elements: str
    default: []
  group:
    description: The group that may read the configuration.
    type: str
    default: haproxy
  unit:
    description: The systemd unit.
    type: str
    default: haproxy.service
  binary:
    description: The HAProxy program that checks the candidate.
    type: path
    default: /usr/sbin/haproxy
  master_socket:
    description: The master's socket.
    type: path
    default: /run/haproxy-master.sock
  state_file:
    description: The file of the configuration's C(server-state-file).
    type: path
    default: /var/lib/haproxy/server-state
  reload_timeout:
    description: Seconds until a new worker must have loaded the configuration.
    type: float
    default: 30
  settle_timeout:
    description: Seconds to wait for the first health checks of new servers. Their result does not matter.
    type: float
    default: 10
notes:
  - In check mode on a host without HAProxy the module reports what it would install. With HAProxy there, check mode
    also checks the candidate.
"""

EXAMPLES = r"""
- name: Activate the configuration on one load balancer after the other
  mesops.platform.haproxy_config:
    content: "{{ lookup('ansible.builtin.template', 'haproxy.cfg.j2') }}"
    files:
      - path: /etc/haproxy/certs/edge.pem
        content: "{{ vault_edge_certificate }}"
        mode: "0600"
    exclusive_dirs:
      - /etc/haproxy/certs
    secrets:
      - "{{ vault_haproxy_stats_password }}"
  throttle: 1
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: [install, reload]
config_warnings:
  description: Warnings of HAProxy about the candidate. Empty when nothing had to be checked.
  returned: success
  type: list
  elements: str
  sample: []
worker_pid:
  description: Process id of the worker that has the configuration loaded, 0 where none runs.
  returned: success
  type: int
  sample: 4242
sha256:
  description: Digest of the configuration and the files that HAProxy reads, as C(show env MESOPS_CONFIG_SHA256) tells.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

import grp
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import master, server_lines, server_states
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.configuration import File, Wanted
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.deploy import deploy
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.loading import DeployError, Machine


def group_id(name: str) -> int | None:
    """Return the group's number, or nothing on a host where the package is still missing."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def wanted_from(params: dict[str, Any], check_mode: bool) -> Wanted:
    """Translate the module's parameters."""
    return Wanted(
        config=File(params["path"], params["content"], 0o640, group_id(params["group"])),
        files=tuple(
            File(one["path"], one["content"], int(one["mode"], 8), 0, one["loaded"]) for one in params["files"]
        ),
        exclusive_dirs=tuple(params["exclusive_dirs"]),
        secrets=tuple(params["secrets"]),
        unit=params["unit"],
        binary=params["binary"],
        state_file=params["state_file"],
        reload_timeout=params["reload_timeout"],
        settle_timeout=params["settle_timeout"],
        check_mode=check_mode,
    )


def main() -> None:
    """Run the module."""
    module = QuietModule(
        argument_spec={
            "content": {"type": "str", "required": True},
            "path": {"type": "path", "default": server_lines.CONFIG},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True, "no_log": True},
                    "mode": {"type": "str", "default": "0640"},
                    "loaded": {"type": "bool", "default": True},
                },
            },
            "exclusive_dirs": {"type": "list", "elements": "path", "default": []},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "group": {"type": "str", "default": "haproxy"},
            "unit": {"type": "str", "default": "haproxy.service"},
            "binary": {"type": "path", "default": "/usr/sbin/haproxy"},
            "master_socket": {"type": "path", "default": master.MASTER_SOCKET},
            "state_file": {"type": "path", "default": server_states.STATE_FILE},
            "reload_timeout": {"type": "float", "default": 30.0},
            "settle_timeout": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        rc, out, err = module.run_command(list(command), environ_update={"LC_ALL": "C"})
        return int(rc), str(out), str(err)

    machine = Machine(
        run=run,
        ask=lambda command: master.ask(module.params["master_socket"], command),
        clock=time.monotonic,
        sleep=time.sleep,
    )
    try:
        result = deploy(machine, wanted_from(module.params, module.check_mode))
    except DeployError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The configuration of HAProxy could not be installed: {error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
