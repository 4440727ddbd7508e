# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the services of an estate, and complete those that a host runs."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan

DOCUMENTATION = r"""
name: app_service_plan
short_description: Check the services of an estate, and complete those that a host runs
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Reads the variable C(app_services) of the role C(mesops.platform.app), finds what is wrong in it, and completes it.
  - The role's documentation lists the keys of a service.
positional: _input, group_names
options:
  _input:
    description: Service name to settings.
    type: dict
    required: true
  group_names:
    description: The inventory groups of the host.
    type: list
    elements: str
    required: true
  host:
    description: The host's name, put into each service.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show what this host runs
  ansible.builtin.debug:
    msg: "{{ (app_services | mesops.platform.app_service_plan(group_names)).services | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: What is wrong, and what the host runs.
  type: dict
  contains:
    errors:
      description: One sentence for each mistake, in any service.
      type: list
      elements: str
    services:
      description: The host's services with all their keys, except for the environment, which may hold secrets.
      type: list
      elements: dict
    configurations:
      description:
        - Service name to its configuration, as M(mesops.platform.app_release) takes it, C(environment) and C(unit). The
          first may hold secrets.
      type: dict
    packages:
      description: Distribution packages of all the host's services.
      type: list
      elements: str
"""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"app_service_plan": app_service_plan}
