"""The HTTP side: routes, errors, and what every response carries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import context, lifecycle, orders, release, schema
from .database import Database, Unavailable, complete_conninfo
from .faults import HEALTHY, Faults, Misbehaviour, after_ready
from .metrics import Metrics
from .pricing import Overloaded, PriceDesk, WorkerLost
from .settings import Settings
from .store import MOST_COUNTED, Store, illegal
from .tracing import HttpSpan, Tracing

log = logging.getLogger("mes.http")

_PROBES = ("/livez", "/readyz", "/metrics", "/version")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MAX_BODY = 64 * 1024
_PRICES_AFTER_READY = 0.2
_QUEUES_EVERY = 10.0
_UNKNOWN = {"stored": "unknown"}


class Service:
    """Everything that lives as long as the process."""

    def __init__(self, settings: Settings, faults: Faults = HEALTHY) -> None:
        self.settings = settings
        self.faults = faults
        self.version = release.describe(settings.node)
        if faults.version is not None:
            self.version["version"] = faults.version
        self.tracing = Tracing(settings.otlp_endpoint, settings.node, self.version["version"])
        self.metrics = Metrics()
        size = settings.pool_size
        rw = complete_conninfo(settings.database_rw, "MES_DATABASE_RW", "rw")
        ro = complete_conninfo(settings.database_ro, "MES_DATABASE_RO", "ro")
        # psycopg's pools bind to the running event loop: they are made in start().
        self._roads = (("rw", rw, size), ("ro", ro, size))
        self.desk = PriceDesk(settings.price_workers, settings.price_queue)
        self.stopping = False
        self.schema_ready = False
        self.last_request = time.monotonic()
        self._watchers: list[asyncio.Task[None]] = []
        self._queues: list[dict[str, Any]] = []
        self.store: Store

    async def start(self) -> None:
        """Start pools and watchers; none of them has to succeed for the process to live."""
        rw, ro = (Database(role, conninfo, size, self.tracing) for role, conninfo, size in self._roads)
        self.store = Store(rw, ro, self.settings.node)
        await rw.open()
        await ro.open()
        self._watchers = [asyncio.create_task(rw.watch(self._migrate)), asyncio.create_task(ro.watch())]
        if self.faults.exits_after is not None:
            ending = after_ready(self.faults.exits_after, self.is_ready, _exit_on_purpose, asyncio.sleep)
            self._watchers.append(asyncio.create_task(ending))
        self._watchers.append(asyncio.create_task(self._watch_queues()))
        self.metrics.sample(self._gauges)

    async def stop(self) -> None:
        """Let go of everything, in bounded time."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.wait(self._watchers, timeout=2.0)
        self.desk.close()
        await asyncio.gather(self.store.rw.close(), self.store.ro.close(), return_exceptions=True)
        self.tracing.close()

    async def _migrate(self, conn: Any) -> None:
        await schema.migrate(conn)
        self.schema_ready = True
        # The price workers are two more processes to start: not before this one is ready.
        asyncio.get_running_loop().call_later(_PRICES_AFTER_READY, self.desk.open)

    async def _watch_queues(self) -> None:
        """Look at what waits, beside the requests; unknown is told as absent and never as an old figure."""
        while True:
            try:
                self._queues = await self.store.queues() if self.schema_ready else []
            except Unavailable:
                self._queues = []
            except Exception:
                log.exception("the order queues could not be read")
                self._queues = []
            await asyncio.sleep(_QUEUES_EVERY)

    def not_ready_because(self) -> str | None:
        """Say why this node should get no traffic, or None.

        While the leader is being replaced a node that reaches a standby stays in: it still answers reads, and writes
        resume the moment there is a leader, without waiting for the balancers to see the node come back.
        """
        if self.stopping:
            return "shutting down"
        if self.faults.never_ready:
            return "this release never becomes ready"
        rw, ro = self.store.rw, self.store.ro
        if not self.schema_ready:
            return f"waiting for the database: {rw.reason}"
        if not rw.up and not ro.up:
            return f"no database: {rw.reason}"
        return None

    def is_ready(self) -> bool:
        """Whether this node wants traffic."""
        return self.not_ready_because() is None

    def _gauges(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        yield "mes_build_info", "What runs here; always 1.", self.version, 1.0
        for database in (self.store.rw, self.store.ro):
            pool = {"pool": database.role}
            stats = database.stats()
            yield "mes_database_up", "Whether the database answers.", pool, float(database.up)
            yield "mes_pool_size", "Connections of the pool.", pool, stats.get("pool_size", 0)
            yield "mes_pool_available", "Idle connections of the pool.", pool, stats.get("pool_available", 0)
            yield "mes_pool_max", "Most connections that the pool may have.", pool, stats.get("pool_max", 0)
            yield "mes_pool_waiting", "Requests that wait for a connection.", pool, database.waiting
        for queue in self._queues:
            status = {"status": queue["status"]}
            yield "mes_orders", f"Orders in a status, counted up to {MOST_COUNTED}.", status, queue["waiting"]
            if queue["since"] is not None:
                text = "Since when the first order of a status is in it."
                yield "mes_orders_oldest_timestamp_seconds", text, status, queue["since"]
        yield "mes_price_calculations", "Price calculations under way or waiting.", {}, self.desk.busy
        yield "mes_ready", "Whether this node wants traffic.", {}, float(self.is_ready())


def _exit_on_purpose() -> None:
    log.error("this release ends here on purpose")
    logging.shutdown()
    os._exit(1)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def create_order(request: Request) -> Response:
    """POST /orders."""
    service = _service(request)
    key = orders.parse_key(request.headers.get("idempotency-key"))
    order = orders.parse_order(orders.parse_json_object(await request.body()))
    body, created = await service.store.create(key, order)
    if created:
        service.metrics.transitions.labels("", lifecycle.FIRST).inc()
    else:
        service.metrics.repeats.inc()
    headers = {"Location": f"/orders/{body['id']}", "Idempotency-Replayed": "false" if created else "true"}
    return JSONResponse(body, 201 if created else 200, headers)


async def list_orders(request: Request) -> Response:
    """GET /orders."""
    query = request.query_params
    status = query.get("status")
    if status is not None and status not in lifecycle.STATUSES:
        raise orders.Refused(400, f"Status {status[:40]!r} is not known; known are {', '.join(lifecycle.STATUSES)}.")
    page = await _service(request).store.page(
        status, orders.parse_limit(query.get("limit")), orders.parse_after(query.get("after"))
    )
    return JSONResponse({"orders": page.orders, "next": page.following}, headers={"X-Read-From": page.read_from})


async def get_order(request: Request) -> Response:
    """GET /orders/{id}."""
    order, history, read_from = await _service(request).store.get(orders.parse_order_id(request.path_params["id"]))
    return JSONResponse({**order, "history": history}, headers={"X-Read-From": read_from})


async def move_order(request: Request) -> Response:
    """POST /orders/{id}/transitions."""
    service = _service(request)
    order_id = orders.parse_order_id(request.path_params["id"])
    target = orders.parse_json_object(await request.body()).get("to")
    if target not in lifecycle.STATUSES:
        raise orders.Refused(400, f"Field 'to' must be one of {', '.join(lifecycle.STATUSES)}.")
    if target == lifecycle.PRICED:
        current = (await service.store.get(order_id))[0]["status"]
        if lifecycle.is_legal(current, target):
            raise orders.Refused(
                409,
                f"Order {order_id} goes from {current} to {target} by POST /orders/{order_id}/price only.",
                status=current,
                allowed=[target],
            )
    order, source = await service.store.move(order_id, target)
    service.metrics.transitions.labels(source, target).inc()
    return JSONResponse(order)


async def price_order(request: Request) -> Response:
    """POST /orders/{id}/price."""
    service = _service(request)
    order_id = orders.parse_order_id(request.path_params["id"])
    order = (await service.store.get(order_id))[0]
    if order["unit_price"] is not None:
        return JSONResponse(order)  # a repeat: the price stands
    if not lifecycle.is_legal(order["status"], lifecycle.PRICED):
        raise illegal(order_id, order["status"], lifecycle.PRICED)
    quote = await service.desk.quote(order["model"], order["polygons"])
    service.metrics.price_seconds.observe(quote.cpu_seconds)
    try:
        priced, source = await service.store.move(order_id, lifecycle.PRICED, quote.unit_price)
    except orders.Refused:
        priced = (await service.store.get(order_id))[0]
        if priced["unit_price"] is None:
            raise
        return JSONResponse(priced)  # somebody else priced it meanwhile
    service.metrics.transitions.labels(source, lifecycle.PRICED).inc()
    return JSONResponse(priced)


async def livez(_request: Request) -> Response:
    """GET /livez: the event loop turns."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """GET /readyz."""
    service = _service(request)
    reason = service.not_ready_because()
    databases = {database.role: database.reason for database in (service.store.rw, service.store.ro)}
    if reason is not None:
        return JSONResponse({"status": "not ready", "reason": reason, "databases": databases}, 503)
    return JSONResponse({"status": "ready", "databases": databases})


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    body, content_type = _service(request).metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


async def version(request: Request) -> Response:
    """GET /version."""
    return JSONResponse(_service(request).version)


ROUTES = [
    Route("/orders", create_order, methods=["POST"]),
    Route("/orders", list_orders, methods=["GET"]),
    Route("/orders/{id}", get_order, methods=["GET"]),
    Route("/orders/{id}/transitions", move_order, methods=["POST"]),
    Route("/orders/{id}/price", price_order, methods=["POST"]),
    Route("/livez", livez),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
    Route("/version", version),
]
_TEMPLATES = {route.endpoint: route.path for route in ROUTES}


def _on_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, orders.Refused)
    return JSONResponse({"error": error.message, **error.details}, error.code)


def _on_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable)
    unknown = error.unknown and request.method == "POST"
    stored = "unknown" if unknown else "no"
    _service(request).metrics.database_errors.labels("rw" if request.method == "POST" else "ro", stored).inc()
    log.warning("database away", extra={"fields": {"reason": error.reason, "stored": stored}})
    advice = "It is safe to repeat with the same Idempotency-Key." if request.method == "POST" else "Try again."
    return JSONResponse(
        {"error": f"The database is away: {error.reason}. {advice}", "stored": stored}, 503, {"Retry-After": "1"}
    )


def _on_overloaded(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"No price now: {error}. Try again later."}, 503, {"Retry-After": "5"})


def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}."}, error.status_code, dict(error.headers or {}))


def _on_crash(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "The service failed; its log says why."}, 500)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


class Envelope:
    """Around every request: its ids, its span, its metrics, its log line, and the goodbye while shutting down."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service
        headers = Headers(scope=scope)
        method = _method(scope)
        probe = scope["path"] in _PROBES
        if not probe:
            service.last_request = time.monotonic()
        request_id = context.request_id_from(headers.get("x-request-id"))
        status = 0
        sent = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                outgoing = MutableHeaders(scope=message)
                outgoing["X-Request-ID"] = request_id
                outgoing["X-Served-By"] = service.settings.node
                if service.stopping:
                    outgoing["Connection"] = "close"
            else:
                sent += len(message.get("body", b""))
            await send(message)

        started = time.perf_counter()
        service.metrics.in_flight.inc()
        with contextlib.ExitStack() as stack:
            # Probes come every second from every balancer: they get no spans and no log lines.
            tracing = Tracing(None, "", "") if probe else service.tracing
            span = stack.enter_context(tracing.http(method, scope["path"], headers))
            ids = context.current.set(context.RequestContext(request_id, span.trace_id, span.span_id))
            stack.callback(context.current.reset, ids)
            try:
                await self._app(scope, receive, send_with_headers)
            except asyncio.CancelledError:
                if not service.stopping or status:
                    raise
                # The shutdown's deadline has passed: say so, instead of a bare 500.
                log.error("request abandoned: the shutdown's deadline has passed")
                goodbye = {"error": "This node is shutting down and could not finish; repeat the request.", **_UNKNOWN}
                await JSONResponse(goodbye, 503, {"Retry-After": "1"})(scope, receive, send_with_headers)
            except Exception:
                log.exception("request failed")
                raise
            finally:
                seconds = time.perf_counter() - started
                self._note(scope, span, status or 500, seconds, None if probe else sent)

    def _note(self, scope: Scope, span: HttpSpan, status: int, seconds: float, sent: int | None) -> None:
        """Put a finished request into metrics, trace and log; `sent` is None for a probe, which is not logged."""
        metrics = self._service.metrics
        method = _method(scope)
        route = _TEMPLATES.get(scope.get("endpoint"), "(none)")  # type: ignore[arg-type]
        metrics.in_flight.dec()
        exemplar = {"trace_id": span.trace_id} if span.recorded else None
        metrics.request_seconds.labels(method, route, str(status)).observe(seconds, exemplar)
        span.finish(route, method, status)
        if sent is None:
            return
        fields: dict[str, Any] = {
            "method": method,
            "path": scope["path"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
            "bytes": sent,
            "client": (scope.get("client") or ("",))[0],
        }
        log.info("request", extra={"fields": fields})


def build(service: Service) -> Starlette:
    """Put the application together."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    middleware = [Middleware(Envelope, service=service)]
    if service.faults.errors or service.faults.slow:
        clock, sleep = time.perf_counter, asyncio.sleep
        wrong = Middleware(Misbehaviour, faults=service.faults, create=create_order, clock=clock, sleep=sleep)
        middleware.append(wrong)
    app = Starlette(
        routes=ROUTES,
        lifespan=lifespan,
        max_body_size=_MAX_BODY,
        middleware=middleware,
        exception_handlers={
            orders.Refused: _on_refused,
            Unavailable: _on_unavailable,
            Overloaded: _on_overloaded,
            WorkerLost: _on_overloaded,
            HTTPException: _on_http_exception,
            Exception: _on_crash,
        },
    )
    app.state.service = service
    return app
