"""The page for those who run the platform: every command on it, in order, on an estate that serves all the time."""

from __future__ import annotations

import estate
import pytest
import typed

PAGE = estate.ROOT / "docs/operations.md"
COMMANDS = [
    pytest.param(command, id=f"{number:02}-{'-'.join(command.text.split()[:2])}")
    for number, command in enumerate(typed.commands(PAGE))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_as_it_stands(command: typed.Command, shell: typed.Shell) -> None:
    estate.wait_for(estate.healthy_cluster, timeout=120, what="a leader with a streaming standby")
    text = command.text.replace("inventories/production", "inventories/demo")
    if command.host is not None:
        leader = estate.leader()
        assert leader
        output = estate.on(leader, text)
    else:
        status, output = shell.type(text)
        assert status == 0, output[-4000:]
    assert command.missing(output) == [], output


def test_there_were_commands_of_both_kinds() -> None:
    assert {command.values[0].host for command in COMMANDS} == {None, ""}  # type: ignore[union-attr]


def test_no_server_stays_out_of_traffic() -> None:
    shown = estate.playbook("playbooks/status.yml", title="status", log="operations-status").output
    assert shown.count("UP, ") == 4, shown
    assert "DRAIN" not in shown
