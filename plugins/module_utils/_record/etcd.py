# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to an etcd cluster: the v3 JSON gateway of its members (etcd 3.4 and newer). No Ansible.

A request goes to one member after the other until one answers, within a deadline for the whole operation. So a request
may take effect although no answer came, and be sent again: callers compare in their transactions, and look again when
one does not succeed. Durations are seconds.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import TIMEOUT, StoreError

PORT = 2379
ATTEMPT = 2.0
"""How long one member may take to answer."""
CONNECT = 0.3
"""How long a member may take to accept a connection before another one is asked first."""
PAUSE = 0.2
MAX_REQUEST = 1536 << 10
"""Bytes that etcd takes in one request, unless it is set up otherwise."""

# Codes of gRPC for trouble of a member or its cluster; another member, or the same one later, may do better.
_TRANSIENT = (4, 13, 14)
_CODE_UNAUTHENTICATED = 16
_TOKEN_IS_OLD = ("invalid auth token", "auth store is old")

Open = Callable[[urllib.request.Request, float], Any]
"""Sends a request with a timeout; gives a reply to read from, as a context manager."""
Connects = Callable[[str, float], bool]
"""Whether an endpoint accepts a connection within so many seconds."""


class LeaseGone(Exception):
    """The lease of a request has run out or was revoked."""


class _Trouble(Exception):
    """One member did not do it. *waits* when it may be about to: there is no leader, or it only takes its time."""

    def __init__(self, text: str, waits: bool) -> None:
        super().__init__(text)
        self.waits = waits


def opener(ca_file: str = "", cert_file: str = "", key_file: str = "") -> Open:
    """Send over HTTP or HTTPS, without the proxies of the environment."""
    handlers: list[urllib.request.BaseHandler] = []
    try:
        if ca_file or cert_file:
            context = ssl.create_default_context(cafile=ca_file or None)
            if cert_file:
                context.load_cert_chain(cert_file, key_file or None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
    except OSError as error:
        names = ", ".join(name for name in (ca_file, cert_file, key_file) if name)
        raise Refused(
            f"the certificates for etcd ({names}) cannot be loaded ({error.strerror or error}); correct ca_file, "
            "cert_file or key_file on the coordinator"
        ) from error
    found = http_direct.opener(*handlers)
    return lambda request, timeout: found.open(request, timeout=timeout)


def connects(endpoint: str, timeout: float) -> bool:
    """Try a connection, and nothing over it."""
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or PORT), timeout=timeout).close()
    except OSError:
        return False
    return True


def check_endpoints(endpoints: Iterable[str]) -> tuple[str, ...]:
    """URLs of members, without a slash at the end."""
    found = tuple(one.rstrip("/") for one in endpoints)
    for one in found:
        try:
            parts = urlsplit(one)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.path and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise Refused(f"endpoint {one[:200]!r} is no URL of an etcd member; write it like http://10.0.0.11:{PORT}")
    if not found:
        raise Refused(f"endpoints is empty; name at least one etcd member, like http://10.0.0.11:{PORT}")
    return found


