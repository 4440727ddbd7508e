# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: data that says how to take one sample of something, and the taking. No Ansible in here.

A sample is a dictionary: ``phase`` (success, failure, error, no_data, or raw when the judgement needs more than this
host knows), ``text`` (one line of evidence for a person), and for raw ones ``data``. A probe never raises: what cannot
be asked is an error, what has no answer is no data, and neither is ever a success.
"""

from __future__ import annotations

import base64
import json
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._probe import readiness
from ansible_collections.mesops.platform.plugins.module_utils._probe.spec import (
    KINDS,
    MEASURES,
    PLACES,
    Kind,
    ProbeError,
    address,
    check,
    check_alone,
    fill,
    given_keys,
    lookback,
    statuses,
)

__all__ = [
    "KINDS",
    "MEASURES",
    "PLACES",
    "Kind",
    "ProbeError",
    "check",
    "check_alone",
    "fill",
    "given_keys",
    "lookback",
    "real_tools",
    "take",
]

SUCCESS, FAILURE, ERROR, NO_DATA, RAW = "success", "failure", "error", "no_data", "raw"
SHOWN = 160
_LARGEST = 1e300
MIB = 1 << 20


@dataclass(frozen=True)
class Request:
    """What is asked over HTTP."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


Sample = dict[str, Any]
Fetch = Callable[[Request, float], "tuple[int, bytes]"]
"""Gives status and body; OSError where there is no answer: refused, timed out, cut off, or no HTTP at all."""


@dataclass(frozen=True)
class Tools:
    """The few things with which a probe touches the machine."""

    fetch: Fetch
    run: Run
    connect: Callable[[str, int, float], None]
    clock: Callable[[], float]
    """Seconds since the epoch."""
    balancer: Callable[[Mapping[str, Any]], Sample] | None = None
    """Takes the samples of type haproxy, where this host is a load balancer."""
    stopwatch: Callable[[], float] = time.monotonic
    """Seconds that only grow."""
    ready: Callable[[str, str, Sequence[tuple[int, int]], float], tuple[bool, str]] = readiness.ask


def _fetch(request: Request, timeout: float) -> tuple[int, bytes]:
    # Most samples on a load balancer ask nobody, and importing an HTTP client is a fifth of what one costs.
    from ansible_collections.mesops.platform.plugins.module_utils._probe.http_fetch import fetch  # noqa: PLC0415

    return fetch(request.url, request.method, request.headers, request.body, timeout)


def _connect(host: str, port: int, timeout: float) -> None:
    socket.create_connection((host, port), timeout=timeout).close()


def real_tools(run: Run, balancer: Callable[[Mapping[str, Any]], Sample] | None = None) -> Tools:
    """The tools of a real host."""
    return Tools(fetch=_fetch, run=run, connect=_connect, clock=time.time, balancer=balancer)


