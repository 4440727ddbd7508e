# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every mistake in `app_services` is a sentence, and nothing that passes breaks a unit."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import services as subject

GOOD = {"port": 3000, "command": "bin/catalog"}


def plan(services: Any, *groups: str) -> dict[str, Any]:
    return subject.app_service_plan(services, list(groups), "node-1")


def test_a_process_that_ends_is_started_again_however_it_ended() -> None:
    unit = plan({"catalog": GOOD}, "catalog")["configurations"]["catalog"]["unit"]
    assert [line for line in unit.splitlines() if line.startswith("Restart")] == ["Restart=always", "RestartSec=2"]


def test_role_gate_and_load_balancer_are_told_alike_how_readiness_is_asked() -> None:
    given = {**GOOD, "readiness_path": "/up", "readiness_host": "www.example.com", "readiness_status": [200, "204-205"]}
    (found,) = plan({"catalog": given}, "catalog")["services"]
    assert found["readiness_status"] == "200,204-205"
    assert found["ready"] == {
        **{"url": "http://127.0.0.1:3000/up", "host": "www.example.com", "status": ["200", "204-205"]},
        **{"within": 2, "timeout": 60},
    }


def test_a_minimal_service_is_complete() -> None:
    found = plan({"catalog": GOOD}, "catalog")
    assert found["errors"] == []
    (service,) = found["services"]
    assert service["user"] == "catalog"
    assert service["readiness_path"] == "/readyz"
    assert service["exec_start"] == "/opt/catalog/current/bin/catalog"
    assert service["capabilities"] == ""
    assert service["host"] == "node-1"
    assert "environment" not in service


def test_a_host_runs_the_services_of_its_groups() -> None:
    services = {"catalog": GOOD, "billing": {**GOOD, "group": "edge", "packages": ["nodejs"]}, "other": GOOD}
    found = plan(services, "edge", "x")
    assert [one["name"] for one in found["services"]] == ["billing"]
    assert found["packages"] == ["nodejs"]


def test_two_services_may_not_share_a_port_on_a_host() -> None:
    services = {"catalog": GOOD, "billing": {**GOOD, "group": "edge"}}
    assert "uses on the same host" in plan(services, "catalog", "edge")["errors"][0]
    assert plan(services, "catalog")["errors"] == []


@pytest.mark.parametrize(
    ("name", "service", "sentence"),
    [
        ("../x", GOOD, "'../x' is no plain name"),
        ("Catalog", GOOD, "is no plain name"),
        ("postgres", GOOD, "uses for something else"),
        ("systemd-journald", GOOD, "uses for something else"),
        ("prometheus-node-exporter", GOOD, "uses for something else"),
        ("rescue", GOOD, "uses for something else"),
        ("catalog", None, "is no mapping"),
        ("catalog", {"command": "x"}, "port is missing"),
        ("catalog", {"port": 1}, "command is missing"),
        ("catalog", {**GOOD, "prot": 1}, "unknown keys prot"),
        ("catalog", {**GOOD, "port": 0}, "port is 0"),
        ("catalog", {**GOOD, "port": True}, "port is True"),
        ("catalog", {**GOOD, "port": "3000"}, "port is '3000'"),
        ("catalog", {**GOOD, "command": "/usr/bin/node x.js"}, "command is"),
        ("catalog", {**GOOD, "command": "../x"}, "command is"),
        ("catalog", {**GOOD, "command": "bin/x\nUser=root"}, "command is"),
        ("catalog", {**GOOD, "command": "bin/x 'open"}, "command is"),
        ("catalog", {**GOOD, "user": "root"}, "unprivileged user"),
        ("catalog", {**GOOD, "environment": []}, "environment is not usable"),
        ("catalog", {**GOOD, "environment": {"A B": 1}}, "no variable name"),
        ("catalog", {**GOOD, "environment": {"PORT": 1}}, "sets PORT"),
        ("catalog", {**GOOD, "environment": {"A": None}}, "environment.A is no text"),
        ("catalog", {**GOOD, "limits": {"memory": 1}}, "unknown key memory"),
        ("catalog", {**GOOD, "limits": {"memory_max": "lots"}}, "memory_max is 'lots'"),
        ("catalog", {**GOOD, "writable_paths": ["/etc/x"]}, "writable_paths has '/etc/x'"),
        ("catalog", {**GOOD, "writable_paths": ["/opt/catalog/releases"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/srv/../etc"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/srv"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/var/lib"]}, "writable_paths has '/var/lib'"),
        ("catalog", {**GOOD, "writable_paths": ["/var/lib/dpkg"]}, "such as /srv/catalog or /var/lib/catalog."),
        ("catalog", {**GOOD, "writable_paths": ["/var/spool/cron"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/home/deploy"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/opt/mesops"]}, "writable_paths has"),
        ("catalog", {**GOOD, "writable_paths": ["/tmp/x"]}, "writable_paths has"),
        ("catalog", {**GOOD, "sandbox": {"User": "root"}}, "sandbox has 'User'"),
        ("catalog", {**GOOD, "sandbox": {"UMask": "0\nUser=root"}}, "sandbox.UMask"),
        ("catalog", {**GOOD, "readiness_path": "readyz"}, "readiness_path is"),
        ("catalog", {**GOOD, "readiness_host": "a\r\nb"}, "readiness_host is"),
        ("catalog", {**GOOD, "readiness_status": 600}, "readiness_status is"),
        ("catalog", {**GOOD, "readiness_status": True}, "readiness_status is"),
        ("catalog", {**GOOD, "readiness_within": 0.5}, "readiness_within is"),
        ("catalog", {**GOOD, "rollout": []}, "rollout is []; give a mapping with any of batches, min_available"),
        (
            "catalog",
            {**GOOD, "rollout": {"weights": [10]}},
            "app_services.catalog.rollout.weights is [10]; give rising",
        ),
        ("catalog", {**GOOD, "rollout": {"gates": {"x": {}}}}, "app_services.catalog.rollout.gates.x.probe is None"),
        (
            "catalog",
            {**GOOD, "release": {"version": 1.1, "artifact": "a", "checksum": "b"}},
            "needs version as text; put a version in quotes.",
        ),
        ("catalog", {**GOOD, "release": {"version": "1.1", "artifact": None}}, "needs artifact, checksum as text."),
        ("catalog", {**GOOD, "release": {"version": "1", "artifact": "a", "checksum": "b"}}, "sha256:<64 hex digits>"),
        ("catalog", {**GOOD, "release": {"version": "../1", "artifact": "a", "checksum": "b"}}, "no plain name"),
    ],
)
def test_a_mistake_is_one_sentence(name: str, service: Any, sentence: str) -> None:
    found = plan({name: service}, "catalog", name)
    assert len(found["errors"]) == 1
    assert sentence in found["errors"][0]
    assert found["errors"][0].endswith(".")
    assert found["services"] == []


def test_directories_that_a_service_may_have_for_itself() -> None:
    paths = ["/srv/catalog", "/data/x", "/var/opt/catalog", *(f"/var/{one}/catalog" for one in ("lib", "cache", "log"))]
    assert plan({"catalog": {**GOOD, "writable_paths": [*paths, "/var/lib/catalog/files"]}}, "catalog")["errors"] == []


def test_a_list_is_no_mapping() -> None:
    assert "no mapping" in plan([])["errors"][0]


def test_a_secret_is_in_no_error() -> None:
    found = plan({"catalog": {**GOOD, "environment": {"KEY": ["hunter2"], "B C": "hunter2"}}}, "catalog")
    assert len(found["errors"]) == 2
    assert "hunter2" not in str(found)
