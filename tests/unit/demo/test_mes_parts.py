from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from demo.mes import context, logs, pricing, settings

RW = {"MES_DATABASE_RW": "host=db dbname=mes"}


def test_settings_defaults() -> None:
    given = settings.load(RW)
    assert (given.host, given.port, given.database_ro) == ("0.0.0.0", 8080, "host=db dbname=mes")
    assert given.otlp_endpoint is None
    assert given.shutdown_timeout == 30.0


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({}, "MES_DATABASE_RW"),
        ({**RW, "MES_LISTEN": "8080"}, "MES_LISTEN"),
        ({**RW, "MES_LISTEN": "0.0.0.0:99999"}, "MES_LISTEN"),
        ({**RW, "MES_POOL_SIZE": "many"}, "MES_POOL_SIZE"),
        ({**RW, "MES_POOL_SIZE": "2.5"}, "MES_POOL_SIZE"),
        ({**RW, "MES_SHUTDOWN_TIMEOUT": "nan"}, "MES_SHUTDOWN_TIMEOUT"),
        ({**RW, "OTEL_EXPORTER_OTLP_ENDPOINT": "obs-1:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({**RW, "MES_LOG_LEVEL": "loud"}, "MES_LOG_LEVEL"),
    ],
)
def test_bad_settings_are_one_sentence_that_names_the_variable(env: dict[str, str], named: str) -> None:
    with pytest.raises(settings.SettingsError) as error:
        settings.load(env)
    sentence = str(error.value)
    assert sentence.startswith(named)
    assert "\n" not in sentence


def test_trace_id_comes_from_a_valid_traceparent_only() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert context.trace_id_from(f"00-{trace}-b7ad6b7169203331-01") == trace
    for bad in (None, "", f"ff-{trace}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{trace}-x-01"):
        made = context.trace_id_from(bad)
        assert made != trace
        assert len(made) == 32


def test_request_id_is_echoed_only_when_it_is_a_plain_one() -> None:
    assert context.request_id_from("abc-1") == "abc-1"
    for bad in (None, "", "a b", "x" * 129, 'a"\n'):
        assert context.request_id_from(bad) != bad


def test_log_lines_are_json_with_the_ids_of_the_request() -> None:
    record = logging.LogRecord("mes.http", logging.INFO, __file__, 1, "two\nlines", None, None)
    record.fields = {"status": 201}
    token = context.current.set(context.RequestContext("r1", "t1", "s1"))
    try:
        line = logs.JsonFormatter(node="mes-1").format(record)
    finally:
        context.current.reset(token)
    assert "\n" not in line
    data = json.loads(line)
    assert (data["msg"], data["node"], data["status"]) == ("two\nlines", "mes-1", 201)
    assert (data["request_id"], data["trace_id"], data["span_id"]) == ("r1", "t1", "s1")


def test_price_depends_on_model_and_polygons_only() -> None:
    assert pricing.calculate("ring", 500).unit_price == pricing.calculate("ring", 500).unit_price
    assert pricing.calculate("ring", 500).unit_price != pricing.calculate("chain", 500).unit_price
    assert pricing.calculate("ring", 50_000).unit_price > pricing.calculate("ring", 500).unit_price


class _Executor:
    """Stands in for worker processes: the test says when a calculation ends and how."""

    def __init__(self) -> None:
        self.jobs: list[Future[Any]] = []

    def submit(self, *_job: Any) -> Future[Any]:
        self.jobs.append(Future())
        return self.jobs[-1]

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        pass


def test_price_desk_has_a_bounded_queue_and_replaces_a_dead_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    executors: list[_Executor] = []

    def new_executor(_desk: pricing.PriceDesk) -> _Executor:
        executors.append(_Executor())
        return executors[-1]

    monkeypatch.setattr(pricing.PriceDesk, "_new_executor", new_executor)

    async def scenario() -> None:
        desk = pricing.PriceDesk(workers=1, queue=1)
        desk.open()
        tasks = [asyncio.create_task(desk.quote("ring", 5)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(pricing.Overloaded):
            await desk.quote("ring", 5)
        quote = pricing.calculate("ring", 5)
        executors[0].jobs[0].set_result(quote)
        assert await tasks[0] == quote
        executors[0].jobs[1].set_exception(BrokenProcessPool())
        with pytest.raises(pricing.WorkerLost):
            await tasks[1]
        assert desk.busy == 0
        assert len(executors) == 2

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_price_workers_start_with_the_first_price_at_the_latest_and_never_after_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executors: list[_Executor] = []

    def new_executor(_desk: pricing.PriceDesk) -> _Executor:
        executors.append(_Executor())
        return executors[-1]

    monkeypatch.setattr(pricing.PriceDesk, "_new_executor", new_executor)

    async def scenario() -> None:
        desk = pricing.PriceDesk(workers=1, queue=1)
        task = asyncio.create_task(desk.quote("ring", 5))
        await asyncio.sleep(0)
        desk.open()
        quote = pricing.calculate("ring", 5)
        executors[0].jobs[0].set_result(quote)
        assert await task == quote
        desk.close()
        desk.open()
        with pytest.raises(pricing.WorkerLost, match="shut down"):
            await desk.quote("ring", 5)
        assert len(executors) == 1

    asyncio.run(asyncio.wait_for(scenario(), 5))
