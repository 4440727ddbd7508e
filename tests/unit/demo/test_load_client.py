"""The open loop and the background process against a MES of a few lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("httptools", reason="demo/load/requirements.txt is not installed in this environment")

from demo.load import BackgroundLoad, LoadConfig, windows
from demo.load.client import run_load
from demo.load.ledger import read_ledger
from demo.load.wire import Client


class _Mes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: otherwise each answer waits for a delayed acknowledgement.
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        number = self.server.count()
        self._answer(500 if number in self.server.bad else 201, {"id": number})

    def do_GET(self) -> None:
        if "?" in self.path:
            self._answer(200, {"orders": []})
        else:
            self._answer(200, {"id": int(self.path.rpartition("/")[2])})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Served-By", "mes-1")
        self.send_header("X-Read-From", "leader")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mes)
        self.bad: set[int] = set()
        self._orders = 0
        self._lock = threading.Lock()

    def count(self) -> int:
        with self._lock:
            self._orders += 1
            return self._orders

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def mes() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def test_every_request_has_its_line_and_every_order_its_entry(mes: _Server, tmp_path: Path) -> None:
    mes.bad = {3, 7}
    config = LoadConfig(
        (mes.url,),
        rate=400,
        count=40,
        reads=0.5,
        ledger=str(tmp_path / "ledger"),
        requests=str(tmp_path / "requests"),
    )
    report = run_load(config)
    assert (report.sent, report.succeeded, report.failed, report.acknowledged) == (40, 38, 2, 18)
    assert report.failed_by_kind == {"http_500": 2}
    assert report.read_from == {"leader": 38}
    with (tmp_path / "requests").open(encoding="utf-8") as stream:
        log = windows.parse(stream)
    assert log.run == report.run
    assert sorted(request.at for request in log.requests) == [round(number / 400, 3) for number in range(40)]
    assert {request.method for request in log.requests} == {"GET", "POST"}
    assert [failure.outcome for failure in windows.failures(log.requests)] == ["http_500", "http_500"]
    assert windows.shares(log.requests) == {"mes-1": 1.0}
    assert windows.p99(log.requests, method="POST") == report.latency_ms["POST"]["p99"]
    ledger = read_ledger(tmp_path / "ledger")
    assert len(ledger.acknowledged) == 18
    assert len(ledger.unknown) == 2


def test_a_safe_client_repeats_what_failed(mes: _Server, tmp_path: Path) -> None:
    mes.bad = {2}
    log_file = tmp_path / "requests"
    report = run_load(LoadConfig((mes.url,), rate=100, orders=4, retry="safe", requests=str(log_file)))
    assert (report.failed, report.acknowledged, report.retried) == (0, 4, 1)
    with log_file.open(encoding="utf-8") as stream:
        assert sorted(request.attempts for request in windows.parse(stream).requests) == [1, 1, 1, 2]


def test_a_mistake_of_the_client_is_a_failed_request(mes: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_arguments: object, **_options: object) -> object:
        raise AssertionError("a mistake")

    monkeypatch.setattr(Client, "exchange", broken)
    report = run_load(LoadConfig((mes.url,), rate=100, count=3))
    assert (report.sent, report.failed_by_kind) == (3, {"client": 3})
    assert "a mistake" in report.failures[0]["detail"]


def test_a_test_marks_windows_while_the_load_runs(mes: _Server, tmp_path: Path) -> None:
    with BackgroundLoad(LoadConfig((mes.url,), rate=200, duration=60), directory=str(tmp_path)) as load:
        before = load.now()
        load.wait_for_acknowledged(load.acknowledged() + 20)
        after = load.now()
        assert 0 < before < after
        during = list(windows.within(load.log().requests, before, after))
        assert len(during) >= 10
        assert not windows.failures(during)
    assert load.report.failed == 0
    assert len(load.log().requests) == load.report.planned
    assert load.report.requests == str(tmp_path / "requests.txt")


def test_a_load_of_reads_alone_has_begun_when_it_has_an_answer(mes: _Server, tmp_path: Path) -> None:
    with BackgroundLoad(LoadConfig((mes.url,), rate=50, duration=60, reads=1), directory=str(tmp_path)) as load:
        assert [request.method for request in load.log().requests if request.ok]
