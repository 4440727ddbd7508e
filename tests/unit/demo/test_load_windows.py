from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.load import windows
from demo.load.windows import Request, WindowError

HEAD = "# run-1 1700000000.000 50.000\n"


def _request(
    at: float, latency: float = 1.0, outcome: str = "ok", method: str = "POST", node: str = "mes-1"
) -> Request:
    return Request(at, method, outcome, latency, 1, node)


@given(
    st.builds(
        Request,
        st.integers(0, 10**7).map(lambda value: value / 1000),
        st.sampled_from(["GET", "POST"]),
        st.sampled_from(["ok", "http_503", "timeout", "overflow"]),
        st.integers(0, 10**6).map(lambda value: value / 10),
        st.integers(0, 99),
        st.one_of(
            st.just(""),
            st.text(st.characters(codec="latin-1", exclude_categories=["Z", "C"], exclude_characters="-"), min_size=1),
        ),
    )
)
def test_a_line_reads_back_as_it_was_written(request: Request) -> None:
    log = windows.parse([windows.first_line("run-1", 1_700_000_000.25, 12.5), windows.line(request)])
    assert (log.run, log.wall_clock, log.monotonic) == ("run-1", 1_700_000_000.25, 12.5)
    assert log.requests == [request]


@given(st.text())
def test_a_node_with_any_name_is_one_word_of_one_line(node: str) -> None:
    (found,) = windows.parse([HEAD, windows.line(_request(1.0, node=node))]).requests
    assert found.latency_ms == 1.0
    assert len(found.node.split()) <= 1


def test_a_line_that_is_still_being_written_is_omitted() -> None:
    whole = windows.line(_request(1.0))
    for length in range(len(whole)):
        assert windows.parse([HEAD, whole, whole[:length]]).requests == [_request(1.0)]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], "empty"),
        (["# run-1 17"], "empty"),
        (["1.000 POST ok 3.0 1 mes-1\n"], "Line 1"),
        ([HEAD, "1.000 POST ok 3.0 1\n"], "Line 2"),
        ([HEAD, "soon POST ok 3.0 1 mes-1\n"], "Line 2"),
    ],
)
def test_what_is_no_log_is_refused(lines: list[str], named: str) -> None:
    with pytest.raises(WindowError, match=named):
        windows.parse(lines)


def test_a_window_has_its_first_moment_and_not_its_last() -> None:
    requests = [_request(at) for at in (0.9, 1.0, 1.999, 2.0)]
    assert [request.at for request in windows.within(requests, 1.0, 2.0)] == [1.0, 1.999]
    assert list(windows.within(requests)) == requests


def test_windows_tell_a_slow_spell_from_the_time_around_it() -> None:
    requests = [_request(at / 100, 90.0 if 200 <= at < 300 else 5.0) for at in range(500)]
    assert windows.p99(requests, 0, 2) == 5.0
    assert windows.p99(requests, 2, 3) == 90.0
    assert windows.p99(requests, 3) == 5.0
    assert windows.latency(requests, 50) == 5.0


def test_latency_is_of_answered_requests_of_the_method() -> None:
    requests = [_request(1, 10.0), _request(1, 5000.0, "timeout"), _request(1, 30.0, method="GET")]
    assert windows.p99(requests, method="POST") == 10.0
    assert windows.p99(requests) == 30.0
    with pytest.raises(WindowError, match="No GET that was due from second 2 to 3"):
        windows.p99(requests, 2, 3, "GET")


def test_failures_of_a_window() -> None:
    bad = [_request(1.5, outcome="http_500"), _request(1.6, outcome="connect", node="", method="GET")]
    requests = [_request(1.4), *bad, _request(9, outcome="timeout", node="")]
    assert windows.failures(requests, 1, 2) == bad
    assert windows.failures(requests, 1, 2, "GET") == bad[1:]
    assert windows.failures(requests, 3, 4) == []


def test_shares_count_whoever_answered() -> None:
    requests = [_request(1, node="mes-1")] * 8 + [_request(1, outcome="http_500", node="mes-2")] * 2
    requests += [_request(1, outcome="connect", node=""), _request(5, node="mes-3")]
    assert windows.shares(requests, 0, 2) == {"mes-1": 0.8, "mes-2": 0.2}
    assert windows.shares(requests, 7) == {}
