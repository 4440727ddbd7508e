# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories drawn from seeds keep every promise; so does each story that once broke one. See docs/simulation.md."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from simulations.__main__ import play_seeds
from simulations.clock import Clock
from simulations.generator import story_of
from simulations.kept import KEPT, KNOWN
from simulations.plain import record_as_dict
from simulations.play import Play
from simulations.shrink import shortest
from simulations.story import Command, Event, Release, Story, Trouble, as_code, as_text

SEEDS = 2000
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds_keep_every_promise(part: int) -> None:
    each = SEEDS // PARTS
    broken = play_seeds(range(part * each, (part + 1) * each))
    assert [(seed, one.promise, one.how) for seed, one in broken if one.promise not in KNOWN] == []


@pytest.mark.parametrize("name", sorted(KEPT))
def test_stories_that_found_something_keep_every_promise(name: str) -> None:
    broken = Play(KEPT[name]).play()
    assert [(one.promise, one.how) for one in broken if one.promise not in KNOWN] == []


def test_a_seed_always_means_the_same() -> None:
    first, second = (Play(story_of(42), tell=True) for _time in range(2))
    assert (first.play(), first.notes) == (second.play(), second.notes)


def test_stories_are_told_and_kept_as_code() -> None:
    for seed in range(50):
        story = story_of(seed)
        names = {"Story": Story, "Command": Command, "Event": Event, "Release": Release, "Trouble": Trouble}
        names |= {name: getattr(__import__("simulations.story").story, name) for name in ("Wishes", "Step")}
        assert eval(as_code(story), names) == story
        assert len(as_text(story)) >= 1 + len(story.commands)


def test_records_are_copied_as_the_product_writes_them() -> None:
    play = Play(Story(hosts=3, balancers=2, commands=(Command(version="2"),)))
    play.play()
    record = next(run.record for run in play.runs if run.record is not None)
    assert record_as_dict(record) == Record.to_dict(record)


def test_what_breaks_a_promise_is_found_and_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that sees nothing calls a bad release done."""
    monkeypatch.setattr("simulations.estate.Estate.fault", lambda *_: "")
    monkeypatch.setattr("simulations.estate.Estate.ready", lambda *_: True)
    story = Story(
        hosts=4,
        balancers=2,
        releases=(Release("2", "errors"), Release("3")),
        commands=(Command(version="2", troubles=(Trouble(3, "late", 3.0),)), Command(version="3")),
        events=(Event("pause", 20.0), Event("resume", 25.0)),
    )
    promise = "a bad release is never done"
    assert promise in {one.promise for one in Play(story).play()}
    assert shortest(story, promise) == Story(
        hosts=2, balancers=1, releases=(Release("2", "errors"),), commands=(Command(version="2"),)
    )


def test_runs_that_wait_wake_in_the_order_of_time() -> None:
    clock, seen = Clock(), []

    def course(name: str, pause: float) -> None:
        for _turn in range(3):
            clock.wait(pause)
            seen.append((name, clock.time))

    clock.at(0, lambda: clock.start(lambda: course("slow", 2)))
    clock.at(0, lambda: clock.start(lambda: course("quick", 1.5)))
    clock.play()
    assert seen == [("quick", 1.5), ("slow", 2), ("quick", 3), ("slow", 4), ("quick", 4.5), ("slow", 6)]
