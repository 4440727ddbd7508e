# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time in the simulation: one clock, the things that happen at their time, and runs that wait for theirs.

Each run is a thread, and only the one that holds the baton moves; so everything happens in one order, which depends on
nothing but the story.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable


class Task:
    """Somebody who can wait."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)


class Clock:
    """The time, and what it brings."""

    def __init__(self) -> None:
        self.time = 0.0
        self._order = itertools.count()
        self._ahead: list[tuple[float, int, Task | Callable[[], None]]] = []
        self._main = Task()
        self._holder = self._main

    def at(self, time: float, act: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._ahead, (max(time, self.time), next(self._order), act))

    def wait(self, seconds: float) -> None:
        """Let time pass for whoever has the baton."""
        own = self._holder
        heapq.heappush(self._ahead, (self.time + seconds, next(self._order), own))
        self._pass_on(own)

    def start(self, course: Callable[[], None]) -> None:
        """Begin a task beside the one that has the baton."""
        task = Task()

        def run() -> None:
            task.turn.acquire()
            course()
            self._pass_on(None)

        threading.Thread(target=run, daemon=True).start()
        heapq.heappush(self._ahead, (self.time, next(self._order), task))

    def play(self) -> None:
        """Let everything happen that is ahead."""
        heapq.heappush(self._ahead, (float("inf"), next(self._order), self._main))
        self._pass_on(self._main)

    def _pass_on(self, own: Task | None) -> None:
        """Let things happen until it is the task's turn again; a task that has ended is never waited for."""
        while True:
            time, _order, what = heapq.heappop(self._ahead)
            if time != float("inf"):
                self.time = time
            if what is own:
                return
            if isinstance(what, Task):
                self._holder = what
                what.turn.release()
                if own is None:
                    return
                own.turn.acquire()
                self._holder = own
                return
            what()