def take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Take one sample; whatever goes wrong on the way is the sample."""
    try:
        given = given_keys(probe)
        taker = _TAKERS.get(str(given.get("type")))
        if taker is None:
            return _sample(ERROR, f"there is no probe of type {given.get('type')!r}")
        return taker(given, tools)
    except OSError as error:
        return _sample(ERROR, _reason(error))
    except ValueError as error:
        return _sample(ERROR, str(error))
    except Exception as error:
        # An answer of a shape that nobody has thought of is no reason to fall over, and no success either.
        return _sample(ERROR, f"unexpected answer ({type(error).__name__}: {error})")


def _sample(phase: str, text: str) -> Sample:
    return {"phase": phase, "text": _short(text)}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _haproxy(probe: Mapping[str, Any], tools: Tools) -> Sample:
    if tools.balancer is None:
        return _sample(ERROR, "this host has no HAProxy to ask")
    return tools.balancer(probe)


# -------------------------------------------------------------------------------------------------------------- http


def _request(probe: Mapping[str, Any], url: str) -> Request:
    body = probe.get("body")
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    method = str(probe.get("method", "GET" if data is None else "POST")).upper()
    headers = {str(key): str(value) for key, value in (probe.get("headers") or {}).items()}
    if probe.get("username"):
        token = base64.b64encode(f"{probe['username']}:{probe.get('password', '')}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    return Request(url, method, headers, data)


def _http(probe: Mapping[str, Any], tools: Tools) -> Sample:
    url = str(probe["url"])
    wanted = statuses(probe.get("status", 200), "probe")
    begin = tools.stopwatch()
    try:
        status, body = tools.fetch(_request(probe, url), float(probe.get("timeout", 5)))
    except OSError as error:
        return _sample(FAILURE, f"{url} gave no answer ({_reason(error)})")
    took = (tools.stopwatch() - begin) * 1000
    text = body.decode("utf-8", "replace")
    if not any(low <= status <= high for low, high in wanted):
        return _sample(FAILURE, f"{url} answered {status}: {text}")
    wrong = _wrong_body(probe, text)
    if wrong:
        return _sample(FAILURE, f"{url}: {wrong}")
    if probe.get("max_ms") is not None and took > float(probe["max_ms"]):
        return _sample(FAILURE, f"{url} took {took:.0f} ms, more than {probe['max_ms']:g}")
    return _sample(SUCCESS, f"{url} answered {status}")


def _readiness(probe: Mapping[str, Any], tools: Tools) -> Sample:
    wanted = statuses(probe.get("status", "200-299"), "probe")
    timeout = float(probe.get("timeout", 2))
    passed, text = tools.ready(str(probe["url"]), str(probe.get("host", "")), wanted, timeout)
    return _sample(SUCCESS if passed else FAILURE, text)


def _wrong_body(probe: Mapping[str, Any], text: str) -> str:
    """What is wrong with the body of an answer, or nothing."""
    if probe.get("json"):
        try:
            answer = json.loads(text)
        except ValueError:
            return f"the answer is no JSON: {text}"
        for path, wanted in probe["json"].items():
            try:
                found = _lookup(answer, str(path))
            except (LookupError, TypeError, ValueError):
                return f"the answer has no {path}: {text}"
            if _plain(found) != _plain(wanted):
                return f"{path} is {found!r}, not {wanted!r}"
    if probe.get("contains") is not None and str(probe["contains"]) not in text:
        return f"the answer does not contain {str(probe['contains'])!r}: {text}"
    return ""


def _lookup(value: Any, path: str) -> Any:
    """A value in parsed JSON by its dotted path."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _plain(value: Any) -> str:
    """A form in which 5 and "5", true and "true" are the same, as they are in an inventory."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


# --------------------------------------------------------------------------------------------------- tcp and systemd


def _tcp(probe: Mapping[str, Any], tools: Tools) -> Sample:
    host, port = address(probe["address"], "probe")
    try:
        tools.connect(host, port, float(probe.get("timeout", 5)))
    except OSError as error:
        return _sample(FAILURE, f"{probe['address']} accepts no connection ({_reason(error)})")
    return _sample(SUCCESS, f"{probe['address']} accepts connections")


def _systemd(probe: Mapping[str, Any], tools: Tools) -> Sample:
    unit = str(probe["unit"])
    names = ("LoadState", "ActiveState", "SubState", "NRestarts")
    try:
        found = systemd.show(tools.run, unit, names)
    except systemd.Unanswered as error:
        return _sample(ERROR, str(error))
    if found.get("LoadState") == "not-found":
        return _sample(FAILURE, f"there is no unit {unit}")
    # Only services are restarted; sockets, timers and mounts have no such property.
    counts = "." not in unit or unit.endswith(".service")
    restarts, most = int(found.get("NRestarts", "") if counts else 0), int(probe.get("max_restarts", 0))
    if found["ActiveState"] != "active":
        state = f"{found['ActiveState']} ({found.get('SubState')}, {quantity(restarts, 'restart')} by itself)"
        return _sample(FAILURE, f"{unit} is {state}")
    if restarts > most:
        return _sample(FAILURE, f"{unit} died and was restarted {quantity(restarts, 'time')}, more than {most}")
    return _sample(SUCCESS, f"{unit} is active, {quantity(restarts, 'restart')} by itself")


# ------------------------------------------------------------------------------------------------------------ promql


def _promql(probe: Mapping[str, Any], tools: Tools) -> Sample:
    span = _span(probe, tools.clock()) if probe.get("range") else None
    try:
        values = _query(probe, str(probe["query"]), tools, span)
        baseline = _query(probe, str(probe["baseline"]), tools, span) if probe.get("baseline") else []
    except OSError as error:
        return _sample(ERROR, f"{probe['url']} gave no answer ({_reason(error)})")
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
    step = float(probe.get("step", 5))
    first = max(now - float(probe["range"]), float(probe.get("since", 0)) + step)
    return _Span(first, now, step)


def _plain_numbers(values: Sequence[float]) -> list[float]:
    """Infinite values as very large ones, which JSON knows."""
    return [max(-_LARGEST, min(value, _LARGEST)) for value in values]


def _judge_values(probe: Mapping[str, Any], values: Sequence[float], baseline: Sequence[float]) -> Sample:
    """Every value has to be good; one that is no number is not, but proves nothing unless it is beyond a limit."""
    if not values:
        return _sample(NO_DATA, "the query has no value")
    found, compared = [value for value in values if not math.isnan(value)], ""
    if found:
        failed, compared = _compare(probe, min(found), max(found), baseline)
        if failed:
            return _sample(FAILURE, failed)
    odd = sum(not math.isfinite(value) for value in values)
    if odd:
        what = "is no finite number" if odd == 1 else "are no finite numbers"
        return _sample(NO_DATA, f"{odd} of {quantity(len(values), 'value')} {what}")
    if "max_ratio" in probe and not (baseline and math.isfinite(max(baseline))):
        return _sample(NO_DATA, f"{max(found):.4g}, but the baseline has no {'finite ' if baseline else ''}value")
    return _sample(SUCCESS, compared)


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
    status, body = tools.fetch(_request(access, url), float(probe.get("timeout", 10)))
    answer = _json_object(body)
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


def _json_object(body: bytes) -> dict[str, Any]:
    """An answer as a JSON object; an empty one when it is none."""
    try:
        answer = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


# ---------------------------------------------------------------------------------------------------------- postgres


def _postgres(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Judge replication by what Patroni's members say of the cluster; the first that answers is believed."""
    members, reason = _members(probe, tools)
    if not members:
        return _sample(ERROR, reason)
    leaders = [
        one["name"] for one in members if one.get("role") in ("leader", "master") and one.get("state") == "running"
    ]
    if len(leaders) != 1:
        return _sample(
            FAILURE, f"{quantity(len(leaders), 'member')} lead, not one ({', '.join(map(_state_of, members))})"
        )
    others = [one for one in members if one["name"] not in leaders]
    most = float(probe.get("max_lag_mb", 16))
    confirmed = _seen_streaming(probe, tools, members, leaders[0])
    standbys = [one for one in others if one["name"] in confirmed and _lag(one) <= most * MIB]
    least = int(probe.get("min_standbys", 1))
    if len(standbys) < least:
        told = ", ".join(_state_of(one) for one in others if one not in standbys)
        what = f"{leaders[0]} leads and {_streaming(len(standbys))} with at most {most:g} MiB lag, fewer than {least}"
        return _sample(FAILURE, f"{what} ({told or 'there are no others'})")
    if probe.get("synchronous") and not any(one.get("role") in ("sync_standby", "quorum_standby") for one in standbys):
        return _sample(FAILURE, f"{leaders[0]} leads but no standby that streams is synchronous")
    return _sample(SUCCESS, f"{leaders[0]} leads, {_streaming(len(standbys))}")


