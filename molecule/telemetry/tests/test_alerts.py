"""The drill: things break, the right people are told, they are told when it is over, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import estate
import psycopg
import pytest
import telemetry

TOLD_WITHIN = 300
REPAIRED_WITHIN = 300
DISK = "/srv/plans"


@dataclass
class Drill:
    """One thing that breaks: who is told of what, and what may be told besides."""

    receiver: str
    alert: str
    breaks: Callable[[], object]
    repairs: Callable[[], object]
    besides: frozenset[str] = frozenset()


def standby() -> str:
    """The database host that follows."""
    return next(host for host in estate.addresses("postgres") if host != estate.leader())


class Standby:
    """A standby that is lost; the same one comes back."""

    host = ""

    @classmethod
    def lose(cls) -> None:
        cls.host = standby()
        estate.on(cls.host, "systemctl stop patroni")

    @classmethod
    def bring_back(cls) -> None:
        estate.on(cls.host, "systemctl start patroni")


class Order:
    """An order that has its price and that nobody claims."""

    number = 0

    @classmethod
    def leave(cls) -> None:
        cls.number = telemetry.place_order("drill")
        for status in ("FILE_UPLOADED", "SUBMITTED"):
            telemetry.post(f"/orders/{cls.number}/transitions", {"to": status})
        telemetry.post(f"/orders/{cls.number}/price", {})
        # As if it had waited for ten minutes.
        with psycopg.connect(estate.conninfo()) as connection:
            connection.execute(
                "UPDATE mes.orders SET updated_at = now() - interval '10 minutes' WHERE id = %s", (cls.number,)
            )

    @classmethod
    def claim(cls) -> None:
        telemetry.post(f"/orders/{cls.number}/transitions", {"to": "MANUFACTURING_APPROVED"})


def on(host: str, command: str) -> Callable[[], object]:
    """A command on a host, to be run later."""
    return lambda: estate.on(host, command)


DRILLS = {
    # First, while the database takes writes without a pause.
    "an order that nobody claims": Drill("operators", "OrderWaitsForOperator", Order.leave, Order.claim),
    "a node that stops": Drill(
        "oncall", "ServerDown", on("mes-2", "systemctl stop mes"), on("mes-2", "systemctl start mes")
    ),
    "a disk at 97 %": Drill(
        "oncall",
        "FilesystemFull",
        on(
            "mes-1",
            f"mkdir -p {DISK} && mount -t tmpfs -o size=64m plans {DISK} && head -c 62M /dev/zero > {DISK}/full",
        ),
        on("mes-1", f"rm {DISK}/full"),
    ),
    "a synthetic order that stops": Drill(
        "oncall",
        "CheckSilent",
        on(telemetry.OBS, "systemctl stop prometheus-blackbox-exporter"),
        on(telemetry.OBS, "systemctl start prometheus-blackbox-exporter"),
    ),
    "a standby that is killed": Drill(
        "oncall", "StandbyMissing", Standby.lose, Standby.bring_back, frozenset({"PostgresDown", "TcpServiceDown"})
    ),
}
# What could not be scraped besides: the metrics of what was stopped.
BESIDES = frozenset({"TargetDown"}).union(*(drill.besides for drill in DRILLS.values()))


@dataclass
class Told:
    """What each receiver had been told when everything was broken, and when everything was repaired."""

    broken: dict[str, set[str]]
    repaired: dict[str, set[str]]


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


def await_notes(people: telemetry.Recorder, status: str, within: float) -> None:
    """Until everybody has been told of everything in a status."""

    def silent() -> list[str]:
        return [name for name, one in DRILLS.items() if one.alert not in people.names(one.receiver, status)]

    estate.wait_for(lambda: not silent(), timeout=within, what=f"notes of {silent()} being {status}: {people.got}")


@pytest.fixture(scope="module")
def told(people: telemetry.Recorder) -> Told:
    """Everything breaks at once, and is repaired at once: waiting for each alone would take five times as long."""
    estate.wait_for(lambda: not telemetry.firing(), timeout=300, what=f"calm: {telemetry.firing()}")
    people.got.clear()
    begun: list[Drill] = []
    try:
        for drill in DRILLS.values():
            drill.breaks()
            begun.append(drill)
        await_notes(people, "firing", TOLD_WITHIN)
        broken = {name: people.names(name, "firing") for name in ("oncall", "operators")}
    finally:
        for drill in begun:
            drill.repairs()
    try:
        await_notes(people, "resolved", REPAIRED_WITHIN)
        estate.wait_for(lambda: not telemetry.firing(), timeout=REPAIRED_WITHIN, what="calm after the drill")
        estate.wait_for(estate.healthy_cluster, timeout=120, what="the standby to follow")
    finally:
        estate.on("mes-1", f"umount {DISK}")
    return Told(broken, {name: people.names(name, "resolved") for name in ("oncall", "operators")})


@pytest.mark.parametrize("name", DRILLS)
def test_the_right_people_are_told_and_told_when_it_is_over(name: str, told: Told) -> None:
    drill = DRILLS[name]
    other = {"oncall": "operators", "operators": "oncall"}[drill.receiver]
    assert drill.alert in told.broken[drill.receiver]
    assert drill.alert in told.repaired[drill.receiver]
    assert drill.alert not in told.broken[other] | told.repaired[other]


def test_nobody_is_told_of_anything_else(told: Told) -> None:
    wanted = {
        receiver: {drill.alert for drill in DRILLS.values() if drill.receiver == receiver} for receiver in told.broken
    }
    assert told.broken["operators"] == wanted["operators"]
    assert told.broken["oncall"] - BESIDES == wanted["oncall"]
    assert told.repaired["oncall"] - BESIDES == wanted["oncall"]
