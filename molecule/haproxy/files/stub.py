# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that does as it is told: slow, unready, mute, primary. Started as ``stub.py name:port:role_port``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NAME, PORT, ROLE_PORT = sys.argv[1].split(":")
RUNTIME = "/run/stub"
executed: list[str] = []
lock = threading.Lock()


def told(what: str) -> bool:
    """Whether the test has put a file that says so."""
    return os.path.exists(f"{RUNTIME}/{PORT}.{what}")


class Service(BaseHTTPRequestHandler):
    """Answers with who it is and what it was asked."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # An answer leaves in one piece: of one that was cut in half, a balancer can save nothing.

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/readyz":
            self.answer(503 if told("unready") else 200, NAME)
            return
        if url.path == "/executed":
            self.answer(200, executed)
            return
        if url.path == "/upgrade":
            self.echo()
            return
        with lock:
            executed.append(f"{self.command} {url.path} {query.get('key', [''])[0]}")
            first = executed.count(executed[-1]) == 1
        deadline = time.monotonic() + float(query.get("seconds", ["0"])[0])
        while time.monotonic() < deadline and not told(f"answer-{query.get('key', [''])[0]}"):
            time.sleep(0.02)
        if "mute" in query and first:
            self.close_connection = True  # Executed, but nobody hears of it.
            return
        if "busy" in query and first:
            self.answer(503, NAME)
            return
        self.answer(200, {"name": NAME, "path": self.path, "headers": dict(self.headers.items())})

    def echo(self) -> None:
        """Leave HTTP, as a WebSocket does, and send back what comes until the other side leaves."""
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while data := self.connection.recv(1024):
            self.connection.sendall(data)

    do_GET = do_POST = do_HEAD = serve

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Role(Service):
    """Tells whether this one is the primary, as Patroni does."""

    def serve(self) -> None:
        self.answer(200 if told("primary") else 503, NAME)

    do_GET = do_OPTIONS = do_HEAD = serve


def main() -> None:
    """Serve on both ports."""
    os.makedirs(RUNTIME, exist_ok=True)
    ThreadingHTTPServer.request_queue_size = 256
    threading.Thread(target=ThreadingHTTPServer(("", int(ROLE_PORT)), Role).serve_forever, daemon=True).start()
    ThreadingHTTPServer(("", int(PORT)), Service).serve_forever()


if __name__ == "__main__":
    main()
