# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type http, against real servers on loopback where those can fail so."""

from __future__ import annotations

import base64
import http.server
import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import http_fetch, probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import real_tools
from probing import (
    HTTP,
    Answer,
    accepted,
    closed_port,
    no_run,
    phase_and_text,
    raw_server,
    refused,
    serving,
    timeouts_of,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        HTTP,
        {
            **HTTP,
            "method": "POST",
            "body": {"a": 1},
            "headers": {"X-A": 1},
            "status": "200-299,304",
            "json": {"a.b": 1},
        },
        {**HTTP, "contains": 42, "max_ms": 100, "timeout": 2.5, "username": "u", "password": "p", "from": "balancers"},
        {**HTTP, "status": [200, "300-302"], "timeout": None, "body": None},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        (
            {**HTTP, "url": "127.0.0.1/readyz"},
            "PLACE.url is '127.0.0.1/readyz'; give an address that begins with http:// or https://",
        ),
        (
            {**HTTP, "url": "file:///etc/passwd"},
            "PLACE.url is 'file:///etc/passwd'; give an address that begins with http://",
        ),
        ({**HTTP, "url": "http://u:p@h/"}, "and has no user or password; there are keys for those."),
        ({**HTTP, "url": "http://h/a b"}, "PLACE.url is 'http://h/a b'; give an address that begins with"),
        ({**HTTP, "method": "GET /"}, "PLACE.method is 'GET /'; give an HTTP method such as GET."),
        (
            {**HTTP, "headers": ["a"]},
            "PLACE.headers is not usable; give a mapping of header names to texts of one",
        ),
        (
            {**HTTP, "headers": {"A": "b\r\nC: d"}},
            "PLACE.headers is not usable; give a mapping of header names to",
        ),
        (
            {**HTTP, "json": "version"},
            "PLACE.json is 'version'; give a mapping of dotted paths to wanted values.",
        ),
        ({**HTTP, "contains": ["x"]}, "PLACE.contains is ['x']; give a text."),
        ({**HTTP, "password": ["secret"]}, "PLACE.password is not usable; give a text."),
        ({**HTTP, "status": "ok"}, "PLACE.status is 'ok'; give a status such as 200, or ranges such as 200-299,304."),
        ({**HTTP, "status": "299-200"}, "PLACE.status is '299-200'; give a status such as 200, or ranges"),
        ({**HTTP, "status": []}, "PLACE.status is []; give a status such as 200, or ranges"),
        ({**HTTP, "timeout": 0}, "PLACE.timeout is 0; give a number of seconds above 0 and at most 3600."),
        ({**HTTP, "timeout": 1e9}, "PLACE.timeout is 1000000000.0; give a number of seconds above 0 and at most"),
        ({**HTTP, "timeout": "5s"}, "PLACE.timeout is '5s'; give a number of seconds above 0 and at most 3600."),
        ({**HTTP, "max_ms": -1}, "PLACE.max_ms is -1; give a number, at least 0."),
        ({**HTTP, "max_ms": True}, "PLACE.max_ms is True; give a number, at least 0."),
        ({**HTTP, "max_ms": math.nan}, "PLACE.max_ms is nan; give a number, at least 0."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


def says(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def take_http(answer: Answer, **probe: Any) -> tuple[str, str]:
    with serving(answer) as url:
        found = phase_and_text(probes.take({"type": "http", "url": f"{url}/x", **probe}, real_tools(no_run)))
        return found[0], found[1].replace(url, "")


def test_http_success() -> None:
    assert take_http(says(200, b"ok")) == ("success", "/x answered 200")


@pytest.mark.parametrize(
    ("status", "wanted", "phase"),
    [
        (204, 200, "failure"),
        (204, "200-299", "success"),
        (503, 503, "success"),
        (304, "200-299,304", "success"),
        (404, [200, 404], "success"),
        (500, "200-299,304", "failure"),
    ],
)
def test_http_status(status: int, wanted: Any, phase: str) -> None:
    assert take_http(says(status), status=wanted)[0] == phase


def test_http_failure_shows_what_was_answered() -> None:
    assert take_http(says(503, b"database:\n  not reachable")) == (
        "failure",
        "/x answered 503: database: not reachable",
    )


@pytest.mark.parametrize(
    ("body", "wanted", "outcome"),
    [
        ('{"version": "1.4.0"}', {"version": "1.4.0"}, None),
        ('{"version": "1.3.0"}', {"version": "1.4.0"}, "version is '1.3.0', not '1.4.0'"),
        ('{"a": {"b": [{"c": 5}]}}', {"a.b.0.c": 5}, None),
        ('{"a": {"b": [{"c": 5}]}}', {"a.b.0.c": "5"}, None),
        ('{"ok": true}', {"ok": True}, None),
        ('{"ok": true}', {"ok": "true"}, None),
        ('{"ok": false}', {"ok": True}, "ok is False, not True"),
        ('{"error": null}', {"error": None}, None),
        # What is absent is not null, nor the word for it.
        ("{}", {"error": None}, "the answer has no error: {}"),
        ("{}", {"error": "None"}, "the answer has no error: {}"),
        ('{"a": [1]}', {"a.1": 1}, 'the answer has no a.1: {"a": [1]}'),
        ('{"a": "text"}', {"a.b": 1}, 'the answer has no a.b: {"a": "text"}'),
        ('{"a": [1]}', {"a.b": 1}, 'the answer has no a.b: {"a": [1]}'),
        ("<html>", {"a": 1}, "the answer is no JSON: <html>"),
        ("", {"a": 1}, "the answer is no JSON:"),
        ('{"a": 1, "b": 2}', {"a": 1, "b": 3}, "b is 2, not 3"),
    ],
)
def test_http_json(body: str, wanted: dict[str, Any], outcome: str | None) -> None:
    expected = ("failure", f"/x: {outcome}") if outcome else ("success", "/x answered 200")
    assert take_http(says(200, body.encode()), json=wanted) == expected


def test_http_contains() -> None:
    assert take_http(says(200, b"state: up 42"), contains="up")[0] == "success"
    assert take_http(says(200, b"state: up 42"), contains=42)[0] == "success"
    assert take_http(says(200, b"state: down"), contains="up") == (
        "failure",
        "/x: the answer does not contain 'up': state: down",
    )


def test_http_does_not_follow_a_redirection() -> None:
    asked = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        says(200 if request.path == "/login" else 302, headers={"Location": "/login"})(request)

    assert take_http(answer, username="u", password="p")[1].startswith("/x answered 302")
    assert asked == ["/x"]
    assert take_http(answer, status=302)[0] == "success"


def test_http_request_is_as_described() -> None:
    seen: list[tuple[str, str, bytes, str, str]] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        headers = request.headers
        seen.append((request.command, request.path, body, headers["X-Probe"], headers["Authorization"]))
        says(200)(request)

    token = base64.b64encode(b"user:pass word").decode()
    with serving(answer) as url:
        for more in (
            {},
            {"method": "head"},
            {"body": {"a": [1]}, "headers": {"X-Probe": 1}},
            {"body": "text", "username": "user", "password": "pass word"},
        ):
            sample = probes.take({"type": "http", "url": f"{url}/x?y=1", **more}, real_tools(no_run))
            assert sample["phase"] == "success", sample
    assert [one[:3] for one in seen] == [
        ("GET", "/x?y=1", b""),
        ("HEAD", "/x?y=1", b""),
        ("POST", "/x?y=1", b'{"a": [1]}'),
        ("POST", "/x?y=1", b"text"),
    ]
    assert [one[3] for one in seen] == [None, None, "1", None]
    assert [one[4] for one in seen] == [None, None, None, f"Basic {token}"]


def test_http_ignores_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert take_http(says(200))[0] == "success"


def test_http_refused_connection() -> None:
    url = f"http://127.0.0.1:{closed_port()}/"
    phase, text = phase_and_text(probes.take({"type": "http", "url": url}, real_tools(no_run)))
    assert (phase, text) == ("failure", f"{url} gave no answer ([Errno 111] Connection refused)")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "gave no answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "HTTP/1.1 two hundred"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "4 bytes read, 96 more expected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "IncompleteRead"),
        (b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "IncompleteRead"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\nhalf", "4 bytes read, 96 more expected"),
    ],
)
def test_http_answer_that_is_none_or_cut_off(data: bytes, why: str) -> None:
    with raw_server(data) as port:
        url = f"http://127.0.0.1:{port}/"
        phase, text = phase_and_text(probes.take({"type": "http", "url": url}, real_tools(no_run)))
    assert phase == "failure"
    assert why in text


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_http_silence_ends_with_the_timeout(data: bytes) -> None:
    with raw_server(data, keep=True) as port:
        probe = {"type": "http", "url": f"http://127.0.0.1:{port}/", "timeout": 0.05}
        phase, text = phase_and_text(probes.take(probe, real_tools(no_run)))
    assert phase == "failure"
    assert "timed out" in text


def test_http_trickle_does_not_outlast_the_timeout() -> None:
    stop = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _second in range(200):
            if stop.wait(0.01):
                return
            request.wfile.write(b"x")

    try:
        assert take_http(answer, timeout=0.1) == (
            "failure",
            "/x gave no answer (timed out in the middle of the answer)",
        )
    finally:
        stop.set()


def test_http_body_is_read_to_a_limit_only() -> None:
    body = b"x" * (http_fetch.BODY_LIMIT + 5 * http_fetch.CHUNK) + b"needle"
    assert take_http(says(200, body))[0] == "success"
    assert take_http(says(200, body), contains="needle")[0] == "failure"


def test_http_too_slow() -> None:
    times = iter([10.0, 10.25, 20.0, 20.1])
    slow = tools(fetch=lambda _request, _timeout: (200, b""), stopwatch=lambda: next(times))
    probe = {**HTTP, "max_ms": 200}
    assert probes.take(probe, slow) == {"phase": "failure", "text": f"{HTTP['url']} took 250 ms, more than 200"}
    assert probes.take(probe, slow)["phase"] == "success"


def test_the_timeout_reaches_the_request() -> None:
    assert timeouts_of(HTTP) == ({5.0}, {0.5})
