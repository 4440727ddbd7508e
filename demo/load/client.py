"""The open loop itself: sends when it is time to send, whatever has become of the requests before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp

from .config import LoadConfig
from .ledger import LedgerWriter
from .report import Attempt, Report, Tally
from .schedule import CREATE, GET, Planned, plan

_CUSTOMERS = ("shop", "alexandrite-b2b", "north-jewels", "atelier-17")
_FINISH_AFTER_SIGNAL = 10.0


def _new_run_id() -> str:
    return f"load-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


class _Run:
    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self.id = _new_run_id()
        self.tally = Tally()
        self.interrupted = False
        self._targets = [target.rstrip("/") for target in config.targets]
        self._known: deque[int] = deque(maxlen=1000)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._last_scheduled = 0.0
        self._session: aiohttp.ClientSession
        self._ledger: LedgerWriter
        self._started = 0.0
        self._wall_clock = 0.0

    async def run(self) -> Report:
        config = self.config
        report = Report(
            run=self.id,
            targets=list(self._targets),
            retry=config.retry,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            rate_asked=config.rate,
            ledger=config.ledger,
        )
        tls: ssl.SSLContext | bool = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ssl=tls)
        headers = {"User-Agent": "mes-load", **({"Host": config.host} if config.host else {})}
        session = aiohttp.ClientSession(connector=connector, headers=headers)
        # aiohttp silently repeats a GET whose kept-alive connection died; here every failure is to be seen.
        session._retry_connection = False
        with LedgerWriter(config.ledger) as self._ledger:
            async with session as self._session:
                self._ledger.write("run", run=self.id, targets=self._targets, started=report.started)
                await self._drive()
        report.interrupted = self.interrupted
        return self.tally.report(report, self._last_scheduled, self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        self._started, self._wall_clock = loop.time(), time.time()
        sending = loop.create_task(self._send_all())

        def stop() -> None:
            self.interrupted = True
            sending.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: nobody sends signals there
                loop.add_signal_handler(number, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        if self._in_flight:
            patience = _FINISH_AFTER_SIGNAL if self.interrupted else self.config.deadline + self.config.timeout
            _, late = await asyncio.wait(self._in_flight, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _send_all(self) -> None:
        config = self.config
        for request in plan(
            config.rate,
            config.reads,
            len(self._targets),
            orders=config.orders,
            count=config.count,
            duration=config.duration,
        ):
            await asyncio.sleep(max(0.0, request.at - self._now()))
            self.tally.planned += 1
            self.tally.latest_start = max(self.tally.latest_start, self._now() - request.at)
            self._last_scheduled = request.at
            if len(self._in_flight) >= config.max_in_flight:
                self.tally.note_failure(request.method, "overflow", request.at)
                continue
            task = asyncio.create_task(self._carry_out(request))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _carry_out(self, request: Planned) -> None:
        key = f"{self.id}-{request.index:07d}"
        call = self._call_for(request, key)
        attempts: list[Attempt] = []
        try:
            await self._attempt_until_done(request, call, attempts)
        except asyncio.CancelledError:
            attempts.append(Attempt(self._targets[request.target], False, "abandoned", detail="the run has ended"))
        finished = self._now()
        self.tally.note(request.method, request.at, finished, attempts)
        if request.kind == CREATE:
            self._enter(key, request, finished, attempts, call)

    def _call_for(self, request: Planned, key: str) -> dict[str, Any]:
        if request.kind == CREATE:
            customer = _CUSTOMERS[request.index % len(_CUSTOMERS)]
            body = {
                "customer": customer,
                "model": f"ring-{request.index % 97}",
                "polygons": self.config.polygons,
                "reference": key,
            }
            headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
            return {"method": "POST", "path": "/orders", "headers": headers, "data": json.dumps(body).encode()}
        if request.kind == GET and self._known:
            order_id = self._known[request.index % len(self._known)]
            return {"method": "GET", "path": f"/orders/{order_id}", "expected": order_id}
        return {"method": "GET", "path": "/orders?status=INITIATED&limit=20"}

    async def _attempt_until_done(self, request: Planned, call: dict[str, Any], attempts: list[Attempt]) -> None:
        config = self.config
        pause = 0.1
        while True:
            left = request.at + config.deadline - self._now()
            target = self._targets[(request.target + len(attempts)) % len(self._targets)]
            attempt = await self._attempt(target, call, max(0.1, min(config.timeout, left)))
            attempts.append(attempt)
            final = attempt.ok or (attempt.status is not None and attempt.status < 500 and attempt.status != 429)
            if final or config.retry == "none":
                return
            if len(attempts) % len(self._targets) == 0:
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 2)
            if self._now() >= request.at + config.deadline:
                return

    async def _attempt(self, target: str, call: dict[str, Any], seconds: float) -> Attempt:
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=min(2.0, seconds))
        try:
            async with self._session.request(
                call["method"],
                target + call["path"],
                headers=call.get("headers"),
                data=call.get("data"),
                timeout=limits,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                node = response.headers.get("X-Served-By")
                if response.status not in (200, 201):
                    detail = body[:200].decode("utf-8", "replace")
                    return Attempt(target, False, f"http_{response.status}", node, response.status, detail)
                if not self._accept(call, body):
                    # Not by a machine that speaks for the MES: worth another try, and no acknowledgement.
                    return Attempt(target, False, "wrong_body", node, None, body[:200].decode("utf-8", "replace"))
                if "X-Read-From" in response.headers:
                    self.tally.read_from[response.headers["X-Read-From"]] += 1
                return Attempt(target, True, "ok", node, response.status)
        except aiohttp.ClientConnectorError as error:
            return Attempt(target, False, "connect", detail=str(error))
        except asyncio.TimeoutError as error:
            kind = "connect" if isinstance(error, aiohttp.ConnectionTimeoutError) else "timeout"
            return Attempt(target, False, kind, detail=f"no answer within {seconds:.1f} s")
        except (aiohttp.ClientError, OSError) as error:
            return Attempt(target, False, "disconnected", detail=f"{type(error).__name__}: {error}")

    def _accept(self, call: dict[str, Any], body: bytes) -> bool:
        try:
            answer = json.loads(body)
            if call["method"] == "POST":
                if not isinstance(answer["id"], int):
                    return False
                call["order_id"] = answer["id"]
                self._known.append(answer["id"])
                return True
            if "expected" in call:
                return bool(answer["id"] == call["expected"])
            return isinstance(answer["orders"], list)
        except (ValueError, KeyError, TypeError):
            return False

    def _enter(
        self, key: str, request: Planned, finished: float, attempts: Sequence[Attempt], call: dict[str, Any]
    ) -> None:
        last = attempts[-1]
        common = {
            "key": key,
            "scheduled": round(self._wall_clock + request.at, 3),
            "finished": round(self._wall_clock + finished, 3),
            "latency_ms": round((finished - request.at) * 1000, 1),
            "attempts": len(attempts),
            "failed_attempts": [f"{attempt.target} {attempt.kind}" for attempt in attempts if not attempt.ok],
        }
        if last.ok:
            self._ledger.write("acknowledged", order_id=call["order_id"], node=last.node, target=last.target, **common)
        else:
            self.tally.unknown += 1
            self._ledger.write("unknown", kind=last.kind, **common)


def run_load(config: LoadConfig) -> Report:
    """Run the load until it is done or interrupted; write the report where the configuration says."""
    report = asyncio.run(_Run(config).run())
    if config.report:
        with open(config.report, "w", encoding="utf-8") as stream:
            stream.write(report.to_json())
    return report
