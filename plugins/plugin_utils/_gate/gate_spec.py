# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate as the inventory describes it, checked: when it samples, and what it makes of the samples. No Ansible in here.

A gate is data. Its fields are those of Argo's AnalysisTemplate where they mean the same; ``gate`` says what differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars

READY, TRAFFIC = "ready", "traffic"
NEVER = 10**9
"""A ``count`` with which a gate only observes: it can fail, but it is never through."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "stage": (TRAFFIC, READY),
    "on_no_data": ("wait", "inconclusive", "failed"),
    "on_inconclusive": ("rollback", "pause", "continue"),
    "on_error": ("rollback", "continue"),
    "on_bad_baseline": ("halt", "pause"),
}
_KEYS = (
    "stage",
    "probe",
    "interval",
    "count",
    "initial_delay",
    "failure_limit",
    "consecutive_error_limit",
    "inconclusive_limit",
    "for",
    "timeout",
    "on_no_data",
    "on_inconclusive",
    "on_error",
    "on_bad_baseline",
    "both",
    "enabled",
)
_MOST = 10**6


class GateError(ValueError):
    """A gate's description is not usable; the text is one sentence for the user."""


@dataclass(frozen=True)
class GateSpec:
    """When a gate samples, and what it makes of the samples."""

    name: str
    probe: Mapping[str, Any]
    """What is sampled: a mapping with a ``type``, whose other keys are that type's business."""
    stage: str = TRAFFIC
    """``ready``: before the host gets traffic, ``traffic``: while it has some."""
    interval: float = 5
    """Seconds between samples."""
    count: int = 1
    """Successes that are needed in all."""
    initial_delay: float = 0
    """Seconds before the first sample."""
    failure_limit: int = 0
    """Failures that are forgiven; -1: all of them, until the timeout."""
    consecutive_error_limit: int = 4
    """Samples in a row that may be impossible to take; -1: all of them, until the timeout."""
    inconclusive_limit: int = -1
    """Inconclusive samples that are forgiven; -1: all of them, until the timeout."""
    hold: float = 0
    """``for`` in the inventory: how many seconds the last successes must have lasted without a break."""
    timeout: float = 60
    """Seconds from the start within which it has to pass."""
    on_no_data: str = "wait"
    """What a sample without data counts as: nothing (``wait``), ``inconclusive`` or ``failed``. Never a success."""
    on_inconclusive: str = "rollback"
    """What the rollout does then: ``rollback``, ``pause`` or ``continue``."""
    on_error: str = "rollback"
    """What the rollout does then: ``rollback`` or ``continue``."""
    on_bad_baseline: str = "halt"
    """What the rollout does when the hosts to compare with are in trouble until the timeout: ``halt`` or ``pause``."""
    both: bool = False
    """Whether hosts that go back have to pass it too; it is about the service then, and not about one version."""
    enabled: bool = True
    failure_window: int = 0
    """Of how many of the last samples ``failure_limit`` counts the failures; 0: of all. Not to be set by a user."""
    passive: bool = False
    """Whether it holds up nobody: it ends undecided when all others of its stage have. Not to be set by a user."""

    @classmethod
    def parse(cls, name: str, raw: Mapping[str, Any], place: str) -> GateSpec:
        """Read a gate from the inventory, or raise GateError; ``place`` says where it stands there.

        The probe is only looked at so far as to see that it is a mapping with a type.
        """
        if not isinstance(raw, Mapping):
            raise GateError(f"{place} is no mapping; give it at least a probe.")
        for key in raw:
            if key not in _KEYS:
                raise GateError(f"{place} has the unknown key {key!r}; a gate has {', '.join(_KEYS)}.")
        probe = raw.get("probe")
        if not isinstance(probe, Mapping) or not isinstance(probe.get("type"), str):
            wanted = "a mapping with a type, for instance type: http"
            raise GateError(scalars.refusal(f"{place}.probe", repr(probe), wanted))
        words = {key: _word(raw, key, place) for key in _CHOICES}
        spec = cls(
            name=name,
            probe=probe,
            interval=_seconds(raw, "interval", 1 if words["stage"] == READY else cls.interval, place, above=True),
            count=_whole(raw, "count", cls.count, place, least=1),
            initial_delay=_seconds(raw, "initial_delay", cls.initial_delay, place),
            failure_limit=_whole(raw, "failure_limit", cls.failure_limit, place),
            consecutive_error_limit=_whole(raw, "consecutive_error_limit", cls.consecutive_error_limit, place),
            inconclusive_limit=_whole(raw, "inconclusive_limit", cls.inconclusive_limit, place),
            hold=_seconds(raw, "for", cls.hold, place),
            timeout=_seconds(raw, "timeout", cls.timeout, place, above=True),
            both=scalars.BOOLEAN.of(raw.get("both", cls.both), f"{place}.both", GateError),
            enabled=scalars.BOOLEAN.of(raw.get("enabled", cls.enabled), f"{place}.enabled", GateError),
            failure_window=cls.failure_window,
            passive=cls.passive,
            **words,
        )
        earliest = spec.initial_delay + spec.interval * max(spec.count - 1, math.ceil(spec.hold / spec.interval))
        if spec.timeout <= earliest:
            raise GateError(
                f"{place}.timeout is {spec.timeout:g}, but a gate with initial_delay {spec.initial_delay:g}, interval "
                f"{spec.interval:g}, count {spec.count} and for {spec.hold:g} cannot pass before {earliest:g} s; "
                "make the timeout longer than that."
            )
        return spec


def _word(raw: Mapping[str, Any], key: str, place: str) -> str:
    return scalars.choice(_CHOICES[key]).of(raw.get(key, getattr(GateSpec, key)), f"{place}.{key}", GateError)


def _seconds(raw: Mapping[str, Any], key: str, default: float, place: str, above: bool = False) -> float:
    rule = scalars.number(0, _MOST, "a number of seconds", above=above)
    return rule.of(raw.get(key, default), f"{place}.{key}", GateError)


def _whole(raw: Mapping[str, Any], key: str, default: int, place: str, least: int = -1) -> int:
    rule = scalars.integer(least, _MOST)
    hint = "; -1 means no limit" if least < 0 else ""
    return replace(rule, wanted=rule.wanted + hint).of(raw.get(key, default), f"{place}.{key}", GateError)
