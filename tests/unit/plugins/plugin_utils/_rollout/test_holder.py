# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a lock, and whether the process that took it is no more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import stores
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import holder


def test_the_person_behind_sudo_runs_the_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert holder.who() == f"alice@{socket.gethostname()}"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("LOGNAME", "deploy")
    assert holder.who() == f"deploy@{socket.gethostname()}"


def lease(**changes: Any) -> dict[str, Any]:
    """A lease as a store shows it, of the play that runs this test."""
    return {"holder": {**holder.holder_of_play("rollout of catalog 1.4.0"), **changes}}


def test_the_holder_is_the_play_and_not_the_worker_that_runs_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    holder = lease()["holder"]
    assert (holder["pid"], holder["user"], holder["host"]) == (os.getppid(), "alice", socket.gethostname())
    assert holder["what"] == "rollout of catalog 1.4.0"
    assert stores.Holder(**holder).process_started.isdigit()


def test_a_process_that_runs_is_not_dead() -> None:
    assert not holder.is_dead(lease())


def test_a_process_of_this_machine_that_is_no_more_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = holder._process_started(child.pid)
        held = lease(pid=child.pid, process_started=started)
        assert not holder.is_dead(held)
        child.kill()
        child.wait()
        assert holder.is_dead(held)


def test_another_process_that_was_given_its_number_is_not_the_holder() -> None:
    assert holder.is_dead(lease(process_started="1"))


@pytest.mark.parametrize("elsewhere", [{"host": "ci-8"}, {"boot": "another boot"}, {"boot": ""}])
def test_of_a_process_elsewhere_nothing_is_known(elsewhere: dict[str, str]) -> None:
    """Its number means nothing here: not on another host, not before the last boot, not in another container."""
    gone = {"pid": 2**22 - 1, "process_started": "1"}
    assert holder.is_dead(lease(**gone))
    assert not holder.is_dead(lease(**gone, **elsewhere))
    assert not holder.is_dead({})
