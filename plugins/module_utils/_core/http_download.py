# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a file over HTTP or HTTPS to this host, through the proxy that its environment names. No Ansible in here.

Ansible's own ``open_url`` would do more, but is not there where a module runs without Ansible's wrapper.
"""

from __future__ import annotations

import base64
import http.client
import urllib.request
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

CHUNK = 1 << 20


class TooBig(Exception):
    """There is more to come than the caller takes."""


def request_for(url: str) -> urllib.request.Request:
    """A GET of a URL, whose user and password go into a header that a redirection does not carry on."""
    parts = urlsplit(url)
    login, _at, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")))
    if login:
        token = base64.b64encode(unquote(login).encode()).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def download(url: str, sink: IO[bytes], limit: int, timeout: float) -> None:
    """Copy what a URL has into a file.

    Args:
        limit: Bytes beyond which ``TooBig`` is raised.
        timeout: Seconds for which the server may say nothing.

    Raises OSError for everything that a network or a server can do wrong.
    """
    left = limit
    try:
        with urllib.request.build_opener().open(request_for(url), timeout=timeout) as reply:
            while chunk := reply.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise TooBig
                sink.write(chunk)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__} {error}".strip()) from error
