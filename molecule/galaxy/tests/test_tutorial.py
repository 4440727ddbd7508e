"""Another team, with nothing but the archive and its tutorial: every file and every command as they stand there."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import estate
import package
import pytest

TUTORIAL = estate.ROOT / "docs/tutorials/first-service.md"
KEYS = estate.BUILD / "galaxy-keys"
DEADLINE = 900


@dataclass(frozen=True)
class Block:
    """A fenced block of the tutorial."""

    language: str
    text: str

    @property
    def path(self) -> str | None:
        """The file that the block is, by its first comment."""
        found = re.search(r"^# (\S+/\S+)$", self.text, re.MULTILINE) if self.language != "console" else None
        return found[1] if found else None

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Every command, and the lines that it is said to print."""
        command, lines = "", list[str]()
        for line in self.text.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, lines
                command, lines = line.removeprefix("$ "), []
            else:
                lines.append(line)
        yield command, lines


def blocks() -> list[Block]:
    text = TUTORIAL.read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


class Shell:
    """One shell in which everything is typed, so that what a command sets is there for the next."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, command: str) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        assert self._process.stdin
        assert self._process.stdout
        mark = secrets.token_hex(16)
        nothing = "" if command.endswith("&") else " </dev/null"
        self._process.stdin.write(f"{command}{nothing}\necho {mark} $?\n")
        self._process.stdin.flush()
        begin, output = time.monotonic(), ""
        for line in self._process.stdout:
            if line.startswith(mark):
                return int(line.split()[1]), output
            if mark in line:
                before, _mark, status = line.partition(mark)
                return int(status), output + before
            output += line
            assert time.monotonic() - begin < DEADLINE, output[-2000:]
        raise AssertionError(f"the shell ended: {output[-2000:]}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, with the archive in it."""
    found = tmp_path_factory.mktemp("work")
    package.build(found)
    return found


@pytest.fixture(scope="module")
def shell(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A person's shell, who has no Ansible home yet, nothing of this checkout, and SSH keys."""
    python = tmp_path_factory.mktemp("bin")
    (python / "python3").symlink_to(
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    )
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
    }
    elsewhere = [part for part in own["PATH"].split(os.pathsep) if not Path(part).is_relative_to(estate.ROOT)]
    opened = Shell(
        folder,
        {
            **own,
            "PATH": os.pathsep.join([str(python), *elsewhere]),
            "HOME": str(tmp_path_factory.mktemp("home")),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "160",
            "ANSIBLE_PRIVATE_KEY_FILE": str(KEYS / "id"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={KEYS / 'known_hosts'} -o StrictHostKeyChecking=yes",
        },
    )
    yield opened
    opened.close()


def test_the_tutorial_does_what_it_says(folder: Path, shell: Shell) -> None:
    transcript = estate.BUILD / "galaxy-transcript.txt"
    with transcript.open("w", encoding="utf-8") as sink:
        for block in blocks():
            if block.path:
                target = folder / block.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
                continue
            assert block.language == "console", f"a block that is neither a file nor typed:\n{block.text}"
            for command, promised in block.commands():
                status, output = shell.type(command)
                sink.write(f"$ {command}\n{output}")
                sink.flush()
                assert status == 0, f"{command}\n{output[-6000:]}"
                for line in promised:
                    pattern = ".*".join(map(re.escape, line.strip().split("…")))
                    assert re.search(rf"^\s*{pattern}\s*$", output, re.MULTILINE), (
                        f"{command} does not print {line!r}:\n{output}"
                    )
    assert "rollout_version=1.2.0" in transcript.read_text(encoding="utf-8")


def test_every_plugin_and_role_explains_itself_where_it_is_installed(folder: Path, shell: Shell) -> None:
    assert folder
    for kind, path in (("module", "plugins/modules"), ("filter", "plugins/filter"), ("role", "roles")):
        names = sorted(one.stem for one in (estate.ROOT / path).iterdir() if one.stem[0].isalpha())
        status, output = shell.type(
            f"ansible-doc --json -t {kind} {' '.join(f'mesops.platform.{name}' for name in names)}"
        )
        assert status == 0, output
        found = json.loads(output[output.index("{") :])
        assert sorted(found) == [f"mesops.platform.{name}" for name in names]
        assert [name for name, one in found.items() if "error" in one] == []