@dataclass
class Gateway:
    """The members of one cluster."""

    endpoints: Sequence[str]
    open: Open
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = TIMEOUT
    """For one operation, however many requests and members it takes."""
    connects: Connects = connects
    timer: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _deadline: float = field(default=0.0, init=False)
    _first: str = field(default="", init=False)
    _session: str = field(default="", init=False, repr=False)

    def begin(self) -> None:
        """Begin an operation: its requests share one deadline."""
        self._deadline = self.timer() + self.timeout

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request to the first member that answers; StoreError or LeaseGone when none does what is asked."""
        reasons: dict[str, str] = {}
        while True:
            waits = False
            for endpoint in self._order():
                left = self._deadline - self.timer()
                if left <= 0:
                    break
                try:
                    answer = self._ask(endpoint, path, body, min(ATTEMPT, left))
                except _Trouble as trouble:
                    reasons[endpoint] = str(trouble)
                    waits = waits or trouble.waits
                else:
                    self._first = endpoint
                    return answer
            if not waits or self._deadline - self.timer() <= PAUSE:
                raise StoreError(self._silent(reasons))
            self.sleep(PAUSE)

    def _order(self) -> list[str]:
        """Members in the order to ask them: first one that is known to be there."""
        if not self._first and len(self.endpoints) > 1:
            # A dead host says nothing at all. Asking it first would cost every execution the whole of ATTEMPT.
            self._first = next((one for one in self.endpoints if self.connects(one, CONNECT)), self.endpoints[0])
        return sorted(self.endpoints, key=lambda one: one != self._first)

    def _ask(self, endpoint: str, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        if self.username and not self._session:
            self._log_in(endpoint, timeout)
        try:
            return self._send(endpoint, path, body, timeout)
        except _Denied:
            if not self.username:
                raise
            # A session ends after minutes, or when the rights of any user change.
            self._log_in(endpoint, timeout)
            return self._send(endpoint, path, body, timeout)

    def _log_in(self, endpoint: str, timeout: float) -> None:
        self._session = ""
        try:
            answer = self._send(
                endpoint, "/v3/auth/authenticate", {"name": self.username, "password": self.password}, timeout
            )
        except StoreError as error:
            if "authentication is not enabled" in str(error):
                raise StoreError(
                    f"etcd at {endpoint} knows no users, but user name {self.username!r} is set; enable its "
                    "authentication, or omit username and password"
                ) from error
            raise
        self._session = str(answer.get("token", ""))

    def _send(self, endpoint: str, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        request = urllib.request.Request(endpoint + path, data=json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        if self._session:
            request.add_header("Authorization", self._session)
        try:
            with self.open(request, timeout) as reply:
                # A stream stays open after its first answer, which is one line.
                raw = reply.readline() if path.endswith("/keepalive") else reply.read()
        except urllib.error.HTTPError as error:
            raise self._judged(endpoint, error) from error
        except (OSError, HTTPException) as error:
            raise _unreached(error, timeout) from error
        answer = _json(raw)
        if answer is None:
            raise _Trouble("it answers, but not as etcd 3.4 or newer", False)
        return answer

    def _judged(self, endpoint: str, error: urllib.error.HTTPError) -> Exception:
        """What an answer with an error means."""
        try:
            answer = _json(error.read(65536)) or {}
        except (OSError, HTTPException):
            answer = {}
        inner = answer.get("error")
        answer = inner if isinstance(inner, dict) else answer
        text = str(answer.get("message") or answer.get("error") or "")
        code = answer.get("code", answer.get("grpc_code"))
        if not text:
            return _Trouble(f"it answers with HTTP status {error.code}, and not as etcd 3.4 or newer", False)
        if "requested lease not found" in text:
            return LeaseGone(text)
        if code in _TRANSIENT or "too many requests" in text:
            return _Trouble(text, True)
        if code == _CODE_UNAUTHENTICATED or any(one in text for one in _TOKEN_IS_OLD):
            return _Denied(self._refused(endpoint, text))
        return StoreError(self._refused(endpoint, text))

    def _refused(self, endpoint: str, text: str) -> str:
        """Why etcd refuses, and the way out."""
        ways = {
            "user name is empty": "it wants a user; set username and password",
            "authentication failed": f"it does not accept user {self.username!r} with this password; correct them",
            "permission denied": f"user {self.username!r} may not use these keys; grant it readwrite on the prefix",
            "invalid auth token": f"it ended the session of user {self.username!r}; run it again",
            "space exceeded": "its database is full; compact and defragment it, then etcdctl alarm disarm",
            "request is too large": "raise its max-request-bytes, use the backend file, or roll out to fewer hosts",
        }
        way = next((way for part, way in ways.items() if part in text), "look at its log")
        return f"etcd at {endpoint} refuses this ({text.replace('etcdserver: ', '')}): {way}"

    def _silent(self, reasons: Mapping[str, str]) -> str:
        told = "; ".join(f"{endpoint}: {why}" for endpoint, why in reasons.items()) or "no time was left"
        return f"etcd does not do what it is asked ({told}); bring a majority of its members back, or correct endpoints"


class _Denied(StoreError):
    """The session is not valid any more, or there is none."""


def _unreached(error: Exception, timeout: float) -> _Trouble:
    reason = getattr(error, "reason", error)
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return _Trouble(f"no answer within {timeout:.1f} s", True)
    if isinstance(reason, ssl.SSLError):
        detail = getattr(reason, "verify_message", "") or getattr(reason, "reason", "") or reason
        return _Trouble(f"no TLS connection ({detail})", False)
    text = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
    # A connection that breaks while it is used is a member that goes down; the others elect.
    return _Trouble(text, isinstance(error, HTTPException) or isinstance(reason, ConnectionResetError))


def _json(raw: bytes) -> dict[str, Any] | None:
    with suppress(ValueError):
        found = json.loads(raw)
        if isinstance(found, dict):
            return found
    return None
