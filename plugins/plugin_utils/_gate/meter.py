# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From looks at load balancers to what came in since the look before: answers, failures, requests that wait. Pure.

A request counts once: when it was answered, when it came to nothing, or when it was seen waiting for ``LONG_WAIT_S``.
HAProxy counts one failure in up to three columns, differently in each version, so what came to nothing is the least
that all columns agree on; it is never more than what was sent and not answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.traffic import Traffic, add

LONG_WAIT_S = 2.0
"""Seconds after which a request that waits is taken for one that may never be answered. Looks are no closer together,
and a baseline that takes as long has them too."""
CLOCK_S = 2
"""Seconds by which the age of a session may be off: HAProxy tells whole ones, and two looks are cut differently."""


@dataclass(frozen=True)
class Seen:
    """What came in of some servers since the look before."""

    sent: int = 0
    """Requests that were sent to them, attempts that were tried again elsewhere included."""
    good: int = 0
    """Answered, with no status from 500 on and to the end."""
    other: int = 0
    """Of the good ones, those answered 3xx or 4xx."""
    failed: int = 0
    """Answered 5xx, broken off, refused, or without an answer when they ended."""
    given_up: int = 0
    """Their client left, or they have waited for longer than ``LONG_WAIT_S``."""
    waiting: int = 0
    """Those that wait at this moment."""
    downs: int = 0
    """How often the load balancer's own checks have found one of them down."""
    failed_checks: int = 0
    """Checks that failed while it was up."""

    def __add__(self, other: Seen) -> Seen:
        return Seen(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __sub__(self, other: Seen) -> Seen:
        return Seen(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def bad(self) -> int:
        """Requests that did not end well."""
        return self.failed + self.given_up

    @property
    def total(self) -> int:
        """Requests that are decided."""
        return self.good + self.bad

    @property
    def bad_share(self) -> float:
        """The share of the decided requests that did not end well; 0 when none is decided."""
        return self.bad / self.total if self.total else 0.0

    @property
    def answers(self) -> Seen:
        """Of what was answered well, how much is no 2xx, as if that were failures."""
        return Seen(sent=self.sent, good=self.good - self.other, failed=self.other)


def together(several: Iterable[Seen]) -> Seen:
    """The sum."""
    return sum(several, Seen())


@dataclass
class _Server:
    """One server at one load balancer since the first look."""

    total: dict[str, int] = field(default_factory=dict)
    """Growth of all counters, over all workers."""
    began: int = 0
    """Sessions that it had at the first look: they may come to nothing without having been sent since."""
    since: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Requests that wait: when they were first seen, and how old they were."""
    streaming: set[str] = field(default_factory=set)
    told: Seen = field(default_factory=Seen)
    """All that was told of it so far."""

    def look(self, grown: Mapping[str, int], now: int, traffic: Traffic, server: str, elapsed: float) -> Seen:
        """Take one more look; what is new."""
        add(self.total, grown)
        stuck, streaming = self._listed(traffic, server)
        total = self.total
        unanswered = total["sent"] - total["answered"] - total["vanished"]
        if elapsed >= LONG_WAIT_S:
            # Whatever did not end and is no part of what was sent since the look before was there before it.
            ended = sum(total[key] for key in ("refused", "retries", "redispatches", "broken", "aborted"))
            stuck = max(stuck, unanswered - ended - grown["sent"])
        badly = min(total["answered"], total["failed"] + total["cut"])
        # Sessions that are not known to receive a response may all wait; whatever else was not answered has ended.
        gone = unanswered - (now - streaming)
        lost = max(min(_lost(total), unanswered + self.began), gone - total["aborted"], 0)
        return self._news(badly + lost, total["aborted"] + stuck, now if "waiting" not in traffic else len(self.since))

    def _listed(self, traffic: Traffic, server: str) -> tuple[int, int]:
        """How many requests are seen waiting for long, and how many sessions have received a response for long."""
        if "waiting" not in traffic:
            return 0, 0
        streaming, before = set(traffic["streaming"].get(server, {})), self.streaming
        self.streaming = streaming
        return self._stuck(traffic["waiting"].get(server, {}), float(traffic["at"])), len(streaming & before)

    def _news(self, failed: int, given_up: int, waiting: int) -> Seen:
        """What was not told yet. A request that has waited for long and then fails was told already."""
        told, total = self.told, self.total
        bad = max(0, failed + given_up - told.failed - told.given_up)
        new_failed = min(bad, max(0, failed - told.failed))
        good = max(0, total["answered"] - total["failed"] - total["cut"] - told.good)
        other = min(good, max(0, total["redirected"] + total["rejected"] - told.other))
        new = Seen(
            sent=total["sent"] - told.sent,
            good=good,
            other=other,
            failed=new_failed,
            given_up=bad - new_failed,
            downs=total["downs"] - told.downs,
            failed_checks=total["failed_checks"] - told.failed_checks,
        )
        self.told = told + new
        return replace(new, waiting=waiting)

    def _stuck(self, waiting: Mapping[str, int], at: float) -> int:
        """How many have waited for long: they were seen before, and have only grown older since."""
        found = {}
        for name, age in waiting.items():
            first, first_age = self.since.get(name, (at, age))
            same = abs(age - first_age - (at - first)) <= CLOCK_S
            found[name] = (first, first_age) if same else (at, age)
        self.since = found
        return sum(at - first >= LONG_WAIT_S for first, _age in found.values())


def _lost(total: Mapping[str, int]) -> int:
    """Attempts that came to nothing, each counted once although several columns have it."""
    retried = max(total["retries"], total["redispatches"])
    return total["refused"] + retried + max(0, total["broken"] - total["cut"] - total["retries"])


class Meter:
    """All servers at one load balancer, look after look.

    Counters are those of single workers, so a reload changes nothing, and a worker that ends takes nothing back: one
    that was not there at the look before has begun since, and counts from nothing.
    """

    def __init__(self, reference: Traffic | None = None) -> None:
        self._workers: _Workers | None = None
        self._servers: dict[str, _Server] = {}
        self._at = 0.0
        if reference is not None:
            self.look(reference)

    def look(self, traffic: Traffic) -> dict[str, Seen]:
        """What is new of each server; nothing at the first look."""
        before, now = self._workers, traffic["workers"]
        elapsed = float(traffic["at"]) - self._at if self._at else 0.0
        found = {}
        for server in {name for servers in now.values() for name in servers}:
            present = sum(int(servers[server]["now"]) for servers in now.values() if server in servers)
            one = self._servers.setdefault(server, _Server(began=present))
            found[server] = one.look(_grown(server, before, now), present, traffic, server, elapsed)
        self._workers, self._at = now, float(traffic["at"])
        return found if before is not None else {}


_Workers = Mapping[str, Mapping[str, Mapping[str, int]]]


def _grown(server: str, before: _Workers | None, now: _Workers) -> dict[str, int]:
    """Growth of a server's counters over all workers; ``vanished`` are sessions of workers that have ended since.

    Nobody knows what became of those. At the first look nothing has grown.
    """
    grown = {"vanished": 0}
    for pid, servers in now.items():
        if server in servers:
            # A server that a worker did not have before was in no backend that was looked at.
            known = servers[server] if before is None else before.get(pid, {}).get(server)
            if known is None:
                known = servers[server] if before is not None and pid in before else {}
            add(grown, _growth(servers[server], known))
    for pid, servers in (before or {}).items():
        if pid not in now and server in servers:
            grown["vanished"] += int(servers[server]["now"])
    return grown


def _growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Growth of all counters; a smaller one means another process with the number of one that has ended."""
    grown = {key: int(value) - int(before.get(key, 0)) for key, value in now.items() if key != "now"}
    if any(value < 0 for value in grown.values()):
        return {**{key: int(value) for key, value in now.items() if key != "now"}, "vanished": int(before["now"])}
    return grown


def usual(looks: Iterable[Traffic], servers: Collection[str]) -> Seen:
    """What workers have counted of some servers since they began, at all load balancers."""
    found = Seen()
    for look in looks:
        for by_server in look["workers"].values():
            for server in servers:
                if server in by_server:
                    found += _lifetime(by_server[server])
    return found


def _lifetime(total: Mapping[str, int]) -> Seen:
    unanswered = max(0, total["sent"] - total["answered"])
    badly = min(total["answered"], total["failed"] + total["cut"])
    lost = min(_lost(total), unanswered)
    good = total["answered"] - badly
    return Seen(
        sent=total["sent"],
        good=good,
        other=min(good, total["redirected"] + total["rejected"]),
        failed=badly + lost,
        given_up=total["aborted"],
        waiting=min(total["now"], max(0, unanswered - lost - total["aborted"])),
    )


def health_of(traffic: Traffic, servers: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The health of some servers, as one load balancer sees it."""
    return {name: traffic["health"][name] for name in servers if name in traffic["health"]}
