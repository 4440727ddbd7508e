"""The process: listens, and leaves politely on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

import uvicorn

from .app import Service, build
from .faults import HEALTHY, Faults
from .settings import Settings

log = logging.getLogger("mes.server")

_QUIET = 0.3
_RESERVE = 2.0


class PoliteServer(uvicorn.Server):
    """Says goodbye on every kept-alive connection, and stops listening only when no more requests arrive."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT, and do not raise them again afterwards: a polite end is exit code 0."""
        loop = asyncio.get_running_loop()
        if self._service.faults.ignores_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            yield
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        yield

    def _on_signal(self, name: str) -> None:
        if self._leaving is not None:
            return
        log.info("%s: shutting down", name)
        self._service.stopping = True
        timeout = self._service.settings.shutdown_timeout
        watchdog = threading.Timer(timeout, _give_up, args=(timeout,))
        watchdog.daemon = True
        watchdog.start()
        self._leaving = asyncio.get_running_loop().create_task(self._leave(time.monotonic()))

    async def _leave(self, began: float) -> None:
        """Keep serving while balancers still send; a drained node has nothing to wait for."""
        settings = self._service.settings
        while time.monotonic() - began < settings.drain_timeout:
            await asyncio.sleep(0.05)
            if time.monotonic() - max(began, self._service.last_request) >= _QUIET:
                break
        spent = time.monotonic() - began
        self.config.timeout_graceful_shutdown = max(1, int(settings.shutdown_timeout - spent - _RESERVE))
        self.should_exit = True


def _give_up(timeout: float) -> None:
    log.error("still not finished %g s after the signal; leaving now", timeout)
    logging.shutdown()
    os._exit(1)


def serve(settings: Settings, faults: Faults = HEALTHY) -> int:
    """Run until a signal; return the exit code."""
    service = Service(settings, faults)
    config = uvicorn.Config(
        build(service),
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Longer than any balancer keeps an idle connection: it is the balancer that closes, never we under its feet.
        timeout_keep_alive=120,
        backlog=2048,
    )
    server = PoliteServer(config, service)
    log.info("starting", extra={"fields": {**service.version, "listen": f"{settings.host}:{settings.port}"}})
    asyncio.run(server.serve())
    log.info("stopped")
    return 0
