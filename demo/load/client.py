"""The open loop itself: sends when it is time to send, whatever has become of the requests before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from . import windows
from .config import LoadConfig
from .ledger import LedgerWriter, LineWriter
from .report import Attempt, Report, Tally
from .schedule import CREATE, GET, Planned, plan
from .wire import Broken, Client

LONGEST_PAUSE_S = 4.0
"""On average, between two rounds of a request that is repeated."""

_CUSTOMERS = ("shop", "alexandrite-b2b", "north-jewels", "atelier-17")
_FINISH_AFTER_SIGNAL = 10.0


def _new_run_id() -> str:
    return f"load-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


@dataclass
class _Call:
    """What a request says, the same in every attempt, and what its answer has to have."""

    method: str
    path: str
    headers: bytes = b""
    body: bytes = b""
    expected: int | None = None
    """The order that was asked for."""
    order_id: int = 0
    """The order that was made."""


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
        self._client: Client
        self._ledger: LedgerWriter
        self._log: LineWriter
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
            requests=config.requests,
        )
        self._client = Client(self._targets, config.host, config.ca_file)
        with LedgerWriter(config.ledger) as self._ledger, LineWriter(config.requests, "wb") as self._log:
            self._ledger.write("run", run=self.id, targets=self._targets, started=report.started)
            await self._drive()
        self._client.close()
        report.interrupted = self.interrupted
        return self.tally.report(report, self._last_scheduled, self._now())

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        self._started, self._wall_clock = loop.time(), time.time()
        self._log.line(windows.first_line(self.id, self._wall_clock, self._started))
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
                self._log.line(windows.line(windows.Request(request.at, request.method, "overflow", 0, 0, "")))
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
        except Exception as error:
            # A mistake of the client itself is a failed request too, and never a silent one.
            attempts.append(Attempt(self._targets[request.target], False, "client", detail=repr(error)))
        finished = self._now()
        self.tally.note(request.method, request.at, finished, attempts)
        last = attempts[-1]
        latency_ms = (finished - request.at) * 1000
        note = windows.Request(request.at, request.method, last.kind, latency_ms, len(attempts), last.node or "")
        self._log.line(windows.line(note))
        if request.kind == CREATE:
            self._enter(key, request, finished, attempts, call)

    def _call_for(self, request: Planned, key: str) -> _Call:
        if request.kind == CREATE:
            body = {
                "customer": _CUSTOMERS[request.index % len(_CUSTOMERS)],
                "model": f"ring-{request.index % 97}",
                "polygons": self.config.polygons,
                "reference": key,
            }
            headers = f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\n".encode()
            return _Call("POST", "/orders", headers, json.dumps(body).encode())
        if request.kind == GET and self._known:
            order_id = self._known[request.index % len(self._known)]
            return _Call("GET", f"/orders/{order_id}", expected=order_id)
        return _Call("GET", "/orders?status=INITIATED&limit=20")

    async def _attempt_until_done(self, request: Planned, call: _Call, attempts: list[Attempt]) -> None:
        config = self.config
        pause = 0.1
        while True:
            left = request.at + config.deadline - self._now()
            target = (request.target + len(attempts)) % len(self._targets)
            attempt = await self._attempt(target, call, max(0.1, min(config.timeout, left)))
            attempts.append(attempt)
            final = attempt.ok or (attempt.status is not None and attempt.status < 500 and attempt.status != 429)
            if final or config.retry == "none":
                return
            if len(attempts) % len(self._targets) == 0:
                # What waits through an outage must not come back all at once, again and again, and so keep it going.
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(LONGEST_PAUSE_S, pause * 2)
            if self._now() >= request.at + config.deadline:
                return

    async def _attempt(self, number: int, call: _Call, seconds: float) -> Attempt:
        target = self._targets[number]
        try:
            response = await self._client.exchange(
                number, call.method, call.path, seconds, headers=call.headers, body=call.body
            )
        except Broken as broken:
            return Attempt(target, False, broken.kind, detail=broken.detail)
        node = response.headers.get("x-served-by")
        status, body = response.status, response.body
        if status not in (200, 201):
            return Attempt(target, False, f"http_{status}", node, status, body[:200].decode("utf-8", "replace"))
        if not self._accept(call, body):
            # Not by a machine that speaks for the MES: worth another try, and no acknowledgement.
            return Attempt(target, False, "wrong_body", node, None, body[:200].decode("utf-8", "replace"))
        read_from = response.headers.get("x-read-from")
        if read_from is not None:
            self.tally.read_from[read_from] += 1
        return Attempt(target, True, "ok", node, status)

    def _accept(self, call: _Call, body: bytes) -> bool:
        try:
            answer = json.loads(body)
            if call.method == "POST":
                if not isinstance(answer["id"], int):
                    return False
                call.order_id = answer["id"]
                self._known.append(answer["id"])
                return True
            if call.expected is not None:
                return bool(answer["id"] == call.expected)
            return isinstance(answer["orders"], list)
        except (ValueError, KeyError, TypeError):
            return False

    def _enter(self, key: str, request: Planned, finished: float, attempts: Sequence[Attempt], call: _Call) -> None:
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
            self._ledger.write("acknowledged", order_id=call.order_id, node=last.node, target=last.target, **common)
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
