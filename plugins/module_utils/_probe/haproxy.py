# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type haproxy: what a load balancer has seen of some servers. ``balancer`` asks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import (
    ANSWERS,
    BALANCERS,
    ERRORS,
    TIMES,
    Aim,
    Comparison,
    ProbeType,
)
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import ERROR, Sample, Tools, sample

MEASURE = "state"
LOG_SECONDS = 60.0
"""How much of the access log is looked at where nobody says so, in seconds."""
_COUNTED = ("max_ratio", "alpha", "min_samples")
_LIMITS: Mapping[str, tuple[str, ...]] = {
    "state": (),
    "errors": _COUNTED,
    "answers": _COUNTED,
    "latency": ("max_ratio", "max_ms", "alpha", "min_samples", "percentile", "tolerance_ms"),
}
"""Each measure, and the limits of which it makes use."""
_JUDGED_AS = {"errors": ERRORS, "answers": ANSWERS, "latency": TIMES}
_SHOWN = {
    "answers": "answers 3xx and 4xx compared with the other hosts",
    "errors": "failed requests compared with the other hosts",
    "latency": "latency compared with the other hosts",
}


def measure(probe: Mapping[str, Any]) -> str:
    """What it looks at."""
    return str(probe.get("measure", MEASURE))


def seconds(probe: Mapping[str, Any]) -> float:
    """How much of the access log it looks at."""
    return float(probe.get("seconds", LOG_SECONDS))


def _check(probe: Mapping[str, Any], place: str) -> None:
    """Anything of which a measure makes no use would be a condition that nobody looks at."""
    chosen = scalars.choice(tuple(_LIMITS)).of(probe.get("measure", MEASURE), f"{place}.measure", keys.ProbeError)
    useful = ("methods", *_LIMITS[chosen]) if _LIMITS[chosen] else ()
    known = {"methods", *(key for limits in _LIMITS.values() for key in limits)}
    for key in probe:
        if key in known and key not in useful:
            raise keys.ProbeError(
                f"{place} has {key}, of which the measure {chosen} makes no use; remove it, or choose another measure."
            )


def _describe(probe: Mapping[str, Any]) -> str:
    return _SHOWN.get(measure(probe), "up at every load balancer")


def _comparison(probe: Mapping[str, Any]) -> Comparison | None:
    chosen = measure(probe)
    if chosen not in _JUDGED_AS:
        return None
    return Comparison(_JUDGED_AS[chosen], {key: probe[key] for key in _LIMITS[chosen] if probe.get(key) is not None})


def _aimed(probe: Mapping[str, Any], aim: Aim) -> dict[str, Any]:
    found = {
        "backend": list(aim.backends),
        "servers": list(aim.canary),
        "seconds": min(aim.in_traffic_for, seconds(probe)),
    }
    return found if aim.since is None else {**found, "since": aim.since}


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    if tools.balancer is None:
        return sample(ERROR, "this host has no HAProxy to ask")
    return tools.balancer(probe)


TYPE = ProbeType(
    name="haproxy",
    place=BALANCERS,
    keys={
        "backend": keys.TEXTS,
        "servers": keys.TEXTS,
        "baseline": keys.TEXTS,
        "measure": (),
        "seconds": keys.NOT_NEGATIVE,
        "since": keys.NOT_NEGATIVE,
        "methods": keys.TEXTS,
        "max_ratio": keys.NOT_NEGATIVE,
        "max_ms": keys.NOT_NEGATIVE,
        "alpha": keys.NOT_NEGATIVE,
        "min_samples": keys.NOT_NEGATIVE,
        "percentile": keys.NOT_NEGATIVE,
        "tolerance_ms": keys.NOT_NEGATIVE,
    },
    required=(),
    alone=("backend", "servers"),
    documentation=(
        "C(measure): C(state) (up), C(errors), C(answers), C(latency), with the judge's limits; C(methods) counts only "
        "some HTTP methods; outside a rollout C(backend), C(servers) and C(baseline), each a list"
    ),
    details=(
        "V(state), the default, wants all servers up. V(errors) compares the share of failed requests since the gate "
        "began with the servers in C(baseline) by a test that may look as often as it likes. Requests that were tried "
        "again elsewhere, that wait for an answer from one look to the next, or whose client has left have failed. "
        "C(max_ratio) (0.01) is always tolerated, C(alpha) (0.01) is the chance of a false alarm, C(min_samples) (20) "
        "requests are needed. With C(methods), a list of HTTP methods, only those are counted, from the access log of "
        "the last C(seconds) (60), after C(since) (seconds since the epoch) if given. V(answers) compares the share "
        "of 3xx and 4xx among the answers that are no 5xx; C(max_ratio) (0.25) is tolerated on top of what those in "
        "C(baseline) have, C(alpha) is 0.001. With C(methods) it comes from the access log as well, where 304 counts "
        "as good. V(latency) compares the access log in the same way, by its C(percentile) (95) and its median; "
        "C(max_ratio) (1.5), C(max_ms), C(alpha) (0.01), C(min_samples) (50), C(tolerance_ms) (5), and C(methods) "
        "limits it to some HTTP methods."
    ),
    check=_check,
    describe=_describe,
    take=_take,
    comparison=_comparison,
    aimed=_aimed,
)
