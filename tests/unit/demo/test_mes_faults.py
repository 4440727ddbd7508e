"""Bad releases are bad in exactly the way that was asked for."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.mes import __main__ as command
from demo.mes import faults
from demo.mes.faults import HEALTHY, EvenShare, FaultError, Faults, Misbehaviour, after_ready


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([], HEALTHY),
        (["never-starts"], Faults(never_starts=True)),
        (["exits-after=10"], Faults(exits_after=10)),
        (["never-ready"], Faults(never_ready=True)),
        (["errors=0.05"], Faults(errors=0.05)),
        (["slow=3"], Faults(slow=(3, 0.04))),
        (["slow=0:250"], Faults(slow=(0, 0.25))),
        (["wrong-version"], Faults(version="0.0.0-wrong")),
        (["wrong-version=0.9.9"], Faults(version="0.9.9")),
        (["ignores-sigterm", "errors=1"], Faults(ignores_sigterm=True, errors=1)),
        (["expand-fails"], Faults(expand_fails=True)),
        (["corrupt=truncated"], Faults(corrupt="truncated")),
    ],
)
def test_faults_by_name(specs: list[str], expected: Faults) -> None:
    assert faults.parse(specs) == expected


def test_an_unknown_fault_is_answered_with_all_that_are_known() -> None:
    with pytest.raises(FaultError) as error:
        faults.parse(["explodes=3"])
    sentence = str(error.value)
    assert "'explodes'" in sentence
    assert all(name in sentence for name in faults.KNOWN)


@pytest.mark.parametrize(
    "spec",
    [
        "exits-after",
        "exits-after=soon",
        "exits-after=-1",
        "errors=0",
        "errors=1.01",
        "errors=nan",
        "slow",
        "slow=x",
        "slow=3:",
        "slow=3:x",
        "corrupt",
        "corrupt=never",
        "wrong-version=",
        "wrong-version=a\nb",
        "never-ready=yes",
    ],
)
def test_bad_values_are_refused_by_the_name_of_the_fault(spec: str) -> None:
    with pytest.raises(FaultError, match=f"^Fault {spec.partition('=')[0]} ") as error:
        faults.parse([spec])
    assert "\n" not in str(error.value)


def test_a_release_without_the_file_is_healthy_and_a_broken_file_is_not(tmp_path: Path) -> None:
    assert faults.load(tmp_path) is HEALTHY
    for text in ("", "[]", '{"faults": 3}', '{"fault": []}'):
        (tmp_path / faults.FILE).write_text(text, encoding="utf-8")
        with pytest.raises(FaultError, match="build the release again"):
            faults.load(tmp_path)


@given(st.floats(0.001, 1), st.integers(1, 2000))
def test_an_even_share_is_even_at_every_moment(share: float, number: int) -> None:
    even = EvenShare(share)
    due = 0
    for asked in range(1, number + 1):
        due += even.due()
        assert abs(due - asked * share) <= 1


class Clock:
    """Time passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Application:
    """Stands in for the MES: answers 201 after its own time and counts."""

    def __init__(self, clock: Clock, own: float) -> None:
        self.clock = clock
        self.own = own
        self.calls = 0

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.calls += 1
        self.clock.now += self.own
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def _requests(wrong: Faults, *requests: tuple[str, str], own: float = 0.0) -> tuple[list[int], Application, Clock]:
    clock = Clock()
    application = Application(clock, own)
    misbehaving = Misbehaviour(application, wrong, create="create", clock=clock.read, sleep=clock.sleep)
    statuses: list[int] = []

    async def receive() -> Any:
        raise AssertionError("nobody reads the body")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def scenario() -> None:
        for method, path in requests:
            await misbehaving({"type": "http", "method": method, "path": path}, receive, send)

    asyncio.run(scenario())
    return statuses, application, clock


def test_the_share_of_errors_stores_nothing_and_hits_only_creations() -> None:
    statuses, application, _ = _requests(Faults(errors=0.05), *[("POST", "/orders")] * 40)
    assert [number for number, status in enumerate(statuses, start=1) if status == 500] == [20, 40]
    assert application.calls == 38
    others = [("GET", "/orders"), ("GET", "/orders/1"), ("POST", "/orders/1/price"), ("GET", "/readyz")]
    statuses, _, _ = _requests(Faults(errors=1), *others)
    assert statuses == [201] * 4


