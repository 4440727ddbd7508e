# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages tell people to type what exists: links lead somewhere; playbooks, variables, targets, scenarios are there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    if not name.startswith("docs/reference/")
)
COMMAND = re.compile(r"^\s*[$#] (?P<text>.+(?:\\\n.+)*)$", re.MULTILINE)


def console(page: Path) -> list[str]:
    """All commands of a page, each on one line."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s*\\\n\s*", " ", found["text"]) for block in blocks for found in COMMAND.finditer(block)]


def variables() -> set[str]:
    """Every option of every role, and the variables of the whole estate that roles and playbooks ask for."""
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    options = {name for spec in specs for point in spec["argument_specs"].values() for name in point.get("options", {})}
    texts = [
        path.read_text() for part in ("roles", "playbooks", "inventories") for path in (ROOT / part).rglob("*.yml")
    ]
    return options | set(re.findall(r"\b(?:mesops|artifacts|mes)_\w+", "\n".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _hash, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), f"{target}: there is no {found}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_exists(page: Path) -> None:
    known = variables()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} | {"lint", "unit"}
    for command in console(page):
        for name in re.findall(r"mesops\.platform\.(\w+)", command if "-m mesops" not in command else ""):
            assert (ROOT / f"playbooks/{name}.yml").exists(), command
        for path in re.findall(r"\bplaybooks/(\w+)\.yml", command):
            assert (ROOT / f"playbooks/{path}.yml").exists(), command
        given = re.findall(r"-e \"?(\w+)=", command)
        given += [key for words in re.findall(r"-e '(\{.*?\})'", command) for key in json.loads(words)]
        assert set(given) <= known, command
        if command.startswith("make"):
            assert (
                set(re.findall(r"(?<![\w=./-])([a-z-]+)(?![\w=./-])", command.split("#")[0])) - {"make"} <= targets
            ), command
        run = re.search(r"tests/run\.py ([a-z -]+)", command)
        assert not run or set(run[1].split("#")[0].split()) <= scenarios, command


def test_commands_are_found() -> None:
    assert sum(len(console(page)) for page in PAGES) > 40
