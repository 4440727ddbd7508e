# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find settings of one service that stand among a host's variables, where they would hold for every service."""

from __future__ import annotations

DOCUMENTATION = r"""
name: misplaced_settings
short_description: Find settings of a service that stand among a host's variables
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - How a service is rolled out stands in C(app_services.<name>.rollout). A variable such as C(rollout_gates) of a host
    or a group would hold for every service of those hosts, so it is refused.
  - Given with C(-e) the same variable is about one run, and so about the one service that the run is about.
options:
  _terms:
    description: The services of the host, to name the places where the settings belong.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Refuse settings that would hold for every service of the host
  ansible.builtin.assert:
    that: query('mesops.platform.misplaced_settings', 'catalog') | length == 0
    fail_msg: "{{ query('mesops.platform.misplaced_settings', 'catalog') | join(' ') }}"
"""

RETURN = r"""
_raw:
  description: One sentence for each such variable.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies


def misplaced(variables: Mapping[str, Any], of_this_run: Mapping[str, Any], services: Sequence[str]) -> list[str]:
    """One sentence for each variable of a host that is a setting of a service and not given for this run."""
    host = variables.get("inventory_hostname", "the host")
    sentences = []
    for key in policies.POLICY:
        name = f"rollout_{key}"
        if name in variables and name not in of_this_run:
            places = " or ".join(policies.place_in_service(service, key) for service in services or ["<service>"])
            sentences.append(
                f"{name} is a variable of {host}, where it would hold for every service; move it to {places}, or give "
                "it with -e for one run."
            )
    return sentences


class LookupModule(LookupBase):  # type: ignore[misc]
    """Compare the variables of a host with those of the command line."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the sentences."""
        return misplaced(variables or {}, load_extra_vars(self._loader), [str(term) for term in terms])
