# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask which hosts run a part of the estate, and where that part answers."""

from __future__ import annotations

DOCUMENTATION = r"""
name: estate
short_description: Ask which hosts run a part of the estate, and where it answers
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - The one place that knows the groups and the ports of an estate. Every role and playbook of this collection asks it,
    and an inventory may.
  - It is a lookup and no filter, because a lookup sees the groups and the variables of all hosts by itself. So a
    question fits on one line of a role's variables and on the C(hosts) line of a play, and reads only what its answer
    needs.
  - The name of a group is a variable of the whole estate, given with C(-e) or in C(group_vars/all). An empty name is an
    estate without that part. A name that is no group of the inventory is refused.
  - A port is a variable of a host, and may differ from host to host. Where HAProxy has its statistics page is the first
    of C(haproxy_stats_bind) that is not on loopback.
  - Of other hosts, only what the inventory or C(-e) says is known, and no variables of a play or a role. With
    C(--list-hosts) and C(--list-tasks) Ansible reads no C(group_vars), so a group that is named there is not known.
extends_documentation_fragment:
  - mesops.platform.estate
options:
  hosts:
    description: The hosts that are asked about, in the place of those of the part's group.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Do something on the load balancers, whatever their group is called
  hosts: "{{ lookup('mesops.platform.estate', 'haproxy.pattern') }}"
  tasks:
    - name: Show where Loki takes logs
      ansible.builtin.debug:
        msg: "{{ query('mesops.platform.estate', 'loki.urls') | map('regex_replace', '$', '/loki/api/v1/push') }}"

    - name: Show all hosts that keep logs or traces
      ansible.builtin.debug:
        msg: "{{ query('mesops.platform.estate', 'loki.hosts', 'tempo.hosts') | unique }}"

    - name: Show on which port Patroni listens on two of the hosts
      ansible.builtin.debug:
        msg: "{{ lookup('mesops.platform.estate', 'patroni.ports', hosts=['pg-1', 'pg-2']) }}"
"""

RETURN = r"""
_raw:
  description:
    - The answers, one after the other. Ask with C(query) where the answer is a list, and with C(lookup) where it is one
      name, port or URL, or the mapping.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import estate_of, fact


class LookupModule(LookupBase):  # type: ignore[misc]
    """Answer what is asked of the estate."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Return the answers."""
        self.set_options(direct=options)
        known, answers = estate_of(variables or {}, self._templar.template), []
        for term in terms:
            try:
                answer = fact(known, str(term), self.get_option("hosts"))
            except Refused as why:
                raise AnsibleLookupError(str(why)) from why
            answers += answer if isinstance(answer, list) else [answer]
        return answers
