# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type promql: what Prometheus may say."""

from __future__ import annotations

import base64
import json
import math
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import Request
from ansible_collections.mesops.platform.plugins.module_utils._probe.promql import lookback
from hypothesis import given
from hypothesis import strategies as st
from probing import (
    PROMQL,
    RATIO,
    accepted,
    phase_and_text,
    refused,
    timeouts_of,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        {**PROMQL, "min": -5, "max": 0},
        {**RATIO, "tolerance": 0.1, "timeout": 3},
        {**RATIO, "range": 60, "step": 0.5, "alpha": 0.05, "min_samples": 10},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        ({"type": "promql", "url": "http://x"}, "PLACE has no query; a probe of type promql needs url, query."),
        (
            {"type": "promql", "url": "http://x", "query": "up"},
            "PLACE has no condition, so that nothing could fail it; add min, max, or baseline and max_ratio.",
        ),
        ({**PROMQL, "max": "1"}, "PLACE.max is '1'; give a number."),
        ({**PROMQL, "max": math.inf}, "PLACE.max is inf; give a number."),
        (
            {**PROMQL, "baseline": "x"},
            "PLACE needs baseline and max_ratio together: the second compares with the first.",
        ),
        (
            {**PROMQL, "max_ratio": 2},
            "PLACE needs baseline and max_ratio together: the second compares with the first.",
        ),
        ({**RATIO, "baseline": ["x"]}, "PLACE.baseline is ['x']; give a second query."),
        ({**RATIO, "range": 0}, "PLACE.range is 0; give a number above 0."),
        ({**RATIO, "range": 60, "max": 3}, "PLACE has range, with which values are compared with a baseline and with"),
        ({**PROMQL, "range": 60}, "PLACE has range, with which values are compared with a baseline and with nothing"),
        ({**RATIO, "step": 5}, "PLACE has step, which has no effect without range; add range, or remove it."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


def vector(*values: str) -> dict[str, Any]:
    series = [{"metric": {"host": f"app-{number}"}, "value": [1000, value]} for number, value in enumerate(values)]
    return {"resultType": "vector", "result": series}


def matrix(*series: Sequence[str]) -> dict[str, Any]:
    values = [[[1000 + number, value] for number, value in enumerate(one)] for one in series]
    return {"resultType": "matrix", "result": [{"metric": {}, "values": one} for one in values]}


def prometheus(**answers: Any) -> Callable[[Request, float], tuple[int, bytes]]:
    """A server that knows an answer to each query: data, or a pair of status and body, or an exception."""

    def fetch(request: Request, _timeout: float) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(request.url)
        assert url.path in ("/api/v1/query", "/api/v1/query_range")
        answer = answers[urllib.parse.parse_qs(url.query)["query"][0]]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, tuple):
            return answer
        return 200, json.dumps({"status": "success", "data": answer}).encode()

    return fetch


def take_promql(probe: Mapping[str, Any], **answers: Any) -> tuple[str, str]:
    return phase_and_text(probes.take(probe, tools(fetch=prometheus(**answers))))


@pytest.mark.parametrize(
    ("limits", "data", "phase", "text"),
    [
        ({"max": 1}, vector("0.5"), "success", "0.5"),
        ({"max": 1}, vector("0.5", "0.75"), "success", "0.5 to 0.75"),
        ({"max": 1}, vector("0.5", "1.25"), "failure", "1.25 is above 1"),
        ({"min": 1}, vector("0.5", "1.25"), "failure", "0.5 is below 1"),
        ({"min": 1, "max": 2}, vector("1", "2"), "success", "1 to 2"),
        ({"min": -1, "max": 0}, vector("-0.5"), "success", "-0.5"),
        ({"max": 0}, vector("0"), "success", "0"),
        ({"max": 1}, {"resultType": "scalar", "result": [1000, "0.5"]}, "success", "0.5"),
        ({"max": 1}, {"resultType": "scalar", "result": [1000, "2"]}, "failure", "2 is above 1"),
        ({"max": 1}, matrix(["0.5", "3"], ["0.1"]), "failure", "3 is above 1"),
        # What is absent or no number is never green, beside good values neither.
        ({"max": 1}, vector(), "no_data", "the query has no value"),
        ({"max": 1}, matrix(), "no_data", "the query has no value"),
        ({"max": 1}, vector("NaN"), "no_data", "1 of 1 value is no finite number"),
        ({"max": 1}, vector("0.5", "NaN"), "no_data", "1 of 2 values is no finite number"),
        ({"max": 1}, vector("2", "NaN"), "failure", "2 is above 1"),
        ({"min": 1}, vector("+Inf"), "no_data", "1 of 1 value is no finite number"),
        ({"max": 1}, vector("-Inf"), "no_data", "1 of 1 value is no finite number"),
        ({"max": 1}, vector("+Inf"), "failure", "inf is above 1"),
        ({"min": 1}, vector("2", "-Inf"), "failure", "-inf is below 1"),
        ({"max": 1}, {"resultType": "scalar", "result": [1000, "NaN"]}, "no_data", "1 of 1 value is no finite number"),
        ({"max": 1}, {"resultType": "string", "result": [1, "0"]}, "error", "the query gives a string, not numbers"),
        ({"max": 1}, vector("zero"), "error", "could not convert string to float: 'zero'"),
        (
            {"max": 1},
            {"resultType": "vector", "result": [{"value": [1, 0.5]}]},
            "error",
            "Prometheus gave 0.5 as a value",
        ),
        (
            {"max": 1},
            {"resultType": "vector", "result": [{"histogram": []}]},
            "error",
            "unexpected answer (KeyError: 'v",
        ),
        ({"max": 1}, {"resultType": "vector"}, "error", "unexpected answer (KeyError: 'result')"),
    ],
)
def test_promql_limits(limits: dict[str, Any], data: Any, phase: str, text: str) -> None:
    found = take_promql({"type": "promql", "url": "http://p:9090", "query": "q", **limits}, q=data)
    assert found[0] == phase
    assert found[1].startswith(text)


@pytest.mark.parametrize(
    ("more", "new", "old", "phase", "text"),
    [
        ({}, ["0.14"], ["0.1"], "success", "0.14, baseline 0.1, allowed 0.15"),
        ({}, ["0.16"], ["0.1"], "failure", "0.16, baseline 0.1, allowed 0.15"),
        ({"tolerance": 0.1}, ["0.16"], ["0.1"], "success", "0.16, baseline 0.1, allowed 0.2"),
        ({}, ["0.16"], ["0.01", "0.2"], "success", "0.16, baseline 0.2, allowed 0.3"),
        ({}, ["0.16"], ["NaN", "0.1"], "failure", "0.16, baseline 0.1, allowed 0.15"),
        ({}, ["0"], ["0"], "success", "0, baseline 0, allowed 0"),
        ({}, ["0.1"], ["0"], "failure", "0.1, baseline 0, allowed 0"),
        ({}, ["0.1"], [], "no_data", "0.1, but the baseline has no value"),
        ({}, ["0.1"], ["NaN"], "no_data", "0.1, but the baseline has no value"),
        ({}, [], ["0.1"], "no_data", "the query has no value"),
        ({}, ["NaN"], ["0.1"], "no_data", "1 of 1 value is no finite number"),
        ({"max": 1}, ["2"], [], "failure", "2 is above 1"),
    ],
)
def test_promql_baseline(more: dict[str, Any], new: list[str], old: list[str], phase: str, text: str) -> None:
    assert take_promql({**RATIO, **more}, new=vector(*new), old=vector(*old)) == (phase, text)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            ConnectionRefusedError(111, "Connection refused"),
            "http://127.0.0.1:9090 gave no answer ([Errno 111] Connection",
        ),
        (TimeoutError("timed out"), "http://127.0.0.1:9090 gave no answer (timed out)"),
        (
            (400, b'{"status": "error", "errorType": "bad_data", "error": "parse error: no brackets"}'),
            "Prometheus refused the query (400): parse error: no brackets",
        ),
        (
            (200, b'{"status": "error", "error": "query timed out"}'),
            "Prometheus refused the query (200): query timed out",
        ),
        ((502, b"<html>Bad gateway"), "Prometheus refused the query (502): b'<html>Bad gateway'"),
        ((200, b""), "Prometheus refused the query (200): b''"),
        ((200, b"[]"), "Prometheus refused the query (200): b'[]'"),
        ((302, b""), "Prometheus refused the query (302): b''"),
    ],
)
@pytest.mark.parametrize("which", ["query", "baseline"])
def test_promql_that_cannot_be_asked_is_an_error(answer: Any, text: str, which: str) -> None:
    good = vector("0.1")
    answers = {"new": answer, "old": good} if which == "query" else {"new": good, "old": answer}
    phase, found = take_promql(RATIO, **answers)
    assert phase == "error"
    assert found.startswith(text)


