# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference is what roles, modules, filters and playbooks say of themselves today."""

from __future__ import annotations

import reference


def test_the_pages_are_up_to_date() -> None:
    stale = [name for name, page in reference.pages().items() if (reference.PAGES / name).read_text("utf-8") != page]
    assert stale == [], "run make reference"


def test_nothing_is_left_in_ansibles_own_markup() -> None:
    for name, page in reference.pages().items():
        assert [mark for mark in ("O(", "V(", "RV(", "M(") if f" {mark}" in page] == [], name
