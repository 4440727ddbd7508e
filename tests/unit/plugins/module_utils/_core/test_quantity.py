# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers in sentences agree with what they count, everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity

ROOT = Path(__file__).resolve().parents[5]
WORDS = (
    "archives|attempts|backends|batches|checks|clients|hosts|looks|members|releases|requests|restarts|samples|servers|"
    "services|sessions|standbys|values|workers"
)
SPELT = re.compile(rf"(?<![A-Z])\}} (?:more |queued )?(?:{WORDS})\b")
"""Behind a value that is no constant."""


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("host",), "0 hosts"),
        (1, ("host",), "1 host"),
        (2, ("host",), "2 hosts"),
        (1, ("batch", "batches"), "1 batch"),
        (3, ("more batch", "more batches"), "3 more batches"),
        (1136, ("request",), "1,136 requests"),
    ],
)
def test_a_number_agrees_with_what_it_counts(number: int, words: tuple[str, ...], said: str) -> None:
    assert quantity(number, *words) == said


def test_no_sentence_counts_by_itself() -> None:
    """A noun in the plural behind a number that may be one."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {one[0]}"
        for path in sorted((ROOT / "plugins").rglob("*.py"))
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for one in SPELT.finditer(text)
    ]
    assert found == []


def test_a_sentence_that_counts_by_itself_is_found() -> None:
    assert SPELT.search('f"{len(hosts)} hosts"')
    assert SPELT.search('f"{len(found)} more batches with"')
    assert SPELT.search('f"{len(found - {*out, host})} servers would be left"')
    assert not SPELT.search('f"more than {MAX_ENTRIES} members"')
    assert not SPELT.search("f\"{quantity(len(hosts), 'host')} are left\"")
