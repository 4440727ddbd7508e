"""The estate over SSH, by the commands of the README: without a password for sudo, and then with one."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import estate
import pytest
import typed

HERE = Path(__file__).resolve().parent.parent
HOSTS = ("ssh-1", "ssh-2", "ssh-3")
EXAMPLE = estate.ROOT / "inventories/example/group_vars/all/secrets.yml"
FIRST, CHECK, RUN = [one.text for one in typed.commands(estate.ROOT / "README.md") if "vault" in one.text]
"""Fill the vault, see what would change, and do it."""
VAULT = {"ault password": "vault-password"}
SUDO = {"BECOME password": "sudo-password"}
DEADLINE = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person works, with an inventory that takes its secrets from a vault which is not there yet."""
    found = tmp_path_factory.mktemp("ssh") / "work"
    production = found / "inventories/production"
    shutil.copytree(HERE / "inventory", production)
    shutil.copy(EXAMPLE, production / "group_vars/all/secrets.yml")
    # Where the demo's variables look for the release, and the scenario's for the keys.
    (found / "demo").symlink_to(estate.ROOT / "demo")
    (found.parent / "build").symlink_to(estate.BUILD)
    return found


def test_secrets_are_put_into_a_vault(folder: Path) -> None:
    names = sorted(set(re.findall(r"{{ (vault_\w+) }}", EXAMPLE.read_text(encoding="utf-8"))))
    (folder / "secrets").write_text("".join(f"{name}: secret-{name}\n" for name in names), encoding="utf-8")
    status, output = answered(FIRST, VAULT, folder, EDITOR=f"cp {folder / 'secrets'}")
    assert status == 0, output
    vault = folder / "inventories/production/group_vars/all/vault.yml"
    assert vault.read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT;")


def test_what_would_change_is_shown_and_nothing_is_changed(folder: Path) -> None:
    status, output = answered(CHECK, VAULT, folder)
    assert status == 0, output[-4000:]
    assert set(estate.Recap.read(output, status).changed()) == set(HOSTS)
    for host in HOSTS:
        assert estate.on(host, "ls -d /etc/haproxy /etc/patroni /etc/default/etcd 2>/dev/null || true") == ""


def test_unprivileged_user_with_passwordless_sudo_installs_the_estate(folder: Path) -> None:
    status, output = answered(RUN, VAULT, folder)
    recap = estate.Recap.read(output, status)
    assert status == 0, output[-4000:]
    assert set(recap.changed()) == set(HOSTS)


def test_password_asked_for_and_nothing_left_to_change(folder: Path) -> None:
    status, output = answered(f"{RUN} -u operator -K", {**VAULT, **SUDO}, folder)
    assert status == 0, output[-4000:]
    recap = estate.Recap.read(output, status)
    assert set(recap.hosts) >= set(HOSTS)
    assert recap.changed() == {}


def test_wrong_password_changes_nothing_and_says_so(folder: Path) -> None:
    wrong = dict.fromkeys(SUDO, "wrong")
    status, output = answered(f"{RUN} -u operator -K --limit ssh-1", {**VAULT, **wrong}, folder)
    assert status != 0
    assert "Incorrect sudo password" in " ".join(output.split())
    assert estate.Recap.read(output, status).changed() == {}


@pytest.mark.parametrize("port", [80, 5000])
def test_the_estate_serves(port: int) -> None:
    if port == 80:
        status, body, _headers = estate.get("http://10.210.0.11/version", headers={"Host": "mes.demo.example"})
        assert status == 200, body
    else:
        members = estate.get("http://10.210.0.12:8008/cluster")[1]
        assert '"leader"' in members


def answered(command: str, answers: dict[str, str], folder: Path, **variables: str) -> tuple[int, str]:
    """Type a command on a terminal of its own, and each answer whenever it is asked for; its exit code and output."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        ["bash", "--norc", "-c", command],
        cwd=folder,
        env={**estate.environment(), "ANSIBLE_REMOTE_USER": "deploy", **variables},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output, read, asked, deadline = "", 0, set(), time.monotonic() + DEADLINE
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
                prompt = re.search(rf"({'|'.join(answers)})[^:\n]*: ?", output[read:])
                if prompt:
                    asked.add(prompt[1])
                    read += prompt.end()
                    os.write(controller, f"{answers[prompt[1]]}\n".encode())
            elif process.poll() is not None:
                break
    finally:
        os.close(controller)
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
    assert asked == set(answers), output
    return process.wait(timeout=30), output.replace("\r\n", "\n")
