from __future__ import annotations

import pytest

from demo.load.report import Attempt, Report, Tally, longest_gap, percentile, summarise

OK = Attempt("http://a", True, "ok", "mes-1", 201)
REPEATED = Attempt("http://b", True, "ok", "mes-2", 200)
REFUSED = Attempt("http://a", False, "connect")


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 5), (51, 6), (90, 9), (95, 10), (99, 10), (100, 10)]
)
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(1, 11)), percent) == expected


def test_percentiles_of_one_and_of_none() -> None:
    assert percentile([3.0], 99) == 3.0
    assert summarise([]) == {}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_summary_is_in_milliseconds() -> None:
    assert summarise([0.2, 0.1, 0.3]) == {"p50": 200.0, "p95": 300.0, "p99": 300.0, "max": 300.0}


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([1, 2, 6, 7], (4, 2)),
        ([7, 1, 6, 2], (4, 2)),
        ([5, 6, 10], (5, 0)),
        ([1, 2], (8, 2)),
        ([], (10, 0)),
        ([1, 9, 30], (21, 9)),
    ],
)
def test_longest_gap_counts_both_ends(moments: list[float], expected: tuple[float, float]) -> None:
    assert longest_gap(moments, 0, 10) == expected


def test_tally() -> None:
    tally = Tally()
    tally.planned = 4
    tally.note("POST", 1.0, 1.5, [OK])
    tally.note("POST", 2.0, 4.0, [REFUSED, REPEATED])
    tally.note("GET", 3.0, 3.1, [REFUSED])
    tally.note_failure("POST", "overflow", 4.0)
    empty = Report(run="r", targets=["http://a"], retry="safe", started="now", rate_asked=1.0)
    report = tally.report(empty, last_scheduled=5.0, wall=10.0)
    assert (report.sent, report.succeeded, report.failed, report.acknowledged, report.retried) == (3, 2, 2, 2, 1)
    assert report.acknowledged_repeats == 1
    assert report.failed_by_method == {"GET": 1, "POST": 1}
    assert report.failed_by_kind == {"connect": 1, "overflow": 1}
    assert report.failed_attempts_by_kind == {"connect": 2}
    assert report.per_node == {"mes-1": {"POST": 1}, "mes-2": {"POST": 1}}
    assert report.latency_ms["POST"] == {"p50": 500.0, "p95": 2000.0, "p99": 2000.0, "max": 2000.0}
    assert (report.longest_write_gap_s, report.longest_write_gap_began_s) == (2.5, 1.5)
    assert report.rate_achieved == 0.2
    assert Report.from_json(report.to_json()) == report
    assert "2 acknowledged" in report.table()


def test_a_run_without_any_acknowledgement_is_one_long_gap() -> None:
    report = Tally().report(Report("r", [], "none", "now", 1.0), last_scheduled=7.0, wall=8.0)
    assert report.longest_write_gap_s == 7.0
