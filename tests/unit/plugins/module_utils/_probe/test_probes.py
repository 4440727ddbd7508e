# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: what they refuse to be, and what they say; against real servers on loopback where those can fail so."""

from __future__ import annotations

import base64
import http.server
import json
import math
import socket
import string
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import http_fetch, probes
from hypothesis import given
from hypothesis import strategies as st

PLACE = "rollout_gates.x.probe"
PHASES = ("success", "failure", "error", "no_data", "raw")
HTTP = {"type": "http", "url": "http://127.0.0.1:3000/readyz"}
TCP = {"type": "tcp", "address": "127.0.0.1:5432"}
SYSTEMD = {"type": "systemd", "unit": "catalog.service"}
PROMQL = {"type": "promql", "url": "http://127.0.0.1:9090", "query": "up", "max": 1}
RATIO = {"type": "promql", "url": "http://127.0.0.1:9090", "query": "new", "baseline": "old", "max_ratio": 1.5}
POSTGRES = {"type": "postgres", "endpoints": ["http://pg-1:8008", "http://pg-2:8008"]}


def no_run(_command: Sequence[str]) -> tuple[int, str, str]:
    raise AssertionError("nothing is to be run")


def no_fetch(_request: probes.Request, _timeout: float) -> tuple[int, bytes]:
    raise AssertionError("nothing is to be fetched")


def tools(**changes: Any) -> probes.Tools:
    """Tools that must not be used, but for those that are given."""
    defaults: dict[str, Any] = {"fetch": no_fetch, "run": no_run, "connect": no_fetch, "clock": lambda: 1000.0}
    return probes.Tools(**{**defaults, **changes})


def phase_and_text(sample: Mapping[str, Any]) -> tuple[str, str]:
    assert sample["phase"] in PHASES
    assert sample["text"] == " ".join(sample["text"].split())
    assert len(sample["text"]) <= probes.SHOWN
    return sample["phase"], sample["text"]


