# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands are refused, lost to a reload or left without an answer; the lock, and the state that is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.change import change
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.commands import Tools, file_lock, save
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import Wanted
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.reading import NoAnswer
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import FRESH_MARK, parse_state
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import RuntimeFailure
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.starting import before_start
from haproxy_simulation import Balancer, states


def test_a_socket_without_the_right_changes_nothing_and_says_so() -> None:
    balancer = Balancer()
    balancer.refusals = {"set server": "Permission denied\n\n"}
    text = str(balancer.refused(state="drain"))
    assert "'set server catalog/one state drain': Permission denied (the master's socket must have level admin)" in text
    assert text.endswith("nothing was changed.")
    assert set(states(balancer).values()) == {(0, 100)}


def test_without_an_answer_it_fails_in_time() -> None:
    balancer = Balancer()

    def nobody(_command: str) -> str:
        balancer.now += 0.01
        raise FileNotFoundError("no socket")

    balancer.ask = nobody  # type: ignore[method-assign, assignment]
    assert "gives no usable answer (no socket)" in str(balancer.refused(state="drain"))
    assert 10 <= balancer.now < 11


def test_a_state_that_cannot_be_saved_fails() -> None:
    balancer = Balancer()

    def full() -> None:
        raise OSError("no space")

    balancer.save = full  # type: ignore[method-assign]
    assert "could not be saved for a restart of HAProxy (no space)" in str(balancer.refused(state="drain"))


def test_a_worker_that_ends_before_it_is_told_is_not_believed() -> None:
    balancer = Balancer()
    original = balancer.ask

    def ask(command: str) -> str:
        if "set server" in command and balancer.current == 100:
            balancer.workers[101] = balancer.workers.pop(100)
            balancer.current = 101
        return original(command)

    balancer.ask = ask  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert balancer.commands == ["set server catalog/one state drain"]


@pytest.mark.parametrize("command", ["show proc", "show servers state", "show stat -1 6 -1"])
def test_half_an_answer_is_asked_for_again(command: str) -> None:
    balancer = Balancer()
    balancer.member("catalog/three").sessions = [1.0]
    original = balancer.ask
    asked: list[str] = []

    def ask(one: str) -> str:
        whole = original(one)
        if one.endswith(command):
            asked.append(one)
        return whole[: len(whole) // 2] if one.endswith(command) and len(asked) % 2 else whole

    balancer.ask = ask  # type: ignore[method-assign, assignment]
    outcome = balancer.change("three", state="drain")
    assert (outcome.done, outcome.servers[0].admin) == (True, "drain")
    assert balancer.now >= 1.0


def test_a_reload_while_the_state_is_saved_is_waited_for() -> None:
    balancer = Balancer()
    original = balancer.save
    failures = [NoAnswer("reloading")] * 3

    def save() -> None:
        if failures:
            raise failures.pop()
        original()

    balancer.save = save  # type: ignore[method-assign]
    assert balancer.change(state="drain").done
    assert balancer.saved[("catalog", "one")].admin == 8


def test_execution_that_was_superseded_while_it_waited_lets_nobody_in() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", checked=True)
    balancer.member("catalog/s0").admin = 8
    come: list[float] = []

    def later(seconds: float) -> None:
        come.append(seconds)
        balancer.sleep(seconds)

    tools = Tools(
        balancer.ask, lambda: balancer.now, later, balancer.save, balancer.lock, superseded=lambda: bool(come)
    )
    with pytest.raises(RuntimeFailure, match="newer run changes these servers now"):
        change(tools, Wanted(("catalog",), ("s0",), state="ready", wait=30.0))
    assert come
    assert balancer.member("catalog/s0").admin == 8


def test_the_lock_excludes_and_gives_up(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    path = str(tmp_path / "lock")
    with (
        file_lock(path, lambda: now[0], sleep),
        pytest.raises(RuntimeFailure, match="for 5 s"),
        file_lock(path, lambda: now[0], sleep, 5),
    ):
        raise AssertionError("two at once")
    with file_lock(path, lambda: now[0], sleep, 0):
        pass
    assert 5 <= now[0] < 5.2


def test_what_is_saved_is_what_a_start_takes_back(tmp_path: Path) -> None:
    balancer = Balancer("catalog/one")
    balancer.change(state="drain", weight="10%")
    config = tmp_path / "haproxy.cfg"
    config.write_text("backend catalog\n    server one 10.0.0.1:8000 weight 100 check\n")
    save(balancer.ask, str(config), str(tmp_path / "state"))
    text = (tmp_path / "state").read_text()
    assert text.endswith(f"{FRESH_MARK}\n")
    row = parse_state(before_start(config.read_text(), text))[("catalog", "one")]
    assert (row["srv_admin_state"], row["srv_uweight"], row["srv_iweight"]) == ("8", "10", "100")


@pytest.mark.parametrize("cut", ["show proc", "show servers state"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_half_an_answer_does_not_wipe_the_saved_state(tmp_path: Path, cut: str, share: float) -> None:
    balancer = Balancer("catalog/one", "catalog/two")
    target = tmp_path / "state"
    target.write_text("kept")

    def ask(command: str) -> str:
        whole = balancer.ask(command)
        return whole[: int(len(whole) * share)] if command.endswith(cut) else whole

    with pytest.raises(NoAnswer):
        save(ask, "/no", str(target))
    assert target.read_text() == "kept"


def test_a_master_without_a_worker_does_not_wipe_the_saved_state(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_text("kept")
    with pytest.raises(NoAnswer):
        save(lambda _command: "#<PID> <type> <reloads>\n7 master 1\n# workers\n\n", "/no", str(target))
    assert target.read_text() == "kept"
