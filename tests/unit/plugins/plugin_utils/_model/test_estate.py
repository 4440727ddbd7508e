# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts run a part of the estate, and where it answers, from groups and variables of hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.plugin_utils._model import estate

ROOT = Path(__file__).resolve().parents[5]
GROUPS = {
    "all": ["pg-2", "pg-1", "obs", "six"],
    "postgres": ["pg-2", "pg-1"],
    "monitoring": ["obs"],
    "logs": ["six"],
    "nobody": [],
}
HOSTVARS: dict[str, dict[str, Any]] = {
    "pg-1": {"mesops_address": "10.0.0.1"},
    "pg-2": {"ansible_host": "10.0.0.2", "postgres_rest_port": 18008},
    "obs": {"prometheus_tls": {"cert_file": "/a", "key_file": "/b"}},
    "six": {"mesops_address": "fd00::6", "loki_port": "13100"},
}
NO_NAMES: dict[str, Any] = {}


def ask(term: str, *, hosts: list[str] | None = None, here: str = "", **named: Any) -> Any:
    return estate.fact(estate.Estate(GROUPS, HOSTVARS, named.get, here), term, hosts)


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        ("patroni.group", "postgres"),
        ("patroni.pattern", "postgres"),
        ("patroni.hosts", ["pg-2", "pg-1"]),
        ("patroni.addresses", ["10.0.0.1", "10.0.0.2"]),
        ("patroni.endpoints", ["10.0.0.1:8008", "10.0.0.2:18008"]),
        ("patroni.urls", ["http://10.0.0.1:8008", "http://10.0.0.2:18008"]),
        ("patroni.url", "http://10.0.0.1:8008"),
        ("patroni.ports", {"pg-1": 8008, "pg-2": 18008}),
        ("prometheus.urls", ["https://obs:9090"]),
        ("alertmanager.urls", ["http://obs:9093"]),
        ("loki.addresses", ["fd00::6"]),
        ("loki.endpoints", ["[fd00::6]:13100"]),
        ("loki.url", "http://[fd00::6]:13100"),
        ("alloy.hosts", GROUPS["all"]),
    ],
)
def test_a_part_is_where_the_inventory_has_it(term: str, wanted: Any) -> None:
    assert ask(term) == wanted


def test_an_estate_without_a_part_has_no_hosts_for_it_and_none_is_warned_of() -> None:
    assert ask("tempo.pattern") == estate.NO_HOST
    assert ask("app.pattern") == estate.NO_HOST
    assert ask("tempo.hosts") == ask("tempo.urls") == []
    assert ask("tempo.ports") == {}
    assert ask("tempo.url") == "http://127.0.0.1:3200"


def test_a_group_is_called_what_its_variable_says() -> None:
    assert ask("loki.hosts", mesops_logs="postgres") == GROUPS["postgres"]
    assert ask("loki.pattern", mesops_logs="postgres") == "postgres"
    assert ask("loki.pattern", mesops_logs="nobody") == "nobody"
    assert ask("loki.pattern", mesops_logs="") == estate.NO_HOST
    assert ask("loki.hosts", mesops_logs="") == []
    assert ask("tempo.pattern", mesops_traces="traces") == estate.NO_HOST


def test_names_that_are_no_groups_are_told_all_at_once_and_a_play_leaves_the_warning_to_ansible() -> None:
    assert ask("loki.pattern", mesops_logs="lines") == "lines"
    names = {"mesops_logs": "lines", "mesops_monitoring": "watch", "mesops_postgres": "postgres", "mesops_etcd": ""}
    assert [one[: one.index(",")] for one in estate.wrong_groups(estate.Estate(GROUPS, HOSTVARS, names.get))] == [
        "mesops_logs is 'lines'",
        "mesops_monitoring is 'watch'",
    ]
    assert estate.wrong_groups(estate.Estate({}, {}, NO_NAMES.get)) == []


