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
Path = tuple[Any, ...]
"""A variable and the keys below it that are asked for."""
OF_LOOPS = {"loop"}
OF_MACROS = {"caller", "kwargs", "varargs"}
OF_ALL_HOSTS = {"hostvars", "vars"}
"""What is in them is filled in for each host, by Ansible; to look through it would fill in everything."""


def _path(node: nodes.Node) -> Path | None:
    keys: list[Any] = []
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node.arg, nodes.Const):
            keys.append(node.arg.value)
        else:
            keys.clear()
        node = node.node
    return (node.name, *reversed(keys)) if isinstance(node, nodes.Name) and node.ctx == "load" else None


def needs_of(text: str) -> set[Path]:
    """The variables, and what of them, that a template cannot do without."""
    try:
        tree = PARSER.parse(text)
    except TemplateError:
        return set()
    own = {one.name for one in tree.find_all(nodes.Name) if one.ctx != "load"}
    own |= {one.name for one in tree.find_all(nodes.Macro)} | (OF_MACROS if tree.find(nodes.Macro) else set())
    own |= OF_LOOPS if tree.find(nodes.For) else set()
    chains = list(tree.find_all((nodes.Name, nodes.Getattr, nodes.Getitem)))
    parts = {id(one.node) for one in chains if isinstance(one, (nodes.Getattr, nodes.Getitem))}
    asked = {id(one.node) for one in tree.find_all((nodes.Filter, nodes.Test)) if one.name in MAY_BE_MISSING}
    found = {_path(one) for one in chains if id(one) not in parts | asked}
    return {one for one in found if one is not None and one[0] not in own | FUNCTIONS | OF_ALL_HOSTS}


def part_of(value: Any, keys: Path) -> Any:
    """What stands below some keys, as far as it stands there without a template."""
    for key in keys:
        if isinstance(value, str):
            return value
        try:
            value = value[key]
        except (LookupError, TypeError):
            # A method needs the whole; of a key that is not there whoever uses it hears.
            return value if isinstance(key, str) and hasattr(value, key) else None
    return value


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
    seen: set[Path] = set()
    waiting: set[Path] = {(name,)}
    while waiting:
        one = waiting.pop()
        seen.add(one)
        if one[0] not in variables:
            missing.add(one[0])
            continue
        for text in texts_in(part_of(variables[one[0]], one[1:])):
            try:
                filled(text)
            except AnsibleError:
                waiting |= needs_of(text) - seen
    return missing


class LookupModule(LookupBase):  # type: ignore[misc]
    """Look at variables of a host before they are filled in."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the names."""
        known = variables or {}
        return sorted({name for term in terms for name in unset(str(term), known, self._templar.template)})