# -------------------------------------------------------------------------------------------------------- descriptions


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
        TCP,
        {**TCP, "address": "[::1]:443"},
        {**TCP, "address": "localhost:1"},
        {**TCP, "address": "localhost:65535"},
        {**SYSTEMD, "max_restarts": 2},
        {"type": "haproxy"},
        {"type": "haproxy", "measure": "errors", "backend": ["catalog"], "servers": ["app-1"], "baseline": ["app-2"]},
        {"type": "haproxy", "measure": "errors", "methods": ["POST"], "seconds": 30, "max_ratio": 0.005},
        {"type": "haproxy", "measure": "answers", "methods": ["POST"], "max_ratio": 0.1},
        {"type": "haproxy", "measure": "latency", "methods": ["GET"], "percentile": 99, "seconds": 30, "max_ms": 200},
        {**PROMQL, "min": -5, "max": 0},
        {**RATIO, "tolerance": 0.1, "timeout": 3},
        {**RATIO, "range": 60, "step": 0.5, "alpha": 0.05, "min_samples": 10},
        {**POSTGRES, "min_standbys": 0, "max_lag_mb": 0.5, "synchronous": True},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert probes.check(probe, PLACE) == {key: value for key, value in probe.items() if value is not None}


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        ("up", "PLACE is 'up', which is no mapping; give it a type and that type's keys."),
        ({}, "PLACE.type is None; give one of http, tcp, systemd, haproxy, promql, postgres, readiness."),
        (
            {"type": "icmp"},
            "PLACE.type is 'icmp'; give one of http, tcp, systemd, haproxy, promql, postgres, readiness.",
        ),
        ({"type": ["http"]}, "PLACE.type is ['http']; give one of http,"),
        ({**TCP, "url": "x"}, "PLACE has the unknown key 'url'; a probe of type tcp has type, from, address, timeout."),
        ({"type": "http"}, "PLACE has no url; a probe of type http needs url."),
        ({**HTTP, "url": ""}, "PLACE has no url; a probe of type http needs url."),
        ({"type": "promql", "url": "http://x"}, "PLACE has no query; a probe of type promql needs url, query."),
        ({"type": "postgres", "endpoints": []}, "PLACE has no endpoints; a probe of type postgres needs endpoints."),
        ({**HTTP, "from": "moon"}, "PLACE.from is 'moon'; give one of node, balancers, coordinator."),
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
        ({**TCP, "address": "host"}, "PLACE.address is 'host'; give host:port, with an IPv6 address in brackets."),
        (
            {**TCP, "address": "host:70000"},
            "PLACE.address is 'host:70000'; give host:port, with an IPv6 address in brackets.",
        ),
        (
            {**TCP, "address": "host:65536"},
            "PLACE.address is 'host:65536'; give host:port, with an IPv6 address in brackets.",
        ),
        ({**TCP, "address": "host:0"}, "PLACE.address is 'host:0'; give host:port, with an IPv6 address in brackets."),
        ({**TCP, "address": ":80"}, "PLACE.address is ':80'; give host:port, with an IPv6 address in brackets."),
        ({**TCP, "address": "a b:80"}, "PLACE.address is 'a b:80'; give host:port, with an IPv6 address in brackets."),
        (
            {**SYSTEMD, "max_restarts": 0.5},
            "PLACE.max_restarts is 0.5; give a whole number, at least 0.",
        ),
        ({**SYSTEMD, "unit": "a\nb"}, "PLACE.unit is 'a\\nb'; give the name of a systemd unit."),
        (
            {"type": "haproxy", "measure": "speed"},
            "PLACE.measure is 'speed'; give one of state, errors, answers, latency.",
        ),
        ({"type": "haproxy", "backend": "catalog"}, "PLACE.backend is 'catalog'; give a list of texts."),
        ({"type": "haproxy", "servers": ["a", 1]}, "PLACE.servers is ['a', 1]; give a list of texts."),
        (
            {"type": "haproxy", "measure": "errors", "max_ms": 5},
            "PLACE has max_ms, of which the measure errors makes no use; remove it, or choose another measure.",
        ),
        ({"type": "haproxy", "alpha": 0.1}, "PLACE has alpha, of which the measure state makes no use; remove it, or"),
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
        ({**POSTGRES, "endpoints": "http://pg-1:8008"}, "PLACE.endpoints is 'http://pg-1:8008'; give a list of"),
        (
            {**POSTGRES, "endpoints": ["http://pg-1:8008", "pg-2:8008"]},
            "PLACE.endpoints is ['http://pg-1:8008', 'pg-2:8008']; give addresses such as http://pg-1:8008, one",
        ),
        ({**POSTGRES, "synchronous": "yes"}, "PLACE.synchronous is 'yes'; give true or false."),
        ({**POSTGRES, "min_standbys": -1}, "PLACE.min_standbys is -1; give a whole number, at least 0."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    with pytest.raises(probes.ProbeError) as why:
        probes.check(probe, PLACE)
    assert sentence.replace("PLACE", PLACE) in str(why.value)
    assert str(why.value).endswith(".")
    assert "\n" not in str(why.value)
    assert "secret" not in str(why.value)


@pytest.mark.parametrize("key", ["backend", "servers"])
@pytest.mark.parametrize("value", [None, []])
def test_outside_a_rollout_a_load_balancer_has_to_be_told_the_servers(key: str, value: Any) -> None:
    probe = {"type": "haproxy", "backend": ["catalog"], "servers": ["app-1"]}
    assert probes.check_alone(probe, PLACE) == probe
    assert probes.check_alone(TCP, PLACE) == TCP
    with pytest.raises(probes.ProbeError) as why:
        probes.check_alone({**probe, key: value}, PLACE)
    assert str(why.value) == (
        f"{PLACE} has no {key}; a probe of type haproxy needs backend and servers outside a rollout."
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([HTTP, TCP, SYSTEMD, {"type": "haproxy"}, PROMQL, RATIO, POSTGRES]),
    st.data(),
)
def test_any_value_of_any_key_is_good_or_refused_in_a_sentence(
    value: Any, probe: Mapping[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(["type", "from", *probes.KINDS[probe["type"]].keys]))
    found, refused = None, ""
    try:
        found = probes.check({**probe, key: value}, PLACE)
    except probes.ProbeError as why:
        refused = str(why)
    if found is None:
        assert refused.startswith(PLACE)
    else:
        assert (key in found) == (value is not None)


# ------------------------------------------------------------------------------------------------------- substitutions

NAMES = {"host": "app-1", "port": "3000", "hosts": "app-1|app-2"}


@pytest.mark.parametrize(
    ("given_text", "filled"),
    [
        ("http://$host:$port/", "http://app-1:3000/"),
        ("http://${host}x:${port}0/", "http://app-1x:30000/"),
        ('rate(x{host=~"$hosts"}[1m])', 'rate(x{host=~"app-1|app-2"}[1m])'),
        ('x{path=~".*/pay$$"}', 'x{path=~".*/pay$"}'),
        ("$$host", "$host"),
        ("$$$host", "$app-1"),
        ("", ""),
    ],
)
def test_fill(given_text: str, filled: str) -> None:
    assert probes.fill(given_text, NAMES, PLACE) == filled


def test_fill_reaches_every_text_and_nothing_else() -> None:
    probe = {"a": {"b": ["$host", ("${port}", 5)]}, "$host": True, "c": None, "d": 1.5}
    filled = probes.fill(probe, NAMES, PLACE)
    assert filled == {"a": {"b": ["app-1", ["3000", 5]]}, "$host": True, "c": None, "d": 1.5}
    assert probe["a"] == {"b": ["$host", ("${port}", 5)]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://$hsot/", "$hsot is no known name"),
        ("${hosts_}", "$hosts_ is no known name"),
        ('x{path=~"a$"}', "a dollar sign is followed by no name"),
        ("$", "a dollar sign is followed by no name"),
        ("costs $5", "a dollar sign is followed by no name"),
        ("${host", "a dollar sign is followed by no name"),
    ],
)
def test_fill_refuses_what_it_does_not_know(text: str, why: str) -> None:
    with pytest.raises(probes.ProbeError) as refused:
        probes.fill({"query": [text]}, NAMES, PLACE)
    known = "known are $host, $hosts, $port, and $$ for a dollar sign."
    assert str(refused.value) == f"{PLACE}.query is {text!r}: {why}; {known}"


def test_fill_leaves_access_data_alone_and_does_not_show_them() -> None:
    probe = {"username": "$host", "password": "pa$$word$", "url": "$host"}
    assert probes.fill(probe, NAMES, PLACE) == {**probe, "url": "app-1"}
    with pytest.raises(probes.ProbeError, match=r"^rollout_gates\.x\.probe\.headers\.Authorization is not usable: "):
        probes.fill({"headers": {"Authorization": "secret $x"}}, NAMES, PLACE)


@given(st.text(alphabet="$ab{}_ é", max_size=12))
def test_fill_is_what_a_template_of_the_standard_library_makes_of_it(text: str) -> None:
    known = {"a": "1", "b": "$2"}
    try:
        expected = string.Template(text).substitute(known)
    except (KeyError, ValueError):
        with pytest.raises(probes.ProbeError):
            probes.fill(text, known, PLACE)
    else:
        assert probes.fill(text, known, PLACE) == expected


# ---------------------------------------------------------------------------------------------------------------- http

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A real HTTP server on loopback; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            answer(self)

        do_GET = do_POST = do_HEAD = answer

        def log_message(self, *_args: Any) -> None:
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def raw_server(data: bytes, keep: bool = False) -> Iterator[int]:
    """A real TCP server that says the same to everybody, and hangs up unless it is to keep the connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []

        def accept() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                try:
                    if data:
                        connection.recv(4096)
                        connection.sendall(data)
                except OSError:
                    pass
                if keep:
                    held.append(connection)
                else:
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


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
        found = phase_and_text(probes.take({"type": "http", "url": f"{url}/x", **probe}, probes.real_tools(no_run)))
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
            sample = probes.take({"type": "http", "url": f"{url}/x?y=1", **more}, probes.real_tools(no_run))
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
    phase, text = phase_and_text(probes.take({"type": "http", "url": url}, probes.real_tools(no_run)))
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
        phase, text = phase_and_text(probes.take({"type": "http", "url": url}, probes.real_tools(no_run)))
    assert phase == "failure"
    assert why in text


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_http_silence_ends_with_the_timeout(data: bytes) -> None:
    with raw_server(data, keep=True) as port:
        probe = {"type": "http", "url": f"http://127.0.0.1:{port}/", "timeout": 0.05}
        phase, text = phase_and_text(probes.take(probe, probes.real_tools(no_run)))
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


@pytest.mark.parametrize(("probe", "timeout"), [(HTTP, 5), (PROMQL, 10), (POSTGRES, 3)])
def test_timeouts_reach_the_request(probe: dict[str, Any], timeout: float) -> None:
    seen = []

    def fetch(_request: probes.Request, seconds: float) -> tuple[int, bytes]:
        seen.append(seconds)
        return 200, b""

    probes.take(probe, tools(fetch=fetch))
    probes.take({**probe, "timeout": None}, tools(fetch=fetch))
    probes.take({**probe, "timeout": 0.5}, tools(fetch=fetch))
    times = len(seen) // 3
    assert seen == [timeout] * 2 * times + [0.5] * times


# ----------------------------------------------------------------------------------------------------- tcp and systemd


def test_tcp_for_real() -> None:
    with raw_server(b"") as port:
        probe = {"type": "tcp", "address": f"127.0.0.1:{port}"}
        sample = probes.take(probe, probes.real_tools(no_run))
    assert sample == {"phase": "success", "text": f"127.0.0.1:{port} accepts connections"}
    address = f"127.0.0.1:{closed_port()}"
    phase, text = phase_and_text(probes.take({"type": "tcp", "address": address}, probes.real_tools(no_run)))
    assert (phase, text) == ("failure", f"{address} accepts no connection ([Errno 111] Connection refused)")


def test_tcp_timeout_and_address() -> None:
    seen = []

    def connect(*arguments: Any) -> None:
        seen.append(arguments)
        raise TimeoutError("timed out")

    assert probes.take({"type": "tcp", "address": "[::1]:80", "timeout": 2}, tools(connect=connect)) == {
        "phase": "failure",
        "text": "[::1]:80 accepts no connection (timed out)",
    }
    assert seen == [("::1", 80, 2.0)]


def shown(active: str, sub: str, restarts: str | None = "0", load: str = "loaded") -> str:
    lines = [f"LoadState={load}", f"ActiveState={active}", f"SubState={sub}"]
    return "\n".join([*lines, *([] if restarts is None else [f"NRestarts={restarts}"])]) + "\n"


@pytest.mark.parametrize(
    ("answer", "more", "phase", "text"),
    [
        ((0, shown("active", "running"), ""), {}, "success", "catalog.service is active, 0 restarts by itself"),
        (
            (0, shown("active", "running", "1"), ""),
            {},
            "failure",
            "catalog.service died and was restarted 1 time, more than 0",
        ),
        (
            (0, shown("active", "running", "2"), ""),
            {"max_restarts": 2},
            "success",
            "catalog.service is active, 2 restarts by itself",
        ),
        (
            (0, shown("activating", "auto-restart", "3"), ""),
            {"max_restarts": 9},
            "failure",
            "catalog.service is activating (auto-restart, 3 restarts by itself)",
        ),
        (
            (0, shown("failed", "failed", "5"), ""),
            {},
            "failure",
            "catalog.service is failed (failed, 5 restarts by itself)",
        ),
        (
            (0, shown("reloading", "reload"), ""),
            {},
            "failure",
            "catalog.service is reloading (reload, 0 restarts by itself)",
        ),
        ((0, shown("inactive", "dead", load="not-found"), ""), {}, "failure", "there is no unit catalog.service"),
        (
            (1, "", "Failed to connect to bus"),
            {},
            "error",
            "systemctl show catalog.service failed: Failed to connect to bus",
        ),
        ((0, "", ""), {}, "error", "systemctl show catalog.service failed: exit status 0"),
        ((0, "nonsense", ""), {}, "error", "systemctl show catalog.service failed: nonsense"),
        ((0, shown("active", "running", None), ""), {}, "error", "invalid literal for int() with base 10: ''"),
        ((0, shown("active", "running", "many"), ""), {}, "error", "invalid literal for int() with base 10: 'many'"),
        (
            (0, shown("active", "listening", None), ""),
            {"unit": "catalog.socket"},
            "success",
            "catalog.socket is active, 0 restarts by itself",
        ),
    ],
)
def test_systemd(answer: tuple[int, str, str], more: dict[str, Any], phase: str, text: str) -> None:
    sample = probes.take({**SYSTEMD, **more}, tools(run=lambda _command: answer))
    assert phase_and_text(sample) == (phase, text)


def test_systemd_name_is_no_option() -> None:
    commands = []

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        commands.append(list(command))
        return 0, shown("active", "running"), ""

    probes.take({"type": "systemd", "unit": "--version"}, tools(run=run))
    assert commands[0][-2:] == ["--", "--version"]


# -------------------------------------------------------------------------------------------------------------- promql


def vector(*values: str) -> dict[str, Any]:
    series = [{"metric": {"host": f"app-{number}"}, "value": [1000, value]} for number, value in enumerate(values)]
    return {"resultType": "vector", "result": series}


def matrix(*series: Sequence[str]) -> dict[str, Any]:
    values = [[[1000 + number, value] for number, value in enumerate(one)] for one in series]
    return {"resultType": "matrix", "result": [{"metric": {}, "values": one} for one in values]}


def prometheus(**answers: Any) -> Callable[[probes.Request, float], tuple[int, bytes]]:
    """A server that knows an answer to each query: data, or a pair of status and body, or an exception."""

    def fetch(request: probes.Request, _timeout: float) -> tuple[int, bytes]:
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

    def fetch(request: probes.Request, timeout: float) -> tuple[int, bytes]:
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

    def fetch(request: probes.Request, timeout: float) -> tuple[int, bytes]:
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
    assert probes.lookback(query) == seconds


def test_promql_sends_access_data() -> None:
    seen = []

    def fetch(request: probes.Request, timeout: float) -> tuple[int, bytes]:
        seen.append((request.method, request.headers["X-Scope-OrgID"], request.headers["Authorization"]))
        return prometheus(up=vector("1"))(request, timeout)

    probe = {**PROMQL, "headers": {"X-Scope-OrgID": "plant"}, "username": "u", "password": "p"}
    assert probes.take(probe, tools(fetch=fetch))["phase"] == "success"
    assert seen == [("GET", "plant", f"Basic {base64.b64encode(b'u:p').decode()}")]


# ------------------------------------------------------------------------------------------------------------ postgres


def member(name: str, role: str, state: str, **more: Any) -> dict[str, Any]:
    base = {"name": name, "role": role, "state": state, "api_url": f"http://{name}:8008/patroni", "timeline": 1}
    return {**base, "host": name, "port": 5432, **more}


LEADER = member("pg-1", "leader", "running")
"""A leader has no lag."""


def patroni(
    members: Any, replication: Any = (), dead: Sequence[str] = (), status: int = 200
) -> Callable[[probes.Request, float], tuple[int, bytes]]:
    """Every member's REST API: all say the same of the cluster, the leader knows who streams."""

    def fetch(request: probes.Request, _timeout: float) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(request.url)
        if url.hostname in dead:
            raise ConnectionRefusedError(111, "Connection refused")
        if url.path == "/patroni":
            assert url.hostname == "pg-1", "only the leader knows"
            rows = [{"application_name": name, "state": state} for name, state in replication]
            return 200, json.dumps({"role": "master", "state": "running", "replication": rows}).encode()
        assert url.path == "/cluster"
        return status, json.dumps({"members": members, "scope": "plant"}).encode()

    return fetch


def take_postgres(fetch: Any, **more: Any) -> tuple[str, str]:
    return phase_and_text(probes.take({**POSTGRES, **more}, tools(fetch=fetch)))


STREAMS = member("pg-2", "replica", "streaming", lag=0)
SYNC = member("pg-2", "sync_standby", "streaming", lag=0)
RUNS = member("pg-2", "replica", "running", lag=0)


@pytest.mark.parametrize(
    ("others", "more", "phase", "text"),
    [
        ([STREAMS], {}, "success", "pg-1 leads, 1 standby streams"),
        ([SYNC], {"synchronous": True}, "success", "pg-1 leads, 1 standby streams"),
        ([{**SYNC, "role": "quorum_standby"}], {"synchronous": True}, "success", "pg-1 leads, 1 standby streams"),
        ([STREAMS], {"synchronous": True}, "failure", "pg-1 leads but no standby that streams is synchronous"),
        (
            [STREAMS, member("pg-3", "replica", "streaming", lag=5)],
            {"min_standbys": 2},
            "success",
            "pg-1 leads, 2 stand",
        ),
        (
            [STREAMS],
            {"min_standbys": 2},
            "failure",
            "pg-1 leads and 1 standby streams with at most 16 MiB lag, fewer than 2 (there are no others)",
        ),
        (
            [{**STREAMS, "lag": 17 << 20}],
            {},
            "failure",
            "pg-1 leads and 0 standbys stream with at most 16 MiB lag, fewer than 1 "
            "(pg-2 replica is streaming, lag 17825792)",
        ),
        ([{**STREAMS, "lag": 16 << 20}], {}, "success", "pg-1 leads, 1 standby streams"),
        ([{**STREAMS, "lag": 17 << 20}], {"max_lag_mb": 20}, "success", "pg-1 leads, 1 standby streams"),
        ([{**STREAMS, "lag": "unknown"}], {}, "failure", "pg-1 leads and 0 standbys stream with at most 16 MiB lag"),
        # A lag that is not told is not known.
        ([member("pg-2", "replica", "streaming")], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "lag": True}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "state": "in archive recovery"}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "state": "starting"}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        (
            [{**SYNC, "lag": "unknown"}, member("pg-3", "replica", "streaming", lag=0)],
            {"synchronous": True},
            "failure",
            "",
        ),
        (
            [],
            {},
            "failure",
            "pg-1 leads and 0 standbys stream with at most 16 MiB lag, fewer than 1 (there are no others)",
        ),
        ([], {"min_standbys": 0}, "success", "pg-1 leads, 0 standbys stream"),
    ],
)
def test_postgres_with_patroni_4(others: list[dict[str, Any]], more: dict[str, Any], phase: str, text: str) -> None:
    found = take_postgres(patroni([LEADER, *others]), **more)
    assert found[0] == phase
    assert found[1].startswith(text)