def test_hosts_may_be_named_and_the_host_that_asks_knows_its_own_port() -> None:
    assert ask("patroni.urls", hosts=["six", "pg-2"]) == ["http://10.0.0.2:18008", "http://[fd00::6]:8008"]
    assert ask("patroni.urls", hosts=[]) == []
    assert ask("patroni.port", here="pg-2") == 18008
    assert ask("patroni.port", here="obs") == ask("patroni.port") == 8008


@pytest.mark.parametrize(
    ("binds", "wanted"),
    [
        ([{"address": "127.0.0.1", "port": 1}, {"address": "10.0.0.1", "port": 2}], 2),
        ([{"address": "::1", "port": 1}, {"address": "[::1]", "port": 2}, {"port": 3}], 3),
        ([{"address": "localhost", "port": 1}, {"address": "*", "port": 2}], 2),
        ([{"address": "127.0.0.1", "port": 1}], 1),
    ],
)
def test_haproxy_is_asked_where_others_reach_it(binds: list[dict[str, Any]], wanted: int) -> None:
    known = estate.Estate({"loadbalancers": ["lb"]}, {"lb": {"haproxy_stats_bind": binds}}, NO_NAMES.get)
    assert estate.fact(known, "haproxy.ports") == {"lb": wanted}


@pytest.mark.parametrize(
    ("term", "named", "wanted"),
    [
        ("lokki.urls", {}, "'lokki.urls' asks about 'lokki', which is no part of an estate; parts are app, etcd, "),
        ("loki", {}, "'loki' asks for '', which is known of no part; ask for group, pattern, port, "),
        ("app.urls", {}, "'app.urls' asks where app listens, which differs; ask for group, pattern, hosts, addresses."),
        (
            "loki.hosts",
            {"mesops_logs": "lines"},
            "mesops_logs is 'lines', which is no group of the inventory; add the group, correct the name, or leave it "
            "empty for an estate without.",
        ),
        (
            "loki.pattern",
            {"mesops_logs": ["logs"]},
            "mesops_logs is ['logs']; give the name of a group of the inventory.",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(term: str, named: dict[str, Any], wanted: str) -> None:
    with pytest.raises(Refused) as refused:
        ask(term, **named)
    assert str(refused.value).startswith(wanted)


@pytest.mark.parametrize("value", ["many", 0, [], [{"address": "10.0.0.1"}]])
def test_a_port_that_is_none_is_refused_with_its_place(value: Any) -> None:
    known = estate.Estate({"logs": ["one"]}, {"one": {"loki_port": value}}, NO_NAMES.get)
    with pytest.raises(Refused, match=r"^loki_port of one is .*; give a TCP port from 1 to 65535\.$"):
        estate.fact(known, "loki.urls")


def test_a_host_that_the_inventory_does_not_have_is_refused() -> None:
    with pytest.raises(Refused, match=r"^'etcd.urls' is asked of 'pg-3', which the inventory does not have; correct"):
        ask("etcd.urls", hosts=["pg-3"])


DEFAULTS = {
    name: value
    for path in ROOT.glob("roles/*/defaults/main.yml")
    for name, value in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items()
}


@pytest.mark.parametrize("name", [name for name, part in estate.PARTS.items() if part.port])
def test_ports_are_those_of_the_roles(name: str) -> None:
    part = estate.PARTS[name]
    set_to_default = {"host": {part.port_variable: DEFAULTS[part.port_variable]}}
    known = estate.Estate({}, set_to_default, NO_NAMES.get)
    assert estate.fact(known, f"{name}.ports", ["host"]) == {"host": part.port}
    assert not part.tls_variable or DEFAULTS[part.tls_variable] == {}


def test_every_port_of_a_role_that_others_ask_is_in_the_table() -> None:
    """What is left is asked on its own host only, or belongs to one role alone."""
    own = {
        "alertmanager_cluster_port",
        "haproxy_peers_port",
        "loki_grpc_port",
        "tempo_grpc_port",
        "tempo_otlp_http_port",
    }
    own |= {"alloy_otlp_http_port", "alloy_otlp_grpc_port"}
    ports = {name for name in DEFAULTS if name.endswith("_port")}
    assert ports - {part.port_variable for part in estate.PARTS.values()} == own
