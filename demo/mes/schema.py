"""The service's own schema, built step by step; every step is applied once, by one node, and only ever adds."""

from __future__ import annotations

import logging

import psycopg
from psycopg.rows import DictRow

from .lifecycle import STATUSES

log = logging.getLogger("mes.schema")

# Any number will do as long as every node takes the same one.
_LOCK = 0x6D6573

_LIST_OF_STATUSES = ", ".join(f"'{status}'" for status in STATUSES)
STEPS = (
    f"""
    CREATE TABLE mes.orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        idempotency_key text NOT NULL UNIQUE,
        fingerprint text NOT NULL,
        customer text NOT NULL,
        model text NOT NULL,
        reference text,
        polygons integer NOT NULL CHECK (polygons > 0),
        quantity integer NOT NULL CHECK (quantity > 0),
        status text NOT NULL CHECK (status IN ({_LIST_OF_STATUSES})),
        unit_price numeric(14, 2),
        repeats integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX orders_by_status ON mes.orders (status, id DESC);
    CREATE TABLE mes.order_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        order_id bigint NOT NULL REFERENCES mes.orders (id),
        source text,
        target text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        node text NOT NULL,
        request_id text
    );
    CREATE INDEX order_history_by_order ON mes.order_history (order_id, id);
    """,
)


async def migrate(conn: psycopg.AsyncConnection[DictRow]) -> int:
    """Bring the schema up to date; return how many steps that took. A newer schema is left alone."""
    if await _level(conn) >= len(STEPS):
        return 0
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        level = await _level(conn)
        if level < 0:
            await conn.execute("CREATE SCHEMA IF NOT EXISTS mes")
            await conn.execute("CREATE TABLE mes.schema_step (step integer PRIMARY KEY, at timestamptz DEFAULT now())")
            level = 0
        for step, sql in enumerate(STEPS[level:], start=level + 1):
            await conn.execute(sql, prepare=False)
            await conn.execute("INSERT INTO mes.schema_step (step) VALUES (%s)", (step,))
            log.info("schema step %d applied", step)
    return max(0, len(STEPS) - level)


async def _level(conn: psycopg.AsyncConnection[DictRow]) -> int:
    """Return the last step applied, -1 when there is no schema at all."""
    row = await (await conn.execute("SELECT to_regclass('mes.schema_step') IS NOT NULL AS present")).fetchone()
    if row is None or not row["present"]:
        return -1
    row = await (await conn.execute("SELECT coalesce(max(step), 0) AS level FROM mes.schema_step")).fetchone()
    return int(row["level"]) if row else 0
