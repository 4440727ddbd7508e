# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A misspelt variable is told with the one that is meant; variables of one's own are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.mesops.platform.plugins.lookup import misspelt_settings as lookup

ROOT = Path(__file__).resolve().parents[4]
INVENTORIES = sorted(
    path
    for pattern in ("inventories/*/**/*.yml", "molecule/*/inventory/**/*.yml", "roles/*/defaults/main.yml")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("haproxy_timeots", "haproxy_timeouts"),
        ("haproxy_time_outs", "haproxy_timeouts"),
        ("app_service", "app_services"),
        ("postgres_client_network", "postgres_client_networks"),
        ("grafana_admin_pasword", "grafana_admin_password"),
        ("rollout_balancer", "rollout_balancers"),
    ],
)
def test_a_name_that_is_nearly_one_of_a_role_is_told(name: str, meant: str) -> None:
    (sentence,) = lookup.LookupModule("loader", None).run([], {name: 1, "inventory_hostname": "lb-1"})
    assert sentence.startswith(f"{name} is a variable of lb-1 that no role knows, but {meant} is one; ")


@pytest.mark.parametrize(
    "name",
    ["haproxy_services", "postgres_backup_directory", "haproxy_certificates_of_ours", "appservices", "mes_database"],
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
