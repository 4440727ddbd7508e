# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a story that breaks a promise as short as it can be while it still breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from simulations.play import Play
from simulations.story import Command, Event, Release, Story, Wishes

MOST_TRIES = 1500


def breaks(story: Story, promise: str) -> bool:
    """Whether a story breaks a promise."""
    return any(one.promise == promise for one in Play(story).play())


def shortest(story: Story, promise: str) -> Story:
    """The story without all that is not needed to break the promise."""
    tries = 0
    progress = True
    while progress:
        progress = False
        for candidate in shorter(story):
            tries += 1
            if tries > MOST_TRIES:
                return story
            if breaks(candidate, promise):
                story, progress = candidate, True
                break
    return story


def shorter(story: Story) -> Iterator[Story]:
    """Stories that are a little simpler, those that omit most first."""
    yield from _fewer_commands(story)
    for events in _without_one(story.events):
        yield replace(story, events=events)
    yield from _fewer_troubles(story)
    if len(story.services) > 1:
        yield _one_service(story)
    if story.hosts > 1:
        yield replace(story, hosts=1)
        yield replace(story, hosts=story.hosts - 1)
    if story.balancers > 1:
        yield replace(story, balancers=story.balancers - 1)
    for releases in _without_one(story.releases):
        yield replace(story, releases=releases)
    for name, plain in (("events", Event), ("releases", Release), ("services", Wishes), ("commands", Command)):
        yield from _plainer(story, name, plain)


def _without_one(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for number in range(len(items)):
        yield items[:number] + items[number + 1 :]


def _fewer_commands(story: Story) -> Iterator[Story]:
    for number in range(len(story.commands) if len(story.commands) > 1 else 0):
        kept = tuple(event for event in story.events if event.during != number or event.at < 0)
        moved = tuple(replace(event, during=event.during - 1) if event.during > number else event for event in kept)
        commands = story.commands[:number] + story.commands[number + 1 :]
        if commands[0].beside:
            commands = (replace(commands[0], beside=False), *commands[1:])
        yield replace(story, commands=commands, events=tuple(replace(one, during=max(0, one.during)) for one in moved))


def _fewer_troubles(story: Story) -> Iterator[Story]:
    for number, command in enumerate(story.commands):
        for troubles in _without_one(command.troubles):
            changed = replace(command, troubles=troubles)
            yield replace(story, commands=(*story.commands[:number], changed, *story.commands[number + 1 :]))


def _one_service(story: Story) -> Story:
    commands = tuple(replace(command, service=0) for command in story.commands)
    return replace(
        story,
        services=story.services[:1],
        commands=commands,
        events=tuple(replace(event, service=0) for event in story.events),
    )


def _plainer(story: Story, name: str, kind: Any) -> Iterator[Story]:
    """Each field of each item as it is when nothing is said."""
    items = getattr(story, name)
    for number, item in enumerate(items):
        for one in fields(kind):
            plain = one.default
            if getattr(item, one.name) != plain and one.name not in (
                "version",
                "what",
                "troubles",
                "service",
                "during",
            ):
                changed = replace(item, **{one.name: plain})
                more: dict[str, Any] = {name: (*items[:number], changed, *items[number + 1 :])}
                yield replace(story, **more)
