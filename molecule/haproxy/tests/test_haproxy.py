# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promises of the haproxy role, on HAProxy 3.0 (Debian 13) and 2.6 (Debian 12), before real processes."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import time
import uuid
from functools import partial

import pytest

from .helpers import (
    BALANCERS,
    CONFIG,
    EPHEMERAL,
    PASSWORD,
    PENDING,
    STUBS,
    TRACE,
    Answer,
    Slow,
    changes,
    each_balancer,
    failures,
    load,
    on,
    play,
    program,
    request,
    runtime,
    said,
    servers,
    shell,
    up,
    wait_until,
    worker,
)

# ------------------------------------------------------------------------------------------------- requests and routing


@each_balancer
def test_first_matching_route_wins(balancer: str) -> None:
    def names(host: str, path: str = "/") -> set[str]:
        return {request(balancer, path, host).json["name"] for _ in range(6)}

    assert names("catalog.example.com") == {"one", "two", "three"}
    assert names("CATALOG.example.com:80", "/filesystem") == {"one", "two", "three"}
    assert names("eu.catalog.example.com", "/files") == {"one", "two", "three"}
    assert names("catalog.example.com", "/files") == {"two"}
    assert names("catalog.example.com", "/files/a") == {"two"}
    assert names("billing.example.com") == {"three"}


@each_balancer
def test_unknown_host_is_not_found(balancer: str) -> None:
    assert request(balancer, host="other.example.com").status == 404
    assert request(balancer, host="catalog.example.com.evil.example").status == 404


@each_balancer
@pytest.mark.parametrize("name", ["default", "billing"])
def test_certificate_follows_sni(balancer: str, name: str) -> None:
    context = ssl.create_default_context(cafile=str(EPHEMERAL / f"{name}.crt"))
    connection = http.client.HTTPSConnection(BALANCERS[balancer], 443, timeout=30, context=context)
    server_name = f"{name}.example.com"
    connection.sock = context.wrap_socket(
        socket.create_connection((BALANCERS[balancer], 443), timeout=30), server_hostname=server_name
    )
    connection.request("GET", "/", headers={"Host": "billing.example.com"})
    answer = Answer(connection.getresponse())
    connection.close()
    assert answer.json["headers"]["x-forwarded-proto"] == "https"


@each_balancer
def test_plain_http_is_redirected_to_the_tls_port(balancer: str) -> None:
    answer = request(balancer, "/a?b=c", "catalog.example.com:8080", port=8080)
    assert (answer.status, answer.headers["Location"]) == (308, "https://catalog.example.com:8443/a?b=c")


