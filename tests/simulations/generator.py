# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws a story from a seed."""

from __future__ import annotations

from random import Random

from simulations.story import (
    FAULTS,
    STORE_TROUBLES,
    TROUBLES,
    Command,
    Event,
    Release,
    Step,
    Story,
    Trouble,
    Wishes,
)

VERSIONS = ("2", "3", "4")
PERSONS = ("pause", "resume", "promote", "abort", "abort", "unlock", "drain", "maint", "put back", "weigh less")
MISHAPS = (
    "host dies",
    "host back",
    "host unreachable",
    "host reachable",
    "disk full",
    "disk free",
    "balancer dies",
    "balancer back",
    "balancer cut off from a host",
    "balancer forgets",
    "store down",
    "store up",
)
LONG = 200.0
"""Seconds for which a controller stands still: longer than any lease."""


def story_of(seed: int) -> Story:
    """The story of a seed."""
    draw = Random(seed)
    # Most trouble needs few hosts; some needs many.
    hosts = draw.choice((1, 2, 2, 3, 3, 3, 4, 5, 6, 9, 12))
    balancers = draw.choice((1, 1, 2, 2, 2, 3))
    services = tuple(_wishes(draw, hosts) for _one in range(draw.choice((1, 1, 1, 2))))
    releases = tuple(_release(draw, version, hosts) for version in VERSIONS)
    count = draw.choice((1, 2, 2, 3, 3, 4))
    commands = tuple(_command(draw, number, hosts, balancers, len(services)) for number in range(count))
    calm = draw.random() < 0.15
    if calm:
        return Story(hosts, balancers, services, releases, tuple(_calm(command) for command in commands))
    events = tuple(
        _event(draw, hosts, balancers, len(commands), commands) for _one in range(draw.choice((0, 0, 1, 1, 2, 3, 5)))
    )
    return Story(hosts, balancers, services, releases, commands, events)


def _calm(command: Command) -> Command:
    return Command(command.what, command.version, command.service, rides=command.rides, skew=command.skew)


def _wishes(draw: Random, hosts: int) -> Wishes:
    # Mostly what is possible: a plan that is refused tells little.
    enough = (0, 1, "50%", "25%") if hosts > 1 else (0,)
    return Wishes(
        batches=draw.choice(((1, "25%"), (1, "25%"), (1,), (2,), (1, "50%"), ("100%",), (1, 4))),
        weights=draw.choice(((10, 100), (10, 100), (100,), (5, 30, 100))),
        min_available=draw.choice(enough if draw.random() < 0.9 else ("75%", 2)),
        min_healthy_time=draw.choice((10.0, 10.0, 10.0, 0.0, 30.0)),
        drain_deadline=draw.choice((30.0, 10.0)),
        drain_on_timeout=draw.choice(("fail", "fail", "kill", "wait")),
        pause_timeout=draw.choice((60.0, 120.0)),
        prove_stop=draw.random() < 0.2,
        errors_gate=draw.choice(("continue", "rollback", "rollback", "pause", "off")),
        session=draw.choice((1.0, 0.0, 4.0, 20.0, 60.0)),
    )


def _release(draw: Random, version: str, hosts: int) -> Release:
    fault, after, only = "", 0.0, None
    if draw.random() < 0.4:
        fault = draw.choice(FAULTS)
        after = draw.choice((0.0, 0.0, 0.0, 3.0, 12.0, 40.0)) if fault not in ("corrupt", "never-starts") else 0.0
        only = draw.choice((None, None, None, draw.randrange(hosts)))
    return Release(
        version,
        fault,
        after,
        only,
        ignores_sigterm=draw.random() < 0.05,
        expand=_step(draw, 0.85) if draw.random() < 0.2 else None,
        contract=_step(draw, 0.3) if draw.random() < 0.15 else None,
    )


def _step(draw: Random, reversible: float) -> Step:
    return Step(draw.random() < reversible, draw.choice((1.0, 1.0, 10.0, 100.0)), draw.random() < 0.15)


def _command(draw: Random, number: int, hosts: int, balancers: int, services: int) -> Command:
    back = number > 0 and draw.random() < 0.35
    excluded: tuple[int, ...] = ()
    if draw.random() < 0.15 and hosts > 1:
        excluded = tuple(sorted(draw.sample(range(hosts), draw.randrange(1, hosts))))
    some = None
    if draw.random() < 0.12 and balancers > 1:
        some = tuple(sorted(draw.sample(range(balancers), draw.randrange(1, balancers))))
    return Command(
        "rollback" if back else "rollout",
        "" if back else draw.choice(("2", "2", "2", "3", "3", "4", "1")),
        draw.randrange(services),
        after=draw.choice((1.0, 30.0, 100.0, 300.0)) if number else 0.0,
        beside=number > 0 and draw.random() < 0.2,
        excluded=excluded,
        hosts=hosts - 1 if hosts > 2 and draw.random() < 0.06 else None,
        balancers=some,
        skew=draw.choice((0.0, 0.0, 0.0, -7200.0, 7200.0, 600.0)),
        machine=draw.choice(("control-1", "control-1", "control-2")),
        rides=draw.random() < 0.5,
        troubles=_troubles(draw),
    )


def _troubles(draw: Random) -> tuple[Trouble, ...]:
    if draw.random() < 0.4:
        return ()
    found = {}
    for _one in range(draw.choice((1, 1, 1, 2, 3))):
        operation = int(draw.triangular(0, 60, 6))
        what = draw.choice((*TROUBLES, *STORE_TROUBLES))
        seconds = {"late": draw.choice((3.0, 20.0)), "paused": LONG, "paused within": LONG, "paused after": LONG}.get(
            what, 0.0
        )
        found[operation] = Trouble(operation, what, seconds)
    return tuple(found[operation] for operation in sorted(found))


def _event(draw: Random, hosts: int, balancers: int, commands: int, given: tuple[Command, ...]) -> Event:
    during = draw.randrange(commands)
    return Event(
        draw.choice(PERSONS if draw.random() < 0.55 else MISHAPS),
        at=-1.0 if draw.random() < 0.15 else round(draw.triangular(0, 150, 15), 1),
        during=during,
        host=draw.randrange(hosts),
        balancer=draw.choice((None, draw.randrange(balancers))),
        service=given[during].service,
    )
