"""Telemetry that is away hurts no order, and gets every line when it is back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import estate
import pytest
import telemetry

from demo import orders

RATE = 20
AWAY = 120
SPEAKERS = ("mes-1", "lb-2")


@pytest.fixture
def restored() -> Iterator[None]:
    """Whatever a test stops runs again after it."""
    yield
    for host in {name for hosts in estate.inventory().values() for name in hosts}:
        units = "alloy loki tempo prometheus prometheus-alertmanager prometheus-node-exporter grafana"
        estate.on(
            host, f"for unit in {units}; do systemctl cat $unit >/dev/null 2>&1 && systemctl start $unit; done; true"
        )
    estate.wait_for(telemetry.ready, timeout=120, what="the servers to be ready")
    estate.wait_for(
        lambda: not [one for one in telemetry.query("up") if one["value"][1] == "0"], timeout=120, what="calm"
    )


def speak(host: str, token: str) -> None:
    """Ten numbered lines a second, for a little longer than Loki is away."""
    count = (AWAY + 20) * 10
    script = f"for n in $(seq {count}); do echo {token} $n; sleep 0.1; done"
    estate.on(host, f"systemd-run --unit speaker-{token} --property SyslogIdentifier=speaker bash -c '{script}'")


def heard(host: str, token: str) -> set[int]:
    """The numbers that Loki has from a host; fewer than the 5000 lines that it gives at once."""
    found = telemetry.lines(f'{{instance="{host}",unit="speaker-{token}.service"}} |~ "{token} [0-9]+$"')
    return {int(line.split()[1]) for _labels, line in found}


@telemetry.needs("loki", "alloy")
def test_two_minutes_without_loki_lose_no_line_and_no_order(restored: None) -> None:
    token = secrets.token_hex(6)
    wanted = set(range(1, (AWAY + 20) * 10 + 1))
    with orders.load(orders=RATE * AWAY, rate=RATE) as run:
        for host in SPEAKERS:
            speak(host, token)
        estate.on(telemetry.OBS, "systemctl stop loki")
        time.sleep(AWAY)  # The promise is about this time, whatever happens in it.
        estate.on(telemetry.OBS, "systemctl start loki")
        run.wait()
    assert run.report.failed == 0
    assert orders.audit(run).clean
    for host in SPEAKERS:
        estate.wait_for(lambda host=host: heard(host, token) == wanted, timeout=300, what=f"every line of {host}")  # type: ignore[misc]


def test_no_telemetry_at_all_fails_no_order(restored: None) -> None:
    with orders.load(orders=RATE * 30, rate=RATE) as run:
        for host in {name for hosts in estate.inventory().values() for name in hosts}:
            units = "alloy loki tempo prometheus prometheus-alertmanager prometheus-node-exporter grafana"
            estate.on(host, f"systemctl stop {units} 2>/dev/null; true")
        run.wait()
    assert run.report.failed == 0
    assert orders.audit(run).clean
