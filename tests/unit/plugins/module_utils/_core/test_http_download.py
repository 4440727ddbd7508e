# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import io
from collections.abc import Iterator

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import http_download
from http_server import served

BODY = b"release" * 1000


ASKED: list[tuple[str, str]] = []
"""Path and login of each request."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Has one file, or behaves badly where the path asks for that."""

    def do_GET(self) -> None:
        ASKED.append((self.path, self.headers.get("Authorization", "")))
        status = {"/gone": 404, "/moved": 302, "/loop": 302}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            there = self.headers["Host"].replace("127.0.0.1", "localhost")
            self.send_header("Location", "/loop" if self.path == "/loop" else f"http://{there}/there")
        self.send_header("Content-Length", str(len(BODY) + (1 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    ASKED.clear()
    with served(Handler) as found:
        yield found


def download(url: str, limit: int = len(BODY)) -> bytes:
    sink = io.BytesIO()
    http_download.download(url, sink, limit, 5)
    return sink.getvalue()


def test_file_arrives(port: int) -> None:
    assert download(f"http://127.0.0.1:{port}/a?b=%20c#d") == BODY
    assert ASKED == [("/a?b=%20c", "")]


def test_login_of_the_address_is_sent_to_its_host_only(port: int) -> None:
    assert download(f"http://deploy:p%40ss@127.0.0.1:{port}/moved") == BODY
    assert ASKED == [("/moved", "Basic ZGVwbG95OnBAc3M="), ("/there", "")]


def test_more_than_the_limit_is_refused(port: int) -> None:
    with pytest.raises(http_download.TooBig):
        download(f"http://127.0.0.1:{port}/a", len(BODY) - 1)


@pytest.mark.parametrize("path", ["gone", "loop"])
def test_what_the_server_does_wrong_is_an_os_error(port: int, path: str) -> None:
    with pytest.raises(OSError, match=r"404|redirect"):
        download(f"http://127.0.0.1:{port}/{path}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a", "http://no host/a", "http://[::1/a", "http://a:b/"])
def test_address_that_leads_nowhere_is_an_error_without_the_login(url: str) -> None:
    with pytest.raises((OSError, ValueError)) as error:
        download(url.replace("http://", "http://deploy:hunter2@", 1))
    assert "hunter2" not in str(error.value)
