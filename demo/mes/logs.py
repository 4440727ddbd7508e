"""JSON logs on standard output, one object a line."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from . import context


class JsonFormatter(logging.Formatter):
    """Formats a record, its request's ids and its `fields` as one JSON line."""

    def __init__(self, **constant: str) -> None:
        super().__init__()
        self._constant = constant

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        instant = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "ts": f"{instant}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **self._constant,
        }
        request = context.current.get()
        if request is not None:
            line["request_id"] = request.request_id
            line["trace_id"] = request.trace_id
            line["span_id"] = request.span_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str, **constant: str) -> None:
    """Send every logger of the process to standard output as JSON."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(**constant))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("psycopg.pool", "uvicorn.error", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A collector that is away would fill the journal with one complaint for each batch of spans.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
