# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the judge that make no sense are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import JudgeError
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import ErrorLimits, LatencyLimits, limits_of
from probing import RATIO


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


@pytest.mark.parametrize(
    ("probe", "limits"),
    [
        ({"type": "http", "url": "http://x"}, None),
        ({"type": "haproxy"}, None),
        ({"type": "haproxy", "measure": "state"}, None),
        (RATIO, None),
        ({"type": "haproxy", "measure": "errors"}, ErrorLimits()),
        ({"type": "haproxy", "measure": "errors", "max_ratio": 0, "alpha": None}, ErrorLimits(max_ratio=0)),
        ({"type": "haproxy", "measure": "latency", "max_ms": 200}, LatencyLimits(max_ms=200)),
        # Five milliseconds are no tolerance where values are seconds.
        ({**RATIO, "range": 60}, LatencyLimits(tolerance_ms=0, max_ratio=1.5)),
        ({**RATIO, "range": 60, "tolerance": 0.2, "alpha": 0.1}, LatencyLimits(tolerance_ms=0.2, alpha=0.1)),
    ],
)
def test_limits(probe: Mapping[str, Any], limits: ErrorLimits | LatencyLimits | None) -> None:
    assert limits_of(probe) == limits