@pytest.mark.parametrize(
    ("others", "replication", "phase"),
    [
        ([RUNS], [("pg-2", "streaming")], "success"),
        ([{**RUNS, "role": "sync_standby"}], [("pg-2", "streaming")], "success"),
        # Patroni 4 says so of a standby whose stream is cut, and Patroni 3.0 says so of every standby.
        ([RUNS], [], "failure"),
        ([RUNS], [("pg-2", "catchup")], "failure"),
        ([RUNS], [("pg-3", "streaming")], "failure"),
        ([{**RUNS, "lag": "unknown"}], [("pg-2", "streaming")], "failure"),
        ([{**RUNS, "lag": 17 << 20}], [("pg-2", "streaming")], "failure"),
        ([{**RUNS, "state": "stopped"}], [("pg-2", "streaming")], "failure"),
    ],
)
def test_postgres_with_patroni_3(others: list[dict[str, Any]], replication: list[Any], phase: str) -> None:
    assert take_postgres(patroni([LEADER, *others], replication))[0] == phase


def test_postgres_does_not_believe_a_leader_that_says_nothing() -> None:
    def fetch(request: probes.Request, timeout: float) -> tuple[int, bytes]:
        if request.url.endswith("/patroni"):
            raise TimeoutError("timed out")
        return patroni([LEADER, RUNS])(request, timeout)

    assert take_postgres(fetch)[0] == "failure"
    without_url = {key: value for key, value in LEADER.items() if key != "api_url"}
    assert take_postgres(patroni([without_url, RUNS], [("pg-2", "streaming")]))[0] == "failure"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([STREAMS], "0 members lead, not one (pg-2 replica is streaming, lag 0)"),
        ([{**LEADER, "state": "stopped"}, STREAMS], "0 members lead, not one (pg-1 leader is stopped, pg-2 replica is"),
        ([{**LEADER, "state": "starting"}, STREAMS], "0 members lead, not one"),
        ([{**LEADER, "role": "standby_leader"}, STREAMS], "0 members lead, not one"),
        ([LEADER, {**LEADER, "name": "pg-2"}], "2 members lead, not one"),
    ],
)
def test_postgres_wants_one_leader_that_runs(members: list[dict[str, Any]], text: str) -> None:
    phase, found = take_postgres(patroni(members))
    assert phase == "failure"
    assert found.startswith(text)


