# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit needs, decided from what runs; and the wait until it is ready."""

from __future__ import annotations

import http.server
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.systemd import properties_of
from ansible_collections.mesops.platform.plugins.module_utils._daemon import units
from http_server import certificate, served
from hypothesis import given
from hypothesis import strategies as st

UNIT = units.Unit(
    name="catalog.service",
    load_state="loaded",
    active_state="active",
    sub_state="running",
    enabled=True,
    needs_daemon_reload=False,
    started_at=1000.0,
    changed_at=1000.0,
)
SHOWN = """\
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
ExecMainStartTimestampMonotonic=5000000
StateChangeTimestampMonotonic=7500000
"""


def planned(unit: units.Unit = UNIT, **options: object) -> units.Plan:
    defaults: dict[str, object] = {"state": "started", "enabled": True, "on_change": "restart", "changed_at": 0.0}
    return units.plan(unit, **{**defaults, **options})  # type: ignore[arg-type]


def test_unit_of_turns_monotonic_microseconds_into_epoch_seconds() -> None:
    unit = units.unit_of("catalog.service", properties_of(SHOWN), boot_time=100.0)
    assert (unit.started_at, unit.changed_at) == (105.0, 107.5)
    assert unit.running
    assert unit.enabled
    assert unit.exists


def test_unit_of_that_does_not_exist() -> None:
    unit = units.unit_of("x.service", properties_of("LoadState=not-found\nActiveState=inactive\n"), boot_time=100.0)
    assert not unit.exists
    assert not unit.running
    assert unit.started_at == 0.0


def test_running_unit_with_older_files_is_left_alone() -> None:
    assert planned(changed_at=999.9) == units.Plan((), "none", False)


@pytest.mark.parametrize(
    ("on_change", "action"),
    [("restart", "restarted"), ("reload", "reloaded"), ("none", "none")],
)
def test_file_newer_than_the_process(on_change: str, action: str) -> None:
    plan = planned(on_change=on_change, changed_at=1000.1)
    assert plan.action == action
    assert plan.changed == (action != "none")


def test_file_already_reloaded_is_not_reloaded_again() -> None:
    assert planned(replace(UNIT, changed_at=2000.0), on_change="reload", changed_at=1500.0).action == "none"


@pytest.mark.parametrize(
    ("changed_at", "reload_at", "action"),
    [(0.0, 1000.1, "reloaded"), (1000.1, 1000.1, "restarted"), (0.0, 999.9, "none"), (1000.1, 0.0, "restarted")],
)
def test_files_that_are_read_again_need_a_reload_only(changed_at: float, reload_at: float, action: str) -> None:
    assert planned(changed_at=changed_at, reload_at=reload_at).action == action
    assert planned(replace(UNIT, changed_at=2000.0), reload_at=reload_at).action == "none"


def test_restart_ignores_reloads() -> None:
    """A reload does not give a process a new environment."""
    assert planned(replace(UNIT, changed_at=2000.0), changed_at=1500.0).action == "restarted"


def test_failed_unit_gets_its_start_limit_cleared() -> None:
    plan = planned(replace(UNIT, active_state="failed"))
    assert plan.commands == (("reset-failed", UNIT.name), ("start", UNIT.name))


def test_unknown_unit_makes_systemd_read_its_files_first() -> None:
    plan = planned(replace(UNIT, load_state="not-found", active_state="inactive", enabled=False))
    assert plan.commands == (("daemon-reload",), ("enable", UNIT.name), ("start", UNIT.name))


@pytest.mark.parametrize(
    ("mine", "property_name"),
    [
        ("/etc/systemd/system/catalog.service.d/mesops.conf", "DropInPaths"),
        ("/etc/systemd/system/catalog.service", "FragmentPath"),
    ],
)
def test_a_file_that_systemd_has_not_read_makes_it_read_its_files(mine: str, property_name: str) -> None:
    """It runs with the package's unit and says that no reload is needed, while one in /etc takes precedence."""
    files = ["/etc/default/catalog", mine, "/etc/systemd/system/catalog.service.d/missing.conf"]
    packaged = units.unit_of(
        UNIT.name, properties_of(f"{SHOWN}FragmentPath=/usr/lib/systemd/system/{UNIT.name}\n"), boot_time=0
    )
    unread = units.unread_files(packaged, files, lambda path: "missing" not in path)
    assert unread == [mine]
    assert planned(unread=unread).commands == (("daemon-reload",), ("restart", UNIT.name))
    assert planned(unread=unread, on_change="none").commands == (("daemon-reload",),)
    known = units.unit_of(UNIT.name, properties_of(f"{SHOWN}{property_name}={mine}\n"), boot_time=0)
    assert units.unread_files(known, files, lambda path: "missing" not in path) == []


