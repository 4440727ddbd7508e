# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sample is, and the few things with which one is taken. No Ansible in here.

A sample is a dictionary: ``phase`` (success, failure, error, no_data, or raw when the judgement needs more than this
host knows), ``text`` (one line of evidence for a person), and ``data`` where figures go with it: all that a raw one
has to say, see ``probe_type.Comparison``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._probe import health_check
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import Request

SUCCESS, FAILURE, ERROR, NO_DATA, RAW = "success", "failure", "error", "no_data", "raw"
SHOWN = 160

Sample = dict[str, Any]
Fetch = Callable[[Request, float], "tuple[int, bytes]"]
"""Gives status and body; OSError where there is no answer: refused, timed out, cut off, or no HTTP at all."""


@dataclass(frozen=True)
class Tools:
    """The few things with which a probe touches the machine."""

    fetch: Fetch
    run: Run
    connect: Callable[[str, int, float], None]
    clock: Callable[[], float]
    """Seconds since the epoch."""
    balancer: Callable[[Mapping[str, Any]], Sample] | None = None
    """Takes the samples of type haproxy, where this host is a load balancer."""
    stopwatch: Callable[[], float] = time.monotonic
    """Seconds that only grow."""
    ready: Callable[[str, str, Sequence[tuple[int, int]], float], tuple[bool, str]] = health_check.ask


def _fetch(request: Request, timeout: float) -> tuple[int, bytes]:
    # Most samples on a load balancer ask nobody, and importing an HTTP client is a fifth of what one costs.
    from ansible_collections.mesops.platform.plugins.module_utils._probe.http_fetch import fetch  # noqa: PLC0415

    return fetch(request.url, request.method, request.headers, request.body, timeout)


def _connect(host: str, port: int, timeout: float) -> None:
    socket.create_connection((host, port), timeout=timeout).close()


def real_tools(run: Run, balancer: Callable[[Mapping[str, Any]], Sample] | None = None) -> Tools:
    """The tools of a real host."""
    return Tools(fetch=_fetch, run=run, connect=_connect, clock=time.time, balancer=balancer)


def sample(phase: str, text: str) -> Sample:
    """A sample without figures."""
    return {"phase": phase, "text": _short(text)}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def reason(error: Exception) -> str:
    """Why something gave no answer, on one line."""
    return str(getattr(error, "reason", None) or error) or type(error).__name__