def test_postgres_asks_the_next_when_one_is_silent() -> None:
    cluster = [LEADER, STREAMS]
    assert take_postgres(patroni(cluster, dead=["pg-1"]))[0] == "success"
    assert take_postgres(patroni(cluster, dead=["pg-2"]))[0] == "success"
    assert take_postgres(patroni(cluster, dead=["pg-1", "pg-2"])) == (
        "error",
        "http://pg-1:8008/cluster: [Errno 111] Connection refused; "
        "http://pg-2:8008/cluster: [Errno 111] Connection refused",
    )


@pytest.mark.parametrize("members", [None, [], {}, "all", [1], [{}], [LEADER, {"role": "replica"}]])
def test_postgres_answer_without_members_is_an_error(members: Any) -> None:
    assert take_postgres(patroni(members)) == (
        "error",
        "http://pg-1:8008/cluster answered 200 without members; http://pg-2:8008/cluster answered 200 without members",
    )


def test_postgres_that_refuses_is_an_error() -> None:
    phase, text = take_postgres(patroni([LEADER, STREAMS], status=503))
    assert (phase, text) == (
        "error",
        "http://pg-1:8008/cluster answered 503; http://pg-2:8008/cluster answered 503",
    )


# ----------------------------------------------------------------------------------------- haproxy, and what is garbage


