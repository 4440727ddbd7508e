"""Two roads to Postgres: the leader for reading and writing, a standby for reading.

The rules: no answer waits without bound; an error that the server reports means "not stored"; a broken connection, a
warning or a timeout means "unknown", and unknown is never told as success.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import Diagnostic
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from .settings import SettingsError
from .tracing import Tracing


class WatchfulConnection(psycopg.AsyncConnection[DictRow]):
    """A connection that remembers the warnings of its server."""

    warnings: list[str]


Connection = WatchfulConnection
Operation = Callable[[Connection], Awaitable[Any]]
T = TypeVar("T")

POOL_WAIT = 2.0
ANSWER_WITHIN = 8.0
PROBE_EVERY = 0.5
PROBE_EVERY_WHILE_AWAY = 0.2
PROBE_WITHIN = 3.0

log = logging.getLogger("mes.database")

# libpq's own defaults would wait for minutes on a host that vanished.
_DEFAULTS = {
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "6000",
    "load_balance_hosts": "random",
    "application_name": "mes",
}
_SESSION = "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000"


class Unavailable(Exception):
    """The database could not do it now; `unknown` says that the change may be stored all the same."""

    def __init__(self, reason: str, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


def complete_conninfo(text: str, variable: str, role: str) -> str:
    """Check a connection string and add bounded timeouts where it names none."""
    try:
        given = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        raise SettingsError(
            f"{variable} is not a libpq connection string, such as "
            "'host=db-a,db-b port=5000,5000 dbname=mes user=mes password=...'."
        ) from None
    merged: dict[str, Any] = {**_DEFAULTS, **given}
    if role == "rw":
        merged.setdefault("target_session_attrs", "read-write")
    merged["options"] = f"{_SESSION} {merged.get('options') or ''}".strip()
    return make_conninfo("", **merged)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for people."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_unavailability(error: psycopg.Error) -> bool:
    """Tell errors of the database's state from errors of our own SQL."""
    if isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)):
        return True  # the schema has not arrived here yet
    if isinstance(error, (errors.IntegrityError, errors.DataError, errors.ProgrammingError)):
        return False
    return isinstance(error, (errors.OperationalError, errors.InterfaceError, errors.InternalError))


def is_refusal(error: psycopg.Error) -> bool:
    """Tell whether the server itself said that it rolled the statement back; anything else may have been stored."""
    return error.diag.severity_nonlocalized == "ERROR"


def _is_stale(conn: Connection) -> bool:
    """Tell whether the peer has closed an idle connection: its socket is readable, or gone."""
    if conn.closed or conn.broken:
        return True
    poller = select.poll()
    poller.register(conn.pgconn.socket, select.POLLIN)
    return bool(poller.poll(0)) and not _drain_notices(conn)


def _drain_notices(conn: Connection) -> bool:
    """Read what the server said between two queries; False when that was its goodbye."""
    try:
        conn.pgconn.consume_input()
    except psycopg.Error:
        return False
    poller = select.poll()
    poller.register(conn.pgconn.socket, select.POLLIN)
    return not poller.poll(0)


async def _listen_for_warnings(conn: Connection) -> None:
    warnings: list[str] = []
    conn.warnings = warnings

    def note(diagnostic: Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.message_primary or "a warning without text")

    conn.add_notice_handler(note)


