# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup knows of groups and hosts what the host or the play that asks knows."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.mesops.platform.plugins.doc_fragments.estate import ModuleDocFragment
from ansible_collections.mesops.platform.plugins.lookup import estate as lookup
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import (
    FACTS,
    OF_ESTATE,
    PARTS,
    estate_of,
    fact,
)

GROUPS = {"all": ["a", "b"], "logs": ["a"], "lines": ["b"]}
FILLED = {"{{ name }}": "lines", "{{ number }}": "2"}
HOSTVARS: dict[str, dict[str, Any]] = {"a": {"mesops_logs": "lines"}, "b": {"mesops_logs": "lines", "loki_port": 1}}


def ask(term: str, hosts: list[str] | None = None, **variables: Any) -> Any:
    known = {"groups": GROUPS, "hostvars": HOSTVARS, **variables}
    return fact(estate_of(known, lambda template: FILLED.get(template, template)), term, hosts)


def test_a_play_knows_what_the_first_host_of_the_estate_knows() -> None:
    assert ask("loki.pattern") == "lines"
    assert ask("loki.pattern", mesops_logs="logs") == "logs"


def test_a_play_that_is_only_listed_knows_no_variables_of_hosts() -> None:
    assert ask("loki.pattern", hostvars={}) == "logs"


def test_a_host_knows_what_its_variables_say() -> None:
    assert ask("loki.pattern", inventory_hostname="a") == "logs"
    assert ask("loki.hosts", inventory_hostname="a", mesops_logs="{{ name }}") == ["b"]


def test_the_host_that_asks_knows_more_of_itself() -> None:
    own: dict[str, Any] = {"inventory_hostname": "b", "loki_port": "{{ number }}"}
    assert ask("loki.port", **own) == 2
    assert ask("loki.ports", ["a", "b"], **own) == {"a": 3100, "b": 2}


GROUP_VARIABLES = sorted({part.group_variable for part in PARTS.values()} - {""})


@pytest.mark.parametrize("name", [*PARTS, *FACTS, *OF_ESTATE, *GROUP_VARIABLES])
def test_every_part_fact_and_group_is_documented(name: str) -> None:
    assert "mesops.platform.estate" in yaml.safe_load(lookup.DOCUMENTATION)["extends_documentation_fragment"]
    text = " ".join(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["_terms"]["description"])
    assert f"C({name})" in text
