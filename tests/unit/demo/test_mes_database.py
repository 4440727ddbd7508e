"""What counts as stored, told from what is not known: the promise that every acknowledgement makes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("psycopg_pool", reason="demo/mes/requirements.txt is not installed in this environment")

from psycopg import errors

from demo.mes import database
from demo.mes.settings import SettingsError
from demo.mes.tracing import Tracing


class Refusal(errors.LockNotAvailable):
    diag = cast(Any, SimpleNamespace(severity_nonlocalized="ERROR"))


class Demoted(errors.ReadOnlySqlTransaction):
    diag = cast(Any, SimpleNamespace(severity_nonlocalized="ERROR"))


class FakeConnection:
    def __init__(self, behaviour: Callable[[FakeConnection], Awaitable[Any]]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.pgconn = SimpleNamespace(socket=self.ours.fileno(), consume_input=lambda: None)
        self.closed = self.broken = False
        self.warnings = ["from an earlier statement"]
        self._behaviour = behaviour

    async def execute(self, _sql: str, _parameters: tuple[Any, ...]) -> Any:
        await self._behaviour(self)

        async def fetchall() -> list[dict[str, int]]:
            return [{"id": 1}]

        return SimpleNamespace(fetchall=fetchall)

    async def close(self) -> None:
        self.closed = True


class FakePool:
    def __init__(self, *connections: FakeConnection) -> None:
        self.ready = list(connections)
        self.returned: list[FakeConnection] = []
        self.asked = 0

    async def getconn(self, timeout: float) -> FakeConnection:
        self.asked += 1
        while not self.ready:
            await asyncio.sleep(0.01)
        return self.ready.pop(0)

    async def putconn(self, conn: FakeConnection) -> None:
        self.returned.append(conn)

    def get_stats(self) -> dict[str, int]:
        return {"pool_available": len(self.ready)}


async def _fine(_conn: FakeConnection) -> None:
    return None


def _write(*connections: FakeConnection, up: bool = True, size: int = 2) -> tuple[Any, FakePool]:
    """Run one write; return its rows or its Unavailable, and the pool."""
    pool = FakePool(*connections)

    async def scenario() -> Any:
        road = database.Database("rw", "host=nowhere", size, Tracing(None, "", ""))
        road.pool = cast(Any, pool)
        road.up = up
        try:
            return await road.write("test", "INSERT", ())
        except database.Unavailable as away:
            return away

    return asyncio.run(scenario()), pool


def test_a_clean_statement_is_an_acknowledgement() -> None:
    rows, pool = _write(FakeConnection(_fine))
    assert rows == [{"id": 1}]
    assert len(pool.returned) == 1


def test_a_warning_at_commit_is_never_an_acknowledgement() -> None:
    async def cancelled_wait(conn: FakeConnection) -> None:
        conn.warnings.append("canceling wait for synchronous replication due to user request")

    away, _ = _write(FakeConnection(cancelled_wait))
    assert isinstance(away, database.Unavailable)
    assert away.unknown
    assert "in doubt" in away.reason


def test_a_connection_that_breaks_leaves_the_outcome_unknown() -> None:
    async def broken(_conn: FakeConnection) -> None:
        raise errors.OperationalError("server closed the connection unexpectedly\n\tThis probably means")

    away, pool = _write(FakeConnection(broken))
    assert isinstance(away, database.Unavailable)
    assert away.unknown
    assert away.reason == "the connection broke: server closed the connection unexpectedly"
    assert len(pool.returned) == 1


def test_an_error_reported_by_the_server_means_not_stored() -> None:
    async def locked(_conn: FakeConnection) -> None:
        raise Refusal("canceling statement due to lock timeout")

    away, _ = _write(FakeConnection(locked))
    assert isinstance(away, database.Unavailable)
    assert not away.unknown


def test_a_demoted_leader_is_never_asked_again() -> None:
    async def read_only(_conn: FakeConnection) -> None:
        raise Demoted("cannot execute INSERT in a read-only transaction")

    conn = FakeConnection(read_only)
    away, _ = _write(conn)
    assert isinstance(away, database.Unavailable)
    assert not away.unknown
    assert conn.closed


def test_a_commit_that_takes_too_long_is_unknown_and_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ANSWER_WITHIN", 0.05)
    ended: list[str] = []

    async def scenario() -> None:
        released = asyncio.Event()

        async def waiting(_conn: FakeConnection) -> None:
            try:
                await released.wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            ended.append("finished")

        road = database.Database("rw", "host=nowhere", 2, Tracing(None, "", ""))
        pool = FakePool(FakeConnection(waiting))
        road.pool, road.up = cast(Any, pool), True
        with pytest.raises(database.Unavailable) as away:
            await road.write("test", "INSERT", ())
        assert away.value.unknown
        released.set()
        while not pool.returned:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 5))
    assert ended == ["finished"]


def test_connections_that_died_while_idle_are_replaced_unseen() -> None:
    dead = FakeConnection(_fine)
    dead.theirs.close()
    rows, pool = _write(dead, FakeConnection(_fine))
    assert rows == [{"id": 1}]
    assert dead.closed
    assert len(pool.returned) == 2


def test_while_the_database_is_away_the_answer_is_immediate_and_nothing_queues() -> None:
    away, pool = _write(up=False)
    assert isinstance(away, database.Unavailable)
    assert not away.unknown
    assert pool.asked == 0


def test_a_connection_at_hand_is_used_even_if_the_watcher_is_behind() -> None:
    rows, _ = _write(FakeConnection(_fine), up=False)
    assert rows == [{"id": 1}]


def test_the_queue_for_connections_is_bounded() -> None:
    async def scenario() -> None:
        road = database.Database("rw", "host=nowhere", 1, Tracing(None, "", ""))
        road.pool, road.up = cast(Any, FakePool()), True
        waiting = [asyncio.create_task(road.write("test", "INSERT", ())) for _ in range(20)]
        await asyncio.sleep(0.05)
        with pytest.raises(database.Unavailable, match="wait for a connection already"):
            await road.write("test", "INSERT", ())
        await road.close_stragglers()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert road.waiting == 0

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_conninfo_gets_bounded_timeouts_and_keeps_what_is_given() -> None:
    text = database.complete_conninfo("host=a,b port=5000,5000 dbname=mes connect_timeout=7", "MES_DATABASE_RW", "rw")
    parts = dict(part.split("=", 1) for part in text.split(" ") if "=" in part)
    assert parts["connect_timeout"] == "7"
    assert parts["tcp_user_timeout"] == "6000"
    assert parts["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in database.complete_conninfo("host=a", "MES_DATABASE_RO", "ro")


def test_a_bad_conninfo_is_refused_without_showing_the_password() -> None:
    with pytest.raises(SettingsError) as error:
        database.complete_conninfo("host=a password = 'hunter2", "MES_DATABASE_RW", "rw")
    assert "hunter2" not in str(error.value)
    assert str(error.value).startswith("MES_DATABASE_RW")