@each_balancer
def test_client_cannot_forge_where_it_comes_from(balancer: str) -> None:
    seen = request(balancer, headers={"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}).json["headers"]
    assert seen["x-forwarded-for"] == "10.205.0.1"
    assert seen["x-forwarded-proto"] == "http"


@each_balancer
def test_request_id_and_traceparent(balancer: str) -> None:
    passed = request(balancer, headers={"X-Request-ID": "abc-1", "traceparent": TRACE, "tracestate": "a=b"})
    assert passed.headers["X-Request-ID"] == "abc-1"
    seen = passed.json["headers"]
    assert (seen["x-request-id"], seen["traceparent"], seen["tracestate"]) == ("abc-1", TRACE, "a=b")

    generated = request(balancer)
    seen = generated.json["headers"]
    assert uuid.UUID(generated.headers["X-Request-ID"])
    assert seen["x-request-id"] == generated.headers["X-Request-ID"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", seen["traceparent"])

    for bad in (TRACE.upper(), "ff" + TRACE[2:], TRACE + "-x", f"00-{'0' * 32}-b7ad6b7169203331-01", "x"):
        headers = {"X-Request-ID": 'a"b', "traceparent": bad, "tracestate": "a=b"}
        seen = request(balancer, headers=headers).json["headers"]
        assert uuid.UUID(seen["x-request-id"])
        assert seen["traceparent"] != bad
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", seen["traceparent"])
        assert "tracestate" not in seen
    # HAProxy's own answers carry the id too.
    assert (
        request(balancer, host="other.example.com", headers={"X-Request-ID": "abc-2"}).headers["X-Request-ID"]
        == "abc-2"
    )


@each_balancer
def test_statistics_need_the_password_and_the_exporter_answers(balancer: str) -> None:
    assert request(balancer, port=8404).status == 401
    for password, status in (("wrong", 401), (PASSWORD, 200)):
        token = base64.b64encode(f"stats:{password}".encode()).decode()
        assert request(balancer, port=8404, headers={"Authorization": f"Basic {token}"}).status == status
    assert "haproxy_server_status" in request(balancer, "/metrics", port=8404).text


@each_balancer
def test_every_traffic_line_in_the_journal_is_json(balancer: str) -> None:
    key = uuid.uuid4().hex
    begin = shell(balancer, "date +%s").strip()
    path = f'/{key}/a"b]c\\d{{}}'
    request(balancer, path, headers={"X-Request-ID": key, "traceparent": TRACE})
    request(balancer, f"/{key}", host='a"b')
    with socket.create_connection((BALANCERS[balancer], 80), timeout=30) as raw:
        raw.sendall(b'GET /"\xff\x01 HTTP/1.1\r\nHost: "\\\r\n\r\n')
        raw.recv(1024)
    with socket.create_connection((BALANCERS[balancer], 443), timeout=30) as raw:
        raw.sendall(b"this is no TLS\r\n\r\n")
        raw.recv(1024)

    def lines() -> list[str]:
        found = shell(balancer, f"journalctl --unit haproxy --since @{begin} --priority info..info --output json")
        messages = [json.loads(line) for line in found.splitlines()]
        return [one["MESSAGE"] for one in messages if one.get("_TRANSPORT") == "syslog"]

    wait_until(lambda: any(key in line for line in lines()), "the request is in the journal")
    parsed = [json.loads(line) for line in lines()]
    line = next(one for one in parsed if one.get("path") == path)
    assert (line["request_id"], line["traceparent"], line["trace_id"]) == (key, TRACE, TRACE.split("-")[1])
    assert (line["frontend"], line["backend"], line["status"], line["method"]) == ("edge", "catalog", 200, "GET")
    assert line["server"] in STUBS[balancer]
    assert {"ms_total", "ms_queue", "ms_connect", "ms_response", "retries", "termination"} <= set(line)
    wait_until(lambda: any('"type":"error"' in one for one in lines()), "the failed handshake is in the journal")


# ------------------------------------------------------------------------------------------------- retries and failures


@each_balancer
def test_post_is_never_executed_twice(balancer: str) -> None:
    for what, status in (("mute", 502), ("busy", 503)):
        key = uuid.uuid4().hex
        answer = request(balancer, f"/orders?{what}=1&key={key}", "fragile.example.com", "POST")
        assert answer.status == status
        assert STUBS[balancer]["one"].executed().count(f"POST /orders {key}") == 1


@each_balancer
def test_get_without_an_answer_is_sent_again(balancer: str) -> None:
    for what in ("mute", "busy"):
        key = uuid.uuid4().hex
        assert request(balancer, f"/?{what}=1&key={key}", "fragile.example.com").status == 200
        assert STUBS[balancer]["one"].executed().count(f"GET / {key}") == 2


@each_balancer
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_connection_goes_to_another_server_at_once(balancer: str, method: str) -> None:
    took = []
    for _ in range(10):
        begin = time.monotonic()
        assert request(balancer, host="refusing.example.com", method=method).json["name"] == "one"
        took.append(time.monotonic() - begin)
    # Every second one is refused first. If it waited before it is sent again, as HAProxy does on the same server, five
    # would take a second; of a slow machine two are forgiven.
    assert sorted(took)[7] < 0.9, took


@each_balancer
def test_killed_server_costs_no_get(balancer: str) -> None:
    three = STUBS[balancer]["three"]
    with load(balancer) as counts:
        three.shell(f"systemctl kill --signal KILL {three.unit}")
        wait_until(lambda: servers(balancer, "catalog")["three"]["srv_op_state"] == "0", "three is seen down")
        three.as_before()
        wait_until(lambda: up(balancer, "catalog"), "three is back")
    assert failures(counts) == {}
    assert counts["three"] > 0


@each_balancer
def test_tcp_service_follows_the_http_check(balancer: str) -> None:
    stubs = STUBS[balancer]

    def answers() -> str:
        connection = http.client.HTTPConnection(BALANCERS[balancer], 5000, timeout=30)
        try:
            connection.request("GET", "/")
            return str(Answer(connection.getresponse()).json["name"])
        except (OSError, http.client.HTTPException):
            return "nobody"
        finally:
            connection.close()

    def answers_is(name: str) -> bool:
        return answers() == name

    wait_until(partial(answers_is, "nobody"), "no primary, no connection")
    for name, other in (("three", "one"), ("one", "three")):
        stubs[other].as_before()
        stubs[name].tell("primary")
        wait_until(partial(answers_is, name), f"{name} is the primary")


# ----------------------------------------------------------------------------------------------------- reloads and runs


@each_balancer
def test_twenty_reloads_lose_nothing_and_keep_the_drained_server_drained(balancer: str) -> None:
    runtime(balancer, "set server catalog/two state drain")
    runtime(balancer, "set server catalog/three weight 7")
    slow = Slow(balancer)
    with load(balancer) as counts:
        wait_until(lambda: counts["one"] > 0, "there is load")
        counts.clear()
        states = program(
            balancer,
            "for _ in range(20):\n"
            "    reload()\n"
            "    print(s.parse_state(runtime('show servers state'))[('catalog', 'two')]['srv_admin_state'])\n",
        )
    assert states.split() == ["8"] * 20
    assert failures(counts) == {}
    assert counts["two"] == 0
    assert sum(counts.values()) > 200
    assert runtime(balancer, "get weight catalog/three").startswith("7 (initial 100)")
    slow.answer()
    assert slow.join() == 200
    # A restart is what an operator must not do, but it does not put a drained server back either.
    shell(balancer, "systemctl restart haproxy")
    assert servers(balancer, "catalog")["two"]["srv_admin_state"] == "8"
    runtime(balancer, "set server catalog/two state ready")
    runtime(balancer, "set server catalog/three weight 100")


def test_a_changed_port_takes_effect_and_a_killed_run_converges() -> None:
    moved = ("-e", "catalog_three_port=8009")
    for balancer in BALANCERS:
        runtime(balancer, "set server catalog/two state drain")
    assert set(changes(play(*moved)).values()) == {1}
    for balancer in BALANCERS:
        state = servers(balancer, "catalog")
        assert (state["three"]["srv_port"], state["three"]["srv_op_state"]) == ("8009", "0")
        assert (state["two"]["srv_admin_state"], state["one"]["srv_op_state"]) == ("8", "2")
        runtime(balancer, "set server catalog/two state ready")
        shell(balancer, f"cp --preserve {CONFIG} /root/moved.cfg")

    # A server that is not ready gets nothing, although the run has just defined it anew.
    for stubs in STUBS.values():
        stubs["three"].tell("unready")
    with load("haproxy-lb-13") as first, load("haproxy-lb-12") as second:
        assert set(changes(play()).values()) == {1}
    for stubs in STUBS.values():
        stubs["three"].as_before()
    assert (failures(first), first["three"]) == ({}, 0)
    assert (failures(second), second["three"]) == ({}, 0)
    for balancer in BALANCERS:
        assert servers(balancer, "catalog")["three"]["srv_port"] == str(STUBS[balancer]["three"].port)
        # As a run leaves it that was killed between installing and reloading.
        shell(balancer, f"cp --preserve /root/moved.cfg {CONFIG}")

    assert set(changes(play(*moved)).values()) == {1}
    for balancer in BALANCERS:
        assert servers(balancer, "catalog")["three"]["srv_port"] == "8009"
        # Killed again, but this time the configuration on disk no longer even parses.
        shell(balancer, f"echo 'this is no configuration' > {CONFIG}; touch {PENDING}")
    assert set(changes(play()).values()) == {1}
    for balancer in BALANCERS:
        assert servers(balancer, "catalog")["three"]["srv_port"] == str(STUBS[balancer]["three"].port)
        assert not on(balancer).file(PENDING).exists
        assert on(balancer).file(CONFIG).mode == 0o640
        assert on(balancer).file(CONFIG).group == "haproxy"


def test_a_configuration_that_does_not_parse_never_replaces_the_running_one() -> None:
    before = {one: (worker(one), on(one).file(CONFIG).sha256sum) for one in BALANCERS}
    result = play("-e", '{"haproxy_extra": {"services": {"catalog": "no-such-keyword here"}}}')
    assert result.returncode != 0
    assert re.search(r'line \d+, "no-such-keyword here": .*nothing was changed', said(result)), said(result)
    for balancer, (pid, digest) in before.items():
        assert (worker(balancer), on(balancer).file(CONFIG).sha256sum) == (pid, digest)
        assert request(balancer).status == 200


def listens(balancer: str) -> bool:
    """Whether the other process has taken the port."""
    return bool(on(balancer).socket("tcp://0.0.0.0:7070").is_listening)


def test_a_port_that_is_taken_leaves_the_old_worker_and_the_old_file() -> None:
    before = {one: (worker(one), on(one).file(CONFIG).sha256sum) for one in BALANCERS}
    for balancer in BALANCERS:
        shell(balancer, "systemd-run --unit taken python3 -m http.server 7070")
        wait_until(partial(listens, balancer), "the port is taken")
    result = play(
        "-e", '{"haproxy_extra": {"sections": "frontend late\\n    bind *:7070\\n    default_backend catalog"}}'
    )
    for balancer in BALANCERS:
        shell(balancer, "systemctl stop taken")
    assert result.returncode != 0
    assert re.search(r"7070.*the old worker keeps serving", said(result)), said(result)
    for balancer, (pid, digest) in before.items():
        assert (worker(balancer), on(balancer).file(CONFIG).sha256sum) == (pid, digest)
        assert request(balancer).status == 200
    assert changes(play())  # A failed reload does not stand in the way of the next run.
