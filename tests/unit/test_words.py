# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages, messages and code use the words of the glossary, names among it, and plurals only where there are several."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
INSTEAD = re.compile(r"^\| (?P<write>[^|]+) \| (?P<not>[^|]+) \|$", re.MULTILINE)
LOOKED_AT = ("*.md", "changelogs", "demo", "inventories", "molecule", "playbooks", "plugins", "roles", "tests", "tools")
EXEMPT = {GLOSSARY, ROOT / "LICENSE", Path(__file__).resolve()}
ONE_OF_MANY = re.compile(
    r"(?<![\d.,:=/-])\b1 (?:archives|balancers|batches|files|hosts|members|nodes|requests|rollouts|samples|servers"
    r"|services|standbys|times|units|variables)\b"
)


def instead() -> dict[str, str]:
    """Each word that is not used, and what is written instead."""
    _before, table = GLOSSARY.read_text(encoding="utf-8").split("## Instead of", 1)
    rows = [row for row in INSTEAD.finditer(table) if row["write"] not in ("write", "---")]
    return {word: row["write"] for row in rows for word in row["not"].split(", ")}


def files() -> list[Path]:
    """Every text that people read."""
    command = ["git", "ls-files", *LOOKED_AT]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return sorted({path for path in map(ROOT.joinpath, listed) if path.is_file()} - EXEMPT)


WORDS = instead()
UNUSED = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(map(re.escape, WORDS))})(?![^\W_])".replace("\\ ", r"[\s_]+"), re.IGNORECASE
)
STORED = "left_out"
"""A key of stored records, and what is named after it: who is left behind, as the glossary has it."""


def complaints(text: str) -> list[str]:
    """What a text says in other words than the glossary's."""
    # A sentence goes on in the next line, behind the marks of a comment.
    whole = re.sub(rf"(?<!mesops_){STORED}", "", re.sub(r"\n[ #>*-]*", " ", text))
    found = [" ".join(re.split(r"[\s_]+", one.group())) for one in UNUSED.finditer(whole)]
    return [f"{one!r}; write {WORDS[one.lower()]!r}" for one in found] + ONE_OF_MANY.findall(text)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_glossary(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a run that was taken up", ["'taken up'; write 'resumes, resumed'"]),
        ("# the configuration is in\n# force now", ["'in force'; write 'active; activate'"]),
        ("Left out.", ["'Left out'; write 'skipped; excluded; kept out; omitted'"]),
        ("def test_what_is_in_force() -> None:", ["'in force'; write 'active; activate'"]),
        ("_proven", ["'proven'; write 'verified'"]),
        ("last.left_out, unproven, force_in_force_of", ["'in force'; write 'active; activate'"]),
        ("on 1 hosts", ["1 hosts"]),
        ("on 1 host, 31 hosts, batch 1: hosts, in 10.0.0.1 hosts", []),
        ("enforced, proved, beard, unproven, wholes", []),
    ],
)
def test_other_words_are_found(text: str, said: list[str]) -> None:
    assert complaints(text) == said


def test_the_glossary_explains_what_it_wants_written() -> None:
    assert len(WORDS) > 15
    explained, _table = GLOSSARY.read_text(encoding="utf-8").lower().split("## instead of", 1)
    for word in ("resumed", "skipped", "excluded", "kept out", "verified", "active", "irreversible", "upstream"):
        assert re.search(rf"^\| [^|]*\b{word}\b[^|]* \|", explained, re.MULTILINE), word
