# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the new release worse than what runs beside it? Judged look by look. No input or output in here.

The canary is the hosts that have just got the new release, the baseline the others, at the same time and under the same
traffic. One process for each gate judges a whole rollout: each look adds what came in since the last one, and may be
the last. What it proves, it proves for all looks together (see ``sequential``); what was not measured is never a
success.

``alpha`` is the chance that a good release is ever called worse, in all looks, at all shares of traffic and in all
batches of a rollout. Whoever has several processes divides it among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Optional, Union

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity

Evidence = Mapping[str, Optional[Union[float, int, str]]]


class JudgeError(ValueError):
    """Limits or counts that make no sense; the text is one sentence for the user."""


class Phase(Enum):
    """What one sample says."""

    SUCCESS = "success"
    FAILURE = "failure"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    """The sample could not be taken. No judgement of this file; it is what a probe reports."""
    NO_DATA = "no_data"
    HOLD = "hold"
    """There is nothing to compare with: the other hosts are far outside what they were before. Never a success."""


@dataclass(frozen=True)
class Judgement:
    """A phase, one line of evidence for a person, and the figures behind it."""

    phase: Phase
    text: str
    evidence: Evidence


@dataclass(frozen=True)
class Counts:
    """How many requests there were, and how many of them were bad."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise JudgeError(
                f"{self.bad} of {quantity(self.total, 'request')} cannot be bad; the first number must be between 0 "
                "and the second."
            )

    @property
    def ratio(self) -> float:
        """The share of bad requests, 0 when there were none at all."""
        return self.bad / self.total if self.total else 0.0
