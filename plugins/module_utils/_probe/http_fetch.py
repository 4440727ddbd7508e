# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What probes ask over HTTP: no proxy, no redirection, and an end in any case. No Ansible in here."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, IncompleteRead
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct

BODY_LIMIT = 1 << 20
CHUNK = 1 << 16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer like any other: elsewhere is not what was asked, and must not see the password."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        """Follow none."""


def fetch(url: str, method: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> tuple[int, bytes]:
    """Return status and body, the body as far as it is looked at; OSError where there is no answer.

    ``timeout`` in seconds bounds the whole, a body that only trickles in included.
    """
    opener = http_direct.opener(_NoRedirect())
    request = urllib.request.Request(url, body, dict(headers), method=method)
    deadline = time.monotonic() + timeout
    try:
        with _answer(opener, request, timeout) as reply:
            return reply.status, _read(reply, deadline)
    except HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> Any:
    """The answer, whatever its status."""
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        return error


def _read(reply: Any, deadline: float) -> bytes:
    body = b""
    while len(body) < BODY_LIMIT and (part := reply.read1(CHUNK)):
        body += part
        if time.monotonic() > deadline:
            raise TimeoutError("timed out in the middle of the answer")
    if len(body) < BODY_LIMIT and getattr(reply, "length", None):
        raise IncompleteRead(body, reply.length)
    return body