class Database:
    """One road: a bounded pool, a watcher that knows whether the road is open, and bounded operations."""

    def __init__(self, role: str, conninfo: str, size: int, tracing: Tracing) -> None:
        self.role = role
        self.up = False
        self.reason = "not connected yet"
        self._conninfo = conninfo
        self._tracing = tracing
        self.waiting = 0
        self._most_waiting = 20 * size
        self._stragglers: set[asyncio.Task[Any]] = set()
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            connection_class=WatchfulConnection,
            kwargs={"autocommit": True, "row_factory": dict_row},
            min_size=min(4, size),
            max_size=size,
            open=False,
            configure=_listen_for_warnings,
            name=role,
            timeout=POOL_WAIT,
            max_lifetime=1800.0,
            # Give up an attempt soon: the next request then tries afresh, instead of waiting out a growing back-off.
            reconnect_timeout=1.0,
        )

    async def open(self) -> None:
        """Start connecting, without waiting for success."""
        await self.pool.open(wait=False)

    async def close(self) -> None:
        """Close the pool; operations still under way lose their connection."""
        await self.close_stragglers()
        await self.pool.close(timeout=2.0)

    async def close_stragglers(self) -> None:
        """Abandon what has been answered long ago but still waits for the database."""
        stragglers = list(self._stragglers)
        for task in stragglers:
            task.cancel()
        if stragglers:
            await asyncio.wait(stragglers, timeout=1.0)

    def stats(self) -> dict[str, int]:
        """Return the pool's own figures."""
        return self.pool.get_stats()

    async def read(self, name: str, sql: str, parameters: tuple[Any, ...]) -> tuple[list[dict[str, Any]], str]:
        """Run one SELECT; return its rows and whether a 'leader' or a 'standby' gave them."""

        async def operation(conn: Connection) -> tuple[list[dict[str, Any]], str]:
            rows = await (await conn.execute(sql, parameters)).fetchall()
            return rows, "standby" if conn.pgconn.parameter_status(b"in_hot_standby") == b"on" else "leader"

        with self._tracing.sql(name, self.role):
            return await self._bounded(self._with_connection(operation), unknown=False)

    async def write(self, name: str, sql: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Run one statement that changes something; it has been committed for certain when this returns.

        One statement is one transaction and one round trip: Postgres commits it, and waits for its standby, before it
        says that it is ready again, and psycopg reads that far before it gives the rows.
        """

        async def operation(conn: Connection) -> list[dict[str, Any]]:
            conn.warnings.clear()
            try:
                cursor = await conn.execute(sql, parameters)
            except errors.ReadOnlySqlTransaction:
                await conn.close()  # a demoted leader: never use this connection again
                raise
            except psycopg.Error as error:
                if is_refusal(error):
                    raise
                raise Unavailable(f"the connection broke: {first_line(error)}", unknown=True) from error
            if conn.warnings:
                # "canceling wait for synchronous replication": committed here, perhaps nowhere else.
                raise Unavailable(f"the commit is in doubt: {conn.warnings[0]}", unknown=True)
            return await cursor.fetchall()

        with self._tracing.sql(name, self.role):
            return await self._bounded(self._with_connection(operation), unknown=True)

    async def _bounded(self, work: Awaitable[T], unknown: bool) -> T:
        # The operation is left to itself after the deadline, not cancelled: cancelling a COMMIT that waits for its
        # standby would make Postgres publish the change although no standby has it.
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        self._stragglers.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN)
        if not done:
            raise Unavailable(f"the database did not finish within {ANSWER_WITHIN:g} s", unknown)
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._stragglers.discard(task)
        if not task.cancelled():
            task.exception()

    async def _with_connection(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            conn = await self._fresh_connection()
            try:
                return await operation(conn)
            finally:
                await self.pool.putconn(conn)
        except psycopg.Error as error:
            if is_unavailability(error):
                raise Unavailable(first_line(error)) from error
            raise

    async def _fresh_connection(self) -> Connection:
        # The pool's own limit of waiting requests is not used: it counts those that gave up until the next connection
        # arrives, and while it is reached no connection is tried. That would outlast the outage.
        if not self.up and not self.pool.get_stats().get("pool_available"):
            raise Unavailable(self.reason)
        if self.waiting >= self._most_waiting:
            raise Unavailable(f"{self.waiting} requests wait for a connection already")
        deadline = time.monotonic() + POOL_WAIT
        self.waiting += 1
        try:
            while True:
                conn = await self.pool.getconn(timeout=max(0.001, deadline - time.monotonic()))
                if not _is_stale(conn):
                    return conn
                await conn.close()
                await self.pool.putconn(conn)
        finally:
            self.waiting -= 1

    async def watch(self, prepare: Operation | None = None) -> None:
        """Keep `up` and `reason` true, on a connection of its own, until cancelled; `prepare` must succeed once."""
        probe: asyncio.Task[None] | None = None
        conn: Connection | None = None

        async def connect_and_probe() -> None:
            nonlocal conn, prepare
            if conn is None or _is_stale(conn):
                if conn is not None:
                    await conn.close()
                conn = await WatchfulConnection.connect(
                    self._conninfo, autocommit=True, row_factory=dict_row, prepare_threshold=None
                )
            await conn.execute("SELECT 1")
            if prepare is not None:
                await prepare(conn)
                prepare = None

        try:
            while True:
                probe = probe or asyncio.create_task(connect_and_probe())
                done, _ = await asyncio.wait({probe}, timeout=PROBE_WITHIN)
                error = probe.exception() if done else None
                if not done:
                    self._note(False, f"no answer within {PROBE_WITHIN:g} s")
                elif error is None:
                    self._note(True, "reachable")
                    probe = None
                else:
                    self._note(False, first_line(error))
                    if not isinstance(error, (psycopg.Error, OSError)):
                        log.error("the database watcher failed", exc_info=error)
                    probe = None
                    if conn is not None:
                        await conn.close()
                        conn = None
                await asyncio.sleep(PROBE_EVERY if self.up else PROBE_EVERY_WHILE_AWAY)
        finally:
            if probe is not None:
                probe.cancel()
            if conn is not None:
                await conn.close()

    def _note(self, up: bool, reason: str) -> None:
        if up != self.up:
            level = logging.INFO if up else logging.WARNING
            log.log(level, "database %s is %s", self.role, "reachable" if up else f"away: {reason}")
        self.up, self.reason = up, reason
