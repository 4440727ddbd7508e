# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what this project lives by, and write docs/benchmarks.md. Run by ``make bench``.

``python -m bench`` measures everything, ``python -m bench rollouts`` one part. Each part of the page says when and on
what it was measured. Ratios are of one run on one machine; none decides whether a test passes.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence

import estate
from bench.shared import Skipped

PAGE = estate.ROOT / "docs" / "benchmarks.md"
PARTS = ("estate", "rollouts", "neighbour", "fleet", "telemetry", "peers", "edge", "gates", "judge")
"""In the order of the page; each is a module of its name with a function ``measure`` that returns Markdown."""


def origin(part: str) -> str:
    """When, how and on what figures were measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    core = subprocess.run([estate.BIN / "ansible", "--version"], capture_output=True, text=True, check=True)
    return (
        f"Measured by `make bench PART={part}` on {time.strftime('%Y-%m-%d', time.gmtime())}: {os.cpu_count()} cores, "
        f"{memory:.0f} GiB, Linux {platform.release().split('-')[0]}, {core.stdout.splitlines()[0]}, "
        f"Python {platform.python_version()}; all hosts, and the load, share it."
    )


def put(page: str, part: str, text: str) -> str:
    """The page with one of its parts replaced, or added at its end."""
    block = f"<!-- {part} -->\n{text.strip()}\n<!-- end of {part} -->"
    found = re.compile(rf"<!-- {part} -->.*?<!-- end of {part} -->", re.DOTALL)
    if found.search(page):
        return found.sub(lambda _match: block, page)
    return f"{page.rstrip()}\n\n{block}\n"


def main(wanted: Sequence[str]) -> int:
    """Measure what is wanted, and put each result on the page as soon as it is there."""
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        print(f"unknown part {unknown[0]!r}: name {', '.join(PARTS)}, or none for all", file=sys.stderr)
        return 2
    skipped = []
    for part in wanted or PARTS:
        try:
            text = importlib.import_module(f"bench.{part}").measure()
        except Skipped as why:
            print(f"skipped {part}: {why}", file=sys.stderr)
            skipped.append(part)
            continue
        title, _, rest = text.strip().partition("\n")
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(put(page, part, f"{title}\n\n{origin(part)}\n{rest}"), encoding="utf-8")
        print(f"wrote {part} to {PAGE.relative_to(estate.ROOT)}")
    return 1 if set(skipped) & set(wanted) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
