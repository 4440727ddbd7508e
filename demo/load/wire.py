"""HTTP/1.1 as the load needs it: kept-alive connections, no repeats of its own, and every failure told as it is.

A general client spends three times the processor on a request and repeats some of them unasked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

CONNECT_WITHIN = 2.0
IDLE_AT_MOST = 30.0


class Broken(Exception):
    """No answer; `kind` is connect (nothing was sent), timeout or disconnected (it may have been carried out)."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Response:
    """One whole answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Response] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._ends_with_the_connection = False
        self._lasts = True
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""
        return self._lasts and self._answer is None and not self._transport.is_closing()

    def exchange(self, request: bytes) -> asyncio.Future[Response]:
        """Send a request; the future gets the response, or `Broken`."""
        self._answer = self._loop.create_future()
        self._headers, self._body = [], []
        self._ends_with_the_connection = False
        self._transport.write(request)
        return self._answer

    def give_up(self, kind: str, detail: str) -> None:
        """Break off: whatever the answer would have been, the connection is of no use any more."""
        self._lasts = False
        self._transport.abort()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(Broken(kind, detail))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what nobody asked for ends the connection."""
        if self._answer is None:
            self.give_up("disconnected", "an answer without a request")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.give_up("disconnected", f"no HTTP/1.1: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish a body that ends with its connection; anything else under way is lost."""
        self._lasts = False
        if self._ends_with_the_connection and exc is None:
            self.on_message_complete()
        else:
            self.give_up("disconnected", f"{type(exc).__name__}: {exc}" if exc else "the server closed the connection")

    def on_message_begin(self) -> None:
        """Notice a second answer behind the first."""
        if self._answer is None:
            self.give_up("disconnected", "an answer without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """See how the body ends and whether the connection lasts."""
        names = {name.lower() for name, _ in self._headers}
        bounded = self._parser.get_status_code() < 200 or names & {b"content-length", b"transfer-encoding"}
        self._ends_with_the_connection = not bounded
        self._lasts = self._lasts and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand over the response; an interim one (1xx) is none."""
        status = self._parser.get_status_code()
        if status < 200:
            self._headers, self._body = [], []
            return
        self._ends_with_the_connection = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in self._headers}
            answer.set_result(Response(status, headers, b"".join(self._body)))


class Client:
    """Connections to a few base URLs, as many as there are requests under way. Needs a running event loop."""

    def __init__(self, targets: Sequence[str], host: str | None = None, ca_file: str | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: list[list[Connection]] = [[] for _ in targets]
        self._addresses: list[tuple[str, int, ssl.SSLContext | None]] = []
        self._common: list[bytes] = []
        tls = None
        for target in targets:
            parts = urlsplit(target)
            secure = parts.scheme == "https"
            if secure and tls is None:
                tls = ssl.create_default_context(cafile=ca_file)
            address = parts.hostname or "", parts.port or (443 if secure else 80), tls if secure else None
            self._addresses.append(address)
            self._common.append(f"Host: {host or parts.netloc}\r\nUser-Agent: mes-load\r\nAccept: */*\r\n".encode())

    async def exchange(
        self, target: int, method: str, path: str, within: float, *, headers: bytes = b"", body: bytes = b""
    ) -> Response:
        """Send one request to the target with this number and return the whole answer, or raise `Broken`.

        `headers` are whole lines. `within` is seconds for everything.
        """
        began = self._loop.time()
        connection = self._take(target, began) or await self._connect(target, min(CONNECT_WITHIN, within))
        start = f"{method} {path} HTTP/1.1\r\n".encode()
        length = f"Content-Length: {len(body)}\r\n".encode() if body else b""
        answer = connection.exchange(b"".join((start, self._common[target], headers, length, b"\r\n", body)))
        late = f"no answer within {within:.1f} s"
        timer = self._loop.call_at(began + within, connection.give_up, "timeout", late)
        try:
            response = await answer
        except asyncio.CancelledError:
            connection.give_up("abandoned", "cancelled")
            raise
        finally:
            timer.cancel()
        if connection.reusable:
            connection.idle_since = self._loop.time()
            self._idle[target].append(connection)
        else:
            connection.give_up("disconnected", "not to be used again")
        return response

    def close(self) -> None:
        """Close the idle connections."""
        for idle in self._idle:
            while idle:
                idle.pop().give_up("disconnected", "closed")

    def _take(self, target: int, now: float) -> Connection | None:
        idle = self._idle[target]
        while idle:
            connection = idle.pop()
            if connection.reusable:
                if now - connection.idle_since < IDLE_AT_MOST:
                    return connection
                connection.give_up("disconnected", "idle for too long")
        return None

    async def _connect(self, target: int, within: float) -> Connection:
        host, port, tls = self._addresses[target]
        try:
            connecting = self._loop.create_connection(
                lambda: Connection(self._loop), host, port, ssl=tls, server_hostname=host if tls else None
            )
            _, connection = await asyncio.wait_for(connecting, within)
        except asyncio.TimeoutError:
            raise Broken("connect", f"no connection to {host}:{port} within {within:.1f} s") from None
        except OSError as error:
            raise Broken("connect", f"{host}:{port}: {error}") from error
        return connection
