"""What a run has to say: figures, arithmetic on them, and a short table. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values in ascending order: a value that did occur."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def summarise(seconds: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the maximum in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    figures = {f"p{percent}": percentile(ordered, percent) for percent in (50, 95, 99)}
    return {name: round(value * 1000, 1) for name, value in {**figures, "max": ordered[-1]}.items()}


def longest_gap(moments: Iterable[float], begin: float, end: float) -> tuple[float, float]:
    """Return the longest time without any of the moments between begin and end, and when it began."""
    longest, since, last = 0.0, begin, begin
    for moment in [*sorted(moments), end]:
        if moment - last > longest:
            longest, since = moment - last, last
        last = max(last, moment)
    return longest, since


@dataclass
class Report:
    """The outcome of a run. Latencies are milliseconds from the scheduled start, of answered requests."""

    run: str
    targets: list[str]
    retry: str
    started: str
    rate_asked: float
    rate_achieved: float = 0.0
    wall_s: float = 0.0
    interrupted: bool = False
    planned: int = 0
    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    failed_by_method: dict[str, int] = field(default_factory=dict)
    failed_by_kind: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    acknowledged_repeats: int = 0
    unknown: int = 0
    retried: int = 0
    failed_attempts_by_kind: dict[str, int] = field(default_factory=dict)
    per_node: dict[str, dict[str, int]] = field(default_factory=dict)
    per_target: dict[str, dict[str, int]] = field(default_factory=dict)
    read_from: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    longest_write_gap_s: float = 0.0
    longest_write_gap_began_s: float = 0.0
    latest_start_ms: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    ledger: str | None = None
    requests: str | None = None

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report back."""
        data = json.loads(text)
        return cls(**{item.name: data[item.name] for item in fields(cls)})

    def table(self) -> str:
        """Return the report for people."""

        def counted(figures: dict[str, int]) -> str:
            return ", ".join(f"{name} {number}" for name, number in sorted(figures.items())) or "none"

        def shared(figures: dict[str, dict[str, int]]) -> str:
            return "; ".join(f"{name}: {counted(numbers)}" for name, numbers in sorted(figures.items())) or "none"

        rows = [
            ("run", f"{self.run}{' (interrupted)' if self.interrupted else ''}"),
            ("requests", f"{self.planned} planned, {self.sent} sent, {self.succeeded} succeeded, {self.failed} failed"),
            ("orders", f"{self.acknowledged} acknowledged, {self.unknown} with unknown outcome"),
            ("failed", f"{counted(self.failed_by_method)} ({counted(self.failed_by_kind)})"),
            ("retried", f"{self.retried} requests; failed attempts: {counted(self.failed_attempts_by_kind)}"),
            ("per node", shared(self.per_node)),
            ("per target", shared(self.per_target)),
            ("read from", counted(self.read_from)),
        ]
        for method, figures in sorted(self.latency_ms.items()):
            rows.append((f"{method} ms", "  ".join(f"{name} {value:g}" for name, value in figures.items())))
        rows += [
            ("write gap", f"{self.longest_write_gap_s:.2f} s, from second {self.longest_write_gap_began_s:.1f}"),
            ("rate", f"{self.rate_achieved:.1f}/s of {self.rate_asked:g}/s; latest start {self.latest_start_ms:g} ms"),
        ]
        return "\n".join(f"{name:<11} {text}" for name, text in rows)


@dataclass(frozen=True)
class Attempt:
    """One try at one address."""

    target: str
    ok: bool
    kind: str
    node: str | None = None
    status: int | None = None
    detail: str = ""


class Tally:
    """Collects outcomes while a run goes on. Times are seconds since the run's start."""

    def __init__(self) -> None:
        self.planned = self.sent = self.succeeded = self.failed = 0
        self.acknowledged = self.repeats = self.unknown = self.retried = 0
        self.latest_start = 0.0
        self._by_method: Counter[str] = Counter()
        self._by_kind: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._nodes: dict[str, Counter[str]] = {}
        self._targets: dict[str, Counter[str]] = {}
        self.read_from: Counter[str] = Counter()
        self._latencies: dict[str, list[float]] = {}
        self._writes: list[float] = []
        self._failures: list[dict[str, Any]] = []

    def note(self, method: str, scheduled: float, finished: float, attempts: Sequence[Attempt]) -> None:
        """Record one request with all its attempts; the last attempt decides."""
        last = attempts[-1]
        self.sent += 1
        self.retried += len(attempts) > 1
        for attempt in attempts:
            if not attempt.ok:
                self._attempts[attempt.kind] += 1
        if not last.ok:
            self.note_failure(method, last.kind, scheduled, last)
            return
        self.succeeded += 1
        self._nodes.setdefault(last.node or "unnamed", Counter())[method] += 1
        self._targets.setdefault(last.target, Counter())[method] += 1
        self._latencies.setdefault(method, []).append(finished - scheduled)
        if method == "POST":
            self.acknowledged += 1
            self.repeats += last.status == 200
            self._writes.append(finished)

    def note_failure(self, method: str, kind: str, scheduled: float, last: Attempt | None = None) -> None:
        """Record a request that came to nothing."""
        self.failed += 1
        self._by_method[method] += 1
        self._by_kind[kind] += 1
        if len(self._failures) < 20:
            shown = {"method": method, "kind": kind, "scheduled_s": round(scheduled, 3)}
            self._failures.append({**shown, **({"target": last.target, "detail": last.detail} if last else {})})

    def report(self, report: Report, last_scheduled: float, wall: float) -> Report:
        """Fill in a report."""
        for name in ("planned", "sent", "succeeded", "failed", "acknowledged", "unknown", "retried"):
            setattr(report, name, getattr(self, name))
        report.acknowledged_repeats = self.repeats
        report.failed_by_method = dict(self._by_method)
        report.failed_by_kind = dict(self._by_kind)
        report.failed_attempts_by_kind = dict(self._attempts)
        report.per_node = {name: dict(numbers) for name, numbers in self._nodes.items()}
        report.per_target = {name: dict(numbers) for name, numbers in self._targets.items()}
        report.read_from = dict(self.read_from)
        report.latency_ms = {method: summarise(values) for method, values in self._latencies.items()}
        gap, since = longest_gap(self._writes, 0.0, last_scheduled) if self._writes else (last_scheduled, 0.0)
        report.longest_write_gap_s, report.longest_write_gap_began_s = round(gap, 3), round(since, 3)
        report.latest_start_ms = round(self.latest_start * 1000, 1)
        report.wall_s = round(wall, 3)
        report.rate_achieved = round(self.succeeded / wall, 2) if wall > 0 else 0.0
        report.failures = self._failures
        return report
