# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tolerated of a release, and how sure a failure has to be. No input or output in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import ANSWERS, ERRORS, TIMES
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import JudgeError


@dataclass(frozen=True)
class ErrorLimits:
    """What share of bad requests is tolerated, and how sure a failure has to be."""

    max_ratio: float = 0.01
    """The share of bad requests that is always tolerated (0.01 is one in a hundred)."""
    alpha: float = 0.01
    """The chance that a good release is ever called worse, for the whole rollout and all its gates that compare."""
    min_samples: int = 20
    """Requests below which a side is not judged."""

    def __post_init__(self) -> None:
        demand(
            0 <= self.max_ratio < 1,
            f"max_ratio is {self.max_ratio:g}; as a share of bad requests it must be at least 0 and below 1.",
        )
        check_certainty(self.alpha, self.min_samples)


@dataclass(frozen=True)
class AnswerLimits(ErrorLimits):
    """How much larger than beside it the share of answers 3xx and 4xx may be; what clients ask for says what is usual.

    So large a difference takes little to prove; its budget is a small one of its own, on top of that of the others.
    """

    max_ratio: float = 0.25
    """The share that is tolerated on top of what the hosts beside it have."""
    alpha: float = 0.001


@dataclass(frozen=True)
class LatencyLimits:
    """How much slower is tolerated, and how sure a failure has to be."""

    percentile: float = 95
    max_ratio: float = 1.5
    """How many times as slow as the baseline is tolerated."""
    max_ms: float | None = None
    """A limit for the percentile whatever the baseline is, in milliseconds."""
    alpha: float = 0.01
    min_samples: int = 50
    """Requests below which a side is not judged."""
    tolerance_ms: float = 5
    """Differences up to this never count, in milliseconds."""

    def __post_init__(self) -> None:
        demand(0 < self.percentile < 100, f"percentile is {self.percentile:g}; it must be between 0 and 100.")
        demand(
            1 <= self.max_ratio < math.inf,
            f"max_ratio is {self.max_ratio:g}; as a multiple of the baseline's latency it must be at least 1.",
        )
        demand(
            0 <= self.tolerance_ms < math.inf,
            f"tolerance_ms is {self.tolerance_ms:g}; it must be a number of milliseconds that is not negative.",
        )
        if self.max_ms is not None:
            demand(0 < self.max_ms < math.inf, f"max_ms is {self.max_ms:g}; it must be above 0, or omitted.")
        check_certainty(self.alpha, self.min_samples)


_LIMITS: Mapping[str, type[ErrorLimits | LatencyLimits]] = {
    ERRORS: ErrorLimits,
    ANSWERS: AnswerLimits,
    TIMES: LatencyLimits,
}


def limits_of(probe: Mapping[str, Any]) -> ErrorLimits | LatencyLimits | None:
    """The judge's limits, for a probe whose samples it judges; JudgeError when they make no sense."""
    comparison = probes.comparison(probe)
    return None if comparison is None else _LIMITS[comparison.what](**comparison.limits)


def check_certainty(alpha: float, min_samples: int) -> None:
    """Refuse a chance of a false alarm, or a least number of requests, that makes no sense."""
    demand(0 < alpha <= 0.5, f"alpha is {alpha:g}; it must be above 0 and at most 0.5, 0.01 is usual.")
    demand(
        min_samples >= 1 and min_samples == int(min_samples),
        f"min_samples is {min_samples:g}; it must be a whole number of requests, at least 1.",
    )


def demand(holds: bool, sentence: str) -> None:
    """Refuse with a sentence what does not hold."""
    if not holds:
        raise JudgeError(sentence)
