# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts for a person use the width of a screen and no more, and what is cut off is counted."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import layout
from hypothesis import given
from hypothesis import strategies as st
from screens import COLUMNS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (61.6, "1 min 2 s"),
        (3599.8, "1 h 0 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert layout.duration(seconds) == text


def test_clock_is_utc() -> None:
    assert layout.clock(0) == "1970-01-01 00:00:00Z"


def test_clip() -> None:
    assert layout.clip("x" * 20, 20) == "x" * 20
    assert layout.clip("x" * 21, 20) == "x" * 19 + "…"
    assert layout.clip("word word word", 6) == "word…"


def test_wrap_uses_the_whole_width() -> None:
    assert layout.wrap(f"{'x' * 54} {'y' * 55}", "") == [f"{'x' * 54} {'y' * 55}"]
    assert layout.wrap(f"{'x' * 55} {'y' * 55}", "  ") == [f"  {'x' * 55}", f"  {'y' * 55}"]


WORDS = st.lists(st.text("abc", min_size=1, max_size=30) | st.text("x", min_size=100, max_size=130), max_size=40)


@given(words=WORDS, head=st.sampled_from(["", "  ", "  batch 1: "]), most=st.integers(1, 5))
def test_wrap(words: list[str], head: str, most: int) -> None:
    lines = layout.wrap(" ".join(words), head, most)
    assert 1 <= len(lines) <= most
    assert all(len(line) <= COLUMNS for line in lines)
    assert all(line.startswith(" " * len(head)) for line in lines[1:] if line)
    told = " ".join(lines)[len(head) :].split()
    if "…" not in " ".join(lines):
        assert told == words
    else:
        # What is missing is missing at the end, or in the middle of a word that is wider than the screen.
        assert len(words) > len(told) or any(len(word) > COLUMNS - len(head) for word in words) or "…" in told[-1]


@given(items=st.lists(st.text("abc-", min_size=1, max_size=40), max_size=60), most=st.integers(1, 4))
def test_listing_counts_what_it_omits(items: list[str], most: int) -> None:
    lines = layout.listing(items, "  head ", most)
    assert len(lines) <= most
    assert all(len(line) <= COLUMNS for line in lines)
    text = " ".join(line.strip() for line in lines)
    more = re.search(r"and (\d+) more$", text)
    shown = len(items) - int(more.group(1)) if more else len(items)
    assert text.removeprefix("head").strip() == " ".join(
        [*([", ".join(items[:shown])] if shown else []), *([more.group(0)] if more else [])]
    )


def test_table_lines_up() -> None:
    assert layout.table([["host", "x"], ["app-1", "12"], ["a", "3"]]) == ["  host   x", "  app-1  12", "  a      3"]
    assert layout.table([]) == []


def test_table_leaves_columns_out_in_the_order_given() -> None:
    rows = [["a", "b", "c"], ["x" * 50, "y" * 40, "z" * 40]]
    assert layout.table(rows, ("b", "c"))[0].split() == ["a", "c"]
    assert layout.table(rows, ("c", "b"))[0].split() == ["a", "b"]
    wide = [["a", "b", "c"], ["x" * 90, "y" * 40, "z" * 40]]
    assert layout.table(wide, ("b", "c"))[0].split() == ["a"]
    assert all(len(line) <= COLUMNS for line in layout.table([["a"], ["x" * 200]]))


def test_table_uses_the_whole_width() -> None:
    rows = [["a", "b"], ["x" * 50, "y" * 56]]
    assert layout.table(rows, ("b",))[1] == f"  {'x' * 50}  {'y' * 56}"
    assert layout.table([["a", "b"], ["x" * 51, "y" * 56]], ("b",))[1] == f"  {'x' * 51}"
    # A heading without anything below it is a table too.
    assert layout.table([["a", "b"]]) == ["  a  b"]
