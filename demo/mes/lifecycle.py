"""The life cycle of an order: which status may follow which. Pure, no I/O."""

from __future__ import annotations

STATUSES = (
    "INITIATED",
    "FILE_UPLOADED",
    "SUBMITTED",
    "PRICE_CALCULATED",
    "MANUFACTURING_APPROVED",
    "MANUFACTURING_STARTED",
    "MANUFACTURING_COMPLETED",
    "PACKAGING",
    "SHIPPED",
    "CLOSED",
)
FIRST = STATUSES[0]
SUBMITTED = "SUBMITTED"
PRICED = "PRICE_CALCULATED"

_NEXT: dict[str, tuple[str, ...]] = {
    **{status: (follower,) for status, follower in zip(STATUSES, STATUSES[1:])},
    STATUSES[-1]: (),
}


def allowed_after(status: str) -> tuple[str, ...]:
    """Return the statuses that may follow `status`."""
    return _NEXT[status]


def sources_of(status: str) -> tuple[str, ...]:
    """Return the statuses from which `status` may be reached."""
    return tuple(source for source, followers in _NEXT.items() if status in followers)


def is_legal(current: str, wanted: str) -> bool:
    """Tell whether an order in `current` may go to `wanted`."""
    return wanted in _NEXT[current]


def refusal(order_id: int, current: str, wanted: str) -> str:
    """Say in one sentence why an order cannot go from `current` to `wanted`."""
    allowed = allowed_after(current)
    way_out = f"allowed from {current}: {', '.join(allowed)}" if allowed else f"{current} is final"
    return f"Order {order_id} cannot go from {current} to {wanted}; {way_out}."
