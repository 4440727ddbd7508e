# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe may look like: its types, their keys, and one sentence for every mistake. Pure, no Ansible in here."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars


class ProbeError(ValueError):
    """A probe's description is not usable; the text is one sentence for the user."""


@dataclass(frozen=True)
class Kind:
    """What a type of probe looks like, and where it is taken."""

    keys: tuple[str, ...]
    required: tuple[str, ...]
    place: str
    """Where it is taken: node (each host of the service), balancers (each of them) or coordinator (one host)."""
    lists: tuple[str, ...] = ()
    """Which of the keys are lists of texts."""


_ACCESS = ("headers", "username", "password", "timeout")
_HTTP = ("url", "method", "body", "status", "json", "contains", "max_ms", *_ACCESS)
_BALANCER = ("backend", "servers", "baseline")
_HAPROXY = (
    "measure",
    "seconds",
    "since",
    "methods",
    "max_ratio",
    "max_ms",
    "alpha",
    "min_samples",
    "percentile",
    "tolerance_ms",
)
_PROMQL = (
    "url",
    "query",
    "baseline",
    "min",
    "max",
    "max_ratio",
    "tolerance",
    "range",
    "step",
    "since",
    "alpha",
    "min_samples",
)
_POSTGRES = ("endpoints", "min_standbys", "max_lag_mb", "synchronous", "timeout")
KINDS: dict[str, Kind] = {
    "http": Kind(_HTTP, ("url",), "node"),
    "tcp": Kind(("address", "timeout"), ("address",), "node"),
    "systemd": Kind(("unit", "max_restarts"), ("unit",), "node"),
    "haproxy": Kind((*_BALANCER, *_HAPROXY), (), "balancers", (*_BALANCER, "methods")),
    "promql": Kind((*_PROMQL, *_ACCESS), ("url", "query"), "coordinator"),
    "postgres": Kind(_POSTGRES, ("endpoints",), "coordinator", ("endpoints",)),
    "readiness": Kind(("url", "host", "status", "timeout"), ("url",), "node"),
}
MEASURES = ("state", "errors", "answers", "latency")
PLACES = ("node", "balancers", "coordinator")
LONGEST_TIMEOUT = 3600

# What a measure makes use of; anything else would be a condition that nobody looks at.
_LIMITS_OF_MEASURE: dict[str, tuple[str, ...]] = {
    "state": (),
    "errors": ("methods", "max_ratio", "alpha", "min_samples"),
    "answers": ("methods", "max_ratio", "alpha", "min_samples"),
    "latency": ("methods", "max_ratio", "max_ms", "alpha", "min_samples", "percentile", "tolerance_ms"),
}


def _url(value: Any) -> bool:
    # Access data in a URL would be shown with it, and no HTTP client of Python's library makes use of them.
    return isinstance(value, str) and re.fullmatch(r"(?i)https?://[^\s/?#@]+([/?#]\S*)?", value) is not None


def _headers(value: Any) -> bool:
    fits = scalars.ONE_LINE.fits
    return isinstance(value, Mapping) and all(fits(key) and fits(one) for key, one in value.items())


