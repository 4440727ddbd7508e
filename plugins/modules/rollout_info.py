#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_info
short_description: What runs where, who is draining, who holds the lock, and how the last rollouts ended
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Looks at one service's hosts, its servers at every load balancer, its rollouts and, where Patroni's endpoints are
    given, at replication. Shows one screen for a person and returns the same as data.
  - What gives no answer is shown as such and does not fail the task.
  - An action plugin. It runs once, for one host of the play, and reaches load balancers and the service's hosts by
    itself.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  app:
    description: The service, as the filter P(mesops.platform.app_service_plan#filter) completes it.
    type: dict
    required: true
  hosts:
    description: All hosts of the service.
    type: list
    elements: str
    required: true
  balancers:
    description: All load balancers of the service.
    type: list
    elements: str
    required: true
  backends:
    description: The HAProxy backends that the hosts are servers of. The service's name when not given.
    type: list
    elements: str
  store:
    description: Where the record is kept, as for M(mesops.platform.rollout).
    type: dict
    default: {}
  patroni:
    description: URLs of Patroni's REST API.
    type: list
    elements: str
    default: []
  history:
    description: How many rollouts to show.
    type: int
    default: 5
seealso:
  - module: mesops.platform.rollout
"""

EXAMPLES = r"""
- name: Show what runs where
  mesops.platform.rollout_info:
    app: "{{ (app_services | mesops.platform.app_service_plan(['catalog'])).services | first }}"
    hosts: "{{ groups['catalog'] }}"
    balancers: "{{ query('mesops.platform.estate', 'haproxy.hosts') }}"
  run_once: true
  become: true
"""

RETURN = r"""
nodes:
  description: By host, the versions that are current, previous and running, or the reason why it gave no answer.
  returned: always
  type: dict
  sample: {app-1: {current: 1.4.0, previous: 1.3.0, running: 1.4.0, reason: ""}}
servers:
  description: By load balancer and host, what M(mesops.platform.haproxy_server) says of it, or the reason why there is
    none.
  returned: always
  type: dict
  sample: {lb-1: {app-1: {admin: ready, status: UP, weight: 100, sessions: 3}}}
lock:
  description: Who holds the lock, empty when nobody does.
  returned: always
  type: dict
  sample: {}
open_record:
  description: The rollout that is not finished, empty when there is none.
  returned: always
  type: dict
  sample: {}
history:
  description: The last rollouts, the newest first.
  returned: always
  type: list
  elements: dict
  sample: []
replication:
  description: What Patroni says, or nothing.
  returned: always
  type: dict
  sample: {phase: success, text: "pg-1 leads, 1 standby streams"}
"""
