# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find variables of a host that are nearly one of a role's: Ansible itself takes no notice of them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_settings
short_description: Find variables of a host that are nearly one of a role's
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - A variable such as C(haproxy_timeots) is none of any role, so Ansible takes no notice of it and the default holds.
  - Only names that begin like a role's and look very much like one of its variables are found. Others are your own.
options:
  _terms:
    description: Not used.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Refuse variables that are nearly one of a role's
  ansible.builtin.assert:
    that: query('mesops.platform.misspelt_settings') | length == 0
    fail_msg: "{{ query('mesops.platform.misspelt_settings') | join(' ') }}"
"""

RETURN = r"""
_raw:
  description: One sentence for each such variable.
  type: list
  elements: str
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.lookup import LookupBase

ROLES = Path(__file__).resolve().parents[2] / "roles"
LIKE = 0.88
"""How much of two names is the same where one is taken for the other; one letter too few leaves more than that."""


@cache
def known() -> frozenset[str]:
    """Every variable of every role."""
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROLES.glob("*/meta/argument_specs.yml")]
    return frozenset(
        name for spec in specs for point in spec["argument_specs"].values() for name in point.get("options") or {}
    )


def misspelt(names: Iterable[str], settings: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Each name that is nearly a setting, and that setting."""
    for name in sorted(names):
        begins = [one for one in settings if one.partition("_")[0] == name.partition("_")[0]]
        if name not in settings:
            yield from ((name, one) for one in difflib.get_close_matches(name, begins, n=1, cutoff=LIKE))


def sentences(variables: Mapping[str, Any], settings: frozenset[str]) -> list[str]:
    """One sentence for each variable of a host that is nearly a setting."""
    host = variables.get("inventory_hostname", "the host")
    return [
        f"{name} is a variable of {host} that no role knows, but {one} is one; write that, or give a variable of your "
        "own a name that is less like it."
        for name, one in misspelt(variables, settings)
    ]


class LookupModule(LookupBase):  # type: ignore[misc]
    """Compare the names of a host's variables with those of the roles."""

    def run(self, _terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the sentences."""
        return sentences(variables or {}, known())