def test_stop_and_disable() -> None:
    plan = planned(state="stopped", enabled=False)
    assert plan.commands == (("disable", UNIT.name), ("stop", UNIT.name))
    assert planned(replace(UNIT, active_state="inactive"), state="stopped").action == "none"


@given(
    st.builds(
        replace,
        st.just(UNIT),
        active_state=st.sampled_from(["active", "inactive", "failed", "activating", "reloading"]),
        enabled=st.booleans(),
        needs_daemon_reload=st.booleans(),
    ),
    st.sampled_from(["started", "stopped"]),
    st.sampled_from([None, True, False]),
    st.sampled_from(["restart", "reload", "none"]),
    st.floats(0, 2000),
)
def test_a_plan_carried_out_needs_no_second_one(
    unit: units.Unit, state: str, enabled: bool | None, on_change: str, changed_at: float
) -> None:
    first = units.plan(unit, state=state, enabled=enabled, on_change=on_change, changed_at=changed_at)
    now = 3000.0
    started = unit.started_at if first.action in ("none", "stopped", "reloaded") else now
    after = replace(
        unit,
        active_state="active" if state == "started" else "inactive",
        enabled=unit.enabled if enabled is None else enabled,
        needs_daemon_reload=False,
        started_at=started,
        changed_at=now if first.action != "none" else unit.changed_at,
    )
    again = units.plan(after, state=state, enabled=enabled, on_change=on_change, changed_at=changed_at)
    assert again == units.Plan((), "none", False)


def test_newest_change_ignores_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    expected = os.stat(tmp_path / "a").st_ctime
    assert units.newest_change([str(tmp_path / "a"), str(tmp_path / "missing")]) == expected
    assert units.newest_change([]) == 0.0


def test_a_link_that_leads_back_to_an_older_file_is_a_change(tmp_path: Path) -> None:
    """A version that was installed long ago and is in use again has to be started."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    (tmp_path / "program").symlink_to(tmp_path / "new")
    before = units.newest_change([str(tmp_path / "program")])
    time.sleep(0.02)
    (tmp_path / "beside").symlink_to(tmp_path / "old")
    (tmp_path / "beside").rename(tmp_path / "program")
    assert units.newest_change([str(tmp_path / "program")]) > before


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(answers: Iterator[tuple[bool, str]], unit: units.Unit = UNIT, timeout: float = 10) -> float:
    clock = Clock()
    return units.wait_ready(
        lambda: next(answers), lambda: unit, timeout=timeout, interval=0.5, clock=clock, sleep=clock.sleep
    )


def test_wait_reports_how_long_it_took() -> None:
    assert wait(iter([(False, "503"), (False, "503"), (True, "200")])) == 1.0


def test_wait_ends_at_the_deadline_with_the_last_reason() -> None:
    with pytest.raises(units.DaemonError, match=r"catalog.service is not ready after 10 s: answered 503"):
        wait((False, "answered 503") for _ in range(100))


def test_wait_ends_early_when_the_unit_is_down_for_good() -> None:
    with pytest.raises(units.DaemonError, match=r"stopped \(failed\) before it was ready"):
        wait(iter([(False, "no answer")]), replace(UNIT, active_state="failed"))


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/down" else 204)
            self.end_headers()
            if self.path == "/down":
                self.wfile.write(b"database\n  away")

        def log_message(self, *_args: object) -> None:
            pass

    # Of an authority that nobody knows, for a name that nobody asks for.
    pair = certificate(tmp_path, "elsewhere") if getattr(request, "param", "") == "tls" else None
    with served(Handler, pair) as port:
        yield f"127.0.0.1:{port}"


def test_http_probe(server: str) -> None:
    assert units.http_probe(f"http://{server}/", [], 5)()[0]
    passed, reason = units.http_probe(f"http://{server}/down", [], 5)()
    assert not passed
    assert reason == f"http://{server}/down answered 503: database away"
    assert units.http_probe(f"http://{server}/down", [503], 5)()[0]


@pytest.mark.parametrize("server", ["tls"], indirect=True)
def test_a_daemon_is_ready_whoever_signed_its_certificate(server: str) -> None:
    assert units.http_probe(f"https://{server}/", [], 5)() == (True, f"https://{server}/ answered 204")


def test_tcp_probe(server: str) -> None:
    assert units.tcp_probe(server, 5)()[0]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        passed, reason = units.tcp_probe(f"127.0.0.1:{unused.getsockname()[1]}", 5)()
    assert not passed
    assert "accepts no connection" in reason
