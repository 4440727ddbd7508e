# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find variables of a host that the roles do not take: misspelt ones, and values of another type."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wrong_settings
short_description: Find variables of a host that the roles do not take
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - A variable such as C(haproxy_timeots) is none of any role, so Ansible takes no notice of it and the default holds.
    Only names that begin like a role's and look very much like one of its variables are found; others are your own,
    and so is a variable's name with more words, such as C(haproxy_services_crm).
  - A value that is not of its variable's type, or none of its choices, is found before the role's own play begins. What
    cannot be known yet, because it is made of facts for instance, is left to the role.
  - A variable such as C(mesops_logs) that names a group which the inventory does not have is found as well.
options:
  _terms:
    description: Not used.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Refuse what no role would take
  ansible.builtin.assert:
    that: query('mesops.platform.wrong_settings') | length == 0
    fail_msg: "{{ query('mesops.platform.wrong_settings') | join(' ') }}"
"""

RETURN = r"""
_raw:
  description: One sentence for each such variable.
  type: list
  elements: str
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.lookup import LookupBase
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import PARTS, estate_of, wrong_groups

Options = Mapping[str, Mapping[str, Any]]

ROLES = Path(__file__).resolve().parents[2] / "roles"
GROUP_VARIABLES = {part.group_variable for part in PARTS.values()} - {""}
LIKE = 0.88
"""How much of two names is the same where one is taken for the other; one letter too few leaves more than that."""
ONE = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "raw": "a value",
    "str": "a text",
}
MANY = {"dict": "mappings", "int": "whole numbers", "path": "paths", "raw": "values", "str": "texts"}
SHOWN = ("bool", "float", "int", "str")
"""Values of these types are short; but for texts, none of them is a secret."""


@cache
def known() -> Options:
    """Every variable of every role, with its specification."""
    specs = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(ROLES.glob("*/meta/argument_specs.yml"))
    ]
    return {
        name: option
        for spec in specs
        for point in spec["argument_specs"].values()
        for name, option in (point.get("options") or {}).items()
    }


def misspelt(names: Iterable[str], options: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name that is nearly a variable of a role, and that variable."""
    settings = frozenset(options)
    for name in sorted(set(names) - settings):
        begins = [
            one for one in settings if one.partition("_")[0] == name.partition("_")[0] and not adds_words(name, one)
        ]
        yield from ((name, one) for one in difflib.get_close_matches(name, begins, n=1, cutoff=LIKE))


def adds_words(name: str, setting: str) -> bool:
    """Whether a name is a setting's with words of its own, as those of parts that somebody puts together are."""
    left = iter(name.split("_"))
    return name.count("_") > setting.count("_") and all(word in left for word in setting.split("_"))


def type_error(name: str, value: Any, option: Mapping[str, Any]) -> str | None:
    """What is wrong with the type of a value, or that it is none of the choices."""
    wanted = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    if not ArgumentSpecValidator({name: wanted}).validate({name: value}).error_messages:
        return None
    kind = str(option.get("type", "str"))
    many = f" of {MANY[option['elements']]}" if option.get("elements") else ""
    rule = f"one of {', '.join(map(str, option['choices']))}" if option.get("choices") else f"{ONE[kind]}{many}"
    shown = repr(value)[:60] if kind in SHOWN and isinstance(value, (bool, int, float, str)) else _kind_of(value)
    return f"{shown}; give {rule}"


def _kind_of(value: Any) -> str:
    kinds = ((dict, "a mapping"), (list, "a list"), (str, "a text"), (bool, "a boolean"), ((int, float), "a number"))
    return next((text for kind, text in kinds if isinstance(value, kind)), "nothing")


def sentences(variables: Mapping[str, Any], filled: Callable[[Any], Any], options: Options) -> Iterator[str]:
    """One sentence for each variable of a host that no role would take."""
    host = variables.get("inventory_hostname", "the host")
    for name, one in misspelt(variables, {*options, *GROUP_VARIABLES}):
        yield (
            f"{name} is a variable of {host} that no role knows, but {one} is one; write that, or give a variable of "
            "your own a name that is less like it."
        )
    for name in sorted(set(variables) & set(options)):
        try:
            value = filled(variables[name])
        except AnsibleError:
            continue
        if value is not None and (wrong := type_error(name, value, options[name])):
            yield f"{name} of {host} is {wrong}."


class LookupModule(LookupBase):  # type: ignore[misc]
    """Compare a host's variables with those of the roles."""

    def run(self, _terms: list[Any], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the sentences."""
        filled = self._templar.template
        return [
            *sentences(variables or {}, filled, known()),
            *wrong_groups(estate_of(variables or {}, filled)),
        ]
