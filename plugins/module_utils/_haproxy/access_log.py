# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy's access log says of single requests: who answered, how, and how long it took. No Ansible in here.

Reads the JSON lines that the haproxy role's configuration writes to the journal. Everything else in there, such as
"server is down" or a line that was cut, is passed over.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run

UNIT = "haproxy.service"
NO_SERVER = "<NOSRV>"
"""The name of the server where HAProxy itself answered, because none was available or the client was too early."""


class RequestsError(Exception):
    """The log cannot be read; the text is one sentence for the user."""


@dataclass(frozen=True)
class Request:
    """One finished HTTP request."""

    server: str
    status: int
    """The status that the client got, -1 when it got none."""
    ms: int
    """Milliseconds for which the server is responsible, see ``server_ms``."""
    method: str
    at: float
    """When its first byte arrived (seconds since the epoch)."""
    termination: str
    """How it ended, HAProxy's four letters: "----" is well, "CD--" the client left, "SH--" the server gave up ..."""

    @property
    def failed(self) -> bool:
        """Whether the server is to blame: it answered 5xx, or gave up; a client that left is no failure."""
        return self.status >= 500 or self.termination[:1] in ("S", "s")

    @property
    def answered(self) -> bool:
        """Whether the server has answered to the end, and not 5xx."""
        return self.status > 0 and not self.failed

    @property
    def other(self) -> bool:
        """Whether it was answered 3xx or 4xx; that nothing has changed (304) is as good as 200."""
        return self.answered and 300 <= self.status != 304


def _time(line: Mapping[str, Any], name: str) -> int:
    """Return one of HAProxy's timers; -1, for what the request never came to, counts as nothing."""
    value = line[name]
    return max(int(value), 0)


def server_ms(line: Mapping[str, Any]) -> int:
    """Milliseconds for which the server is responsible.

    That is the time from the connection to the complete response header (ms_response). It omits what the server
    cannot help: how long the client takes for its request header (ms_request), the queue and earlier attempts
    (ms_queue), and how fast the client takes the body, all of which ms_active has in it. A body that the client sends
    slowly is still in it, HAProxy does not tell that apart. Where no response came, it is how long one was waited for.
    """
    if int(line["ms_response"]) >= 0:
        return int(line["ms_response"])
    spent = _time(line, "ms_request") + _time(line, "ms_queue") + _time(line, "ms_connect")
    return max(_time(line, "ms_active") - spent, 0)


def parse_line(text: str, backend: str) -> tuple[float, Request] | None:
    """Read one line of the journal: when the request ended, and the request; nothing when it is not one of these."""
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
        if line["type"] != "http" or line["backend"] != backend:
            return None
        # "ts" is when the connection was accepted or its request before this one ended; then the client may have idled.
        begin = float(line["ts"]) + max(_time(line, "ms_total") - _time(line, "ms_active"), 0) / 1000
        end = float(line["ts"]) + _time(line, "ms_total") / 1000
        request = Request(
            server=str(line["server"]),
            status=int(line["status"]),
            ms=server_ms(line),
            method=str(line["method"]),
            at=begin,
            termination=str(line["termination"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return end, request


class AccessLog:
    """The log up to now, as far back as ``seconds``, which nobody goes beyond.

    It is read once, and parsed once for each backend, however many ask.

    ``limit`` bounds the lines that are read, of all backends, and keeps the newest.
    """

    def __init__(self, run: Run, now: float, seconds: float, limit: int = 20000) -> None:
        self._run = run
        self._now = now
        self._seconds = seconds
        self._limit = limit
        self._ended: dict[str, list[tuple[float, Request]]] = {}
        """Of each backend that was asked for: when a request ended, and the request."""

    @functools.cached_property
    def _lines(self) -> list[str]:
        since, until = math.floor(self._now - self._seconds), math.ceil(self._now) + 1
        command = ["journalctl", "--unit", UNIT, "--output=cat", "--no-pager", "--quiet", "--priority=info..info"]
        # From the newest backwards: forwards, it first goes back by all lines that may be read, however few are wanted.
        command += [f"--since=@{since}", f"--until=@{until}", f"--lines={self._limit}", "--reverse"]
        rc, out, err = self._run(command)
        if rc != 0:
            raise RequestsError(f"The access log of HAProxy cannot be read: {' '.join((err or out).split())}.")
        return out.splitlines()

    def requests(self, backend: str, seconds: float, after: float = 0.0) -> list[Request]:
        """Return the requests of a backend that ended in the last seconds and after a moment, oldest first.

        By its end, because only then a request is in the log: one that is still under way belongs to a later question.
        """
        since = self._now - seconds
        if backend not in self._ended:
            found = [one for one in (parse_line(text, backend) for text in self._lines) if one is not None]
            self._ended[backend] = sorted(found, key=lambda one: one[0])
        return [request for end, request in self._ended[backend] if since <= end <= self._now and end > after]
