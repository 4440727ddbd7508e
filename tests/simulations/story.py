# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A story: an estate, the releases that are brought to it, the commands that people give, and all that happens.

Everything in it is plain data, so that a story can be drawn from a seed, made shorter, printed, and kept as code.
Hosts, load balancers and services go by their number; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

FAULTS = ("never-starts", "never-ready", "errors", "hangs", "flaps", "dies", "corrupt")
"""What a release may do wrong from ``Release.after`` on; corrupt is its archive."""
TROUBLES = ("fails", "lost", "late", "twice", "killed", "killed after", "paused", "paused within", "paused after")
"""What may happen to one operation: it fails before it did anything, does it and its answer is lost, takes long, is
done twice; its controller is killed or stands still before or after it, or between its look at the lock and what hosts
and load balancers then carry out."""
STORE_TROUBLES = ("store fails", "store lost", "store twice")
"""The same for the write that rides along."""


@dataclass(frozen=True)
class Step:
    """A migration that a release carries."""

    reversible: bool = True
    seconds: float = 1.0
    fails: bool = False


@dataclass(frozen=True)
class Release:
    """One version of a service, and what is wrong with it."""

    version: str
    fault: str = ""
    after: float = 0.0
    """Seconds after the start of its process when the fault begins."""
    only: int | None = None
    """The one host on which it misbehaves; everywhere when there is none."""
    ignores_sigterm: bool = False
    expand: Step | None = None
    contract: Step | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        steps = [step for step in (self.expand, self.contract) if step is not None]
        return not self.fault and not self.ignores_sigterm and not any(step.fails for step in steps)


@dataclass(frozen=True)
class Wishes:
    """How a service is rolled out."""

    batches: tuple[int | str, ...] = (1, "25%")
    weights: tuple[int, ...] = (10, 100)
    min_available: int | str = "50%"
    min_healthy_time: float = 10.0
    drain_deadline: float = 30.0
    drain_on_timeout: str = "fail"
    pause_timeout: float = 120.0
    prove_stop: bool = False
    errors_gate: str = "rollback"
    """What the gate on failed requests does when it cannot say: rollback, pause or continue; off: there is none."""
    session: float = 1.0
    """How long the longest session lasts that a drain finds."""


@dataclass(frozen=True)
class Trouble:
    """What happens to one operation of one run."""

    operation: int
    what: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Command:
    """A run of the rollout or of the rollback."""

    what: str = "rollout"
    version: str = ""
    service: int = 0
    after: float = 30.0
    """Seconds after the end of the command before it; after its beginning when this one runs ``beside`` it."""
    beside: bool = False
    excluded: tuple[int, ...] = ()
    hosts: int | None = None
    """How many hosts the inventory of this run has; all of them when it is not said."""
    min_available: int | None = None
    """What ``-e rollout_min_available`` says; the service's own when it is not said."""
    balancers: tuple[int, ...] | None = None
    """The load balancers of this run's inventory; all of them when it is not said."""
    skew: float = 0.0
    """How far the clock of its controller is ahead."""
    machine: str = "control-1"
    rides: bool = True
    """Whether the record is written by a coordinator in the same round as a step; else before it, by the controller."""
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happens by itself, or that a person does."""

    what: str
    at: float = 0.0
    """Seconds after the beginning of the command; below 0: before everything."""
    during: int = 0
    host: int = 0
    balancer: int | None = None
    """The load balancer that is meant; all of them when it is not said."""
    service: int = 0


@dataclass(frozen=True)
class Story:
    """All of it."""

    hosts: int = 2
    balancers: int = 1
    services: tuple[Wishes, ...] = (Wishes(),)
    releases: tuple[Release, ...] = ()
    commands: tuple[Command, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether nothing happens but what the commands do."""
        alone = not any(command.beside or command.troubles or command.excluded for command in self.commands)
        return alone and not self.events


def as_code(value: Any) -> str:
    """A part of a story as Python, without what it would have anyway."""
    if isinstance(value, tuple):
        inner = ", ".join(as_code(one) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not hasattr(value, "__dataclass_fields__"):
        return repr(value)
    given = [
        f"{one.name}={as_code(getattr(value, one.name))}"
        for one in fields(value)
        if getattr(value, one.name) != one.default
    ]
    return f"{type(value).__name__}({', '.join(given)})"


def as_text(story: Story) -> list[str]:
    """A story for a person, a line for each thing in it."""
    lines = [f"{story.hosts} hosts, {story.balancers} load balancers"]
    for number, wishes in enumerate(story.services):
        if wishes != Wishes():
            lines.append(f"{service_name(number)}: {as_code(wishes)}")
    lines += [_release_text(release) for release in story.releases if release != Release(release.version)]
    lines += ["before everything: " + _event_text(event) for event in story.events if event.at < 0]
    for number, command in enumerate(story.commands):
        lines.append(_command_text(number, command))
        lines += [f"   operation {one.operation}: {_trouble_text(one)}" for one in command.troubles]
        during = sorted((one for one in story.events if one.at >= 0 and one.during == number), key=lambda one: one.at)
        lines += [f"   after {event.at:g} s: {_event_text(event)}" for event in during]
    return lines


def _release_text(release: Release) -> str:
    told = as_code(release).partition("(")[2].rstrip(")")
    return f"release {release.version}: {told}"


def _command_text(number: int, command: Command) -> str:
    when = f"{command.after:g} s after {'it began, beside it' if command.beside else 'that'}, " if number else ""
    what = f"{command.what}{f' to {command.version}' if command.version else ''} of {service_name(command.service)}"
    rest = as_code(command).partition("(")[2].rstrip(")")
    hidden = ("what=", "version=", "service=", "after=", "beside=", "troubles=")
    more = [part for part in rest.split(", ") if part and not part.startswith(hidden) and "Trouble" not in part]
    more = [part for part in more if part.startswith(("excluded", "hosts", "balancers", "skew", "machine", "rides"))]
    return f"{number + 1}. {when}{what}{' (' + ', '.join(more) + ')' if more else ''}"


def _event_text(event: Event) -> str:
    where = f", lb-{event.balancer + 1}" if event.balancer is not None else ""
    return f"{event.what} (app-{event.host + 1}{where}, {service_name(event.service)})"


def _trouble_text(trouble: Trouble) -> str:
    return f"{trouble.what}{f' for {trouble.seconds:g} s' if trouble.seconds else ''}"


def service_name(number: int) -> str:
    """A service's name."""
    return ("catalog", "orders", "prices")[number]
