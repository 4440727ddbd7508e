"""When to send what: an open loop does not wait for answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

CREATE, LIST, GET = "create", "list", "get"


@dataclass(frozen=True)
class Planned:
    """One request to come."""

    index: int
    at: float
    kind: str
    target: int

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "POST" if self.kind == CREATE else "GET"


def plan(
    rate: float,
    reads: float,
    targets: int,
    *,
    orders: int | None = None,
    count: int | None = None,
    duration: float | None = None,
) -> Iterator[Planned]:
    """Yield requests at a steady rate, mixed evenly, each kind going round the targets on its own."""
    sent: Counter[str] = Counter()
    index = 0
    while True:
        at = index / rate
        if duration is not None and at >= duration:
            return
        if (count is not None and index >= count) or (orders is not None and sent[CREATE] >= orders):
            return
        # Whole reads due after this request, less those due before it: an even mix without chance.
        if int((index + 1) * reads + 1e-9) > int(index * reads + 1e-9):
            kind = LIST if (sent[LIST] + sent[GET]) % 2 == 0 else GET
        else:
            kind = CREATE
        yield Planned(index, at, kind, sent[kind] % targets)
        sent[kind] += 1
        index += 1
