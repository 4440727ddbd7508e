"""What a client may send: checks of order bodies, keys and paging. Pure, no I/O."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

MAX_POLYGONS = 20_000_000
MAX_PAGE = 500
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_INT64_MAX = 2**63 - 1


class Refused(Exception):
    """The request cannot be accepted; carries the HTTP status and one sentence."""

    def __init__(self, code: int, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True)
class NewOrder:
    """An order as a client asks for it."""

    customer: str
    model: str
    polygons: int
    quantity: int
    reference: str | None


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Parse a request body that must be one JSON object."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(400, "The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise Refused(400, "The request body must be one JSON object.")
    return data


def _text(data: dict[str, Any], field: str, default: str | None = None) -> str | None:
    value = data.get(field, default)
    if value is None and field in data:
        raise Refused(400, f"Field {field!r} must be a text of 1 to 200 characters.")
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise Refused(400, f"Field {field!r} must be a text of 1 to 200 printable characters.")
    return value


def _integer(data: dict[str, Any], field: str, highest: int, default: int | None = None) -> int:
    value = data.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise Refused(400, f"Field {field!r} must be a whole number from 1 to {highest}.")
    return value


def parse_order(data: dict[str, Any]) -> NewOrder:
    """Check the body of POST /orders."""
    unknown = sorted(set(data) - {"customer", "model", "polygons", "quantity", "reference"})
    if unknown:
        raise Refused(
            400, f"Field {unknown[0]!r} is not known; known are customer, model, polygons, quantity, reference."
        )
    customer = _text(data, "customer")
    model = _text(data, "model")
    if customer is None or model is None:
        missing = "customer" if customer is None else "model"
        raise Refused(400, f"Field {missing!r} is missing.")
    return NewOrder(
        customer=customer,
        model=model,
        polygons=_integer(data, "polygons", MAX_POLYGONS),
        quantity=_integer(data, "quantity", 10_000, default=1),
        reference=_text(data, "reference"),
    )


def parse_key(value: str | None) -> str:
    """Check the Idempotency-Key header."""
    if value is None:
        raise Refused(400, "The Idempotency-Key header is missing; send one unique key per order, the same on retry.")
    if not _KEY.fullmatch(value):
        raise Refused(400, "The Idempotency-Key header must be 1 to 200 visible ASCII characters without blanks.")
    return value


def fingerprint(order: NewOrder) -> str:
    """Return a digest of what was ordered: equal for equal orders, however their JSON was written."""
    canonical = json.dumps(asdict(order), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def parse_order_id(text: str) -> int:
    """Check an order id from a path or a query."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= _INT64_MAX:
        raise Refused(404, f"There is no order {text[:40]!r}; order ids are positive whole numbers.")
    return int(text)


def parse_limit(text: str | None) -> int:
    """Check the page size of a list."""
    if text is None:
        return 50
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_PAGE:
        raise Refused(400, f"Parameter 'limit' must be a whole number from 1 to {MAX_PAGE}.")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """Check the key of the last order already seen."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= _INT64_MAX:
        raise Refused(400, "Parameter 'after' must be the order id that ended the previous page.")
    return int(text)
