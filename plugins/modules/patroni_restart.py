#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart PostgreSQL where settings wait for it, standbys first."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_restart
short_description: Restart PostgreSQL where settings wait for it, standbys first
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Restarts PostgreSQL below Patroni on each member that reports C(pending_restart), one at a time and the leader
    last. Nobody changes roles.
  - Goes on to the next member only when the whole cluster streams again; writes pause while the leader restarts.
  - Refuses to begin when an expected member does not stream.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
  - mesops.platform.patroni
  - mesops.platform.patroni.writer
options:
  timeout:
    description: Seconds for each member to be back.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: Activate settings that need a restart
  mesops.platform.patroni_restart:
    members:
      pg-1: http://10.0.0.11:8008
      pg-2: http://10.0.0.12:8008
    password: "{{ postgres_rest_password }}"
  run_once: true
"""

RETURN = r"""
restarted:
  description: The members that were restarted in this order, or would be in check mode.
  returned: always
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, clusters

READ_TIMEOUT = 5.0
PASSES = 2
"""A lowered limit must reach the leader before a standby can take it, so a standby may wait a second time."""


def main() -> None:
    """Restart one member after the other."""
    module = AnsibleModule(
        argument_spec={
            "members": {"type": "dict", "required": True},
            "username": {"type": "str", "default": "patroni"},
            "password": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    members = api.members_of(params["members"])
    names = [member.name for member in members]
    by_name = {member.name: member for member in members}
    read_fetch = api.http_fetch(READ_TIMEOUT)
    write_fetch = api.http_fetch(params["timeout"], params["username"], params["password"])
    restarted: list[str] = []

    def wait() -> clusters.Cluster:
        return clusters.wait_cluster(
            lambda: clusters.read_cluster(read_fetch, members),
            lambda cluster: clusters.verdict(cluster, names, synchronous=False),
            timeout=params["timeout"],
            interval=1,
            clock=time.monotonic,
            sleep=time.sleep,
        )

    try:
        if module.check_mode:
            restarted = clusters.restart_order(clusters.read_cluster(read_fetch, members))
        else:
            for _pass in range(PASSES):
                for name in clusters.restart_order(wait()):
                    if clusters.restart(write_fetch, by_name[name]):
                        restarted.append(name)
                    wait()
    except (api.PatroniError, OSError) as error:
        module.fail_json(msg=f"{error} Restarted so far: {', '.join(restarted) or 'none'}.", restarted=restarted)
    module.exit_json(changed=bool(restarted), restarted=restarted)


if __name__ == "__main__":
    main()
