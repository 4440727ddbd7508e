# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: data that says how to take one sample of something, and the taking. No Ansible in here.

A sample is a dictionary: ``phase`` (success, failure, error, no_data, or raw when the judgement needs more than this host
knows), ``text`` (one line of evidence for a person), and for raw ones ``data``. A probe never raises: what cannot be asked
is an error, what has no answer is no data, and neither is ever a success.
"""

from __future__ import annotations

import base64
import json
import math
import re
import socket
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SUCCESS, FAILURE, ERROR, NO_DATA, RAW = "success", "failure", "error", "no_data", "raw"
BODY_LIMIT = 1 << 20
SHOWN = 160

Sample = dict[str, Any]
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
Fetch = Callable[[urllib.request.Request, float], "tuple[int, bytes]"]


class ProbeError(ValueError):
    """A probe's description is not usable; the text is one sentence for the user."""


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


def _fetch(request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
    # A proxy from the environment must not stand between a host and what it probes.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as reply:
            return reply.status, reply.read(BODY_LIMIT)
    except urllib.error.HTTPError as error:
        return error.code, error.read(BODY_LIMIT)


def _connect(host: str, port: int, timeout: float) -> None:
    socket.create_connection((host, port), timeout=timeout).close()


def real_tools(run: Run, balancer: Callable[[Mapping[str, Any]], Sample] | None = None) -> Tools:
    """The tools of a real host."""
    return Tools(fetch=_fetch, run=run, connect=_connect, clock=time.time, balancer=balancer)


# ------------------------------------------------------------------------------------------------------ descriptions


@dataclass(frozen=True)
class Kind:
    """What a type of probe looks like, and where and how often it is taken."""

    keys: tuple[str, ...]
    required: tuple[str, ...]
    place: str
    """Where it is taken: node (each host of the service), balancers (each of them) or coordinator (one host)."""


KINDS: dict[str, Kind] = {
    "http": Kind(
        ("url", "method", "headers", "body", "status", "json", "contains", "max_ms", "timeout", "username", "password"),
        ("url",),
        "node",
    ),
    "tcp": Kind(("address", "timeout"), ("address",), "node"),
    "systemd": Kind(("unit", "max_restarts"), ("unit",), "node"),
    "haproxy": Kind(
        ("measure", "max_ratio", "max_ms", "alpha", "min_samples", "percentile", "tolerance_ms", "methods"),
        (),
        "balancers",
    ),
    "promql": Kind(
        (
            "url",
            "query",
            "baseline",
            "min",
            "max",
            "max_ratio",
            "tolerance",
            "range",
            "step",
            "alpha",
            "min_samples",
            "headers",
            "username",
            "password",
            "timeout",
        ),
        ("url", "query"),
        "coordinator",
    ),
    "postgres": Kind(
        ("endpoints", "min_standbys", "max_lag_mb", "synchronous", "timeout"), ("endpoints",), "coordinator"
    ),
}
MEASURES = ("state", "errors", "latency")
NUMBERS = (
    "timeout",
    "max_restarts",
    "max_ratio",
    "max_ms",
    "alpha",
    "min_samples",
    "percentile",
    "tolerance_ms",
    "min",
    "max",
    "tolerance",
    "range",
    "step",
    "min_standbys",
    "max_lag_mb",
)
PLACES = ("node", "balancers", "coordinator")


def check(probe: Any, place: str) -> dict[str, Any]:
    """A probe's description, or one sentence that says what is wrong with it."""
    if not isinstance(probe, Mapping):
        raise ProbeError(f"{place} is no mapping; give it a type and that type's keys.")
    kind = KINDS.get(str(probe.get("type")))
    if kind is None:
        raise ProbeError(f"{place}.type is {probe.get('type')!r}; it must be one of {', '.join(KINDS)}.")
    allowed = ("type", "from", *kind.keys)
    for key in probe:
        if key not in allowed:
            raise ProbeError(
                f"{place} has the unknown key '{key}'; a probe of type {probe['type']} has {', '.join(allowed)}."
            )
    for key in kind.required:
        if not probe.get(key):
            raise ProbeError(f"{place} has no {key}; a probe of type {probe['type']} needs {', '.join(kind.required)}.")
    for key in NUMBERS:
        value = probe.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise ProbeError(f"{place}.{key} is {value!r}; it must be a number that is not negative.")
    if probe.get("from", "node") not in PLACES:
        raise ProbeError(f"{place}.from is {probe['from']!r}; it must be one of {', '.join(PLACES)}.")
    if probe.get("measure", "state") not in MEASURES:
        raise ProbeError(f"{place}.measure is {probe['measure']!r}; it must be one of {', '.join(MEASURES)}.")
    if probe["type"] == "http":
        _statuses(probe.get("status", 200), place)
    if probe["type"] == "tcp":
        _address(str(probe["address"]), place)
    if probe["type"] == "promql":
        _check_promql(probe, place)
    return dict(probe)


def _check_promql(probe: Mapping[str, Any], place: str) -> None:
    if not {"min", "max", "max_ratio"} & set(probe):
        raise ProbeError(
            f"{place} has no condition, so that nothing could fail it; add min, max, or baseline and max_ratio."
        )
    if ("max_ratio" in probe) != ("baseline" in probe):
        raise ProbeError(f"{place} needs baseline and max_ratio together: the second compares with the first.")


def fill(value: Any, names: Mapping[str, str], place: str) -> Any:
    """Replace $name and ${name} in every text of a probe; an unknown name is refused, $$ is a dollar sign."""
    if isinstance(value, str):
        try:
            return string.Template(value).substitute(names)
        except (KeyError, ValueError) as error:
            raise ProbeError(
                f"{place} has {value!r}, in which {error} is no known name; known are "
                f"{', '.join('$' + name for name in sorted(names))}, and $$ for a dollar sign."
            ) from error
    if isinstance(value, Mapping):
        return {key: fill(one, names, place) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(one, names, place) for one in value]
    return value


def _statuses(value: Any, place: str) -> list[tuple[int, int]]:
    ranges = []
    for one in value if isinstance(value, (list, tuple)) else str(value).split(","):
        found = re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", str(one))
        if found is None:
            raise ProbeError(f"{place}.status is {value!r}; give a status such as 200, or ranges such as 200-299,304.")
        ranges.append((int(found.group(1)), int(found.group(2) or found.group(1))))
    return ranges


def _address(value: str, place: str) -> tuple[str, int]:
    host, _separator, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        if "$" in value:
            return "", 0
        raise ProbeError(f"{place}.address is {value!r}; give host:port.")
    return host.strip("[]"), int(port)


# ------------------------------------------------------------------------------------------------------------ taking


def take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Take one sample."""
    try:
        kind = str(probe.get("type"))
        if kind == "haproxy":
            if tools.balancer is None:
                return {"phase": ERROR, "text": "this host has no HAProxy to ask"}
            return tools.balancer(probe)
        return _TAKERS[kind](probe, tools)
    except (OSError, ValueError) as error:
        return {"phase": ERROR, "text": _short(getattr(error, "reason", None) or error)}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _request(probe: Mapping[str, Any], url: str) -> urllib.request.Request:
    body = probe.get("body")
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    request = urllib.request.Request(url, data=data, method=str(probe.get("method", "POST" if data else "GET")))
    for key, value in (probe.get("headers") or {}).items():
        request.add_header(str(key), str(value))
    if probe.get("username"):
        token = base64.b64encode(f"{probe['username']}:{probe.get('password', '')}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    return request


def _http(probe: Mapping[str, Any], tools: Tools) -> Sample:
    url = str(probe["url"])
    begin = time.monotonic()
    try:
        status, body = tools.fetch(_request(probe, url), float(probe.get("timeout", 5)))
    except (OSError, urllib.error.URLError) as error:
        return {"phase": FAILURE, "text": _short(f"{url} gave no answer ({getattr(error, 'reason', error)})")}
    took = (time.monotonic() - begin) * 1000
    text = body.decode("utf-8", "replace")
    if not any(low <= status <= high for low, high in _statuses(probe.get("status", 200), "probe")):
        return {"phase": FAILURE, "text": _short(f"{url} answered {status}: {text}")}
    for path, wanted in (probe.get("json") or {}).items():
        found = _lookup(text, str(path))
        if str(found) != str(wanted):
            return {"phase": FAILURE, "text": _short(f"{url}: {path} is {found!r}, not {wanted!r}")}
    if probe.get("contains") and str(probe["contains"]) not in text:
        return {"phase": FAILURE, "text": _short(f"{url}: the answer does not contain {probe['contains']!r}: {text}")}
    if probe.get("max_ms") is not None and took > float(probe["max_ms"]):
        return {"phase": FAILURE, "text": f"{url} took {took:.0f} ms, more than {probe['max_ms']:g}"}
    return {"phase": SUCCESS, "text": f"{url} answered {status}"}


def _lookup(text: str, path: str) -> Any:
    """A value in a JSON text by its dotted path."""
    try:
        value: Any = json.loads(text)
        for part in path.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        return value
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _tcp(probe: Mapping[str, Any], tools: Tools) -> Sample:
    host, port = _address(str(probe["address"]), "probe")
    try:
        tools.connect(host, port, float(probe.get("timeout", 5)))
    except OSError as error:
        return {"phase": FAILURE, "text": _short(f"{probe['address']} accepts no connection ({error})")}
    return {"phase": SUCCESS, "text": f"{probe['address']} accepts connections"}


def _systemd(probe: Mapping[str, Any], tools: Tools) -> Sample:
    unit = str(probe["unit"])
    names = ("LoadState", "ActiveState", "SubState", "NRestarts", "Result")
    rc, out, err = tools.run(["systemctl", "show", "--property", ",".join(names), "--", unit])
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if rc != 0 or not found:
        return {"phase": ERROR, "text": _short(f"systemctl show {unit} failed: {err or out}")}
    restarts, most = int(found.get("NRestarts") or 0), int(probe.get("max_restarts", 0))
    if found.get("ActiveState") != "active":
        return {
            "phase": FAILURE,
            "text": f"{unit} is {found.get('ActiveState')} ({found.get('SubState')}, {restarts} restarts by itself)",
        }
    if restarts > most:
        return {"phase": FAILURE, "text": f"{unit} died and was restarted {restarts} times, more than {most}"}
    return {"phase": SUCCESS, "text": f"{unit} is active, {restarts} restarts by itself"}


def _promql(probe: Mapping[str, Any], tools: Tools) -> Sample:
    try:
        values = _query(probe, str(probe["query"]), tools)
        baseline = _query(probe, str(probe["baseline"]), tools) if probe.get("baseline") else []
    except (OSError, urllib.error.URLError) as error:
        return {"phase": ERROR, "text": _short(f"{probe['url']} gave no answer ({getattr(error, 'reason', error)})")}
    if probe.get("range"):
        return {"phase": RAW, "text": f"{len(values)} values", "data": {"canary": values, "baseline": baseline}}
    if not values:
        return {"phase": NO_DATA, "text": "the query has no value"}
    highest, lowest = max(values), min(values)
    if "min" in probe and lowest < probe["min"]:
        return {"phase": FAILURE, "text": f"{lowest:.4g} is below {probe['min']:g}"}
    if "max" in probe and highest > probe["max"]:
        return {"phase": FAILURE, "text": f"{highest:.4g} is above {probe['max']:g}"}
    if "max_ratio" in probe:
        if not baseline:
            return {"phase": NO_DATA, "text": f"{highest:.4g}, but the baseline has no value"}
        normal = max(baseline)
        allowed = max(normal * probe["max_ratio"], normal + float(probe.get("tolerance", 0)))
        text = f"{highest:.4g}, baseline {normal:.4g}, allowed {allowed:.4g}"
        return {"phase": FAILURE if highest > allowed else SUCCESS, "text": text}
    return {"phase": SUCCESS, "text": f"{highest:.4g}"}


def _query(probe: Mapping[str, Any], query: str, tools: Tools) -> list[float]:
    """The values of a query, without those that are no number; an answer that is none is an error."""
    arguments = {"query": query}
    if probe.get("range"):
        end, step = tools.clock(), float(probe.get("step", 5))
        arguments.update(start=f"{end - float(probe['range']):.3f}", end=f"{end:.3f}", step=f"{step:g}")
    path = "/api/v1/query_range" if probe.get("range") else "/api/v1/query"
    url = f"{str(probe['url']).rstrip('/')}{path}?{urllib.parse.urlencode(arguments)}"
    status, body = tools.fetch(_request({**probe, "body": None, "method": "GET"}, url), float(probe.get("timeout", 10)))
    try:
        answer = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        answer = {}
    if status != 200 or answer.get("status") != "success":
        raise ValueError(f"Prometheus refused the query ({status}): {answer.get('error') or body[:100]!r}")
    result = answer["data"]["result"]
    if answer["data"]["resultType"] == "scalar":
        pairs = [result]
    elif answer["data"]["resultType"] == "matrix":
        pairs = [pair for series in result for pair in series["values"]]
    else:
        pairs = [series["value"] for series in result]
    return [value for value in (float(pair[1]) for pair in pairs) if math.isfinite(value)]


def _postgres(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Judge replication by what Patroni's members say of the cluster; the first that answers is believed."""
    members: list[Mapping[str, Any]] = []
    reasons = []
    for endpoint in probe["endpoints"]:
        url = f"{str(endpoint).rstrip('/')}/cluster"
        try:
            status, body = tools.fetch(urllib.request.Request(url), float(probe.get("timeout", 3)))
            members = json.loads(body.decode("utf-8", "replace")).get("members", []) if status == 200 else []
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if members:
            break
        reasons.append(f"{url} answered {status}")
    if not members:
        return {"phase": ERROR, "text": _short("; ".join(reasons) or "no endpoint is given")}
    leaders = [
        one["name"] for one in members if one.get("role") in ("leader", "master") and one.get("state") == "running"
    ]
    if len(leaders) != 1:
        return {"phase": FAILURE, "text": f"{len(leaders)} members lead, not one"}
    most = float(probe.get("max_lag_mb", 16))
    standbys = []
    for one in members:
        lag = one.get("lag", 0)
        good = one.get("state") in ("streaming", "running") and isinstance(lag, int) and lag <= most * (1 << 20)
        if one["name"] not in leaders and good:
            standbys.append(one)
    least = int(probe.get("min_standbys", 1))
    if len(standbys) < least:
        return {
            "phase": FAILURE,
            "text": f"{leaders[0]} leads and {len(standbys)} standbys stream with at most {most:g} MiB lag, fewer than {least}",
        }
    synchronous = [one["name"] for one in standbys if one.get("role") in ("sync_standby", "quorum_standby")]
    if probe.get("synchronous") and not synchronous:
        return {"phase": FAILURE, "text": f"{leaders[0]} leads but no standby is synchronous"}
    return {"phase": SUCCESS, "text": f"{leaders[0]} leads, {len(standbys)} standbys stream"}


_TAKERS: dict[str, Callable[[Mapping[str, Any], Tools], Sample]] = {
    "http": _http,
    "tcp": _tcp,
    "systemd": _systemd,
    "promql": _promql,
    "postgres": _postgres,
}
