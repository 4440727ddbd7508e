# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn inventory hosts into the addresses by which they reach each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import host_address

DOCUMENTATION = r"""
name: host_addresses
short_description: Turn inventory hosts into the addresses by which they reach each other
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - The address of a host is its C(mesops_address), or else its C(ansible_host), or else its name.
  - The order is that of the names, and so the same however an inventory is written.
options:
  _input:
    description: Inventory names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where the hosts of a group of your own are; those of the estate are said by the lookup estate
  ansible.builtin.debug:
    msg: "{{ groups['printers'] | default([]) | mesops.platform.host_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: Addresses, sorted by the names of their hosts.
  type: list
  elements: str
"""


def host_addresses(hosts: Iterable[Any], hostvars: Mapping[Any, Any]) -> list[str]:
    """The address of each host, by name."""
    return [host_address(host, hostvars) for host in sorted(hosts, key=str)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"host_addresses": host_addresses}
