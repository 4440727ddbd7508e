"""What belongs to the request at hand: its id and its trace, for logs and history rows."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


@dataclass(frozen=True)
class RequestContext:
    """Identity of one request."""

    request_id: str
    trace_id: str
    span_id: str


current: ContextVar[RequestContext | None] = ContextVar("mes_request", default=None)


def request_id_from(value: str | None) -> str:
    """Take the caller's request id if it is a plain one, else make one."""
    return value if value and _REQUEST_ID.fullmatch(value) else secrets.token_hex(16)


def trace_id_from(traceparent: str | None) -> str:
    """Take the trace id of a valid W3C traceparent, else make one."""
    match = _TRACEPARENT.fullmatch((traceparent or "").strip())
    if match and int(match["trace"], 16) and int(match["span"], 16):
        return match["trace"]
    return secrets.token_hex(16)


def new_span_id() -> str:
    """Make a span id for this hop."""
    return secrets.token_hex(8)
