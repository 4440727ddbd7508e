"""The price of an order: work that grows with the polygon count, done in worker processes.

This module must stay light: every worker process imports it.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import wait as wait_for_any

_MASK = (1 << 64) - 1
_COORDINATE = (1 << 16) - 1


@dataclass(frozen=True)
class Quote:
    """What a calculation gives."""

    unit_price: Decimal
    cpu_seconds: float


class Overloaded(Exception):
    """No room for another calculation."""


class WorkerLost(Exception):
    """A worker process died under a calculation; nothing was stored."""


def calculate(model: str, polygons: int) -> Quote:
    """Walk over every triangle of the model and add up its surface: about one microsecond and a half each."""
    started = time.process_time()
    state = int.from_bytes(hashlib.sha256(model.encode()).digest()[:8], "big")
    twice_surface = 0.0
    for _ in range(polygons):
        state = (state * 6364136223846793005 + 1442695040888963407) & _MASK
        a = state & _COORDINATE
        b = (state >> 16) & _COORDINATE
        c = (state >> 32) & _COORDINATE
        d = state >> 48
        x = a * d - b * c
        y = b * a - c * d
        z = c * b - d * a
        twice_surface += (x * x + y * y + z * z) ** 0.5
    mean_surface = twice_surface / (2.0 * polygons) / _COORDINATE**2
    price = Decimal("25.00") + Decimal(f"{mean_surface * 100:.2f}") + Decimal(polygons) / 10_000
    return Quote(unit_price=price.quantize(Decimal("0.01")), cpu_seconds=time.process_time() - started)


def _start_worker() -> None:
    """Outlive the SIGTERM that systemd sends to the whole service, but never the parent itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait_for_any([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _warm_up() -> None:
    time.sleep(0.05)


class PriceDesk:
    """A bounded queue in front of a few worker processes, so that the event loop keeps answering."""

    def __init__(self, workers: int, queue: int) -> None:
        self._workers = workers
        self._room = workers + queue
        self.busy = 0
        self._closed = False
        self._executor: ProcessPoolExecutor | None = None

    def _new_executor(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
        for _ in range(self._workers):
            executor.submit(_warm_up)
        return executor

    def open(self) -> None:
        """Start the workers ahead of the first price, which would start them too."""
        if self._executor is None and not self._closed:
            self._executor = self._new_executor()

    def close(self) -> None:
        """Stop the workers; calculations under way are lost."""
        self._closed = True
        executor, self._executor = self._executor, None
        if executor is None:
            return
        processes = list((getattr(executor, "_processes", None) or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()

    async def quote(self, model: str, polygons: int) -> Quote:
        """Calculate in a worker."""
        if self.busy >= self._room:
            raise Overloaded(f"{self.busy} price calculations are under way or waiting already")
        self.open()
        if self._executor is None:
            raise WorkerLost("price calculation has been shut down")
        executor = self._executor
        self.busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, calculate, model, polygons)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = self._new_executor()
            raise WorkerLost("the worker process died under the price calculation") from None
        finally:
            self.busy -= 1