_SECRET = ("headers", "username", "password")
"""Keys whose values are never shown."""
_WHOLE = scalars.integer(0)
_ABOVE_ZERO = scalars.number(0, above=True)
_SCALAR = scalars.when(lambda value: isinstance(value, (str, int, float)), "a text")
_URL = scalars.when(
    _url,
    "an address that begins with http:// or https:// and a host, and has no user or password; there are keys for those",
)
_TEXTS = scalars.when(
    lambda value: isinstance(value, (list, tuple)) and all(map(scalars.TEXT.fits, value)), "a list of texts"
)
_URLS = scalars.when(lambda value: all(map(_url, value)), "addresses such as http://pg-1:8008, one for each member")
_RULES: dict[str, scalars.Rule[Any]] = {
    "url": _URL,
    "query": scalars.TEXT,
    "host": scalars.when(scalars.ONE_LINE.fits, "the name that the Host header is to have"),
    "unit": scalars.when(scalars.ONE_LINE.fits, "the name of a systemd unit"),
    "method": scalars.when(lambda value: isinstance(value, str) and value.isalpha(), "an HTTP method such as GET"),
    "headers": scalars.when(_headers, "a mapping of header names to texts of one line"),
    "json": scalars.when(lambda value: isinstance(value, Mapping), "a mapping of dotted paths to wanted values"),
    "contains": _SCALAR,
    "username": _SCALAR,
    "password": _SCALAR,
    "synchronous": scalars.BOOLEAN,
    "timeout": scalars.number(0, LONGEST_TIMEOUT, "a number of seconds", above=True),
    "min": scalars.NUMBER,
    "max": scalars.NUMBER,
    "range": _ABOVE_ZERO,
    "step": _ABOVE_ZERO,
    "max_restarts": _WHOLE,
    "min_standbys": _WHOLE,
    **dict.fromkeys(
        (
            "max_ratio",
            "max_ms",
            "alpha",
            "min_samples",
            "percentile",
            "tolerance_ms",
            "tolerance",
            "seconds",
            "since",
            "max_lag_mb",
        ),
        scalars.NOT_NEGATIVE,
    ),
}


def given_keys(probe: Mapping[Any, Any]) -> dict[str, Any]:
    """A probe without the keys that are null: those are as good as not written."""
    return {str(key): value for key, value in probe.items() if value is not None}


def check(probe: Any, place: str) -> dict[str, Any]:
    """A probe's description, without its null keys, or ProbeError; ``place`` says where it stands in the inventory."""
    if not isinstance(probe, Mapping):
        raise ProbeError(f"{place} is {probe!r}, which is no mapping; give it a type and that type's keys.")
    given = given_keys(probe)
    kind = KINDS.get(str(given.get("type")))
    if kind is None:
        raise ProbeError(scalars.refusal(f"{place}.type", repr(given.get("type")), f"one of {', '.join(KINDS)}"))
    _check_keys(given, kind, place)
    _check_values(given, kind, place)
    if given["type"] in ("http", "readiness"):
        statuses(given.get("status", 200), place)
    elif given["type"] == "tcp":
        address(given["address"], place)
    elif given["type"] == "haproxy":
        _check_haproxy(given, place)
    elif given["type"] == "promql":
        _check_promql(given, place)
    return given


def check_alone(probe: Any, place: str) -> dict[str, Any]:
    """As ``check``, for a probe to which no rollout adds the servers in question."""
    given = check(probe, place)
    for key in ("backend", "servers"):
        if given["type"] == "haproxy" and not given.get(key):
            raise ProbeError(
                f"{place} has no {key}; a probe of type haproxy needs backend and servers outside a rollout."
            )
    return given


def _check_keys(given: Mapping[str, Any], kind: Kind, place: str) -> None:
    allowed = ("type", "from", *kind.keys)
    for key in given:
        if key not in allowed:
            raise ProbeError(
                f"{place} has the unknown key '{key}'; a probe of type {given['type']} has {', '.join(allowed)}."
            )
    for key in kind.required:
        if not given.get(key):
            raise ProbeError(f"{place} has no {key}; a probe of type {given['type']} needs {', '.join(kind.required)}.")
    scalars.choice(PLACES).of(given.get("from", "node"), f"{place}.from", ProbeError)


def _check_values(given: Mapping[str, Any], kind: Kind, place: str) -> None:
    for key, value in given.items():
        for rule in _rules(given["type"], key, kind):
            if not rule.fits(value):
                told = "not usable" if key in _SECRET else repr(value)
                raise ProbeError(scalars.refusal(f"{place}.{key}", told, rule.wanted))


