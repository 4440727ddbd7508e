#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say who leads a Patroni cluster, and wait until its members stream."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_cluster
short_description: Say who leads a Patroni cluster and wait until its members stream
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Asks every member's REST API, and the leader for the standbys that stream from it.
  - Waits until one member leads and every member in O(required) leads or streams, and fails with the names of those
    that do not. More than one running primary is a failure at any time.
  - Can free the claim to bootstrap that a member left in etcd when it was killed during initdb, because all members
    would wait for it for ever. It is removed only when nobody leads, nobody is at work and the cluster was never
    initialised.
  - In check mode it looks once and does not fail.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
  - mesops.platform.patroni
options:
  required:
    description:
      - Names out of O(members) that must lead or stream. The others are reported in RV(missing) only.
      - With an empty list it is enough that one member leads.
    type: list
    elements: str
    default: []
  synchronous:
    description: Whether one of the streaming standbys must be synchronous too.
    type: bool
    default: false
  claim:
    description: Where to look for a claim to bootstrap that nobody works on. Not looked for when not given.
    type: dict
    suboptions:
      endpoints:
        description: Client URLs of etcd, such as V(http://10.0.0.11:2379).
        type: list
        elements: str
        required: true
      prefix:
        description: Patroni's namespace and scope, such as V(/service/main).
        type: str
        required: true
  timeout:
    description: Seconds until the cluster must be as wanted.
    type: float
    default: 60
  interval:
    description: Seconds between two samples.
    type: float
    default: 1
"""

EXAMPLES = r"""
- name: Wait until both members replicate
  mesops.platform.patroni_cluster:
    members:
      pg-1: http://10.0.0.11:8008
      pg-2: http://10.0.0.12:8008
    required: [pg-1, pg-2]
    synchronous: true
    timeout: 300
  run_once: true
"""

RETURN = r"""
leader:
  description: The member that leads, empty when there is none (check mode only).
  returned: always
  type: str
  sample: pg-1
streaming:
  description: Standbys that stream from the leader.
  returned: always
  type: list
  elements: str
synchronous:
  description: Standbys that hold every acknowledged transaction.
  returned: always
  type: list
  elements: str
missing:
  description: Expected members that neither lead nor stream.
  returned: always
  type: list
  elements: str
pending_restart:
  description: Members with settings that wait for a restart of PostgreSQL.
  returned: always
  type: list
  elements: str
paused:
  description: Whether automatic failover is switched off.
  returned: always
  type: bool
claim_released:
  description: Whether a dead member's claim to bootstrap was removed.
  returned: always
  type: bool
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, bootstrap_claim, clusters

HTTP_TIMEOUT = 5.0


def main() -> None:
    """Read, wait, report."""
    module = AnsibleModule(
        argument_spec={
            "members": {"type": "dict", "required": True},
            "required": {"type": "list", "elements": "str", "default": []},
            "synchronous": {"type": "bool", "default": False},
            "claim": {
                "type": "dict",
                "options": {
                    "endpoints": {"type": "list", "elements": "str", "required": True},
                    "prefix": {"type": "str", "required": True},
                },
            },
            "timeout": {"type": "float", "default": 60},
            "interval": {"type": "float", "default": 1},
        },
        supports_check_mode=True,
    )
    params = module.params
    members = api.members_of(params["members"])
    names = [member.name for member in members]
    fetch = api.http_fetch(HTTP_TIMEOUT)
    claim = (
        bootstrap_claim.Claim(
            fetch,
            [endpoint.rstrip("/") for endpoint in params["claim"]["endpoints"]],
            params["claim"]["prefix"],
            time.monotonic,
        )
        if params["claim"]
        else None
    )

    def read() -> clusters.Cluster:
        return clusters.read_cluster(fetch, members)

    def done(cluster: clusters.Cluster) -> str:
        return "" if module.check_mode else clusters.verdict(cluster, params["required"], params["synchronous"])

    def meanwhile(cluster: clusters.Cluster) -> None:
        if claim:
            claim.release_if_orphaned(cluster)

    try:
        cluster = clusters.wait_cluster(
            read,
            done,
            timeout=params["timeout"],
            interval=params["interval"],
            clock=time.monotonic,
            sleep=time.sleep,
            meanwhile=meanwhile,
        )
    except api.PatroniError as error:
        module.fail_json(msg=str(error))
    released = bool(claim and claim.released)
    missing = cluster.missing(names)
    if missing and cluster.leader and not module.check_mode and params["required"]:
        lost = ", ".join(cluster.describe(name) for name in missing)
        module.warn(f"{cluster.leader} leads without these expected members: {lost}")
    module.exit_json(
        changed=released,
        leader=cluster.leader,
        streaming=cluster.streaming,
        synchronous=cluster.synchronous,
        missing=missing,
        pending_restart=cluster.pending_restart,
        paused=cluster.paused,
        claim_released=released,
    )


if __name__ == "__main__":
    main()
