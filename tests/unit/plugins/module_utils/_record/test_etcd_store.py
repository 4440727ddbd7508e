# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong between the store and etcd, from answers that etcd 3.4.23 and 3.5.16 gave.

That the store keeps its contract is tried on a real etcd: `contracts.etcd_store`.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import IncompleteRead, RemoteDisconnected
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import etcd_json
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import etcd, etcd_requests
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd_store import TRIES, EtcdStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_keys import StoreKeys
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import LockLost, StoreError
from contracts.store_contract import ALICE, ended, record
from hypothesis import given
from hypothesis import strategies as st

A, B, C = (f"http://10.0.0.1{number}:2379" for number in (1, 2, 3))
HEADER = {"cluster_id": "7968293139945215554", "member_id": "4883755753530146457", "revision": "7", "raft_term": "2"}
EMPTY = {"header": HEADER, "succeeded": True, "responses": [{"response_range": {"header": {"revision": "7"}}}] * 6}

Answer = Callable[[urllib.request.Request, float], Any]


class Reply(io.BytesIO):
    """An answer that stays open like a stream; reading on would block for ever."""

    def read(self, *arguments: Any) -> bytes:
        assert arguments or b"\n" not in self.getvalue()[:-1], "a stream is read by lines"
        return super().read(*arguments)