def _rules(kind_name: str, key: str, kind: Kind) -> Sequence[scalars.Rule[Any]]:
    if key in kind.lists:
        return (_TEXTS, _URLS) if key == "endpoints" else (_TEXTS,)
    if kind_name == "promql" and key == "baseline":
        return (scalars.when(scalars.TEXT.fits, "a second query"),)
    return (_RULES[key],) if key in _RULES else ()


def _check_haproxy(given: Mapping[str, Any], place: str) -> None:
    measure = scalars.choice(MEASURES).of(given.get("measure", "state"), f"{place}.measure", ProbeError)
    limits = {one for some in _LIMITS_OF_MEASURE.values() for one in some}
    for key in given:
        if key in limits and key not in _LIMITS_OF_MEASURE[measure]:
            raise ProbeError(
                f"{place} has {key}, of which the measure {measure} makes no use; remove it, or choose another measure."
            )


def _check_promql(given: Mapping[str, Any], place: str) -> None:
    if not {"min", "max", "max_ratio"} & set(given):
        raise ProbeError(
            f"{place} has no condition, so that nothing could fail it; add min, max, or baseline and max_ratio."
        )
    if ("max_ratio" in given) != ("baseline" in given):
        raise ProbeError(f"{place} needs baseline and max_ratio together: the second compares with the first.")
    if "range" in given:
        if "max_ratio" not in given or {"min", "max"} & set(given):
            raise ProbeError(
                f"{place} has range, with which values are compared with a baseline and with nothing else; "
                "give baseline and max_ratio, and put min and max into a gate of their own."
            )
        return
    for key in ("step", "alpha", "min_samples"):
        if key in given:
            raise ProbeError(f"{place} has {key}, which has no effect without range; add range, or remove it.")


_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`""")
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS_PER_UNIT = {**scalars.SECONDS_PER_UNIT, "w": 604800, "y": 31536000}


def _duration(text: str) -> float:
    return sum(int(amount) * _SECONDS_PER_UNIT[unit] for amount, unit in _DURATION.findall(text))


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


def fill(value: Any, names: Mapping[str, str], place: str) -> Any:
    """Replace $name and ${name} in every text of a probe; an unknown name is refused, $$ is a dollar sign.

    User and password are left as they are: a dollar sign in them means itself.
    """
    if isinstance(value, str):

        def put(found: re.Match[str]) -> str:
            name = found.group("named") or found.group("braced")
            if found.group("escaped") is not None:
                return "$"
            if name not in names:
                told = "not usable" if ".headers" in place else repr(value)
                what = f"${name} is no known name" if name else "a dollar sign is followed by no name"
                known = ", ".join(f"${one}" for one in sorted(names))
                raise ProbeError(f"{place} is {told}: {what}; known are {known}, and $$ for a dollar sign.")
            return names[name]

        return string.Template.pattern.sub(put, value)
    if isinstance(value, Mapping):
        return {
            key: one if key in ("username", "password") else fill(one, names, f"{place}.{key}")
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [fill(one, names, place) for one in value]
    return value


def statuses(value: Any, place: str) -> list[tuple[int, int]]:
    """Ranges of HTTP statuses, first and last, from 200, "200-299,304" or a list of such."""
    ranges = []
    for one in value if isinstance(value, (list, tuple)) else str(value).split(","):
        found = re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", str(one), re.ASCII)
        if found is None or int(found.group(1)) > int(found.group(2) or found.group(1)):
            raise ProbeError(f"{place}.status is {value!r}; give a status such as 200, or ranges such as 200-299,304.")
        ranges.append((int(found.group(1)), int(found.group(2) or found.group(1))))
    if not ranges:
        raise ProbeError(f"{place}.status is {value!r}; give a status such as 200, or ranges such as 200-299,304.")
    return ranges


def address(value: Any, place: str) -> tuple[str, int]:
    """Host and port."""
    return scalars.ADDRESS.of(value, f"{place}.address", ProbeError)
