# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that is typed as it stands: the fenced blocks of a page, and a shell for them.

Knows nothing of this checkout, for those who follow a page do not have it.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 900


@dataclass(frozen=True)
class Command:
    """A line that is typed, and what it is said to print.

    ``$`` is typed on the controller (host is None), ``name#`` by root on that host, ``#`` alone on any (host is empty).
    """

    text: str
    host: str | None
    promised: list[str]

    def missing(self, output: str) -> list[str]:
        """Promised lines that are not in an output; ``…`` stands for anything."""
        patterns = {line: ".*".join(map(re.escape, line.strip().split("…"))) for line in self.promised}
        return [line for line, one in patterns.items() if not re.search(rf"^\s*{one}\s*$", output, re.MULTILINE)]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def path(self) -> str | None:
        """The file that the block is, by its first comment."""
        found = re.search(r"^# (\S+/\S+)$", self.text, re.MULTILINE) if self.language != "console" else None
        return found[1] if found else None

    def commands(self) -> Iterator[Command]:
        """Every command of a block that is typed."""
        found: list[Command] = []
        for line in re.sub(r"\s*\\\n\s*", " ", self.text).splitlines():
            typed = re.match(r"(?:\$|([\w-]*)#) (.+?)(?:\s{3,}# .*)?$", line)
            if typed:
                found.append(Command(typed[2], typed[1], []))
            elif found:
                found[-1].promised.append(line)
        yield from found


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(page: Path) -> list[Command]:
    """All commands of a page, in order."""
    return [command for block in blocks(page) for command in block.commands()]


class Shell:
    """One shell in which everything is typed, so that what a command sets is there for the next.

    Where its ``with`` ends it ends too, and what it still runs in the background.
    """

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
        output = ""
        # A command that says nothing for ever ends with the shell.
        watch = threading.Timer(DEADLINE, os.killpg, (self._process.pid, signal.SIGKILL))
        watch.start()
        try:
            for line in self._process.stdout:
                if line.startswith(mark):
                    return int(line.split()[1]), output
                if mark in line:
                    before, _mark, status = line.partition(mark)
                    return int(status), output + before
                output += line
        finally:
            watch.cancel()
        raise AssertionError(f"{command} did not end within {DEADLINE} s, or ended the shell: {output[-2000:]}")

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def stranger(home: Path, keys: Path, checkout: Path) -> dict[str, str]:
    """The environment of somebody with an empty home, SSH keys for the hosts, and nothing of a checkout."""
    python = home / "python" / "python3"
    python.parent.mkdir()
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python.symlink_to(Path(sys.base_prefix) / "bin" / version)
    ours = ("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    elsewhere = [part for part in own["PATH"].split(os.pathsep) if not Path(part).is_relative_to(checkout)]
    return {
        **own,
        "PATH": os.pathsep.join([str(python.parent), *elsewhere]),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "160",
        "ANSIBLE_PRIVATE_KEY_FILE": str(keys / "id"),
        "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={keys / 'known_hosts'} -o StrictHostKeyChecking=yes",
    }


def follow(
    page: Path,
    folder: Path,
    transcript: Path,
    run: Callable[[Command], tuple[int, str]],
) -> Iterator[Command]:
    """Write every file of a page into a folder and run every command, in order; each command as soon as it is done."""
    with transcript.open("w", encoding="utf-8") as sink:
        for block in blocks(page):
            if block.path:
                target = folder / block.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
                continue
            assert block.language in ("console", "mermaid"), f"neither a file nor typed:\n{block.text}"
            for command in block.commands():
                status, output = run(command)
                sink.write(f"{command.host or ''}{'$' if command.host is None else '#'} {command.text}\n{output}")
                sink.flush()
                assert status == 0, f"{command.text}\n{output[-6000:]}"
                assert command.missing(output) == [], f"{command.text}\n{output[-6000:]}"
                yield command
