# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays stories: ``python -m simulations --seeds 1000``, or one of them, told at length: ``--seed 4711``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from simulations.generator import story_of
from simulations.kept import KEPT, KNOWN
from simulations.play import Broken, Play
from simulations.shrink import shortest
from simulations.story import Story, as_code, as_text

CHUNK = 50
TOLD = 5
"""How many failing seeds are made shorter and told."""


def play_seeds(seeds: Sequence[int]) -> list[tuple[int, Broken]]:
    """The first broken promise of each seed that breaks one."""
    found = []
    for seed in seeds:
        broken = Play(story_of(seed)).play()
        if broken:
            found.append((seed, broken[0]))
    return found


def play_many(first: int, count: int, processes: int) -> Iterator[list[tuple[int, Broken]]]:
    """What ``play_seeds`` finds, chunk by chunk, in order."""
    chunks = [range(begin, min(begin + CHUNK, first + count)) for begin in range(first, first + count, CHUNK)]
    if processes == 1:
        yield from map(play_seeds, chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play_seeds, chunks)


def tell(seed: int, promise: str) -> str:
    """The shortest story that breaks the promise, for a person and as code."""
    story = shortest(story_of(seed), promise)
    how = next(one.how for one in Play(story).play() if one.promise == promise)
    lines = [f"seed {seed} breaks the promise: {promise}", f"  {how}", *(f"  {line}" for line in as_text(story))]
    return "\n".join([*lines, f"  {as_code(story)}"])


def main() -> int:
    """Play, and say what was found; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="simulations", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one, told at length")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first-broken", action="store_true", help="name the first seed and kept story that break one")
    asked = parser.parse_args()
    if asked.first_broken:
        return _first_broken(asked.seeds)
    if asked.seed is not None:
        return _tell_one(asked.seed)
    begin = time.monotonic()
    found = [one for some in play_many(asked.first, asked.seeds, asked.processes) for one in some]
    kinds: dict[str, list[int]] = {}
    for seed, broken in found:
        kinds.setdefault(broken.promise, []).append(seed)
    for promise, seeds in kinds.items():
        print(f"{len(seeds)} seeds break the promise: {promise} ({', '.join(map(str, seeds[:12]))})")
    for promise, seeds in list(kinds.items())[:TOLD]:
        print("\n" + tell(seeds[0], promise))
    print(f"{asked.seeds} stories in {time.monotonic() - begin:.0f} s, {len(found)} of them break a promise")
    return 1 if found else 0


def _first_broken(seeds: int) -> int:
    """The first seed and the first kept story that break a promise which is not known to be broken."""
    drawn, broken = _first((str(seed), story_of(seed)) for seed in range(seeds))
    kept, as_well = _first(KEPT.items())
    found = broken or as_well
    print(f"{drawn or f'none of {seeds}'} | {kept or 'none'} | {found}" if found else "nothing was found")
    return 1 if found else 0


def _first(stories: Iterable[tuple[str, Story]]) -> tuple[str, str]:
    """The name of the first story that breaks a promise, and the promise."""
    for name, story in stories:
        new = [one for one in Play(story).play() if one.promise not in KNOWN]
        if new:
            return name, new[0].promise
    return "", ""


def _tell_one(seed: int) -> int:
    story = story_of(seed)
    play = Play(story, tell=True)
    broken = play.play()
    print("\n".join([*as_text(story), "", *play.notes, ""]))
    for promise in dict.fromkeys(one.promise for one in broken):
        print(tell(seed, promise))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
