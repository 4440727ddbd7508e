"""What became of every request, line by line, and figures of a window of time: before, during and after an event.

The log is text: `# run`, wall clock and monotonic clock of the start; then for every request `scheduled method outcome
milliseconds attempts node`. Seconds count from the start of the run. A request belongs to the window in which it was
due, so that a stall shows where it began. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .report import percentile

FOREVER = math.inf


class WindowError(Exception):
    """The log cannot be read or the window holds nothing; the message is one sentence."""


class Request(NamedTuple):
    """One request; its last attempt decides."""

    at: float
    """When it was due, in seconds."""
    method: str
    outcome: str
    """ok, or why it failed: connect, timeout, disconnected, http_503, overflow (never sent) and so on."""
    latency_ms: float
    """From when it was due until its fate was known."""
    attempts: int
    node: str
    """The node that answered, or nothing."""

    @property
    def ok(self) -> bool:
        """Whether it was answered well."""
        return self.outcome == "ok"


@dataclass
class RequestLog:
    """A log read back, which may still grow."""

    run: str
    wall_clock: float
    """Start of the run in seconds since 1970."""
    monotonic: float
    """Start of the run by this machine's monotonic clock."""
    requests: list[Request] = field(default_factory=list)


def first_line(run: str, wall_clock: float, monotonic: float) -> str:
    """Return the line that a log begins with."""
    return f"# {run} {wall_clock:.3f} {monotonic:.3f}\n"


def line(request: Request) -> str:
    """Return the line of one request."""
    at, method, outcome, latency_ms, attempts, node = request
    return f"{at:.3f} {method} {outcome} {latency_ms:.1f} {attempts} {'_'.join(node.split()) or '-'}\n"


def parse(lines: Iterable[str]) -> RequestLog:
    """Read a log; a last line that is still being written is omitted."""
    log: RequestLog | None = None
    for number, text in enumerate(lines, start=1):
        if not text.endswith("\n"):
            break
        words = text.split()
        try:
            if log is None:
                mark, run, wall_clock, monotonic = words
                if mark != "#":
                    raise ValueError(mark)
                log = RequestLog(run, float(wall_clock), float(monotonic))
            else:
                at, method, outcome, latency, attempts, node = words
                node = "" if node == "-" else node
                log.requests.append(Request(float(at), method, outcome, float(latency), int(attempts), node))
        except ValueError:
            raise WindowError(f"Line {number} of the request log is not one that the load client writes.") from None
    if log is None:
        raise WindowError("The request log is empty: the load has not started yet.")
    return log


def within(
    requests: Iterable[Request], since: float = 0.0, until: float = FOREVER, method: str | None = None
) -> Iterator[Request]:
    """Yield the requests that were due from `since` on and before `until`."""
    for request in requests:
        if since <= request.at < until and method in (None, request.method):
            yield request


def latency(
    requests: Iterable[Request],
    percent: float,
    since: float = 0.0,
    until: float = FOREVER,
    method: str | None = None,
) -> float:
    """Return a percentile of the milliseconds until the answer, of answered requests."""
    answered = sorted(one.latency_ms for one in within(requests, since, until, method) if one.ok)
    if not answered:
        raise WindowError(f"No {method or 'request'} that was due from second {since:g} to {until:g} was answered.")
    return percentile(answered, percent)


def p99(requests: Iterable[Request], since: float = 0.0, until: float = FOREVER, method: str | None = None) -> float:
    """Return the milliseconds within which 99 of 100 answered requests were answered."""
    return latency(requests, 99, since, until, method)


def failures(
    requests: Iterable[Request], since: float = 0.0, until: float = FOREVER, method: str | None = None
) -> list[Request]:
    """Return the requests that came to nothing."""
    return [request for request in within(requests, since, until, method) if not request.ok]


def shares(
    requests: Iterable[Request], since: float = 0.0, until: float = FOREVER, method: str | None = None
) -> dict[str, float]:
    """Return which share of the answers each node gave, failures that a node answered with included."""
    nodes = Counter(request.node for request in within(requests, since, until, method) if request.node)
    total = sum(nodes.values())
    return {node: number / total for node, number in sorted(nodes.items())}
