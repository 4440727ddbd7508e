# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type promql: the values of a query, each for itself or compared with those of another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import json_object, request
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import (
    COORDINATOR,
    TIMES,
    Aim,
    Comparison,
    ProbeType,
)
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    ERROR,
    FAILURE,
    NO_DATA,
    RAW,
    SUCCESS,
    Sample,
    Tools,
    reason,
    sample,
)

STEP = 5
_LARGEST = 1e300
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`""")
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS_PER_UNIT = {**scalars.SECONDS_PER_UNIT, "w": 604800, "y": 31536000}


def _check(probe: Mapping[str, Any], place: str) -> None:
    if not {"min", "max", "max_ratio"} & set(probe):
        raise keys.ProbeError(
            f"{place} has no condition, so that nothing could fail it; add min, max, or baseline and max_ratio."
        )
    if ("max_ratio" in probe) != ("baseline" in probe):
        raise keys.ProbeError(f"{place} needs baseline and max_ratio together: the second compares with the first.")
    if "range" in probe:
        if "max_ratio" not in probe or {"min", "max"} & set(probe):
            raise keys.ProbeError(
                f"{place} has range, with which values are compared with a baseline and with nothing else; "
                "give baseline and max_ratio, and put min and max into a gate of their own."
            )
        return
    for key in ("step", "alpha", "min_samples"):
        if key in probe:
            raise keys.ProbeError(f"{place} has {key}, which has no effect without range; add range, or remove it.")


def _describe(probe: Mapping[str, Any]) -> str:
    limits = [f"at least {probe['min']:g}"] if probe.get("min") is not None else []
    limits += [f"at most {probe['max']:g}"] if probe.get("max") is not None else []
    if probe.get("max_ratio") is not None:
        limits.append(f"at most {probe['max_ratio']:g} times its baseline")
    return f"{' and '.join(limits)}: {' '.join(str(probe.get('query')).split())}"


def _comparison(probe: Mapping[str, Any]) -> Comparison | None:
    if not probe.get("range"):
        return None
    limits = {key: probe[key] for key in ("max_ratio", "alpha", "min_samples") if probe.get(key) is not None}
    # What a query measures need not be milliseconds, so no difference is too small unless the user says so.
    return Comparison(TIMES, {**limits, "tolerance_ms": probe.get("tolerance") or 0})


def _aimed(probe: Mapping[str, Any], aim: Aim) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if probe.get("range") and aim.in_traffic:
        # Points that lie apart by the query's own windows are independent of each other.
        back = _looks_back(probe)
        found["range"] = min(float(probe["range"]), aim.in_traffic_for - back)
        found["step"] = max(float(probe.get("step", STEP)), back)
    if probe.get("range") and aim.since is not None:
        found["since"] = aim.since
    return found


def _looks_back(probe: Mapping[str, Any]) -> float:
    return lookback(str(probe["query"]))


def lookback(query: str) -> float:
    """How many seconds a PromQL query looks back at most: its windows, what subqueries add to them, and offsets.

    A subquery looks at windows from its own beginning on, and an offset moves what it stands at, so both are added.
    """
    text = _QUOTED.sub("''", query)
    windows = re.findall(r"\[([^\]:]*)(:?)[^\]]*\]", text)
    plain = max((_duration(window) for window, colon in windows if not colon), default=0.0)
    subqueries = sum(_duration(window) for window, colon in windows if colon)
    offsets = sum(_duration(one) for one in re.findall(r"\boffset\s+((?:\d+(?:ms|[smhdwy]))+)", text, re.IGNORECASE))
    return plain + subqueries + offsets


def _duration(text: str) -> float:
    return sum(int(amount) * _SECONDS_PER_UNIT[unit] for amount, unit in _DURATION.findall(text))


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    span = _span(probe, tools.clock()) if probe.get("range") else None
    try:
        values = _query(probe, str(probe["query"]), tools, span)
        baseline = _query(probe, str(probe["baseline"]), tools, span) if probe.get("baseline") else []
    except OSError as error:
        return sample(ERROR, f"{probe['url']} gave no answer ({reason(error)})")
    baseline = [value for value in baseline if not math.isnan(value)]
    if span is not None:
        found = [value for value in values if not math.isnan(value)]
        data = {"canary": _plain_numbers(found), "baseline": _plain_numbers(baseline), "until": span.until}
        return {"phase": RAW, "text": quantity(len(found), "value"), "data": data}
    return _judge_values(probe, values, baseline)


@dataclass(frozen=True)
class _Span:
    """The moments at which a query is evaluated, in seconds since the epoch; none when the first is after the last."""

    first: float
    last: float
    step: float

    @property
    def until(self) -> float:
        """The last of them; without any the one before the first."""
        return self.first + self.step * math.floor((self.last - self.first) / self.step)


def _span(probe: Mapping[str, Any], now: float) -> _Span:
    """The last ``range`` seconds, but nothing that was asked before."""
    step = float(probe.get("step", STEP))
    first = max(now - float(probe["range"]), float(probe.get("since", 0)) + step)
    return _Span(first, now, step)


def _plain_numbers(values: Sequence[float]) -> list[float]:
    """Infinite values as very large ones, which JSON knows."""
    return [max(-_LARGEST, min(value, _LARGEST)) for value in values]


def _judge_values(probe: Mapping[str, Any], values: Sequence[float], baseline: Sequence[float]) -> Sample:
    """Every value has to be good; one that is no number is not, but proves nothing unless it is beyond a limit."""
    if not values:
        return sample(NO_DATA, "the query has no value")
    found, compared = [value for value in values if not math.isnan(value)], ""
    if found:
        failed, compared = _compare(probe, min(found), max(found), baseline)
        if failed:
            return sample(FAILURE, failed)
    odd = sum(not math.isfinite(value) for value in values)
    if odd:
        what = "is no finite number" if odd == 1 else "are no finite numbers"
        return sample(NO_DATA, f"{odd} of {quantity(len(values), 'value')} {what}")
    if "max_ratio" in probe and not (baseline and math.isfinite(max(baseline))):
        return sample(NO_DATA, f"{max(found):.4g}, but the baseline has no {'finite ' if baseline else ''}value")
    return sample(SUCCESS, compared)


def _compare(probe: Mapping[str, Any], lowest: float, highest: float, baseline: Sequence[float]) -> tuple[str, str]:
    """What is wrong with the values of a query, or nothing; and what they are."""
    if "min" in probe and lowest < probe["min"]:
        return f"{lowest:.4g} is below {probe['min']:g}", ""
    if "max" in probe and highest > probe["max"]:
        return f"{highest:.4g} is above {probe['max']:g}", ""
    text = f"{highest:.4g}" if lowest == highest else f"{lowest:.4g} to {highest:.4g}"
    normal = max(baseline, default=math.inf)
    if "max_ratio" in probe and math.isfinite(normal):
        allowed = max(normal * probe["max_ratio"], normal + float(probe.get("tolerance", 0)))
        text += f", baseline {normal:.4g}, allowed {allowed:.4g}"
        return (text, text) if highest > allowed else ("", text)
    return "", text


def _query(probe: Mapping[str, Any], query: str, tools: Tools, span: _Span | None) -> list[float]:
    """The values of a query, now or at the moments of a span; ValueError for an answer that is none."""
    from urllib.parse import urlencode  # noqa: PLC0415

    arguments = {"query": query}
    if span is not None:
        if span.first > span.last:
            return []
        arguments.update(start=f"{span.first:.3f}", end=f"{span.last:.3f}", step=f"{span.step:g}")
    path = "/api/v1/query" if span is None else "/api/v1/query_range"
    url = f"{str(probe['url']).rstrip('/')}{path}?{urlencode(arguments)}"
    access = {key: probe[key] for key in ("headers", "username", "password") if key in probe}
    status, body = tools.fetch(request(access, url), float(probe.get("timeout", 10)))
    answer = json_object(body)
    if status != 200 or answer.get("status") != "success":
        raise ValueError(f"Prometheus refused the query ({status}): {answer.get('error') or repr(body[:100])}")
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind == "scalar":
        pairs = [result]
    elif kind == "vector":
        pairs = [series["value"] for series in result]
    elif kind == "matrix":
        pairs = [pair for series in result for pair in series["values"]]
    else:
        raise ValueError(f"the query gives a {kind}, not numbers")
    return [_prometheus_number(pair) for pair in pairs]


def _prometheus_number(pair: Any) -> float:
    """The value in a pair of time and value, which Prometheus writes as a text."""
    _at, value = pair
    if not isinstance(value, str):
        raise ValueError(f"Prometheus gave {value!r} as a value")
    return float(value)


TYPE = ProbeType(
    name="promql",
    place=COORDINATOR,
    keys={
        "url": keys.URL,
        "query": (scalars.TEXT,),
        "baseline": (scalars.when(scalars.TEXT.fits, "a second query"),),
        "min": (scalars.NUMBER,),
        "max": (scalars.NUMBER,),
        "max_ratio": keys.NOT_NEGATIVE,
        "tolerance": keys.NOT_NEGATIVE,
        "range": keys.ABOVE_ZERO,
        "step": keys.ABOVE_ZERO,
        "since": keys.NOT_NEGATIVE,
        "alpha": keys.NOT_NEGATIVE,
        "min_samples": keys.NOT_NEGATIVE,
        **keys.ACCESS,
    },
    required=("url", "query"),
    documentation=(
        "C(url), C(query); C(min), C(max), or C(baseline) (a query) with C(max_ratio) and C(tolerance); every value "
        "that the query gives has to be good; C(range) judges the values of that many seconds instead, with C(step), "
        "C(alpha) and C(min_samples), and C(tolerance) is in the unit of the query; C(headers), C(username), "
        "C(password), C(timeout) 10"
    ),
    check=_check,
    describe=_describe,
    take=_take,
    comparison=_comparison,
    looks_back=_looks_back,
    aimed=_aimed,
)
