# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A HAProxy of its own before two servers that misbehave as they are told, and what a gate sees of them.

Prints {story: {server: what was seen}} as JSON. Runs on loopback, on the host where it is started.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import master, reading
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.traffic import Traffic
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Meter, Seen

FRONT, ONE, TWO = 23480, 23481, 23482
CONFIG = f"""
defaults
    mode http
    timeout connect 2s
    timeout client 10m
    timeout server 10m
    retries 3
    option redispatch 1
frontend front
    bind 127.0.0.1:{FRONT}
    default_backend catalog
backend catalog
    retry-on conn-failure empty-response
    http-request disable-l7-retry unless {{ method GET }}
    server one 127.0.0.1:{ONE}
    server two 127.0.0.1:{TWO}
"""
ANSWERS = {
    "well": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "refuses": b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "redirects": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
}


class Server:
    """Answers as ``mode`` says: one of ``ANSWERS``, empty (closes the connection), or hang."""

    def __init__(self, port: int) -> None:
        self.mode = "well"
        self.hanging = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _address = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while connection.recv(65536):
                if self.mode == "hang":
                    self.hanging += 1
                    time.sleep(600)
                if self.mode == "empty":
                    return
                connection.sendall(ANSWERS[self.mode])


def request(server: Server, method: str = "GET") -> None:
    """One request over a connection of its own; a client whose request hangs at the server leaves without an answer."""
    hanging = server.hanging
    with socket.create_connection(("127.0.0.1", FRONT), timeout=60) as connection:
        head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        while server.hanging == hanging:
            if select.select([connection], [], [], 0.02)[0] and not connection.recv(65536):
                return


@contextmanager
def haproxy(directory: str) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy with its master."""
    path = os.path.join(directory, "haproxy.cfg")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(CONFIG)
    command = ["haproxy", "-W", "-S", os.path.join(directory, "master.sock"), "-f", path]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    """Tell each story."""
    directory = tempfile.mkdtemp()
    one, _two = Server(ONE), Server(TWO)
    with haproxy(directory) as process:

        def look() -> tuple[int, Traffic]:
            def ask(command: str) -> str:
                return master.ask(os.path.join(directory, "master.sock"), command)

            for _attempt in range(600):
                try:
                    view, traffic = reading.look_at_traffic(ask, ["catalog"], time.time())
                    return view.worker, traffic
                except reading.NoAnswer:
                    time.sleep(0.1)
            sys.exit("HAProxy gives no answer")

        def reload() -> None:
            before = look()[0]
            process.send_signal(signal.SIGUSR2)
            while look()[0] == before:
                time.sleep(0.1)

        def open_sessions(traffic: Traffic) -> int:
            return sum(counted["now"] for by_server in traffic["workers"].values() for counted in by_server.values())

        def look_when_open(sessions: int) -> Traffic:
            """HAProxy counts how a session has ended a moment after its client knows it."""
            for _attempt in range(600):
                traffic = look()[1]
                if open_sessions(traffic) == sessions:
                    return traffic
                time.sleep(0.1)
            sys.exit(f"there are {open_sessions(traffic)} open sessions, not {sessions}")

        def story(mode: str, send: Callable[[], None], looks: int = 1) -> dict[str, dict[str, int]]:
            meter, found = Meter(look_when_open(0)), {"one": Seen(), "two": Seen()}
            one.mode = mode
            send()
            for number in range(looks):
                if number > 0:
                    time.sleep(2.5)
                new = meter.look(look_when_open(one.hanging))
                found = {name: found[name] + new[name] for name in found}
            one.mode = "well"
            return {name: asdict(seen) for name, seen in found.items()}

        def twenty(method: str = "GET") -> None:
            for _number in range(20):
                request(one, method)

        def over_a_reload() -> None:
            twenty()
            reload()
            twenty()

        stories = {
            "well": story("well", twenty),
            "refuses": story("refuses", twenty),
            "redirects": story("redirects", twenty),
            "empty, tried again": story("empty", twenty),
            "empty": story("empty", lambda: twenty("POST")),
        }
        # What a worker has counted goes with it. One whose client has not said all yet stays after a reload.
        with socket.create_connection(("127.0.0.1", FRONT)) as unfinished:
            unfinished.sendall(b"GET / HTTP/1.1\r\n")
            stories["over a reload"] = story("well", over_a_reload)
        stories["hangs"] = story("hang", twenty, looks=2)
    shutil.rmtree(directory)
    print(json.dumps(stories))


main()
