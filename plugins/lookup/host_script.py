# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of this collection as one file, for hosts that start it themselves."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_script
short_description: A program of this collection as one file for a host
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Gives the text of a program that hosts start themselves, from a unit of systemd for instance, with no collection
    beside it. What it needs of this collection is in that text.
  - For the roles of this collection; which programs there are may change with any release.
options:
  _terms:
    description: The programs, by package and name.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what the load balancers run to keep the state of their servers
  ansible.builtin.debug:
    msg: "{{ lookup('mesops.platform.host_script', '_haproxy.state_program') }}"
"""

RETURN = r"""
_raw:
  description: The text of each program.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import imports
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.bundle import read_relative
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.host_script import host_script


class LookupModule(LookupBase):  # type: ignore[misc]
    """Write programs."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return their texts."""
        try:
            return [host_script(f"{imports.PACKAGE}.{name}", read_relative) for name in terms]
        except imports.NotCarried as why:
            raise AnsibleLookupError(str(why)) from why