def says(body: Any, status: int = 200) -> Answer:
    """An answer with a status and a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(request: urllib.request.Request, _timeout: float) -> Any:
        if status != 200:
            raise urllib.error.HTTPError(request.full_url, status, "", Message(), io.BytesIO(raw))
        return Reply(raw)

    return answer


def fails(error: Exception) -> Answer:
    """No answer."""

    def answer(_request: urllib.request.Request, _timeout: float) -> Any:
        raise error

    return answer


class World:
    """Endpoints that answer from a script, and a clock that a slow one moves."""

    def __init__(self, script: dict[str, Answer | list[Answer]]) -> None:
        self.script = script
        self.now = 100.0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[str | None] = []

    def open(self, request: urllib.request.Request, timeout: float) -> Any:
        url = request.full_url
        endpoint, path = url[: url.index("/v3/")], url[url.index("/v3/") :]
        assert isinstance(request.data, bytes)
        self.asked.append((endpoint + path, json.loads(request.data)))
        self.headers.append(request.get_header("Authorization"))
        found = self.script[endpoint]
        answer = found.pop(0) if isinstance(found, list) else found
        self.now += timeout if answer in (DEAD, SILENT) else 0.001
        assert 0 < timeout <= etcd.ATTEMPT
        return answer(request, timeout)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def connects(self, endpoint: str, timeout: float) -> bool:
        dead = self.script[endpoint] is DEAD
        self.now += timeout if dead else 0.0
        return not dead

    def store(self, *endpoints: str, username: str = "") -> EtcdStore:
        gateway = etcd.Gateway(
            etcd.check_endpoints(endpoints),
            self.open,
            username,
            "secret" if username else "",
            connects=self.connects,
            timer=lambda: self.now,
            sleep=self.sleep,
        )
        return EtcdStore(StoreKeys("catalog", gateway))


SILENT = fails(urllib.error.URLError(socket.timeout("timed out")))
DEAD = fails(urllib.error.URLError(TimeoutError("timed out")))
REFUSES = fails(urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")))
LOST = says({"code": 5, "message": "etcdserver: requested lease not found"}, 404)
NO_LEADER = says({"error": {"code": 14, "message": "etcdserver: no leader"}}, 503)

# (status, body) of each kind of refusal, with what the user is told.
REFUSALS = {
    "no user": (
        400,
        {"code": 3, "message": "etcdserver: user name is empty"},
        "etcd at http://10.0.0.11:2379 refuses this (user name is empty): it wants a user; set username and password",
    ),
    "no right": (
        403,
        {"code": 7, "message": "etcdserver: permission denied"},
        "user '' may not use these keys; grant it readwrite on the prefix",
    ),
    "full": (
        429,
        {"code": 8, "message": "etcdserver: mvcc: database space exceeded"},
        "its database is full; compact and defragment it, then etcdctl alarm disarm",
    ),
    "large": (
        400,
        {"error": "etcdserver: request is too large", "message": "etcdserver: request is too large", "code": 3},
        "raise its max-request-bytes, use the backend file, or roll out to fewer hosts",
    ),
    "session": (401, {"code": 16, "message": "etcdserver: invalid auth token"}, "it ended the session"),
    "other": (400, {"code": 3, "message": "etcdserver: key is not provided"}, "(key is not provided): look at its log"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_of_etcd_is_told_at_once_with_the_way_out(name: str) -> None:
    status, body, told = REFUSALS[name]
    world = World({A: says(body, status), B: says(EMPTY)})
    with pytest.raises(StoreError) as refused:
        world.store(A, B).read()
    assert told in str(refused.value)
    # Another member would say the same.
    assert len(world.asked) == 1


TROUBLES: dict[str, tuple[Answer, str]] = {
    "refuses": (REFUSES, "Connection refused"),
    "silent": (SILENT, "no answer within "),
    "no leader": (NO_LEADER, "etcdserver: no leader"),
    "timed out": (says({"code": 14, "message": "etcdserver: request timed out"}, 503), "request timed out"),
    "deadline": (says({"code": 4, "message": "context deadline exceeded"}, 504), "context deadline exceeded"),
    "busy": (says({"code": 8, "message": "etcdserver: too many requests"}, 429), "too many requests"),
    "page": (says(b"<html>welcome</html>"), "it answers, but not as etcd 3.4 or newer"),
    "list": (says([1]), "it answers, but not as etcd 3.4 or newer"),
    "old": (says(b"404 page not found", 404), "it answers with HTTP status 404, and not as etcd 3.4 or newer"),
    "torn": (fails(IncompleteRead(b"{")), "IncompleteRead"),
    "hung up": (fails(RemoteDisconnected("Remote end closed connection")), "Remote end closed connection"),
    "certificate": (
        fails(urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))),
        "no TLS connection",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_of_one_member_is_no_trouble_of_the_store(name: str) -> None:
    answer, told = TROUBLES[name]
    world = World({A: answer, B: says(EMPTY)})
    assert world.store(A, B).read().lock is None
    alone = World({A: answer})
    with pytest.raises(StoreError) as refused:
        alone.store(A).read()
    assert told in str(refused.value)
    assert "bring a majority of its members back, or correct endpoints" in str(refused.value)


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("members", [1, 2, 3])
def test_trouble_of_all_members_ends_in_time_and_names_each(name: str, members: int) -> None:
    endpoints = [A, B, C][:members]
    world = World(dict.fromkeys(endpoints, TROUBLES[name][0]))
    store = world.store(*endpoints)
    begin = world.now
    for act in (store.read, lambda: store.acquire(ALICE, 45), lambda: store.close(ended(), "x")):
        begin = world.now
        with pytest.raises(StoreError) as refused:
            act()
        assert world.now - begin <= 6.1
        assert [one for one in endpoints if one not in str(refused.value)] == []
        assert "\n" not in str(refused.value)
    # Between rounds it waits: nobody is asked hundreds of times.
    assert len(world.asked) <= 100 * members


def test_election_is_waited_for() -> None:
    world = World({A: [NO_LEADER, NO_LEADER, NO_LEADER, says(EMPTY)]})
    assert world.store(A).read().lock is None
    assert 100.5 < world.now < 102


def test_member_that_refuses_is_not_waited_for() -> None:
    world = World({A: REFUSES, B: REFUSES})
    with pytest.raises(StoreError):
        world.store(A, B).read()
    assert world.now < 100.1


def test_dead_host_costs_a_glance_and_the_member_that_answers_is_asked_from_then_on() -> None:
    world = World({A: DEAD, B: says(EMPTY), C: says(EMPTY)})
    store = world.store(A, B, C)
    for _ in range(3):
        store.read()
    assert world.now - 100 < etcd.CONNECT + 0.1
    assert {url for url, _body in world.asked} == {f"{B}/v3/kv/txn"}


def test_single_member_is_asked_without_a_glance() -> None:
    world = World({A: says(EMPTY)})
    store = world.store(A)
    store.keys.gateway.connects = lambda *_arguments: pytest.fail("a connection for nothing")
    store.read()


def test_stream_is_read_by_one_line() -> None:
    line = json.dumps({"result": {"header": HEADER, "ID": "5", "TTL": "45"}}).encode() + b"\n"
    world = World({A: says(line + line)})
    gateway = world.store(A).keys.gateway
    gateway.begin()
    assert etcd_requests.keep_alive(gateway, 5)
    gone = World({A: says({"result": {"header": HEADER, "ID": "5"}})}).store(A).keys.gateway
    gone.begin()
    assert not etcd_requests.keep_alive(gone, 5)


def found(key: str, value: Any, lease: int = 0) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    kv = {
        "key": etcd_json.encode(f"/mesops/rollouts/catalog/{key}"),
        "value": etcd_json.encode(text),
        "mod_revision": "6",
        "lease": str(lease),
    }
    return {"response_range": {"header": {"revision": "7"}, "kvs": [kv], "count": "1"}}


LEASE = {"token": "t0", "holder": {"user": "deploy", "host": "ci-7"}, "acquired_at": 1, "renewed_at": 1, "ttl": 45}
NOTHING = {"response_range": {"header": {"revision": "7"}}}


def locked(*more: dict[str, Any]) -> Answer:
    return says(
        {"header": HEADER, "succeeded": True, "responses": [found("lock", LEASE, 5), NOTHING, NOTHING, NOTHING, *more]}
    )


def test_lease_that_ends_in_the_middle_of_a_write_is_a_lost_lock() -> None:
    alive = says({"result": {"ID": "5", "TTL": "45"}})
    for last in ([says({"result": {"ID": "5"}})], [alive, LOST]):
        world = World({A: [locked(), *last]})
        with pytest.raises(LockLost, match="nobody holds it now"):
            world.store(A).write(record(), "t0", 45)
        assert world.script[A] == []


def test_keys_that_others_change_all_the_time_are_given_up() -> None:
    alive = says({"result": {"ID": "5", "TTL": "45"}})
    world = World({A: [locked(), alive, says({"header": HEADER})] * TRIES})
    with pytest.raises(StoreError, match=rf"/catalog/lock in etcd was changed by others {TRIES} times"):
        world.store(A).write(record(), "t0", 45)


def test_write_marks_the_open_record_only_where_it_is_another() -> None:
    """So a run that writes all the time is no obstacle to a flag, which compares the mark."""
    alive = says({"result": {"ID": "5", "TTL": "45"}})
    done = says({"header": HEADER, "succeeded": True, "responses": [{"response_put": {}}] * 2 + [NOTHING]})
    for marked, times in ((str(record()["id"]), 0), ("another", 1)):
        mark = {"kvs": [{"key": etcd_json.encode("open"), "value": etcd_json.encode(marked), "mod_revision": "4"}]}
        looked = says(
            {
                "header": HEADER,
                "succeeded": True,
                "responses": [found("lock", LEASE, 5), {"response_range": mark}, NOTHING, NOTHING],
            }
        )
        read = says({"header": HEADER, "succeeded": True, "responses": [NOTHING]})
        world = World({A: [looked, read, alive, done]})
        world.store(A).write(record(), "t0", 45)
        puts = [one["request_put"]["key"] for one in world.asked[-1][1]["success"] if "request_put" in one]
        assert puts.count(etcd_json.encode("/mesops/rollouts/catalog/open")) == times


def test_write_compares_what_it_has_read_and_says_so_as_etcd_wants_it() -> None:
    alive = says({"result": {"ID": "5", "TTL": "45"}})
    done = says({"header": HEADER, "succeeded": True, "responses": [{"response_put": {}}] * 3 + [NOTHING]})
    world = World({A: [locked(), alive, done]})
    assert world.store(A).write(record(), "t0", 45).revision == 7
    body = world.asked[-1][1]
    key = etcd_json.encode("/mesops/rollouts/catalog/lock")
    assert body["compare"][0] == {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": "6"}
    puts = [one["request_put"] for one in body["success"] if "request_put" in one]
    assert [base64.b64decode(one["key"]).decode().rpartition("/catalog/")[2] for one in puts] == [
        "lock",
        "records/r1",
        "open",
    ]
    assert (puts[0]["lease"], "lease" in puts[1]) == ("5", False)
    assert json.loads(base64.b64decode(puts[1]["value"])) == record()


def test_user_logs_in_once_and_again_when_the_session_ends() -> None:
    session = [says({"header": HEADER, "token": name}) for name in ("one", "two")]
    ended_session = says({"code": 16, "message": "etcdserver: invalid auth token"}, 401)
    world = World({A: [session[0], says(EMPTY), says(EMPTY), ended_session, session[1], says(EMPTY)]})
    store = world.store(A, username="roll")
    for _ in range(3):
        store.read()
    assert [url.rpartition("/v3/")[2] for url, _body in world.asked] == [
        "auth/authenticate",
        "kv/txn",
        "kv/txn",
        "kv/txn",
        "auth/authenticate",
        "kv/txn",
    ]
    assert world.headers == [None, "one", "one", "one", None, "two"]
    assert world.asked[0][1] == {"name": "roll", "password": "secret"}


def test_password_is_in_no_message_and_no_representation() -> None:
    wrong = says(
        {"code": 3, "message": "etcdserver: authentication failed, invalid user ID or password"},
        400,
    )
    store = World({A: wrong}).store(A, username="roll")
    with pytest.raises(StoreError, match="does not accept user 'roll' with this password") as refused:
        store.read()
    assert "secret" not in f"{refused.value} {store!r}"


def test_user_without_authentication_is_told() -> None:
    off = {"error": "etcdserver: authentication is not enabled", "message": "authentication is not enabled", "code": 9}
    with pytest.raises(StoreError, match="knows no users, but user name 'roll' is set"):
        World({A: says(off, 412)}).store(A, username="roll").read()


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda one: st.lists(one, max_size=3)))
def test_lock_that_is_no_lease_is_damaged_and_never_free(value: Any) -> None:
    for reads, act in ((6, EtcdStore.read), (4, lambda store: store.acquire(ALICE, 45))):
        responses = [found("lock", json.dumps(value), 5), *[NOTHING] * (reads - 1)]
        world = World({A: says({"header": HEADER, "succeeded": True, "responses": responses})})
        with pytest.raises(StoreError, match="key /mesops/rollouts/catalog/lock in etcd is damaged"):
            act(world.store(A))


@pytest.mark.parametrize(
    "endpoint",
    ["10.0.0.11:2379", "ftp://x", "http://", "http://x:99999", "http://x/v3", "unix:///etcd", "http://x:port", ""],
)
def test_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(Refused, match=r"is no URL of an etcd member; write it like http://10\.0\.0\.11:2379"):
        etcd.check_endpoints([A, endpoint])


def test_endpoints_are_needed() -> None:
    with pytest.raises(Refused, match="endpoints is empty"):
        etcd.check_endpoints([])
    assert etcd.check_endpoints([f"{A}/", "https://[::1]:2379"]) == (A, "https://[::1]:2379")


def test_certificates_that_cannot_be_loaded_are_named() -> None:
    with pytest.raises(Refused, match=r"the certificates for etcd \(/no/ca.pem\) cannot be loaded \(No such file"):
        etcd.opener("/no/ca.pem")


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        request = urllib.request.Request("http://127.0.0.1:1/v3/kv/range", data=b"{}")
        with pytest.raises(urllib.error.URLError, match="refused"):
            etcd.opener()(request, 2.0)


def test_glance_sees_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert etcd.connects(f"http://127.0.0.1:{port}", 1.0)
    assert not etcd.connects(f"http://127.0.0.1:{port}", 1.0)
