# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter behind the haproxy role's template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import model
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.values import ModelError

DOCUMENTATION = r"""
name: haproxy_model
short_description: Validate the haproxy role's variables and normalise them for its template
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Fails with one sentence that names the place, the value, the rule and the way out.
positional: frontends
options:
  _input:
    description: The value of C(haproxy_services).
    type: dict
    required: true
  frontends:
    description: The value of C(haproxy_frontends).
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, in which C(mesops_address) and C(ansible_host) of members are looked up.
    type: dict
    required: true
  settings:
    description: The role's other variables, without their prefix.
    type: dict
    required: true
  extra:
    description: The value of C(haproxy_extra).
    type: dict
    default: {}
"""

EXAMPLES = r"""
# The role calls it once, in its vars/main.yml.
__haproxy_model: "{{ haproxy_services | mesops.platform.haproxy_model(haproxy_frontends, hostvars, settings) }}"
"""

RETURN = r"""
_value:
  description: Services, frontends, stats, peers, extra texts and certificate files as the template prints them.
  type: dict
"""


def haproxy_model(
    services: Any,
    frontends: Any,
    hostvars: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    extra: Any = None,
) -> dict[str, Any]:
    """Validate and normalise."""
    try:
        return model.build(services, frontends, {} if extra is None else extra, hostvars, settings)
    except ModelError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Name the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {"haproxy_model": haproxy_model}
