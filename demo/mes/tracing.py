"""OpenTelemetry traces: on only when an OTLP endpoint is set, otherwise free of cost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_FLUSH_SECONDS = 2.0


@dataclass
class HttpSpan:
    """The span of one HTTP request; its attributes arrive at the end."""

    trace_id: str
    span_id: str
    recorded: bool = False
    _span: Span | None = field(default=None, repr=False)

    def finish(self, route: str, method: str, status: int) -> None:
        """Name the span by its route template and note the outcome."""
        if self._span is None:
            return
        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415

            self._span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes spans; without an endpoint it only hands on the caller's trace id."""

    def __init__(self, endpoint: str | None, node: str, version: str) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if endpoint:
            self._start(node, version)

    def _start(self, node: str, version: str) -> None:
        # Imported only when traces are wanted: these modules cost start-up time and memory.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        identity = {"service.name": "mes", "service.version": version, "service.instance.id": node, "host.name": node}
        provider = TracerProvider(resource=Resource.create(identity), shutdown_on_exit=False)
        # The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT itself and appends /v1/traces to it.
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_FLUSH_SECONDS)))
        self._provider = provider
        self._tracer = provider.get_tracer("mes")

    @contextlib.contextmanager
    def http(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[HttpSpan]:
        """Open the span of one request."""
        if self._tracer is None:
            yield HttpSpan(context.trace_id_from(headers.get("traceparent")), context.new_span_id())
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        parent = TraceContextTextMapPropagator().extract(dict(headers))
        attributes = {"http.request.method": method, "url.path": path}
        with self._tracer.start_as_current_span(
            method, context=parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:
            ids = span.get_span_context()
            yield HttpSpan(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", ids.trace_flags.sampled, span)

    @contextlib.contextmanager
    def sql(self, operation: str, role: str) -> Iterator[None]:
        """Open the span of one database operation."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        attributes: dict[str, Any] = {
            "db.system.name": "postgresql",
            "db.namespace": "mes",
            "db.operation.name": operation,
            "mes.pool": role,
        }
        with self._tracer.start_as_current_span(f"sql {operation}", kind=SpanKind.CLIENT, attributes=attributes):
            yield

    def close(self) -> None:
        """Send what is left, but never hold up the shutdown for a dead collector."""
        if self._provider is None:
            return
        flusher = threading.Thread(target=self._provider.shutdown, daemon=True, name="trace-flush")
        flusher.start()
        flusher.join(_FLUSH_SECONDS)