@pytest.mark.parametrize("own", [0.0, 0.005, 0.2])
def test_slow_answers_take_the_factor_and_more(own: float) -> None:
    _, _, clock = _requests(Faults(slow=(3, 0.04)), ("POST", "/orders"), own=own)
    assert clock.now - 100 == pytest.approx(4 * own + 0.04)
    _, _, clock = _requests(Faults(slow=(3, 0.04)), ("GET", "/orders/1"), ("GET", "/readyz"), ("GET", "/version"))
    assert clock.slept == [0.04]


def test_the_end_comes_so_many_seconds_after_readiness_and_not_before() -> None:
    clock = Clock()
    left_at: list[float] = []
    ending = after_ready(10, lambda: clock.now >= 103, lambda: left_at.append(clock.now), clock.sleep)
    asyncio.run(asyncio.wait_for(ending, 5))
    assert left_at == [pytest.approx(113, abs=0.1)]


@pytest.mark.parametrize(
    ("wrong", "words"), [(Faults(never_starts=True), "serve"), (Faults(expand_fails=True), "migrate")]
)
def test_commands_that_fail_at_once(
    wrong: Faults, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faults, "load", lambda _root: wrong)
    monkeypatch.delenv("MES_DATABASE_RW", raising=False)
    assert command.main([words]) == 1
    assert capsys.readouterr().err == f"mes: `mes {words}` of this release fails on purpose\n"
    other = {"serve": "migrate", "migrate": "serve"}[words]
    assert command.main([other]) == 2  # the other command gets as far as its missing settings
    assert "MES_DATABASE_RW" in capsys.readouterr().err


class TestInTheService:
    """The faults at their places in the real application, which needs no database for them."""

    @pytest.fixture(autouse=True)
    def libraries(self) -> None:
        pytest.importorskip("psycopg_pool", reason="demo/mes/requirements.txt is not installed in this environment")
        pytest.importorskip("starlette", reason="demo/mes/requirements.txt is not installed in this environment")

    def service(self, wrong: Faults) -> Any:
        from demo.mes import settings  # noqa: PLC0415
        from demo.mes.app import Service  # noqa: PLC0415

        return Service(settings.load({"MES_DATABASE_RW": "host=db dbname=mes"}), wrong)

    def test_never_ready(self) -> None:
        service = self.service(Faults(never_ready=True))
        service.schema_ready = True
        assert service.not_ready_because() == "this release never becomes ready"
        assert not service.is_ready()

    def test_wrong_version(self) -> None:
        assert self.service(HEALTHY).version["version"] == "development"
        assert self.service(Faults(version="0.9.9")).version["version"] == "0.9.9"

    def test_errors_are_seen_by_metrics_under_the_route_that_they_hit(self) -> None:
        from demo.mes.app import build  # noqa: PLC0415

        service = self.service(Faults(errors=1))
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/orders",
            "raw_path": b"/orders",
            "query_string": b"",
            "headers": [(b"idempotency-key", b"k")],
            "client": ("127.0.0.1", 1),
        }
        asyncio.run(build(service)(scope, receive, send))
        assert sent[0]["status"] == 500
        assert (b"x-served-by", service.settings.node.encode()) in sent[0]["headers"]
        figures = service.metrics.render("")[0].decode()
        assert 'http_request_duration_seconds_count{method="POST",route="/orders",status="500"} 1.0' in figures

    def test_sigterm_is_ignored_only_where_that_is_the_fault(self) -> None:
        import uvicorn  # noqa: PLC0415

        from demo.mes.server import PoliteServer  # noqa: PLC0415

        async def nothing(*_arguments: Any) -> None:
            pass

        async def handler_of(wrong: Faults) -> Any:
            service = self.service(wrong)
            with PoliteServer(uvicorn.Config(nothing), service).capture_signals():
                return signal.getsignal(signal.SIGTERM)

        before = signal.getsignal(signal.SIGTERM)
        try:
            assert asyncio.run(handler_of(Faults(ignores_sigterm=True))) is signal.SIG_IGN
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            assert asyncio.run(handler_of(HEALTHY)) not in (signal.SIG_IGN, signal.SIG_DFL)
        finally:
            signal.signal(signal.SIGTERM, before)
