# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe asks over HTTP, from its keys, and an answer as JSON. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What is asked over HTTP."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def request(probe: Mapping[str, Any], url: str) -> Request:
    """What a probe with these keys asks."""
    body = probe.get("body")
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    method = str(probe.get("method", "GET" if data is None else "POST")).upper()
    headers = {str(key): str(value) for key, value in (probe.get("headers") or {}).items()}
    if probe.get("username"):
        token = base64.b64encode(f"{probe['username']}:{probe.get('password', '')}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    return Request(url, method, headers, data)


def json_object(body: bytes) -> dict[str, Any]:
    """An answer as a JSON object; an empty one when it is none."""
    try:
        answer = json.loads(body.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