def test_haproxy_is_asked_where_there_is_one() -> None:
    seen = []

    def balancer(probe: Mapping[str, Any]) -> probes.Sample:
        seen.append(probe)
        return {"phase": "success", "text": "up"}

    probe = {"type": "haproxy", "measure": "state", "servers": ["app-1"], "alpha": None}
    assert probes.take(probe, tools(balancer=balancer)) == {"phase": "success", "text": "up"}
    assert seen == [{"type": "haproxy", "measure": "state", "servers": ["app-1"]}]
    assert probes.take(probe, tools()) == {"phase": "error", "text": "this host has no HAProxy to ask"}


@pytest.mark.parametrize("probe", [{}, {"type": None}, {"type": "icmp"}, {"type": 5}, 5, None, "http", ["type"]])
def test_taking_what_is_no_probe_is_an_error(probe: Any) -> None:
    assert probes.take(probe, tools())["phase"] == "error"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["", "leader", "running", "success"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "data", "result", "resultType", "value", "values", "members", "name", "role", "state", "lag"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
BODIES = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())
TROUBLE = st.sampled_from(
    [
        OSError("broken"),
        TimeoutError("timed out"),
        ConnectionResetError(104, "Connection reset by peer"),
        http.client.BadStatusLine("x"),
        http.client.IncompleteRead(b"half", 5),
        UnicodeError("label too long"),
        OverflowError("too large"),
    ]
)


