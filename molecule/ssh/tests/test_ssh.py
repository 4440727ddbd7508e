"""site.yml over SSH: a first run without a sudo password, a second one that asks for it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import estate
import pytest

HERE = Path(__file__).resolve().parent.parent
COMMAND = [str(estate.BIN / "ansible-playbook"), "-i", str(HERE / "inventory"), "site.yml"]
DEADLINE = 900


def test_unprivileged_user_with_passwordless_sudo_installs_the_estate() -> None:
    done = estate.step("site.yml as deploy", [*COMMAND, "-u", "deploy"], log=estate.BUILD / "ssh-deploy.log")
    recap = estate.Recap.read(done.stdout, done.returncode)
    assert set(recap.changed()) == {"ssh-1", "ssh-2", "ssh-3"}


def test_password_asked_for_and_nothing_left_to_change() -> None:
    status, output = answer_password([*COMMAND, "-u", "operator", "-K"], "sudo-password")
    assert status == 0, output[-4000:]
    recap = estate.Recap.read(output.replace("\r\n", "\n"), status)
    assert set(recap.hosts) >= {"ssh-1", "ssh-2", "ssh-3"}
    assert recap.changed() == {}


def test_wrong_password_changes_nothing_and_says_so() -> None:
    status, output = answer_password([*COMMAND, "-u", "operator", "-K", "--limit", "ssh-1"], "wrong")
    assert status != 0
    assert "password" in output.lower()


@pytest.mark.parametrize("port", [80, 5000])
def test_the_estate_serves(port: int) -> None:
    if port == 80:
        status, body, _headers = estate.get("http://10.203.0.51/version", headers={"Host": "mes.demo.example"})
        assert status == 200, body
    else:
        members = estate.get("http://10.203.0.52:8008/cluster")[1]
        assert '"leader"' in members


def answer_password(command: list[str], password: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and type the password when it asks for one."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=estate.ROOT,
        env=estate.environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output, asked, deadline = "", False, time.monotonic() + DEADLINE
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([controller], [], [], 1)
            if ready:
                try:
                    chunk = os.read(controller, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                output += chunk.decode(errors="replace")
                if not asked and "BECOME password" in output:
                    asked = True
                    os.write(controller, f"{password}\n".encode())
            elif process.poll() is not None:
                break
    finally:
        os.close(controller)
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
    assert asked, output
    return process.wait(timeout=30), output
