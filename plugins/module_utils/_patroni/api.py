# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a member's REST API is asked. No Ansible in here.

Everything that touches the network is a ``Fetch``: ``fetch(method, url, body)`` gives ``(status, parsed JSON)`` and
raises ``OSError`` when nothing answers. Times are seconds.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct

Fetch = Callable[[str, str, "Mapping[str, Any] | None"], "tuple[int, Any]"]
Clock = Callable[[], float]
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Member:
    """One expected member: its name in Patroni and the root of its REST API."""

    name: str
    url: str


def members_of(given: Mapping[str, Any]) -> list[Member]:
    """The expected members, from names and addresses."""
    return [Member(name, str(url).rstrip("/")) for name, url in given.items()]


class PatroniError(Exception):
    """What was asked for is not available; the text is one sentence for the user."""


def http_fetch(timeout: float, username: str = "", password: str = "") -> Fetch:
    """A ``Fetch`` over HTTP that ignores the environment's proxies and sends basic auth when it has a password."""
    opener = http_direct.opener()

    def fetch(method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        if password and method != "GET":
            token = base64.b64encode(f"{username}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with opener.open(request, timeout=timeout) as reply:
                status, raw = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        text = raw.decode("utf-8", "replace")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    return fetch
