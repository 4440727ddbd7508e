# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A roll back goes to what ran before, whatever was activated, rolled back or killed since."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._release.history import previous_of, rolled_back
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.sampled_from("1234"), max_size=8), st.sampled_from("1234"))
def test_history_of_a_roll_back_means_the_same_until_the_swap(history: list[str], current: str) -> None:
    assert previous_of(rolled_back(history, current), current) == previous_of(history, current)


def test_roll_back_to_a_release_that_was_active_twice() -> None:
    history = rolled_back(("3", "1", "3"), "3")
    assert previous_of(history, "3") == "1"
    assert previous_of(history, "1") == "3"


def test_a_roll_back_goes_to_what_ran_before_not_to_what_was_about_to_follow() -> None:
    """Release 4 ran, then 3; a run that wanted 4 again was killed before the swap, and 3 is rolled back."""
    assert previous_of(("4", "3", "4", "1"), "3") == "4"
    history = rolled_back(("4", "3", "4", "1"), "3")
    assert previous_of(history, "3") == "4"
    assert previous_of(history, "4") == "1"
