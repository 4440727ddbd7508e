# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be asked of an estate: the parts and groups that the table of them has, and what is known of each."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import PARTS

FACTS = (
    "C(group) is the name of the group, C(pattern) is what a play takes for its hosts, and C(hosts) are the names "
    "of the hosts in the order of the inventory.",
    "In the order of these names, C(addresses) are the addresses of the hosts, C(endpoints) the same with the "
    "port (and an IPv6 address in brackets), and C(urls) the same with the scheme. C(ports) is a mapping from "
    "host to port.",
    "C(url) is the first of C(urls), or one on loopback in an estate without such hosts. C(port) is the port on "
    "the host that asks.",
    "C(jobs) alone are the jobs of Prometheus for these parts, but for Alloy, which is scraped only where it ships "
    "something: a mapping from the name of each job to C(port), the C(ports) of its part.",
)


def parts() -> Iterator[str]:
    """One sentence for each group, with the parts that its hosts run."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, part in PARTS.items():
        groups.setdefault((part.group, part.group_variable), []).append(f"C({name})")
    for (group, variable), names in groups.items():
        other = f", or of the one that C({variable}) names" if variable else ""
        yield f"Hosts of the group C({group}){other} run {', '.join(names)}."


class ModuleDocFragment:
    """`mesops.platform.estate`, for the lookup of that name."""

    # With its type: what is assigned without one, ansible-test's yamllint takes for a text.
    DOCUMENTATION: str = json.dumps(
        {
            "options": {
                "_terms": {
                    "description": ["What is asked, as C(part.fact). C(app) are the services.", *parts(), *FACTS],
                    "type": "list",
                    "elements": "str",
                    "required": True,
                }
            }
        }
    )
