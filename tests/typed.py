# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that is typed as it stands: the fenced blocks of a page, and a shell for them."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 900


@dataclass(frozen=True)
class Command:
    """A line that is typed, on the controller or (with ``#``) by root on a host, and what it is said to print."""

    text: str
    on_host: bool
    promised: list[str]

    def missing(self, output: str) -> list[str]:
        """Promised lines that are not in an output; ``…`` stands for anything."""
        patterns = {line: ".*".join(map(re.escape, line.strip().split("…"))) for line in self.promised}
        return [line for line, one in patterns.items() if not re.search(rf"^\s*{one}\s*$", output, re.MULTILINE)]


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

    def commands(self) -> Iterator[Command]:
        """Every command of a block that is typed."""
        found: list[Command] = []
        for line in self.text.splitlines():
            if line.startswith(("$ ", "# ")):
                found.append(Command(line[2:], line.startswith("# "), []))
            elif found:
                found[-1].promised.append(line)
        yield from found


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
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
