# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that the systemd units of a load balancer call."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import (
    guard,
    server_states,
    starting,
    state_program,
)
from haproxy_samples import CONFIG, PROC_3_0, RUNNING, rows


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config, file = tmp_path / "haproxy.cfg", tmp_path / "state"
    config.write_text(CONFIG)
    monkeypatch.setenv("CONFIG", str(config))
    for module in (state_program, starting):
        monkeypatch.setattr(module, "STATE_FILE", str(file))
    monkeypatch.setattr(state_program, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(starting, "checked_now", lambda _config, _saved: {})
    answers = {"show proc": PROC_3_0, "@!313 show servers state": RUNNING}
    monkeypatch.setattr(state_program, "ask", lambda _path, command: answers[command])

    assert state_program.main(["before-reload"]) == 0
    assert server_states.FRESH_MARK not in file.read_text()
    assert state_program.main(["save"]) == 0
    assert server_states.FRESH_MARK in file.read_text()
    assert state_program.main(["before-start"]) == 0
    assert rows(file.read_text())["one"]["srv_admin_state"] == "8"
    assert state_program.main([]) == 2

    def dead(_path: str, _command: str) -> str:
        raise ConnectionRefusedError("nobody there")

    before = file.read_text()
    # Whoever changes servers and saves that is waited for, or what has been saved would be lost.
    monkeypatch.setattr(state_program, "LOCK_TIMEOUT", 0.1)
    held = take_lock(str(tmp_path / "lock"), 1)
    assert state_program.main(["before-reload"]) == 1
    assert "held by somebody else" in capsys.readouterr().err
    assert state_program.main(["before-start"]) == 0
    os.close(held)
    monkeypatch.setattr(state_program, "ask", dead)
    assert state_program.main(["save"]) == 1
    assert "nobody there" in capsys.readouterr().err
    assert file.read_text() == before


def test_the_guard_lives_on_while_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MASTER_SOCKET", str(tmp_path / "nobody"))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        state_program.main(["guard"])
    assert looks == [guard.GUARD_INTERVAL] * 3
