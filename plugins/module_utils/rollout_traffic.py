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
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils.haproxy_traffic import Traffic, add

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

    @property
    def total(self) -> int:
        """Requests that are decided."""
        return self.good + self.failed + self.given_up


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
        at = float(traffic["at"])
        listed = "waiting" in traffic
        stuck, settled = 0, 0
        if listed:
            stuck = self._stuck(traffic["waiting"].get(server, {}), at)
            streaming = set(traffic["streaming"].get(server, {}))
            settled = len(streaming & self.streaming)
            self.streaming = streaming
        total = self.total
        unanswered = total["sent"] - total["answered"]
        if elapsed >= LONG_WAIT_S:
            # Whatever did not end and is no part of what was sent since the look before was there before it.
            ended = sum(total[key] for key in ("refused", "retries", "redispatches", "broken", "aborted"))
            stuck = max(stuck, unanswered - ended - grown.get("sent", 0))
        answered_badly = min(total["answered"], total["failed"] + min(total["cut"], total["answered"]))
        # Sessions that are not known to receive a response may all be waiting; whatever else was not answered has ended.
        gone = unanswered - (now - settled)
        lost = max(min(_lost(total), unanswered + self.began), gone - total["aborted"], 0)
        failed = max(self.told.failed, answered_badly + lost)
        given_up = max(self.told.given_up, self.told.failed + self.told.given_up - failed, total["aborted"] + stuck)
        everything = Seen(
            sent=total["sent"],
            good=max(self.told.good, total["answered"] - answered_badly),
            failed=failed,
            given_up=given_up,
            downs=total["downs"],
            failed_checks=total["failed_checks"],
        )
        names = ("sent", "good", "failed", "given_up", "downs", "failed_checks")
        new = {name: getattr(everything, name) - getattr(self.told, name) for name in names}
        self.told = everything
        return Seen(**new, waiting=len(self.since) if listed else max(0, now))

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
        self._workers: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None
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
            one = self._servers.get(server)
            if one is None:
                one = self._servers[server] = _Server(began=present)
            grown: dict[str, int] = {}
            for pid, servers in now.items():
                if server in servers:
                    add(grown, _growth(servers[server], _known(before, pid, server, servers[server])))
            found[server] = one.look(grown, present, traffic, server, elapsed)
        self._workers, self._at = now, float(traffic["at"])
        return found if before is not None else {}


def _known(
    before: Mapping[str, Mapping[str, Mapping[str, int]]] | None, pid: str, server: str, now: Mapping[str, int]
) -> Mapping[str, int]:
    """What a worker had counted of a server at the look before: at the first look all of it, of a new worker nothing."""
    if before is None:
        return now
    if pid not in before:
        return {}
    # A server that a worker did not have cannot appear in it; it was in no backend that was looked at.
    return before[pid].get(server, now)


def _growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Growth of all counters; a smaller one means another process with the number of one that has ended."""
    grown = {key: int(value) - int(before.get(key, 0)) for key, value in now.items() if key != "now"}
    if any(value < 0 for value in grown.values()):
        return {key: int(value) for key, value in now.items() if key != "now"}
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
    return Seen(
        sent=total["sent"],
        good=total["answered"] - badly,
        failed=badly + lost,
        given_up=total["aborted"],
        waiting=min(total["now"], max(0, unanswered - lost - total["aborted"])),
    )


def health_of(traffic: Traffic, servers: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The health of some servers, as one load balancer sees it."""
    return {name: traffic["health"][name] for name in servers if name in traffic["health"]}
