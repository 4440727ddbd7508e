# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a judgement in words, for the person who watches a rollout."""

from __future__ import annotations

import math

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.track import Tally


def conclusion(phase: Phase, p: float, needed: int) -> str:
    """What a judgement says, and how sure it is."""
    if phase is Phase.NO_DATA:
        return f"too few to judge, {needed} are needed"
    return {
        Phase.FAILURE: f"provably worse, p = {_probability(p)}",
        Phase.SUCCESS: "provably within the tolerance",
        Phase.HOLD: "the other hosts are far outside what is usual, so there is nothing to compare with",
    }.get(phase, "not enough to tell")


def share(what: str, counts: Counts | Tally) -> str:
    """For instance "12 of 240 requests failed (5.0 %)", or without a verb "12 of 240 (5.0 %)"."""
    total = quantity(counts.total, "request") if what else f"{counts.total:,}"
    return f"{counts.bad:,} of {total}{f' {what}' if what else ''} ({percent(counts.ratio)})"


def percent(ratio: float) -> str:
    """For instance "5.0 %" or "0.04 %"."""
    shown = 100 * ratio
    return f"{shown:.1f} %" if shown >= 0.95 else f"{shown:.1g} %"


def milliseconds(value: float) -> str:
    """For instance "342 ms" or "3.5 ms"."""
    if math.isinf(value):
        return "infinite"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _probability(p: float) -> str:
    return f"{p:.2g}".replace("e-0", "e-") if p > 1e-99 else "0"
