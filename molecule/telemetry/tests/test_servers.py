"""Loki, Tempo, Alloy and Alertmanager: what goes in comes out, also after a restart, an upgrade and a mistake."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import estate
import pytest
import telemetry

VERSIONS = {"loki": "3.7.6", "tempo": "3.0.3"}


def put(url: str, body: object) -> None:
    """One POST of JSON to a server of the telemetry."""
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status in (200, 204)


def push_line(token: str) -> None:
    """One log line of a unit that does not exist."""
    stamp = str(time.time_ns())
    put(
        f"{telemetry.LOKI}/loki/api/v1/push",
        {"streams": [{"stream": {"unit": "test", "instance": "nowhere"}, "values": [[stamp, token]]}]},
    )


def line_is_there(token: str) -> bool:
    """Whether it is found again."""
    return [line for _labels, line in telemetry.lines(f'{{unit="test"}} |= "{token}"')] == [token]


def push_span(trace: str) -> None:
    """One span of a service that does not exist."""
    now = time.time_ns()
    span = {
        "traceId": trace,
        "spanId": secrets.token_hex(8),
        "name": "nothing",
        "kind": 1,
        "startTimeUnixNano": str(now - 1_000_000),
        "endTimeUnixNano": str(now),
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "test"}}]}
    put(
        f"http://{telemetry.ADDRESS}:4318/v1/traces",
        {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]},
    )


def span_is_there(trace: str) -> bool:
    """Whether it is found again."""
    status, body, _headers = estate.get(f"{telemetry.TEMPO}/api/traces/{trace}", headers={"Accept": "application/json"})
    return status == 200 and '"nothing"' in body


CASES = {"loki": (push_line, line_is_there), "tempo": (push_span, span_is_there)}
STORES = [pytest.param(name, marks=telemetry.needs(name)) for name in CASES]


def running(name: str) -> str:
    """The process and the settings of a server: what a mistake must not touch."""
    return estate.on(telemetry.OBS, f"systemctl show {name} -P MainPID; md5sum /etc/{name}/* | sort")


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    """One line and one span that were stored, and have to outlast everything in this file."""
    estate.wait_for(telemetry.ready, timeout=120, what="the servers to be ready")
    found = {name: secrets.token_hex(16) for name in CASES if name not in telemetry.MISSING}
    for name, token in found.items():
        push, there = CASES[name]
        push(token)
        estate.wait_for(lambda there=there, token=token: there(token), timeout=60, what=f"{name} to answer")  # type: ignore[misc]
    return found


def still_there(name: str, token: str) -> None:
    """It is found once the server is ready."""
    estate.wait_for(lambda: CASES[name][1](token), timeout=120, what=f"{name} to have kept it")


@pytest.mark.parametrize("name", STORES)
def test_what_is_stored_outlasts_a_kill_and_a_restart(name: str, kept: dict[str, str]) -> None:
    estate.on(telemetry.OBS, f"systemctl kill --signal KILL {name}")
    still_there(name, kept[name])
    estate.on(telemetry.OBS, f"systemctl restart {name}")
    still_there(name, kept[name])


@pytest.mark.parametrize("name", STORES)
def test_a_new_version_keeps_the_data_and_comes_from_the_mirror(
    name: str, kept: dict[str, str], tmp_path: Path
) -> None:
    """From a directory alone, with an empty cache. One build is available, so it goes by a second number here."""
    number = "9.9.9"
    # What is installed needs no archive, so an earlier run must have left nothing.
    estate.on(telemetry.OBS, f"rm -rf /opt/mesops/programs/{name}/{number}")
    source = telemetry.CACHE / name / VERSIONS[name]
    (archive,) = [one for one in source.iterdir() if one.suffix in (".zip", ".gz")]
    place = tmp_path / "mirror" / name / number
    place.mkdir(parents=True)
    new = place / archive.name.replace(VERSIONS[name], number)
    shutil.copy(archive, new)
    checksum = hashlib.sha256(new.read_bytes()).hexdigest()
    listed = place / "SHA256SUMS"
    given: dict[str, Any] = {
        f"{name}_version": number,
        "mesops_artifact_mirror": str(tmp_path / "mirror"),
        "mesops_artifact_cache": str(tmp_path / "cache"),
    }
    before = running(name)
    listed.write_text(f"{'0' * 64}  {new.name}\n")
    refused = telemetry.playbook("--tags", name, check=False, **given)
    assert refused.status != 0
    assert f"has checksum {checksum}, not {'0' * 64}" in " ".join(refused.output.replace("sha256:", "").split())
    assert running(name) == before
    listed.write_text(f"{checksum}  {new.name}\n")
    telemetry.playbook("--tags", name, **given)
    assert estate.on(telemetry.OBS, f"readlink /usr/local/bin/{name}").strip().split("/")[-2] == number
    assert running(name) != before
    still_there(name, kept[name])
    again = telemetry.playbook("--tags", name)
    assert "[WARNING]" not in again.output, again.output
    assert estate.on(telemetry.OBS, f"readlink /usr/local/bin/{name}").strip().split("/")[-2] == VERSIONS[name]
    still_there(name, kept[name])


MISTAKES = [
    pytest.param(
        "loki", {"loki_extra_config": {"limits_config": {"no_such": 1}}}, "field no_such not found",
        marks=telemetry.needs("loki"),
    ),
    pytest.param(
        "tempo", {"tempo_extra_config": {"no_such": 1}}, "field no_such not found", marks=telemetry.needs("tempo")
    ),
    pytest.param(
        "alloy", {"alloy_extra_config": "no.such \"x\" { }"}, "cannot find the definition of component",
        marks=telemetry.needs("alloy"),
    ),
    pytest.param(
        "alertmanager", {"alertmanager_receivers": [{"name": "oncall", "no_such": 1}]}, "field no_such not found"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mistake", "words"), MISTAKES)
def test_a_mistake_is_refused_in_the_products_own_words(name: str, mistake: dict[str, object], words: str) -> None:
    """And the one that runs goes on with what it had."""
    unit, files = (
        ("prometheus-alertmanager", "/etc/prometheus/alert*.yml")
        if name == "alertmanager"
        else (name, f"/etc/{name}/*")
    )
    look = f"systemctl show {unit} -P MainPID; md5sum {files} | sort"
    before = estate.on(telemetry.OBS, look)
    refused = telemetry.playbook("--tags", name, check=False, **mistake)
    assert refused.status != 0
    assert words in " ".join(refused.output.split())
    assert estate.on(telemetry.OBS, look) == before


@telemetry.needs("loki")
def test_logs_are_kept_as_long_as_was_said() -> None:
    _status, config, _headers = estate.get(f"{telemetry.LOKI}/config")
    assert "retention_period: 1M1d" in config or "retention_period: 744h" in config or "retention_period: 31d" in config
    assert "retention_enabled: true" in config
    assert "delete_request_store: filesystem" in config


@telemetry.needs("tempo")
def test_traces_are_kept_as_long_as_was_said() -> None:
    _status, config, _headers = estate.get(f"{telemetry.TEMPO}/status/config")
    assert "block_retention: 336h0m0s" in config