def test_promql_range_ships_the_numbers_to_whoever_judges() -> None:
    asked = []

    def fetch(request: Request, timeout: float) -> tuple[int, bytes]:
        asked.append(request.url)
        return prometheus(new=matrix(["1", "NaN"], ["2"]), old=matrix(["3", "+Inf"]))(request, timeout)

    probe = {**RATIO, "url": "http://p:9090/", "range": 60, "step": 2.5}
    sample = probes.take(probe, tools(fetch=fetch, clock=lambda: 1_000_000.5))
    # An infinite time is a very long one, for whoever judges it.
    data = {"canary": [1.0, 2.0], "baseline": [3.0, 1e300], "until": 1_000_000.5}
    assert sample == {"phase": "raw", "text": "2 values", "data": data}
    assert asked[0] == "http://p:9090/api/v1/query_range?query=new&start=999940.500&end=1000000.500&step=2.5"


def test_promql_range_asks_only_for_what_it_has_not_seen() -> None:
    asked = []

    def fetch(request: Request, timeout: float) -> tuple[int, bytes]:
        asked.append(request.url)
        return prometheus(new=matrix(["1"]), old=matrix(["3"]))(request, timeout)

    probe = {**RATIO, "url": "http://p:9090/", "range": 60, "step": 10, "since": 1_000_000}
    sample = probes.take(probe, tools(fetch=fetch, clock=lambda: 1_000_035.0))
    assert "start=1000010.000&end=1000035.000&step=10" in asked[0]
    assert sample["data"]["until"] == 1_000_030
    asked.clear()
    sample = probes.take(probe, tools(fetch=fetch, clock=lambda: 1_000_009.0))
    assert (asked, sample["data"]) == ([], {"canary": [], "baseline": [], "until": 1_000_000})


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("up", 0),
        ("rate(a[1m])", 60),
        ("rate(a[1m]) / rate(b[5m])", 300),
        ("increase(a[1h30m])", 5400),
        ("max_over_time(rate(a[1m])[10m:30s])", 660),
        ("max_over_time(a[10m:])", 600),
        ("rate(a[1m] offset 5m)", 360),
        ("rate(a[500ms])", 0.5),
        ("rate(a[1d])", 86400),
        ('rate(a{path="[9m]"}[1m])', 60),
        ("rate(a{path='it\\'s [9m]'}[1m])", 60),
    ],
)
def test_how_far_a_query_looks_back(query: str, seconds: float) -> None:
    assert lookback(query) == seconds


