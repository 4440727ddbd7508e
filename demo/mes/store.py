"""Orders in Postgres: every question the service asks its database."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from . import context, lifecycle
from .database import Database, Unavailable
from .orders import NewOrder, Refused, fingerprint

_COLUMNS = "id, customer, model, reference, polygons, quantity, status, unit_price, created_at, updated_at"

# One statement for a new key and for a repeated one. A repeat writes too, on purpose: its commit then waits for the
# standby like the first one's, so a repeat can never acknowledge an order that only the leader has. Two nodes with
# the same key at once: the second waits here for the first.
_CREATE = f"""
    WITH stored AS (
        INSERT INTO mes.orders (idempotency_key, fingerprint, customer, model, reference, polygons, quantity, status)
        VALUES (%s, %s, %s, %s, %s, %s, %s, '{lifecycle.FIRST}')
        ON CONFLICT (idempotency_key) DO UPDATE SET repeats = orders.repeats + 1
            WHERE orders.fingerprint = excluded.fingerprint
        RETURNING *
    ), noted AS (
        INSERT INTO mes.order_history (order_id, source, target, node, request_id)
        SELECT id, NULL, status, %s, %s FROM stored WHERE repeats = 0
    )
    SELECT repeats, {_COLUMNS} FROM stored
"""
_MOVE = f"""
    WITH moved AS (
        UPDATE mes.orders SET status = %s, unit_price = coalesce(%s, unit_price), updated_at = now()
        WHERE id = %s AND status = %s
        RETURNING {_COLUMNS}
    ), noted AS (
        INSERT INTO mes.order_history (order_id, source, target, node, request_id)
        SELECT id, %s, status, %s, %s FROM moved
    )
    SELECT {_COLUMNS} FROM moved
"""
_ONE = f"SELECT {_COLUMNS} FROM mes.orders WHERE id = %s"
_HISTORY = "SELECT source, target, at, node FROM mes.order_history WHERE order_id = %s ORDER BY id"
_LIST = f"SELECT {_COLUMNS} FROM mes.orders WHERE id < %s ORDER BY id DESC LIMIT %s"
_LIST_BY_STATUS = f"SELECT {_COLUMNS} FROM mes.orders WHERE status = %s AND id < %s ORDER BY id DESC LIMIT %s"
# Bounded by the index, however many orders there are: the oldest of each status, and how many up to a limit.
MOST_COUNTED = 1000
_QUEUES = f"""
    SELECT name AS status,
        (SELECT count(*) FROM (SELECT FROM mes.orders WHERE status = name LIMIT {MOST_COUNTED}) AS first) AS waiting,
        (SELECT extract(epoch FROM updated_at) FROM mes.orders WHERE status = name ORDER BY id LIMIT 1)::float8 AS since
    FROM unnest(%s::text[]) AS name
"""
_END = 2**63 - 1


@dataclass(frozen=True)
class Page:
    """Orders, newest first, and the key to go on with."""

    orders: list[dict[str, Any]]
    following: int | None
    read_from: str


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return an order as clients see it."""
    order = {name: row[name] for name in ("id", "customer", "model", "reference", "polygons", "quantity", "status")}
    price: Decimal | None = row["unit_price"]
    order["unit_price"] = None if price is None else str(price)
    order["total_price"] = None if price is None else str(price * row["quantity"])
    order["created_at"] = row["created_at"].isoformat()
    order["updated_at"] = row["updated_at"].isoformat()
    return order


def as_created(row: dict[str, Any]) -> dict[str, Any]:
    """Return an order as its creation was answered, whatever has happened to it since."""
    return as_json({**row, "status": lifecycle.FIRST, "unit_price": None, "updated_at": row["created_at"]})


def no_such_order(order_id: int) -> Refused:
    """Say that there is no such order."""
    return Refused(404, f"There is no order {order_id}.")


def illegal(order_id: int, current: str, wanted: str) -> Refused:
    """Say that the life cycle does not allow it."""
    allowed = list(lifecycle.allowed_after(current))
    return Refused(409, lifecycle.refusal(order_id, current, wanted), status=current, allowed=allowed)


class Store:
    """The orders, through the leader and, where that is enough, through a standby."""

    def __init__(self, rw: Database, ro: Database, node: str) -> None:
        self.rw = rw
        self.ro = ro
        self._node = node

    def _request_id(self) -> str | None:
        request = context.current.get()
        return request.request_id if request else None

    async def create(self, key: str, order: NewOrder) -> tuple[dict[str, Any], bool]:
        """Store an order once per key; return it and whether this call stored it."""
        digest = fingerprint(order)
        values = (key, digest, order.customer, order.model, order.reference, order.polygons, order.quantity)
        rows = await self.rw.write("create_order", _CREATE, (*values, self._node, self._request_id()))
        if not rows:
            raise Refused(422, f"Idempotency key {key!r} was used for another order before; use a new key.")
        return as_created(rows[0]), rows[0]["repeats"] == 0

    async def get(self, order_id: int) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """Return an order, its history and where they were read: at the leader, or at a standby while it is away."""
        try:
            if not self.rw.up:
                raise Unavailable(self.rw.reason)
            return await self._get_from(self.rw, order_id)
        except Unavailable as away:
            try:
                return await self._get_from(self.ro, order_id)
            except Refused:
                # The standby may be behind: what it does not have is not known to be absent.
                raise away from None

    async def _get_from(self, database: Database, order_id: int) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        rows, read_from = await database.read("get_order", _ONE, (order_id,))
        if not rows:
            raise no_such_order(order_id)
        history, _ = await database.read("get_order_history", _HISTORY, (order_id,))
        return as_json(rows[0]), [{**step, "at": step["at"].isoformat()} for step in history], read_from

    async def page(self, status: str | None, limit: int, after: int | None) -> Page:
        """Return a page of orders from a standby, or from the leader while there is none."""
        below = _END if after is None else after
        question: tuple[str, tuple[Any, ...]] = (_LIST, (below, limit + 1))
        if status is not None:
            question = (_LIST_BY_STATUS, (status, below, limit + 1))
        try:
            if not self.ro.up:
                raise Unavailable(self.ro.reason)
            rows, read_from = await self.ro.read("list_orders", *question)
        except Unavailable:
            rows, read_from = await self.rw.read("list_orders", *question)
        more = len(rows) > limit
        rows = rows[:limit]
        return Page([as_json(row) for row in rows], rows[-1]["id"] if more else None, read_from)

    async def queues(self) -> list[dict[str, Any]]:
        """Return for each status how many orders are in it, and since when (epoch seconds) the first of them is."""
        database = self.ro if self.ro.up else self.rw
        return (await database.read("queues", _QUEUES, (list(lifecycle.STATUSES),)))[0]

    async def move(self, order_id: int, target: str, unit_price: Decimal | None = None) -> tuple[dict[str, Any], str]:
        """Take an order to its next status; of two at once, one wins and the other is refused."""
        (source,) = lifecycle.sources_of(target) or ("",)
        values = (target, unit_price, order_id, source, source, self._node, self._request_id())
        rows = await self.rw.write("move_order", _MOVE, values)
        if not rows:
            present, _ = await self.rw.read("get_order", _ONE, (order_id,))
            if not present:
                raise no_such_order(order_id)
            raise illegal(order_id, present[0]["status"], target)
        return as_json(rows[0]), source
