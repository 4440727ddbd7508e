# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every mistake in `app_services` is a sentence, and nothing that passes breaks a unit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import services as subject
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_only_a_low_port_gets_the_one_capability() -> None:
    (service,) = plan({"catalog": {**GOOD, "port": 443}}, "catalog")["services"]
    assert service["capabilities"] == "CAP_NET_BIND_SERVICE"


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


def read_as_systemd_does(text: str) -> dict[str, str]:
    """The quoting rules of systemd.exec(5) for a double-quoted value: a backslash stands before one of "\\$`."""
    return {
        key: re.sub(r"\\([\"\\$`])", r"\1", value)
        for key, value in re.findall(r'^(\w+)="((?:[^"\\]|\\.)*)"\n', text, re.MULTILINE | re.DOTALL)
    }


@settings(max_examples=2000)
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(), max_size=4))
def test_an_environment_survives_its_file(environment: dict[str, str]) -> None:
    if any("\r" in value or "\0" in value for value in environment.values()):
        return
    assert read_as_systemd_does(subject.environment_file(environment)) == environment


def test_numbers_and_booleans_are_written_as_programs_expect() -> None:
    assert subject.environment_file({"A": True, "B": 1, "C": 1.5}) == 'A="true"\nB="1"\nC="1.5"\n'


def test_an_override_replaces_a_directive_and_null_removes_it() -> None:
    lines = subject.sandbox_lines({"UMask": "0077", "SystemCallFilter": None, "MemoryDenyWriteExecute": True})
    assert "UMask=0077" in lines
    assert "UMask=0027" not in lines
    assert "MemoryDenyWriteExecute=yes" in lines
    assert not [line for line in lines if line.startswith("SystemCallFilter")]


def test_a_percent_sign_is_no_specifier() -> None:
    (service,) = plan({"catalog": {**GOOD, "command": "bin/x --load 50%"}}, "catalog")["services"]
    assert service["exec_start"] == "/opt/catalog/current/bin/x --load 50%%"
