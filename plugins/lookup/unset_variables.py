# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find all variables that others need and that have no value, so that missing secrets are told together."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unset_variables
short_description: Find variables that others need and that have no value
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Ansible stops at the first variable without a value. This names all of them, those that are needed by way of other
    variables among them, so that a vault is complete after one look.
  - What cannot be filled in for another reason is not told; whoever uses the variable hears of it.
options:
  _terms:
    description: The names of the variables to look at.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse services whose secrets are missing
  ansible.builtin.assert:
    that: query('mesops.platform.unset_variables', 'app_services') | length == 0
    fail_msg: "{{ query('mesops.platform.unset_variables', 'app_services') | join(', ') }} are missing."
"""

RETURN = r"""
_raw:
  description: The names of the variables without a value, sorted.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from jinja2 import Environment, TemplateError, nodes

PARSER = Environment(autoescape=True)
"""Only takes templates apart; nothing is filled in by it."""
FUNCTIONS = {*PARSER.globals, "lookup", "now", "omit", "q", "query", "undef"}
"""What Jinja and Ansible themselves bring."""
MAY_BE_MISSING = {"d", "default", "defined", "undefined"}


def names_in(text: str) -> set[str]:
    """The variables that a template cannot do without."""
    try:
        tree = PARSER.parse(text)
    except TemplateError:
        return set()
    found = list(tree.find_all(nodes.Name))
    own = {one.name for one in found if one.ctx == "store"}
    asked = {
        id(one.node)
        for one in tree.find_all((nodes.Filter, nodes.Test))
        if one.name in MAY_BE_MISSING and isinstance(one.node, nodes.Name)
    }
    return {one.name for one in found if id(one) not in asked} - own - FUNCTIONS


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts_in(one)


def unset(name: str, variables: Mapping[str, Any], filled: Callable[[Any], Any]) -> set[str]:
    """The variables without a value that *name* needs."""
    missing: set[str] = set()
    seen: set[str] = set()
    waiting = {name}
    while waiting:
        one = waiting.pop()
        seen.add(one)
        if one not in variables:
            missing.add(one)
            continue
        for text in texts_in(variables[one]):
            try:
                filled(text)
            except AnsibleError:
                waiting |= names_in(text) - seen
    return missing


class LookupModule(LookupBase):  # type: ignore[misc]
    """Look at variables of a host before they are filled in."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the names."""
        known = variables or {}
        return sorted({name for term in terms for name in unset(str(term), known, self._templar.template)})