def _members(probe: Mapping[str, Any], tools: Tools) -> tuple[list[Mapping[str, Any]], str]:
    """The members of the cluster, or why nobody names them."""
    reasons = []
    for endpoint in probe["endpoints"]:
        url = f"{str(endpoint).rstrip('/')}/cluster"
        try:
            status, body = tools.fetch(_request({}, url), float(probe.get("timeout", 3)))
        except OSError as error:
            reasons.append(f"{url}: {_reason(error)}")
            continue
        found = _json_object(body).get("members") if status == 200 else None
        if isinstance(found, list) and found and all(isinstance(one, dict) and one.get("name") for one in found):
            return found, ""
        reasons.append(f"{url} answered {status}{' without members' if status == 200 else ''}")
    return [], "; ".join(reasons) or "no endpoint is given"


def _seen_streaming(
    probe: Mapping[str, Any], tools: Tools, members: Sequence[Mapping[str, Any]], leader: str
) -> set[str]:
    """Members that stream: those that say so, and those that only run while the leader says so.

    Patroni before 3.1 calls every standby running. A newer one says so only of a standby that does not stream.
    """
    found = {str(one["name"]) for one in members if one.get("state") == "streaming"}
    unsure = {str(one["name"]) for one in members if one.get("state") == "running" and one["name"] != leader}
    if not unsure:
        return found
    url = next(str(one.get("api_url") or "") for one in members if one["name"] == leader)
    if not url:
        return found
    try:
        _status, body = tools.fetch(_request({}, url), float(probe.get("timeout", 3)))
    except (OSError, ValueError):
        return found
    rows = _json_object(body).get("replication")
    seen = {str(one.get("application_name")) for one in rows or () if one.get("state") == "streaming"}
    return found | (unsure & seen)


def _lag(member: Mapping[str, Any]) -> float:
    """Bytes behind the leader; what is not known is infinite."""
    lag = member.get("lag")
    return lag if isinstance(lag, int) and not isinstance(lag, bool) else math.inf


def _streaming(standbys: int) -> str:
    return f"{quantity(standbys, 'standby', 'standbys')} {'streams' if standbys == 1 else 'stream'}"


def _state_of(member: Mapping[str, Any]) -> str:
    """For instance "pg-2 replica is running, lag unknown"."""
    lag = f", lag {member['lag']}" if "lag" in member else ""
    return f"{member['name']} {member.get('role')} is {member.get('state')}{lag}"


_TAKERS: dict[str, Callable[[Mapping[str, Any], Tools], Sample]] = {
    "readiness": _readiness,
    "http": _http,
    "tcp": _tcp,
    "systemd": _systemd,
    "haproxy": _haproxy,
    "promql": _promql,
    "postgres": _postgres,
}
