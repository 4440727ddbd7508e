# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A percentile is the smallest value that enough do not exceed. How times are judged is in ``test_latency_process``."""

from __future__ import annotations

from fractions import Fraction

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.response_times import percentile
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(VALUES, st.one_of(st.integers(0, 100), st.floats(0, 100).map(lambda percent: round(percent, 3))))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[int], percent: float) -> None:
    share = Fraction(str(percent)) / 100
    reached = [value for value in values if Fraction(sum(one <= value for one in values), len(values)) >= share]
    assert percentile(sorted(values), percent) == min(reached)


@pytest.mark.parametrize(
    ("size", "percent", "rank"),
    [
        (20, 95, 19),
        (100, 7, 7),
        (1000, 99.9, 999),
        (1000, 33.3, 333),
        (1, 50, 1),
        (3, 50, 2),
        (10, 0, 1),
        (10, 100, 10),
    ],
)
def test_a_percentile_is_not_one_rank_too_high(size: int, percent: float, rank: int) -> None:
    assert percentile(range(1, size + 1), percent) == rank


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(JudgeError, match=r"^[^\n]+\.$"):
        percentile([], 50)
