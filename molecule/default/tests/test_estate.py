"""The estate that site.yml made: everything runs, nothing is open that should not be, orders get through."""

from __future__ import annotations

import json
import os
import re

import estate
import pytest

from demo import orders

BALANCERS = list(estate.addresses("loadbalancers").items())
NODES = list(estate.addresses("mes").items())
DATABASES = list(estate.addresses("postgres").items())
ETCD = list(estate.addresses("etcd").items())
SUITE = "bookworm" if "debian-12" in os.environ.get("MOLECULE_SCENARIO_DIRECTORY", "") else "trixie"
POSTGRES = {"trixie": 17, "bookworm": 15}


@pytest.mark.parametrize(
    ("host", "unit"),
    [
        *[(host, "haproxy") for host, _ in BALANCERS],
        *[(host, "mes") for host, _ in NODES],
        *[(host, "patroni") for host, _ in DATABASES],
        *[(host, "etcd") for host, _ in ETCD],
    ],
)
def test_service_runs_and_starts_at_boot(host: str, unit: str) -> None:
    assert estate.on(host, f"systemctl is-active {unit}; systemctl is-enabled {unit}", check=False).split() == [
        "active",
        "enabled",
    ]


@pytest.mark.parametrize("host", [host for hosts in estate.inventory().values() for host in hosts])
def test_no_unit_failed(host: str) -> None:
    assert estate.on(host, "systemctl --failed --no-legend --plain") == ""


def test_hosts_run_the_release_under_test() -> None:
    for host in estate.running_hosts():
        assert f"VERSION_CODENAME={SUITE}" in estate.on(host, "cat /etc/os-release")


def test_one_leader_and_a_synchronous_standby() -> None:
    assert estate.healthy_cluster(), estate.cluster()
    roles = sorted(member["role"] for member in estate.cluster())
    assert roles in (["leader", "sync_standby"], ["quorum_standby", "leader"])


def test_postgres_version() -> None:
    for host, _address in DATABASES:
        assert estate.on(host, f"ls /usr/lib/postgresql/{POSTGRES[SUITE]}/bin/postgres")


@pytest.mark.parametrize(("host", "address"), DATABASES)
def test_database_lets_nobody_in_without_scram(host: str, address: str) -> None:
    rules = json.loads(
        estate.on(
            host,
            "su postgres -c \"psql -XAt -c 'select json_agg(r) from (select type, address, auth_method from "
            "pg_hba_file_rules) r'\"",
        )
    )
    network = {rule["auth_method"] for rule in rules if rule["type"] != "local"}
    assert network - {"reject"} == {"scram-sha-256"}
    assert not {rule["auth_method"] for rule in rules} & {"trust", "md5", "password"}


@pytest.mark.parametrize(("host", "address"), DATABASES)
def test_checksums_are_on(host: str, address: str) -> None:
    assert estate.on(host, "su postgres -c \"psql -XAt -c 'show data_checksums'\"").strip() == "on"


@pytest.mark.parametrize(
    ("host", "files"),
    [
        (BALANCERS[0][0], "/etc/haproxy/haproxy.cfg"),
        (DATABASES[0][0], "/etc/patroni/config.yml"),
    ],
)
def test_files_with_secrets_are_not_for_others(host: str, files: str) -> None:
    mode = estate.on(host, f"stat -Lc %a {files}").strip()
    assert mode.endswith("0"), f"{files} has mode {mode}"


@pytest.mark.parametrize(("host", "address"), NODES)
def test_environment_of_the_service_is_not_for_others(host: str, address: str) -> None:
    readable = estate.on(host, "su nobody -s /bin/sh -c 'grep -rl demo-mes-password /etc 2>/dev/null'", check=False)
    assert readable == ""
    assert estate.on(host, "grep -rl demo-mes-password /etc").strip()


@pytest.mark.parametrize(("host", "address"), BALANCERS)
def test_statistics_want_the_password(host: str, address: str) -> None:
    assert estate.get(f"http://{address}:8404/stats")[0] == 401


@pytest.mark.parametrize(("host", "address"), BALANCERS)
def test_read_write_address_leads_to_the_leader_and_read_only_to_a_standby(host: str, address: str) -> None:
    import psycopg  # noqa: PLC0415

    answers = {}
    for port in (5000, 5001):
        conninfo = re.sub(r"host=\S+ port=\S+", f"host={address} port={port}", estate.conninfo())
        conninfo = conninfo.replace("target_session_attrs=read-write", "")
        with psycopg.connect(conninfo) as connection:
            row = connection.execute("select pg_is_in_recovery()").fetchone()
            assert row is not None
            answers[port] = row[0]
    assert answers == {5000: False, 5001: True}


@pytest.mark.parametrize(("host", "address"), BALANCERS)
def test_unknown_host_gets_the_demo_default_route(host: str, address: str) -> None:
    assert estate.get(f"http://{address}/version", headers={"Host": "mes.demo.example"})[0] == 200


def test_orders_are_stored_exactly_once_and_both_nodes_serve() -> None:
    with orders.load(orders=500, rate=40, reads=0.2) as run:
        run.wait()
    verdict = orders.audit(run)
    assert run.report.failed == 0, run.report.table()
    assert (verdict.acknowledged, verdict.exactly_once) == (500, 500), verdict.table()
    assert set(run.report.per_node) == {host for host, _ in NODES}


def test_missing_secret_stops_the_run_before_anything_changes() -> None:
    recap = estate.site("-e", "postgres_replication_password=", log="missing-secret", check=False)
    assert recap.status != 0
    assert "postgres_replication_password" in recap.output
    assert recap.changed() == {}


def test_second_leader_never_comes_from_another_inventory_order() -> None:
    """The inventory decides the first bootstrap only: naming the other host first must not move the leader."""
    before = estate.leader()
    others = [host for host, _ in reversed(DATABASES)]
    recap = estate.site("--tags", "postgres", "-e", json.dumps({"postgres_hosts": others}), log="other-order")
    assert recap.changed() == {}
    assert estate.leader() == before
