"""The drill: something breaks, the right people are told, they are told when it is over, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import estate
import psycopg
import pytest
import telemetry

TOLD_WITHIN = 300


@pytest.fixture(scope="module")
def people() -> Iterator[telemetry.Recorder]:
    """Alertmanager notifies a receiver that remembers, and without waiting for company."""
    with telemetry.recorder() as recorder:
        telemetry.playbook(
            "--tags",
            "alertmanager",
            alertmanager_receivers=[
                {"name": name, "webhook_configs": [{"url": f"{recorder.url()}{name}", "send_resolved": True}]}
                for name in ("oncall", "operators")
            ],
            alertmanager_group_wait="1s",
            alertmanager_group_interval="2s",
        )
        yield recorder
    telemetry.playbook("--tags", "alertmanager")


@pytest.fixture(autouse=True)
def calm(people: telemetry.Recorder) -> Iterator[None]:
    """Nothing fires before a drill, and nothing after it."""
    # That a failover happened is told for ten minutes, and another scenario may have made one.
    estate.wait_for(lambda: not telemetry.firing(), timeout=900, what=f"calm: {telemetry.firing()}")
    people.got.clear()
    yield
    estate.wait_for(lambda: not telemetry.firing(), timeout=TOLD_WITHIN, what="calm after the drill")


def told(people: telemetry.Recorder, receiver: str, alert: str, status: str) -> None:
    estate.wait_for(
        lambda: alert in people.names(receiver, status),
        timeout=TOLD_WITHIN,
        what=f"{receiver} to be told that {alert} is {status}; told so far: {people.got}",
    )


def first_balancer() -> str:
    return next(iter(estate.addresses("loadbalancers").values()))


def test_a_node_that_stops(people: telemetry.Recorder) -> None:
    estate.on("mes-2", "systemctl stop mes")
    try:
        told(people, "oncall", "ServerDown", "firing")
    finally:
        estate.on("mes-2", "systemctl start mes")
    told(people, "oncall", "ServerDown", "resolved")
    assert people.names("oncall", "firing") <= {"ServerDown", "TargetDown"}
    assert people.names("operators", "firing") == set()


def test_a_standby_that_is_lost(people: telemetry.Recorder) -> None:
    standby = next(host for host in estate.addresses("postgres") if host != estate.leader())
    estate.on(standby, "systemctl stop patroni")
    try:
        told(people, "oncall", "StandbyMissing", "firing")
    finally:
        estate.on(standby, "systemctl start patroni")
    told(people, "oncall", "StandbyMissing", "resolved")
    estate.wait_for(estate.healthy_cluster, timeout=120, what="the standby to follow")
    assert people.names("oncall", "firing") <= {"StandbyMissing", "PostgresDown", "TargetDown"}
    assert people.names("operators", "firing") == set()


def test_a_disk_that_fills(people: telemetry.Recorder) -> None:
    estate.on("mes-1", "mkdir -p /srv/plans && mount -t tmpfs -o size=64m plans /srv/plans")
    try:
        estate.on("mes-1", "head -c 62M /dev/zero > /srv/plans/full")
        told(people, "oncall", "FilesystemFull", "firing")
        estate.on("mes-1", "rm /srv/plans/full")
        told(people, "oncall", "FilesystemFull", "resolved")
    finally:
        estate.on("mes-1", "umount /srv/plans")
    assert people.names("oncall", "firing") == {"FilesystemFull"}


def test_a_synthetic_order_that_stops(people: telemetry.Recorder) -> None:
    estate.on(telemetry.OBS, "systemctl stop prometheus-blackbox-exporter")
    try:
        told(people, "oncall", "CheckSilent", "firing")
    finally:
        estate.on(telemetry.OBS, "systemctl start prometheus-blackbox-exporter")
    told(people, "oncall", "CheckSilent", "resolved")
    assert people.names("oncall", "firing") == {"CheckSilent"}


def test_a_synthetic_order_that_fails(people: telemetry.Recorder) -> None:
    """The services are well, and what a client would get is not."""
    estate.on(telemetry.OBS, f"ip route add blackhole {first_balancer()}/32")
    try:
        told(people, "oncall", "CheckFails", "firing")
    finally:
        estate.on(telemetry.OBS, f"ip route del blackhole {first_balancer()}/32")
    told(people, "oncall", "CheckFails", "resolved")
    assert people.names("oncall", "firing") <= {"CheckFails", "TargetDown", "BalancerDown", "HostDown"}
    assert people.names("operators", "firing") == set()


def test_an_order_that_nobody_claims(people: telemetry.Recorder) -> None:
    number = telemetry.place_order("drill")
    for status in ("FILE_UPLOADED", "SUBMITTED"):
        telemetry.post(f"/orders/{number}/transitions", {"to": status})
    telemetry.post(f"/orders/{number}/price", {})
    # As if it had waited for ten minutes.
    with psycopg.connect(estate.conninfo()) as connection:
        connection.execute("UPDATE mes.orders SET updated_at = now() - interval '10 minutes' WHERE id = %s", (number,))
    told(people, "operators", "OrderWaitsForOperator", "firing")
    telemetry.post(f"/orders/{number}/transitions", {"to": "MANUFACTURING_APPROVED"})
    told(people, "operators", "OrderWaitsForOperator", "resolved")
    assert people.names("oncall", "firing") == set()
