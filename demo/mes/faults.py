"""Bad releases, built on purpose for the tests of a rollout: what a release's `fault.json` says it has to do wrong.

Without that file nothing here runs. Standard library only, and light: the builder imports this module too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILE = "fault.json"
KNOWN = {
    "never-starts": "never-starts: the start command exits with 1 at once",
    "exits-after": "exits-after=10: the process exits with 1 so many seconds after it became ready",
    "never-ready": "never-ready: it lives, and /readyz answers 503 for ever",
    "errors": "errors=0.05: that share of POST /orders answers 500 and stores nothing, evenly spread",
    "slow": "slow=3 or slow=3:40: /orders takes 3 times as long again and 40 ms more",
    "wrong-version": "wrong-version or wrong-version=0.9.9: /version names another version than the release's",
    "ignores-sigterm": "ignores-sigterm: SIGTERM changes nothing",
    "expand-fails": "expand-fails: the step `mes migrate` exits with 1 and has done nothing",
    "corrupt": "corrupt=truncated: half an archive with the checksum of that half; corrupt=checksum: a wrong checksum",
}
EXTRA_MS = 40.0
ANOTHER_VERSION = "0.0.0-wrong"
CORRUPTIONS = ("truncated", "checksum")


class FaultError(Exception):
    """A fault is not known or its value is wrong; the message is one sentence."""


@dataclass(frozen=True)
class Faults:
    """What a release does wrong; a healthy one does nothing of it."""

    never_starts: bool = False
    exits_after: float | None = None
    """Seconds from readiness to the end."""
    never_ready: bool = False
    errors: float = 0.0
    """Share of POST /orders that fails, 0 to 1; 0 is none."""
    slow: tuple[float, float] | None = None
    """How many times its own time a request waits, and seconds on top of that."""
    version: str | None = None
    """What /version says."""
    ignores_sigterm: bool = False
    expand_fails: bool = False
    corrupt: str | None = None
    """What the builder does to the archive: one of `CORRUPTIONS`."""


HEALTHY = Faults()


def _number(name: str, text: str, low: float, high: float, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise FaultError(f"Fault {name} is {text!r} but needs a number from {low:g} to {high:g}, such as {example}.")
    return value


def _slow(text: str) -> tuple[float, float]:
    factor, colon, extra = text.partition(":")
    times = _number("slow", factor, 0, 1000, "slow=3")
    return times, _number("slow", extra, 0, 60_000, "slow=3:40") / 1000 if colon else EXTRA_MS / 1000


def _one(spec: str) -> dict[str, Any]:
    name, given, value = spec.partition("=")
    if name not in KNOWN:
        raise FaultError(f"Fault {name!r} is not known; known are {', '.join(KNOWN)}.")
    if name == "exits-after":
        return {"exits_after": _number(name, value, 0, 86_400, "exits-after=10")}
    if name == "errors":
        return {"errors": _number(name, value, 0.001, 1, "errors=0.05")}
    if name == "slow":
        return {"slow": _slow(value)}
    if name == "corrupt":
        if value not in CORRUPTIONS:
            raise FaultError(f"Fault corrupt is {value!r} but must be corrupt={' or corrupt='.join(CORRUPTIONS)}.")
        return {"corrupt": value}
    if name == "wrong-version":
        if given and not (value and value.isprintable()):
            raise FaultError(f"Fault wrong-version is {value!r} but needs a version, such as wrong-version=0.9.9.")
        return {"version": value or ANOTHER_VERSION}
    if given:
        raise FaultError(f"Fault {name} takes no value but got {value!r}; write --fault {name}.")
    return {name.replace("-", "_"): True}


def parse(specs: Iterable[str]) -> Faults:
    """Read faults as the builder's command line has them, `NAME` or `NAME=VALUE` each."""
    values: dict[str, Any] = {}
    for spec in specs:
        values.update(_one(spec))
    return Faults(**values)


def load(root: Path) -> Faults:
    """Return the faults of the release in this directory."""
    path = root / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return HEALTHY
    try:
        return parse([str(spec) for spec in json.loads(text)["faults"]])
    except (ValueError, KeyError, TypeError) as error:
        raise FaultError(f"{path} cannot be read ({error!r}); build the release again.") from error


class EvenShare:
    """Says yes to a share of the questions, at even distances and without chance."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._asked = 0

    def due(self) -> bool:
        """Whether this one is among the share."""
        before = self._asked
        self._asked += 1
        return int(self._asked * self._share + 1e-9) > int(before * self._share + 1e-9)


class Misbehaviour:
    """ASGI middleware for the faults that clients of /orders see: errors and slow answers."""

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        create: object,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[Any]],
    ) -> None:
        self._app = app
        self._slow = faults.slow
        self._errors = EvenShare(faults.errors)
        self._create = create
        self._clock = clock
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == "/orders" or path.startswith("/orders/")):
            await self._app(scope, receive, send)
            return
        if self._slow is not None:
            send = self._slowly(self._slow, send)
        if scope["method"] == "POST" and path == "/orders" and self._errors.due():
            # For the metrics and the log the request belongs to the route it would have reached.
            scope["endpoint"] = self._create
            body = b'{"error":"This release fails on purpose.","stored":"no"}'
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)

    def _slowly(self, slow: tuple[float, float], send: Send) -> Send:
        factor, extra = slow
        began = self._clock()

        async def late(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._sleep(extra + factor * (self._clock() - began))
            await send(message)

        return late


async def after_ready(
    seconds: float,
    is_ready: Callable[[], bool],
    leave: Callable[[], Any],
    sleep: Callable[[float], Awaitable[Any]],
) -> None:
    """Wait until the service is ready and so many seconds more, and leave."""
    while not is_ready():
        await sleep(0.05)
    await sleep(seconds)
    leave()
