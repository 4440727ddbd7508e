# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a type of probe has to say of itself. Each type is one file, and ``probes`` has the list of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import Rules
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import Sample, Tools

NODE, BALANCERS, COORDINATOR = "node", "balancers", "coordinator"
PLACES = {NODE: "each node", BALANCERS: "each load balancer", COORDINATOR: "coordinator"}
"""Where a probe may be taken, for a person: each host of the service, each of its load balancers, one host."""
ERRORS, ANSWERS, TIMES = "errors", "answers", "times"
Probe = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What the figures in raw samples are compared as, and within which limits.

    ``ERRORS`` and ``ANSWERS`` take ``traffic`` (what a load balancer has counted, see ``_haproxy.traffic``), or
    ``bad_and_all`` (a pair for each server). ``TIMES`` takes ``ms`` (a list for each server), or the lists ``canary``
    and ``baseline``. What has seen all until a moment says ``until``, and is told it the next time, see ``Aim.since``.
    """

    what: str
    limits: Mapping[str, Any]
    """By the names that the judge has for them; what is omitted has the judge's own default."""


@dataclass(frozen=True)
class Aim:
    """What a rollout knows when it has a sample taken."""

    backends: Sequence[str]
    canary: Sequence[str]
    """The hosts that are judged."""
    in_traffic: bool
    """Whether only what was measured since they have traffic may count."""
    in_traffic_for: float
    """For how many seconds they have had it."""
    since: float | None
    """The moment until which everything was seen already, by the clock of the host that is asked."""


def _nothing_more(_probe: Probe, _place: str) -> None:
    """The rules of the single keys say it all."""


@dataclass(frozen=True)
class ProbeType:
    """A type of probe."""

    name: str
    place: str
    """Where it is taken unless the probe says ``from``."""
    keys: Rules
    required: tuple[str, ...]
    documentation: str
    """Its keys with their defaults, in Ansible's markup: for the documentation of health_gate and the page on gates."""
    describe: Callable[[Probe], str]
    """What it looks at, for a person who reads a plan."""
    take: Callable[[Probe, Tools], Sample]
    """Takes one sample on a host. OSError, ValueError and whatever else it raises is an error, never a success."""
    check: Callable[[Probe, str], None] = _nothing_more
    """Raises ProbeError for what no single key shows, or for a key without a rule; is told where the probe stands."""
    details: str = ""
    """More of it, in sentences, for the documentation of health_gate: the page on gates has chapters about that."""
    alone: tuple[str, ...] = ()
    """Keys that it needs as well where no rollout puts them in."""
    comparison: Callable[[Probe], Comparison | None] = lambda _probe: None
    """How its raw samples are judged."""
    looks_back: Callable[[Probe], float] = lambda _probe: 0.0
    """How many seconds a sample looks back."""
    aimed: Callable[[Probe, Aim], Mapping[str, Any]] = lambda _probe, _aim: {}
    """The keys that a rollout puts in when it has a sample taken."""
