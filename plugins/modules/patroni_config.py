#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge the dynamic configuration of a Patroni cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_config
short_description: Converge the dynamic configuration of a Patroni cluster
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Compares O(settings) with the configuration that all members share through etcd, and patches what differs through
    the REST API of any member. It never restarts PostgreSQL.
  - Keys that O(settings) does not name, such as the C(pause) of a maintenance window, stay as they are, save below
    O(purge).
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
  - mesops.platform.patroni
  - mesops.platform.patroni.writer
options:
  settings:
    description: The configuration as it must be. A V(null) value removes a key.
    type: dict
    required: true
  purge:
    description: Dotted paths below which keys that O(settings) does not name are removed.
    type: list
    elements: str
    default: [postgresql.parameters]
  timeout:
    description: Seconds to wait until the members have taken a change up, so that RV(pending_restart) is true.
    type: float
    default: 45
"""

EXAMPLES = r"""
- name: Converge what all members share
  mesops.platform.patroni_config:
    members:
      pg-1: http://10.0.0.11:8008
      pg-2: http://10.0.0.12:8008
    password: "{{ postgres_rest_password }}"
    settings:
      ttl: 20
      postgresql:
        parameters:
          max_connections: 200
  run_once: true
"""

RETURN = r"""
patch:
  description: What was changed, or would be in check mode. V(null) means removed.
  returned: always
  type: dict
pending_restart:
  description: Members that need a restart of PostgreSQL before all settings are active.
  returned: always
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, clusters, dynamic_config

HTTP_TIMEOUT = 10.0


def main() -> None:
    """Compare, patch, wait until the members know."""
    module = AnsibleModule(
        argument_spec={
            "members": {"type": "dict", "required": True},
            "username": {"type": "str", "default": "patroni"},
            "password": {"type": "str", "required": True, "no_log": True},
            "settings": {"type": "dict", "required": True},
            "purge": {"type": "list", "elements": "str", "default": ["postgresql.parameters"]},
            "timeout": {"type": "float", "default": 45},
        },
        supports_check_mode=True,
    )
    params = module.params
    members = api.members_of(params["members"])
    fetch = api.http_fetch(HTTP_TIMEOUT, params["username"], params["password"])
    try:
        member, current = dynamic_config.read_config(fetch, members)
        patch = dynamic_config.merge_patch(current, params["settings"], params["purge"])
        if patch and not module.check_mode:
            dynamic_config.write_config(fetch, member, current, patch)
            dynamic_config.wait_applied(
                fetch, members, timeout=params["timeout"], interval=0.5, clock=time.monotonic, sleep=time.sleep
            )
        pending = clusters.read_cluster(fetch, members).pending_restart
    except (api.PatroniError, OSError) as error:
        module.fail_json(msg=str(error))
    result = {"changed": bool(patch), "patch": patch, "pending_restart": pending}
    if patch:
        result["diff"] = {"before": current, "after": dynamic_config.apply_patch(current, patch)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
