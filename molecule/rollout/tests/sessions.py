# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions that last until a test lets them go: a request without an answer yet, or a WebSocket."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import estate
from helpers import BALANCERS, NODES, stats

BALANCER = "roll-lb-2"
HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: catalog\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Sessions:
    """Sessions of one kind, ``request`` or ``socket``, through one load balancer."""

    def __init__(self, kind: str) -> None:
        self._hold = self._request if kind == "request" else self._socket
        self._let_go = threading.Event()
        self._threads: list[threading.Thread] = []
        self.broken: list[str] = []
        """Why sessions have ended that should not have."""

    def open_on_each_node(self) -> None:
        """Open one after the other until each node has one."""
        estate.wait_for(self._one_each, timeout=60, what="a session on each node")
        assert self.broken == []

    def end(self) -> None:
        """Let them go, and wait until all have ended."""
        self._let_go.set()
        for address in NODES.values():
            estate.get(f"http://{address}:3000/let-go")
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a session does not end"

    def _one_each(self) -> bool:
        if all(int(row["scur"]) > 0 for row in stats(BALANCER).values()):
            return True
        self._threads.append(threading.Thread(target=self._kept, daemon=True))
        self._threads[-1].start()
        return False

    def _kept(self) -> None:
        try:
            self._hold()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.broken.append(repr(error))

    def _request(self) -> None:
        connection = http.client.HTTPConnection(BALANCERS[BALANCER], 80, timeout=250)
        connection.request("GET", "/held")
        json.loads(connection.getresponse().read())

    def _socket(self) -> None:
        with socket.create_connection((BALANCERS[BALANCER], 80), timeout=100) as stream:
            stream.sendall(HANDSHAKE)
            if b" 101 " not in stream.recv(1024):
                raise ValueError("no WebSocket")
            while not self._let_go.wait(0.2):
                stream.sendall(b"x")
                if not stream.recv(16):
                    raise ValueError("closed")
