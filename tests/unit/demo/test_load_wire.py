"""No failure hides and no answer is made up: the client's HTTP against servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

pytest.importorskip("httptools", reason="demo/load/requirements.txt is not installed in this environment")

from demo.load.wire import Broken, Client, Response

T = TypeVar("T")
Behaviour = Callable[["Peer"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nX-Served-By: mes-1\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length: ")
        return head + (await self.reader.readexactly(int(length.split(b"\r\n")[0])) if length else b"")

    async def answer(self, data: bytes = OK) -> None:
        await self.request()
        self.writer.write(data)
        await self.writer.drain()


class Server:
    """Each connection gets the next behaviour; what was asked is kept."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviours[self.connections]
        self.connections += 1
        try:
            await behaviour(Peer(reader, writer))
        finally:
            writer.close()


def _with_server(server: Server, scenario: Callable[[Client], Coroutine[Any, Any, T]], **options: Any) -> T:
    async def run() -> T:
        listener = await asyncio.start_server(server, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        client = Client([f"http://127.0.0.1:{port}"], **options)
        try:
            return await scenario(client)
        finally:
            client.close()
            listener.close()

    return asyncio.run(asyncio.wait_for(run(), 10))


async def _get(client: Client, within: float = 5.0) -> Response:
    return await client.exchange(0, "GET", "/orders/1", within)


def _broken(server: Server, within: float = 5.0) -> Broken:
    async def scenario(client: Client) -> Broken:
        with pytest.raises(Broken) as broken:
            await _get(client, within)
        return broken.value

    return _with_server(server, scenario)


def test_what_is_sent() -> None:
    seen: list[bytes] = []

    async def once(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.writer.write(OK)

    async def scenario(client: Client) -> Response:
        return await client.exchange(0, "POST", "/orders", 5.0, headers=b"Idempotency-Key: k\r\n", body=b"{}")

    response = _with_server(Server(once), scenario, host="mes.example")
    assert response == Response(200, {"x-served-by": "mes-1", "content-length": "2"}, b"{}")
    lines = seen[0].split(b"\r\n")
    assert lines[0] == b"POST /orders HTTP/1.1"
    assert {b"Host: mes.example", b"Idempotency-Key: k", b"Content-Length: 2"} <= set(lines)
    assert lines[-2:] == [b"", b"{}"]


def test_connections_are_kept_and_used_again() -> None:
    async def forever(peer: Peer) -> None:
        while True:
            await peer.answer()

    server = Server(forever)

    async def scenario(client: Client) -> int:
        for _ in range(5):
            await _get(client)
        return server.connections

    assert _with_server(server, scenario) == 1


def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    together = asyncio.Event()
    server = Server()

    async def once(peer: Peer) -> None:
        await peer.request()
        if server.connections == 2:
            together.set()
        await together.wait()
        peer.writer.write(OK)

    server.behaviours = [once, once]

    async def scenario(client: Client) -> list[Response]:
        return list(await asyncio.gather(_get(client), _get(client)))

    assert [response.status for response in _with_server(server, scenario)] == [200, 200]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        OK + OK,
    ],
    ids=["close", "http-1.0", "until-the-end", "a-second-answer"],
)
def test_a_connection_that_cannot_go_on_is_replaced(first: bytes) -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(first)

    server = Server(once, once)

    async def scenario(client: Client) -> tuple[Response, Response]:
        return await _get(client), await _get(client)

    assert [response.body for response in _with_server(server, scenario)] == [b"{}", b"{}"]
    assert server.connections == 2


def test_a_connection_that_was_closed_while_idle_is_replaced_unseen() -> None:
    closed = asyncio.Event()

    async def once(peer: Peer) -> None:
        await peer.answer()
        peer.writer.close()
        await peer.writer.wait_closed()
        closed.set()

    server = Server(once, once)

    async def scenario(client: Client) -> int:
        await _get(client)
        await closed.wait()
        while client._idle[0][0].reusable:  # until the client's end has seen it too
            await asyncio.sleep(0)
        return (await _get(client)).status

    assert _with_server(server, scenario) == 200


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "interim", "empty"],
)
def test_other_forms_of_answers(data: bytes, body: bytes) -> None:
    async def in_pieces(peer: Peer) -> None:
        await peer.request()
        for byte in data:
            peer.writer.write(bytes([byte]))
            await peer.writer.drain()

    assert _with_server(Server(in_pieces), _get).body == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"SSH-2.0-OpenSSH\r\n",
    ],
    ids=["nothing", "half-a-head", "half-a-body", "half-the-chunks", "no-http"],
)
def test_an_answer_that_is_cut_short_or_is_none_is_a_failure(data: bytes) -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(data)

    assert _broken(Server(once)).kind == "disconnected"


def test_a_reset_is_a_failure_even_where_the_body_ends_with_the_connection() -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n{")
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()

    assert _broken(Server(once)).kind == "disconnected"


def test_no_answer_in_time() -> None:
    gone = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        assert await peer.reader.read() == b""
        gone.set()

    async def scenario(client: Client) -> Broken:
        with pytest.raises(Broken) as broken:
            await _get(client, within=0.1)
        await gone.wait()  # the connection is not kept for another request's answer to arrive on
        return broken.value

    broken = _with_server(Server(silent), scenario)
    assert (broken.kind, broken.detail) == ("timeout", "no answer within 0.1 s")


def test_nobody_listens() -> None:
    async def scenario() -> Broken:
        listener = await asyncio.start_server(Server(), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        with pytest.raises(Broken) as broken:
            await _get(Client([f"http://127.0.0.1:{port}"]))
        return broken.value

    broken = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert broken.kind == "connect"
    assert "127.0.0.1" in broken.detail


def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        assert await peer.reader.read() == b""
        gone.set()

    async def once(peer: Peer) -> None:
        await peer.answer()

    async def scenario(client: Client) -> int:
        task = asyncio.create_task(_get(client))
        await asked.wait()
        task.cancel()
        await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await _get(client)).status

    assert _with_server(Server(silent, once), scenario) == 200
