#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the estate's telemetry how a rollout stands."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_signal
short_description: Tell the estate's telemetry how a rollout stands
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Writes the metrics C(mesops_rollout_status), C(mesops_rollout_started_timestamp_seconds) and
    C(mesops_rollout_ended_timestamp_seconds) where node_exporter reads them, and one JSON line with the rollout's id to
    the system's log under the name C(mesops-rollout). Dashboards mark rollouts by that line, and alerts use the
    metrics.
  - The rollout does this by itself, at the first load balancer that answers. Where there is no node_exporter, only the
    line is written.
extends_documentation_fragment:
  - mesops.platform.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each execution is one line in the log.
  platform:
    support: full
    platforms: posix
options:
  service:
    description: The service.
    type: str
    required: true
  id:
    description: The rollout's id.
    type: str
    required: true
  kind:
    description: What it is, V(rollout) or V(rollback).
    type: str
    required: true
  version:
    description: The version that it brings.
    type: str
    required: true
  status:
    description: How it stands, such as V(running), V(frozen) or V(done).
    type: str
    required: true
  reason:
    description: Why it stands so.
    type: str
    default: ""
  by:
    description: Who began it.
    type: str
    default: ""
  started_at:
    description: When it began, in seconds since the epoch.
    type: float
    required: true
  ended_at:
    description: When it ended, in seconds since the epoch; 0 while it runs.
    type: float
    default: 0
  directory:
    description: Where node_exporter reads text files.
    type: path
    default: /var/lib/prometheus/node-exporter
"""

EXAMPLES = r"""
- name: Mark a change that was made by hand
  mesops.platform.rollout_signal:
    service: catalog
    id: hotfix-17
    kind: rollout
    version: 1.2.1
    status: done
    started_at: "{{ now(utc=true).timestamp() }}"
    ended_at: "{{ now(utc=true).timestamp() }}"
"""

RETURN = r"""
figures:
  description: Whether there was a place for the metrics.
  returned: always
  type: bool
"""

import syslog

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._record import telemetry


def main() -> None:
    """Write both."""
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "str", "required": True} for name in ("service", "id", "kind", "version", "status")},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "default": ""},
            "started_at": {"type": "float", "required": True},
            "ended_at": {"type": "float", "default": 0},
            "directory": {"type": "path", "default": "/var/lib/prometheus/node-exporter"},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, figures=False)
    syslog.openlog(telemetry.IDENTIFIER)
    syslog.syslog(telemetry.line(module.params))
    try:
        written = telemetry.write(module.params["directory"], module.params)
    except OSError as error:
        module.fail_json(msg=f"{module.params['directory']} cannot be written: {error.strerror}.")
    module.exit_json(changed=True, figures=written)


if __name__ == "__main__":
    main()