@given(st.data(), st.sampled_from([{**HTTP, "json": {"version": "1.4.0"}}, PROMQL, RATIO, POSTGRES]))
def test_garbage_is_never_a_success(data: st.DataObject, probe: dict[str, Any]) -> None:
    def fetch(_request: probes.Request, _timeout: float) -> tuple[int, bytes]:
        if data.draw(st.booleans()):
            raise data.draw(TROUBLE)
        return data.draw(st.sampled_from([200, 200, 503])), data.draw(BODIES)

    phase, _text = phase_and_text(probes.take(probe, tools(fetch=fetch)))
    assert phase not in ("success", "raw")


PROMETHEUS_VALUES = st.sampled_from(["0", "0.5", "1", "1.5", "NaN", "+Inf", "-Inf"])


@given(st.lists(PROMETHEUS_VALUES, max_size=4))
def test_promql_is_green_only_when_every_value_is(values: list[str]) -> None:
    phase, _text = take_promql({**PROMQL, "min": 0, "max": 1}, up=vector(*values))
    assert (phase == "success") == (bool(values) and all(value in ("0", "0.5", "1") for value in values))
    assert (phase == "failure") == bool({"1.5", "+Inf", "-Inf"} & set(values))


@given(st.integers(-2, 300), st.text(max_size=60), st.text(max_size=20))
def test_whatever_systemctl_says_is_a_sample(rc: int, out: str, err: str) -> None:
    phase, _text = phase_and_text(probes.take(SYSTEMD, tools(run=lambda _command: (rc, out, err))))
    assert phase in ("failure", "error")
