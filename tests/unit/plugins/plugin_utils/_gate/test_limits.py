# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the judge that make no sense are refused."""

from __future__ import annotations

import math

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import ErrorLimits, LatencyLimits


@pytest.mark.parametrize(
    "broken",
    [
        lambda: ErrorLimits(max_ratio=1),
        lambda: ErrorLimits(max_ratio=-0.1),
        lambda: ErrorLimits(max_ratio=math.nan),
        lambda: ErrorLimits(alpha=0),
        lambda: ErrorLimits(min_samples=0),
        lambda: LatencyLimits(percentile=100),
        lambda: LatencyLimits(percentile=0),
        lambda: LatencyLimits(max_ratio=0.9),
        lambda: LatencyLimits(max_ms=0),
        lambda: LatencyLimits(tolerance_ms=-1),
        lambda: LatencyLimits(alpha=0.6),
        lambda: LatencyLimits(min_samples=2.5),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(broken: object) -> None:
    assert callable(broken)
    with pytest.raises(JudgeError, match=r"^[^\n]+\.$"):
        broken()
