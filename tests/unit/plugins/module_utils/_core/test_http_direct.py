# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests past every proxy, against real servers on loopback, one of them with a certificate of its own authority."""

from __future__ import annotations

import http.server
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct
from http_server import certificate, served


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Key and certificate for localhost that nobody has signed."""
    return certificate(tmp_path, "localhost")


@pytest.fixture
def port() -> Iterator[int]:
    with served(_Answers) as found:
        yield found


@pytest.fixture
def secure_port(pair: Path) -> Iterator[int]:
    with served(_Answers, pair) as found:
        yield found


@pytest.fixture(autouse=True)
def _proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def ask(url: str, *handlers: urllib.request.BaseHandler) -> bytes:
    with http_direct.opener(*handlers).open(url, timeout=10) as reply:
        found: bytes = reply.read()
    return found


def test_no_certificate_is_read_for_http(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_arguments: object, **_named: object) -> None:
        pytest.fail("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    assert ask(f"http://127.0.0.1:{port}/") == b"ok"


def test_certificate_that_nobody_vouches_for_is_refused(secure_port: int) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(f"https://localhost:{secure_port}/")


def test_what_the_system_trusts_is_trusted(secure_port: int, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pair))
    assert ask(f"https://localhost:{secure_port}/") == b"ok"


def test_certificate_for_another_name_is_refused(secure_port: int, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pair))
    with pytest.raises(urllib.error.URLError, match="IP address mismatch"):
        ask(f"https://127.0.0.1:{secure_port}/")


def test_callers_authority_stands_in_for_the_systems(secure_port: int, pair: Path) -> None:
    context = ssl.create_default_context(cafile=str(pair))
    assert ask(f"https://localhost:{secure_port}/", urllib.request.HTTPSHandler(context=context)) == b"ok"
