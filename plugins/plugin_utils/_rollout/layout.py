# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a text for a person is laid out: lines, tables and lists that fit the width of a screen.

What is cut off is counted. Pure text, no Ansible in here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

WIDTH = 110
NAME_WIDTH = 24
VERSION_WIDTH = 20
NOTES_SHOWN = 3


def clock(at: float) -> str:
    """A moment in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def duration(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clip(text: str, width: int = WIDTH) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def columns(rows: Sequence[Sequence[str]], optional: Sequence[str], indent: str) -> list[int]:
    """The columns that fit: those named by ``optional`` give way, the first one first."""
    kept = list(range(len(rows[0])))
    for name in dict.fromkeys(optional):
        widths = [max(len(row[column]) for row in rows) for column in kept]
        if len(indent) + sum(widths) + 2 * (len(kept) - 1) <= WIDTH:
            break
        kept.remove(rows[0].index(name))
    return kept


def table(rows: Sequence[Sequence[str]], optional: Sequence[str] = (), indent: str = "  ") -> list[str]:
    """Columns that line up, with a heading in the first row; as many as fit."""
    if not rows:
        return []
    kept = columns(rows, optional, indent)
    widths = [max(len(row[column]) for row in rows) for column in kept]
    lines = ("  ".join(row[column].ljust(width) for column, width in zip(kept, widths)) for row in rows)
    return [clip(f"{indent}{line}".rstrip()) for line in lines]


def _flow(words: Sequence[str], head: str, most: int) -> list[str]:
    """Words after a heading, at most so many lines of them; the lines after the first are indented as far."""
    indent = " " * len(head)
    lines, line = [], head
    for word in words:
        if line not in (head, indent) and len(line) + len(word) > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    lines = [clip(one) for one in [*lines, line.rstrip()]]
    if len(lines) > most:
        lines[most - 1] = clip(f"{lines[most - 1]} {lines[most].strip()}")
    return lines[:most]


def wrap(text: str, head: str, most: int = 3) -> list[str]:
    """A text as lines of a bounded width, at most so many."""
    return _flow(text.split(), head, most)


def listing(items: Sequence[str], head: str, most: int = 2) -> list[str]:
    """As many items as there is room for, none of them broken; those for which there is no room are counted."""
    lines: list[str] = []
    for shown in range(min(len(items), most * WIDTH // 3), -1, -1):
        words = [f"{one}," for one in items[: shown - 1]] + list(items[shown - 1 : shown] if shown else ())
        more = [f"and {len(items) - shown} more"] if shown < len(items) else []
        lines = _flow([*words, *more], head, most + 1)
        if len(lines) <= most:
            break
    return lines[:most]


def some(lines: Sequence[str], most: int, what: str) -> list[str]:
    """At most so many lines, and how many more there would be."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"  and {len(lines) - most + 1} more {what}"]
