# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A misspelt variable is told with the one that is meant, a wrong type with the right one; others are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.mesops.platform.plugins.lookup import wrong_settings as lookup

ROOT = Path(__file__).resolve().parents[4]
INVENTORIES = sorted(
    path
    for pattern in ("inventories/*/**/*.yml", "molecule/*/inventory/**/*.yml", "roles/*/defaults/main.yml")
    for path in ROOT.glob(pattern)
)


class Templar:
    """Fills in nothing; one text cannot be filled in."""

    def template(self, value: Any) -> Any:
        """The value as it is."""
        if value == "{{ vault_missing }}":
            raise AnsibleError("'vault_missing' is undefined")
        return value


def found(**variables: Any) -> list[str]:
    return lookup.LookupModule("loader", Templar()).run([], {"inventory_hostname": "lb-1", **variables})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("haproxy_timeots", "haproxy_timeouts"),
        ("haproxy_time_outs", "haproxy_timeouts"),
        ("app_service", "app_services"),
        ("postgres_client_network", "postgres_client_networks"),
        ("grafana_admin_pasword", "grafana_admin_password"),
        ("rollout_balancer", "rollout_balancers"),
        ("haproxy_stat_password", "haproxy_stats_password"),
        ("mesops_loadbalancer", "mesops_loadbalancers"),
    ],
)
def test_a_name_that_is_nearly_one_of_a_role_is_told(name: str, meant: str) -> None:
    (sentence,) = found(**{name: 1})
    assert sentence.startswith(f"{name} is a variable of lb-1 that no role knows, but {meant} is one; ")


@pytest.mark.parametrize(
    "name",
    [
        "haproxy_services",
        "postgres_backup_directory",
        "haproxy_certificates_of_ours",
        "mesops_address",
        "appservices",
        "mes_database",
        # Parts that are put together, and what was before.
        "haproxy_services_mes",
        "prometheus_extra_rules_crm",
        "postgres_old_users",
        "haproxy_stats_password_old",
    ],
)
def test_known_variables_and_ones_own_are_left_alone(name: str) -> None:
    assert list(lookup.misspelt([name], lookup.known())) == []


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_this_project_is_taken_for_a_mistake(path: Path) -> None:
    names: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            names.update(map(str, value))
            for one in value.values():
                collect(one)

    collect(yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader))
    assert list(lookup.misspelt(names, lookup.known())) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("haproxy_trace_percent", "abc", "haproxy_trace_percent of lb-1 is 'abc'; give a whole number."),
        ("exporter_node", "maybe", "exporter_node of lb-1 is 'maybe'; give true or false."),
        ("etcd_quota_bytes", "2GB", "etcd_quota_bytes of lb-1 is '2GB'; give a whole number."),
        ("alertmanager_install_method", "packages", "is 'packages'; give one of package, archive."),
        ("haproxy_services", ["secret"], "haproxy_services of lb-1 is a list; give a mapping."),
        ("postgres_users", [1], "postgres_users of lb-1 is a list; give a list of mappings."),
    ],
)
def test_a_value_of_another_type_is_told(name: str, value: Any, said: str) -> None:
    (sentence,) = found(**{name: value})
    assert sentence.endswith(said)


def test_every_type_of_every_role_has_a_word() -> None:
    for option in lookup.known().values():
        assert option.get("type", "str") in lookup.ONE
        assert "elements" not in option or option["elements"] in lookup.MANY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("haproxy_trace_percent", "5"),
        ("exporter_node", "yes"),
        ("grafana_admin_password", 12),
        ("etcd_quota_bytes", None),
        ("etcd_quota_bytes", "{{ vault_missing }}"),
    ],
)
def test_what_ansible_takes_or_cannot_know_yet_is_left_to_the_role(name: str, value: Any) -> None:
    assert found(**{name: value}) == []


def test_a_name_that_is_no_group_of_the_inventory_is_told() -> None:
    (sentence,) = found(mesops_logs="lines", groups={"logs": ["lb-1"]})
    assert sentence.startswith("mesops_logs is 'lines', which is no group of the inventory; ")
    assert found(mesops_logs="lines", groups={"lines": []}) == []