def test_promql_sends_access_data() -> None:
    seen = []

    def fetch(request: Request, timeout: float) -> tuple[int, bytes]:
        seen.append((request.method, request.headers["X-Scope-OrgID"], request.headers["Authorization"]))
        return prometheus(up=vector("1"))(request, timeout)

    probe = {**PROMQL, "headers": {"X-Scope-OrgID": "plant"}, "username": "u", "password": "p"}
    assert probes.take(probe, tools(fetch=fetch))["phase"] == "success"
    assert seen == [("GET", "plant", f"Basic {base64.b64encode(b'u:p').decode()}")]


def test_the_timeout_reaches_the_request() -> None:
    assert timeouts_of(PROMQL) == ({10.0}, {0.5})


PROMETHEUS_VALUES = st.sampled_from(["0", "0.5", "1", "1.5", "NaN", "+Inf", "-Inf"])


@given(st.lists(PROMETHEUS_VALUES, max_size=4))
def test_promql_is_green_only_when_every_value_is(values: list[str]) -> None:
    phase, _text = take_promql({**PROMQL, "min": 0, "max": 1}, up=vector(*values))
    assert (phase == "success") == (bool(values) and all(value in ("0", "0.5", "1") for value in values))
    assert (phase == "failure") == bool({"1.5", "+Inf", "-Inf"} & set(values))
