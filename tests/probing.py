# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes to try, tools that must not be used, and servers on loopback: what the tests of all types of probes share."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import Request
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import SHOWN, Tools

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


def no_fetch(_request: Request, _timeout: float) -> tuple[int, bytes]:
    raise AssertionError("nothing is to be fetched")


def tools(**changes: Any) -> Tools:
    """Tools that must not be used, but for those that are given."""
    defaults: dict[str, Any] = {"fetch": no_fetch, "run": no_run, "connect": no_fetch, "clock": lambda: 1000.0}
    return Tools(**{**defaults, **changes})


def phase_and_text(sample: Mapping[str, Any]) -> tuple[str, str]:
    assert sample["phase"] in PHASES
    assert sample["text"] == " ".join(sample["text"].split())
    assert len(sample["text"]) <= SHOWN
    return sample["phase"], sample["text"]


def accepted(probe: dict[str, Any]) -> bool:
    """Whether a description is good as it stands, but for its null keys."""
    return probes.check(probe, PLACE) == {key: value for key, value in probe.items() if value is not None}


def refused(probe: Any) -> str:
    """The one sentence with which a description is refused, without the place in which it stands."""
    with pytest.raises(ProbeError) as why:
        probes.check(probe, PLACE)
    sentence = str(why.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "secret" not in sentence
    return sentence.replace(PLACE, "PLACE")


def timeouts_of(probe: dict[str, Any]) -> tuple[set[float], set[float]]:
    """What a request is given where the probe says nothing, and where it says half a second."""

    def asked(timeout: float | None) -> set[float]:
        seen = set()

        def fetch(_request: Request, seconds: float) -> tuple[int, bytes]:
            seen.add(seconds)
            return 200, b""

        probes.take(probe if timeout is None else {**probe, "timeout": timeout}, tools(fetch=fetch))
        probes.take({**probe, "timeout": timeout}, tools(fetch=fetch))
        return seen

    return asked(None), asked(0.5)


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
