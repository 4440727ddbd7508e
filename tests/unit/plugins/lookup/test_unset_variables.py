# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All variables without a value are found at once, and nothing that needs none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.mesops.platform.plugins.lookup import unset_variables as lookup


def trusted(value: Any) -> Any:
    """Variables as an inventory's files give them."""
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def missing(services: Any, **variables: Any) -> list[str]:
    everything = trusted({"app_services": services, **variables})
    templar = Templar(loader=DataLoader(), variables=everything)
    found: list[str] = lookup.LookupModule(None, templar).run(["app_services"], everything)
    return found


def test_every_missing_secret_is_found_through_other_variables_too() -> None:
    services = {
        "shop": {"environment": {"URL": "db://{{ shop_password }}@{{ hosts | join(',') }}"}},
        "mes": {"environment": [{"KEY": "{{ vault_mes_key }}"}]},
    }
    variables = {"shop_password": "{{ vault_shop_password }}", "hosts": ["{{ vault_host }}", "b"]}
    assert missing(services, **variables) == ["vault_host", "vault_mes_key", "vault_shop_password"]
    assert missing(services, **variables, vault_host="a", vault_mes_key="x", vault_shop_password="y") == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ vault_key | default('none') }}",
        "{{ vault_key is defined }}",
        "{% for one in [1, 2] %}{{ one }}{% endfor %}",
        "{{ range(3) | list }}",
        "no template, vault_key",
        3000,
    ],
)
def test_what_needs_no_variable_misses_none(text: Any) -> None:
    assert missing({"mes": {"environment": {"KEY": text}}}) == []


def test_what_is_optional_is_not_told_with_what_is_missing() -> None:
    assert missing({"mes": "{{ vault_key | default('none') }} {{ vault_other }}"}) == ["vault_other"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for one in [1] %}{{ loop.index }}{% endfor %}{{ vault_key }}", ["vault_key"]),
        ("{% macro twice(x) %}{{ x ~ x ~ caller() }}{% endmacro %}{{ vault_key }}", ["vault_key"]),
        ("{{ db.host | default('localhost') }}:{{ vault_key }}", ["vault_key"]),
        ("{{ db['hosts'][0] | default('localhost') }}:{{ vault_key }}", ["vault_key"]),
        ("{{ secrets.typo }}", []),
        ("{{ secrets.good }}-{{ vault_key }}", ["vault_key"]),
        ("{{ secrets['unused'] }}", ["vault_old"]),
        ("{{ secrets[which] }}", ["vault_old", "which"]),
        ("{{ secrets.items() | list }}", ["vault_old"]),
        ("{{ several[1].b }}", ["vault_deep"]),
        ("{{ several[2].b }}", []),
    ],
)
def test_only_what_is_asked_for_is_told(text: str, said: list[str]) -> None:
    several = [{"a": "{{ vault_old }}"}, {"a": "{{ vault_old }}", "b": "{{ vault_deep }}"}]
    assert missing({"mes": text}, secrets={"good": "x", "unused": "{{ vault_old }}"}, several=several) == said


def test_the_variables_of_all_hosts_are_not_looked_through() -> None:
    hosts = {"b": {"db_host": "x", "other": "{{ vault_other }}"}}
    text = "{% for one in ['b'] %}{{ hostvars[one].db_host }}{% endfor %}:{{ vault_key }}"
    assert missing({"mes": text}, hostvars=hosts) == ["vault_key"]


def test_what_fails_for_another_reason_is_left_to_whoever_uses_it() -> None:
    assert missing({"mes": "{{ 1 / 0 }}", "shop": "{{ unbalanced"}) == []
    assert missing({"mes": "{{ first }}"}, first="{{ second }}", second="{{ first }}") == []


def test_a_variable_that_is_not_there_itself_is_named() -> None:
    assert lookup.unset("app_services", {}, str) == {"app_services"}
