# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends in old workers, and when the state is saved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import guard, server_states
from haproxy_samples import DATABASE, HEADER

PROC = "#<PID> <type> <reloads>\n1 master 2\n# workers\n30 worker 0\n# old workers\n20 worker 1\n10 worker 2\n\n"
ONE_WORKER = "#<PID> <type> <reloads>\n1 master 2\n# workers\n30 worker 0\n# old workers\n\n"
SESSIONS = """\
0x7f10: proto=tcpv4 src=10.0.0.9:4001 fe=database be=database srv=pg-1 ts=00
0x7f20: proto=tcpv4 src=10.0.0.9:4002 fe=database be=database srv=pg-2 ts=00
0x7f30: proto=tcpv4 src=10.0.0.9:4003 fe=edge be=catalog srv=one ts=00
0x7f40: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00

"""


def now(**servers: tuple[str, str, str]) -> str:
    """What the worker says of servers: operational state, administrative state and result of the last check."""
    lines = ["1", HEADER]
    for name, (up, admin, result) in servers.items():
        backend = "catalog" if name == "one" else "database"
        row = dict.fromkeys(server_states.STATE_FIELDS, "0")
        row.update(be_name=backend, srv_name=name.replace("_", "-"), srv_op_state=up, srv_admin_state=admin)
        row.update(srv_check_result=result, srv_check_state="6", srv_uweight="100", srv_iweight="100")
        row.update(srv_addr=f"10.0.0.{name[-1] if name != 'one' else 1}", srv_port="80" if name == "one" else "5432")
        lines.append(" ".join(row.values()))
    return "\n".join(lines) + "\n\n"


class Workers:
    """A HAProxy with two old workers that have the same sessions."""

    def __init__(self, running: str, processes: str = PROC) -> None:
        self.running = running
        self.processes = processes
        self.ended: list[str] = []

    def __call__(self, command: str) -> str:
        if command == "show proc":
            return self.processes
        worker, _, rest = command.partition(" ")
        if rest == "show servers state":
            assert worker == "@!30"
            return self.running
        if rest == "show sess":
            return SESSIONS
        assert rest.startswith("shutdown session ")
        self.ended.append(f"{worker} {rest.split()[-1]}")
        return "\n"


UP, DOWN = ("2", "0", "3"), ("0", "0", "2")


@pytest.mark.parametrize(
    ("pg_1", "ends"),
    [
        (UP, False),
        (DOWN, True),
        (("0", "1", "3"), True),  # Put in maintenance.
        (("0", "0", "0"), False),  # Not yet checked.
        (("0", "0", "3"), False),  # On its way up.
        (("2", "8", "3"), False),  # Drained: what it has may finish.
    ],
)
def test_sessions_of_old_workers_end_when_the_current_one_has_marked_the_server_down(
    pg_1: tuple[str, str, str], ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "STATE_FILE", str(tmp_path / "state"))
    monkeypatch.setattr(guard, "LOCK", str(tmp_path / "lock"))
    # catalog/one is down too, but its requests may finish.
    workers = Workers(now(pg_1=pg_1, pg_2=UP, one=DOWN))
    guard.guard(workers, DATABASE)
    assert workers.ended == (["@!20 0x7f10", "@!10 0x7f10"] if ends else [])


def test_without_old_workers_nobody_is_asked_for_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STATE_FILE", str(tmp_path / "state"))
    monkeypatch.setattr(guard, "LOCK", str(tmp_path / "lock"))
    workers = Workers(now(pg_1=DOWN), ONE_WORKER)
    guard.guard(workers, DATABASE)
    assert workers.ended == []


def test_the_guard_saves_every_change_and_marks_the_time_of_what_has_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state"
    monkeypatch.setattr(guard, "STATE_FILE", str(file))
    monkeypatch.setattr(guard, "LOCK", str(tmp_path / "lock"))
    workers = Workers(now(pg_1=UP, pg_2=UP, one=UP))

    def saved_one() -> tuple[str, str]:
        row = server_states.parse_state(file.read_text())[("catalog", "one")]
        return row["srv_op_state"], row["srv_admin_state"]

    for one in (UP, DOWN, ("2", "8", "3")):
        workers.running = now(pg_1=UP, pg_2=UP, one=one)
        guard.guard(workers, DATABASE)
        assert saved_one() == one[:2]
        assert server_states.FRESH_MARK in file.read_text()
    before = file.stat()
    os.utime(file, (0, 0))
    guard.guard(workers, DATABASE)
    after = file.stat()
    assert (after.st_ino, after.st_mtime > 0) == (before.st_ino, True)
    # Half an answer, or none, is no news.
    for running in (workers.running[:-40], "", "Can't find the target PID matching the prefix '@!30'\n"):
        os.utime(file, (0, 0))
        workers.running = running
        guard.guard(workers, DATABASE)
        assert (file.stat().st_ino, file.stat().st_mtime) == (before.st_ino, 0)
