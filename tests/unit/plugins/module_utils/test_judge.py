# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge: its tests agree with published values, and its judgements with what an operator would say.

Expected p-values without another origin were computed with scipy 1.17.1 (fisher_exact, binomtest and mannwhitneyu, all
with alternative="greater"); the two for ten million requests with mpmath at 60 digits.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from fractions import Fraction
from itertools import combinations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils.judge import (
    Counts,
    ErrorLimits,
    JudgeError,
    LatencyLimits,
    Phase,
    binomial_greater,
    fisher_greater,
    hodges_lehmann,
    judge_errors,
    judge_latency,
    mann_whitney_greater,
    percentile,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SEVERITY = [Phase.NO_DATA, Phase.SUCCESS, Phase.INCONCLUSIVE, Phase.FAILURE]
LIMITS = ErrorLimits()
SIDE = st.integers(1, 60).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
VALUES = st.lists(st.integers(0, 30), min_size=1, max_size=40)


# ----------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("bad_a", "total_a", "bad_b", "total_b", "expected"),
    [
        # Fisher's lady tasting tea: 17 of 70 and 1 of 70 ways.
        (3, 4, 1, 4, 17 / 70),
        (4, 4, 0, 4, 1 / 70),
        (12, 240, 1, 2310, 4.469647841352567e-12),
        (0, 20, 0, 20, 1.0),
        (1, 20, 0, 200, 0.09090909090909091),
        (10, 200, 0, 20, 0.3774955869169357),
        (30, 200, 1, 20, 0.1915139559992708),
        (60, 200, 3, 20, 0.12117217266619855),
        (5, 5, 0, 5, 0.003968253968253969),
        (7, 50, 3, 60, 0.09657027527809678),
        (120, 10_000, 100, 10_000, 0.09880398934032238),
        (1, 1, 0, 200, 0.004975124378109453),
        (1_200, 100_000, 1_000, 100_000, 9.81975340114829e-06),
        (101_000, 10_000_000, 100_000, 10_000_000, 0.0125599460300775),
        (5_020_000, 10_000_000, 5_000_000, 10_000_000, 1.87928901852131e-19),
        (10_000_000, 10_000_000, 0, 10_000_000, 0.0),
    ],
)
def test_fisher_agrees_with_known_values(bad_a: int, total_a: int, bad_b: int, total_b: int, expected: float) -> None:
    assert fisher_greater(bad_a, total_a, bad_b, total_b) == pytest.approx(expected, rel=1e-9)


@given(SIDE, SIDE)
def test_fisher_is_the_sum_over_all_tables_that_are_as_bad(a: tuple[int, int], b: tuple[int, int]) -> None:
    (bad_a, total_a), (bad_b, total_b) = a, b
    bad = bad_a + bad_b
    ways = sum(math.comb(total_a, x) * math.comb(total_b, bad - x) for x in range(bad_a, min(total_a, bad) + 1))
    exact = float(Fraction(ways, math.comb(total_a + total_b, bad)))
    assert fisher_greater(bad_a, total_a, bad_b, total_b) == pytest.approx(exact, rel=1e-12)


BIG = st.integers(1, 10**7).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@settings(deadline=None)
@given(BIG, BIG)
def test_fisher_stays_a_probability_when_numbers_are_large(a: tuple[int, int], b: tuple[int, int]) -> None:
    (bad_a, total_a), (bad_b, total_b) = a, b
    p = fisher_greater(bad_a, total_a, bad_b, total_b)
    assert 0 <= p <= 1
    if bad_a < total_a and bad_b > 0:
        assert fisher_greater(bad_a + 1, total_a, bad_b - 1, total_b) <= p
    # The table read by columns is the same table.
    good_a, good_b = total_a - bad_a, total_b - bad_b
    assert fisher_greater(bad_a, bad_a + bad_b, good_a, good_a + good_b) == pytest.approx(p, rel=1e-9)


@given(SIDE, SIDE)
def test_one_more_bad_request_never_makes_fisher_less_sure(a: tuple[int, int], b: tuple[int, int]) -> None:
    (bad_a, total_a), (bad_b, total_b) = a, b
    if bad_a < total_a:
        assert fisher_greater(bad_a + 1, total_a, bad_b, total_b) <= fisher_greater(bad_a, total_a, bad_b, total_b)


@pytest.mark.parametrize(
    ("bad", "total", "share", "expected"),
    [
        # The example of scipy's documentation of binomtest: a supplier whose parts are 10 % defective.
        (3, 15, 0.1, 0.18406106910639114),
        (1, 20, 0.01, 0.18209306240276915),
        (3, 20, 0.01, 0.0010035761681001167),
        (10, 200, 0.01, 4.014180884713425e-05),
        (5, 100, 0.05, 0.5640186993142899),
        (0, 10, 0.2, 1.0),
        (10, 10, 0.5, 0.0009765625),
        (60, 1000, 0.05, 0.08673217838486103),
        (235, 1000, 0.2, 0.0036740537454114687),
        (101_000, 10_000_000, 0.01, 0.000757170376323074),
        (0, 5, 0.0, 1.0),
        (1, 5, 0.0, 0.0),
        (5, 5, 1.0, 1.0),
        (3, 5, 1.0, 1.0),
    ],
)
def test_the_binomial_test_agrees_with_known_values(bad: int, total: int, share: float, expected: float) -> None:
    assert binomial_greater(bad, total, share) == pytest.approx(expected, rel=1e-9)


# The example of scipy's documentation of mannwhitneyu: age at which diabetes was diagnosed. There U is 17, and the
# two-sided p-values are 1/9 (exact) and 0.11134688653314041 (with continuity correction); one side is half of that.
MALES, FEMALES = [19, 22, 16, 29, 24], [20, 11, 17, 12]


@pytest.mark.parametrize(
    ("canary", "baseline", "u", "p", "exact"),
    [
        (MALES, FEMALES, 17, 1 / 18, True),
        ([1.1, 2.2, 3.3], [0.5, 0.7, 0.9, 1.0], 12, 0.02857142857142857, True),
        ([1, 2, 3], [4, 5, 6, 7], 0, 1.0, True),
        ([12.1, 15.3, 11.2, 18.9, 14.4, 20.3], [10.1, 9.4, 12.9, 11.9, 8.8], 27, 0.015151515151515152, True),
        ([3.5], list(range(10)), 4, 0.6363636363636364, True),
        ([1, 2, 2, 3, 5, 5, 8], [1, 1, 2, 3, 3, 4], 28, 0.17217355211653546, False),
        ([5] * 6, [5] * 7, 21, 1.0, False),
        (list(range(10, 40)), list(range(25)), 637.5, 4.715872980070083e-06, False),
        ([i * i % 97 for i in range(60)], [i * 7 % 83 for i in range(80)], 2866.5, 0.024860549850943468, False),
    ],
)
def test_mann_whitney_agrees_with_known_values(
    canary: list[float], baseline: list[float], u: float, p: float, exact: bool
) -> None:
    found = mann_whitney_greater(canary, baseline)
    assert (found.u, found.exact) == (u, exact)
    assert found.p == pytest.approx(p, rel=1e-9)


def test_the_continuity_correction_is_that_of_the_published_example() -> None:
    # One value further apart on each side makes 21 x 20 pairs of the same kind: beyond the exact limit, no ties.
    males = [value + step / 1000 for value in MALES for step in range(10)]
    females = [value + step / 1000 + 0.0001 for value in FEMALES for step in range(10)]
    found = mann_whitney_greater(males, females)
    n, m = len(males), len(females)
    z = (found.u - n * m / 2 - 0.5) / math.sqrt(n * m * (n + m + 1) / 12)
    assert not found.exact
    assert found.p == pytest.approx(1 - statistics.NormalDist().cdf(z), rel=1e-9)


@given(st.permutations(range(9)), st.integers(1, 8))
def test_the_exact_mann_whitney_test_counts_all_orders(order: list[int], size: int) -> None:
    def u_of(chosen: set[int]) -> int:
        return sum(mine > other for mine in chosen for other in set(range(9)) - chosen)

    ours = order[:size]
    found = mann_whitney_greater(ours, order[size:])
    every = [u_of(set(chosen)) for chosen in combinations(range(9), size)]
    assert found.exact
    assert found.p == pytest.approx(sum(u >= u_of(set(ours)) for u in every) / len(every), rel=1e-12)


@given(VALUES, VALUES)
def test_mann_whitney_is_about_order_only(canary: list[int], baseline: list[int]) -> None:
    found, turned = mann_whitney_greater(canary, baseline), mann_whitney_greater(baseline, canary)
    assert found.u + turned.u == len(canary) * len(baseline)
    assert 0 <= found.p <= 1
    assert found.p + turned.p >= 1 - 1e-12
    moved = mann_whitney_greater([value**3 + 7 for value in canary], [value**3 + 7 for value in baseline])
    assert moved == found
    assert mann_whitney_greater([value + 1 for value in canary], baseline).u >= found.u


@given(VALUES, VALUES, st.integers(-50, 50))
def test_hodges_lehmann_is_the_median_difference(canary: list[int], baseline: list[int], shift: int) -> None:
    found = hodges_lehmann(canary, baseline)
    assert found == statistics.median([mine - other for mine in canary for other in baseline])
    assert hodges_lehmann([value + shift for value in canary], baseline) == found + shift
    assert hodges_lehmann(baseline, canary) == -found


def test_hodges_lehmann_of_large_samples_is_close_and_always_the_same() -> None:
    baseline = [math.exp(3 + math.sin(i)) for i in range(1500)]
    canary = [value * 1.3 for value in baseline[:700]]
    exact = statistics.median([mine - other for mine in canary for other in baseline])
    assert hodges_lehmann(canary, baseline) == pytest.approx(exact, abs=0.1)
    assert hodges_lehmann(canary[::-1], baseline[::-1]) == hodges_lehmann(canary, baseline)
    assert hodges_lehmann([value + 40 for value in baseline], baseline) == pytest.approx(40)
    assert hodges_lehmann(range(2000), [0]) == pytest.approx(999.5, abs=1)


def test_forty_thousand_requests_are_judged_in_well_under_a_second() -> None:
    baseline = [20 + (i * 7919 % 10_007) / 100 for i in range(20_000)]
    begin = time.process_time()
    found = judge_latency([value + 90 for value in baseline], baseline, LatencyLimits(max_ms=500))
    assert time.process_time() - begin < 1
    assert found.phase is Phase.FAILURE


@given(VALUES, st.one_of(st.integers(0, 100), st.floats(0, 100).map(lambda percent: round(percent, 3))))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values: list[int], percent: float) -> None:
    share = Fraction(str(percent)) / 100
    reached = [value for value in values if Fraction(sum(one <= value for one in values), len(values)) >= share]
    assert percentile(sorted(values), percent) == min(reached)


@pytest.mark.parametrize(
    ("size", "percent", "rank"),
    [
        (20, 95, 19),
        (100, 7, 7),
        (1000, 99.9, 999),
        (1000, 33.3, 333),
        (1, 50, 1),
        (3, 50, 2),
        (10, 0, 1),
        (10, 100, 10),
    ],
)
def test_a_percentile_is_not_one_rank_too_high(size: int, percent: float, rank: int) -> None:
    assert percentile(range(1, size + 1), percent) == rank


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Counts(3, 2),
        lambda: Counts(-1, 2),
        lambda: fisher_greater(1, 0, 0, 1),
        lambda: binomial_greater(1, 2, 1.5),
        lambda: mann_whitney_greater([], [1.0]),
        lambda: hodges_lehmann([1.0], []),
        lambda: percentile([], 50),
        lambda: ErrorLimits(max_ratio=1),
        lambda: ErrorLimits(max_ratio=-0.1),
        lambda: ErrorLimits(max_ratio=math.nan),
        lambda: ErrorLimits(alpha=0),
        lambda: ErrorLimits(min_samples=0),
        lambda: LatencyLimits(percentile=100),
        lambda: LatencyLimits(percentile=0),
        lambda: LatencyLimits(max_ratio=0.9),
        lambda: LatencyLimits(max_ms=0),
        lambda: LatencyLimits(tolerance_ms=-1),
        lambda: LatencyLimits(alpha=0.6),
        lambda: LatencyLimits(min_samples=2.5),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(broken: object) -> None:
    assert callable(broken)
    with pytest.raises(JudgeError, match=r"^[^\n]+\.$"):
        broken()


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("canary", "baseline", "phase", "why"),
    [
        # Too few, and none of them speaks against it.
        ((0, 0), (0, 500), Phase.NO_DATA, "no request, too few to judge, 20 are needed"),
        ((0, 19), (0, 500), Phase.NO_DATA, "0 of 19 requests failed (0 %), too few to judge, 20 are needed"),
        ((1, 1), (0, 500), Phase.NO_DATA, "1 of 1 requests failed (100.0 %), too few to judge, 20 are needed"),
        # Few, but even if all that are missing were good it would have failed.
        ((10, 10), (0, 500), Phase.FAILURE, "10 of 10 requests failed (100.0 %), baseline 0 of 500 (0 %), p = 5.1e-16"),
        ((3, 3), None, Phase.FAILURE, "3 of 3 requests failed (100.0 %), tolerated 1.0 %, p = 0.001"),
        # Tolerated, even where the baseline is better.
        ((0, 20), (0, 500), Phase.SUCCESS, "0 of 20 requests failed (0 %), baseline 0 of 500 (0 %)"),
        (
            (100, 10_000),
            (0, 90_000),
            Phase.SUCCESS,
            "100 of 10,000 requests failed (1.0 %), baseline 0 of 90,000 (0 %)",
        ),
        ((1, 100), None, Phase.SUCCESS, "1 of 100 requests failed (1.0 %), tolerated 1.0 %"),
        # Worse than the hosts beside it.
        (
            (12, 240),
            (1, 2310),
            Phase.FAILURE,
            "12 of 240 requests failed (5.0 %), baseline 1 of 2,310 (0.04 %), p = 4.5e-12",
        ),
        ((60, 100), (300, 1000), Phase.FAILURE, "60 of 100 requests failed (60.0 %), baseline 300 of 1,000 (30.0 %)"),
        # Above what is tolerated, but it may be chance.
        (
            (1, 50),
            (0, 200),
            Phase.INCONCLUSIVE,
            "1 of 50 requests failed (2.0 %), baseline 0 of 200 (0 %), tolerated 1.0 %, p = 0.39, not enough to tell",
        ),
        # A small faultless baseline protects nobody.
        (
            (10, 200),
            (0, 20),
            Phase.FAILURE,
            "10 of 200 requests failed (5.0 %), baseline 0 of 20 (0 %), tolerated 1.0 %, p = 4e-5",
        ),
        # The others are as bad.
        (
            (86, 200),
            (800, 2000),
            Phase.SUCCESS,
            "86 of 200 requests failed (43.0 %), baseline 800 of 2,000 (40.0 %), p = 0.23, "
            "the other hosts are as bad, so it is not the release",
        ),
        # One failure in a small baseline excuses nothing, and neither does a baseline that is bad but far less so.
        ((10, 200), (1, 20), Phase.INCONCLUSIVE, "10 of 200 requests failed (5.0 %), baseline 1 of 20 (5.0 %)"),
        ((30, 200), (1, 20), Phase.INCONCLUSIVE, "30 of 200 requests failed (15.0 %), baseline 1 of 20 (5.0 %)"),
        ((60, 200), (3, 20), Phase.INCONCLUSIVE, "60 of 200 requests failed (30.0 %), baseline 3 of 20 (15.0 %)"),
        # No baseline, or too small a one.
        ((10, 200), None, Phase.FAILURE, "10 of 200 requests failed (5.0 %), tolerated 1.0 %, p = 4e-5"),
        ((10, 200), (19, 19), Phase.FAILURE, "10 of 200 requests failed (5.0 %), tolerated 1.0 %, p = 4e-5"),
        (
            (2, 100),
            None,
            Phase.INCONCLUSIVE,
            "2 of 100 requests failed (2.0 %), tolerated 1.0 %, p = 0.26, not enough to tell",
        ),
    ],
)
def test_errors(canary: tuple[int, int], baseline: tuple[int, int] | None, phase: Phase, why: str) -> None:
    found = judge_errors(Counts(*canary), Counts(*baseline) if baseline else None, LIMITS)
    assert (found.phase, found.text[: len(why)]) == (phase, why)
    assert json.loads(json.dumps(found.evidence, allow_nan=False))["bad"] == canary[0]


def test_who_tolerates_nothing_gets_a_failure_for_one_bad_request() -> None:
    limits = ErrorLimits(max_ratio=0)
    assert judge_errors(Counts(1, 1000), Counts(0, 50), limits).phase is Phase.FAILURE
    assert judge_errors(Counts(0, 1000), Counts(0, 50), limits).phase is Phase.SUCCESS


@pytest.mark.parametrize(
    ("canary", "baseline", "p"),
    # Fisher's test where the baseline is bad as well, the binomial test where there is none.
    [(Counts(7, 100), Counts(20, 1000), 0.00805022153306767), (Counts(4, 100), None, 0.018374036444649678)],
)
def test_the_edge_of_significance(canary: Counts, baseline: Counts | None, p: float) -> None:
    assert judge_errors(canary, baseline, ErrorLimits(alpha=p * 1.001)).phase is Phase.FAILURE
    assert judge_errors(canary, baseline, ErrorLimits(alpha=p * 0.999)).phase is Phase.INCONCLUSIVE


COUNTS = st.integers(0, 400).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))
ERROR_LIMITS = st.builds(
    ErrorLimits,
    max_ratio=st.sampled_from([0, 0.01, 0.1, 0.5]),
    alpha=st.sampled_from([0.001, 0.01, 0.1]),
    min_samples=st.sampled_from([1, 20, 100]),
)


@given(COUNTS, st.none() | COUNTS, ERROR_LIMITS)
def test_more_errors_never_make_a_better_judgement(
    canary: Counts, baseline: Counts | None, limits: ErrorLimits
) -> None:
    before = judge_errors(canary, baseline, limits)
    if canary.total < limits.min_samples:
        assert before.phase in (Phase.NO_DATA, Phase.FAILURE)
    if canary.bad < canary.total:
        after = judge_errors(Counts(canary.bad + 1, canary.total), baseline, limits)
        assert SEVERITY.index(after.phase) >= SEVERITY.index(before.phase)


@given(COUNTS, st.none() | COUNTS, ERROR_LIMITS)
def test_an_early_failure_is_the_one_that_waiting_would_bring(
    canary: Counts, baseline: Counts | None, limits: ErrorLimits
) -> None:
    missing = limits.min_samples - canary.total
    if missing > 0 and judge_errors(canary, baseline, limits).phase is Phase.FAILURE:
        for bad in (0, missing):
            later = Counts(canary.bad + bad, limits.min_samples)
            assert judge_errors(later, baseline, limits).phase is Phase.FAILURE


# -------------------------------------------------------------------------------------------------------------- latency


def around(center: float, size: int) -> list[float]:
    """Values from 90 % to 110 % of the center, all over the range."""
    return [center * (0.9 + (i * 37 % 101) / 500) for i in range(size)]


def test_a_slow_minority_is_found_though_the_median_does_not_move() -> None:
    baseline = around(100, 600)
    canary = [value * (3 if i % 10 == 0 else 1) for i, value in enumerate(around(100, 200))]
    assert mann_whitney_greater(canary, baseline).p > 0.01
    assert hodges_lehmann(canary, baseline) < 5
    found = judge_latency(canary, baseline, LatencyLimits())
    assert (found.phase, found.evidence["test"]) == (Phase.FAILURE, "exceedance")
    assert found.text.startswith("p95 is ")
    assert "; 20 of 200 above 164 ms (10.0 %), baseline 0 of 600 (0 %), p = " in found.text


def test_a_shift_is_found_though_the_percentile_drowns_in_noise() -> None:
    # One in ten takes a second on either side, so that a p95 says nothing; the others are twice as slow.
    noise = [1000 if i % 10 == 0 else 0 for i in range(300)]
    baseline = [value + extra for value, extra in zip(around(40, 300), noise)]
    canary = [value + extra for value, extra in zip(around(80, 60), noise)]
    found = judge_latency(canary, baseline, LatencyLimits())
    assert (found.phase, found.evidence["test"]) == (Phase.FAILURE, "shift")
    assert "typically 40 ms slower, allowed 20 ms, p = " in found.text


@pytest.mark.parametrize("size", [50, 200, 2000])
def test_the_same_latency_is_a_success(size: int) -> None:
    found = judge_latency(around(100, size), around(100, 500), LatencyLimits(max_ms=150))
    assert found.phase is Phase.SUCCESS
    assert found.text == f"p95 is 109 ms of {size:,} requests, baseline 109 ms of 500, allowed 150 ms"


def test_tolerance_is_in_milliseconds_where_everything_is_fast() -> None:
    # Four times as slow and provably so, but 3 ms are nobody's trouble.
    assert judge_latency(around(4, 300), around(1, 300), LatencyLimits()).phase is Phase.SUCCESS
    assert judge_latency(around(4, 300), around(1, 300), LatencyLimits(tolerance_ms=2)).phase is Phase.FAILURE


def test_provably_slower_but_within_the_ratio_is_a_success() -> None:
    assert mann_whitney_greater(around(140, 300), around(100, 300)).p < 1e-9
    assert judge_latency(around(140, 300), around(100, 300), LatencyLimits()).phase is Phase.SUCCESS
    assert judge_latency(around(140, 300), around(100, 300), LatencyLimits(max_ratio=1.2)).phase is Phase.FAILURE


def test_beyond_a_limit_but_perhaps_by_chance_is_inconclusive() -> None:
    baseline = around(100, 50)
    # 3 of 50 are slow: the p95 is one of them, but so few do not prove anything.
    canary = [*around(100, 47), 400, 400, 400]
    found = judge_latency(canary, baseline, LatencyLimits())
    assert found.phase is Phase.INCONCLUSIVE
    assert found.text.endswith("p = 0.12, not enough to tell")
    assert judge_latency([*around(100, 48), 400, 400], baseline, LatencyLimits()).phase is Phase.SUCCESS


def test_an_absolute_limit_needs_no_baseline_and_knows_no_excuse() -> None:
    limits = LatencyLimits(max_ms=150)
    slow, fine = around(200, 60), around(100, 60)
    assert judge_latency(slow, None, limits).phase is Phase.FAILURE
    found = judge_latency(slow, slow, limits)
    assert (found.phase, found.evidence["test"]) == (Phase.FAILURE, "absolute")
    assert "; 60 of 60 above 150 ms (100.0 %), p = " in found.text
    assert judge_latency(fine, None, limits).phase is Phase.SUCCESS
    # 4 of 60 are above it, so the p95 is, but 3 would be normal.
    assert judge_latency([*around(100, 56), *around(200, 4)], None, limits).phase is Phase.INCONCLUSIVE
    # 15 % above it is not what a p95 allows.
    assert judge_latency([*around(100, 170), *around(200, 30)], None, limits).phase is Phase.FAILURE


def test_exactly_the_limit_is_within_the_limit() -> None:
    limits = LatencyLimits(max_ms=150)
    assert judge_latency([150.0] * 60, None, limits).phase is Phase.SUCCESS
    mixed = [*around(100, 46), *[150.0] * 10, *around(200, 4)]
    assert judge_latency(mixed, None, limits).phase is Phase.INCONCLUSIVE


def test_too_few_requests_are_no_data_and_too_small_a_baseline_is_none() -> None:
    found = judge_latency(around(900, 49), around(100, 500), LatencyLimits(max_ms=150))
    assert (found.phase, found.text) == (Phase.NO_DATA, "49 requests, too few to judge, 50 are needed")
    assert judge_latency([], None, LatencyLimits()).text == "no request, too few to judge, 50 are needed"
    nothing = judge_latency(around(900, 50), around(100, 49), LatencyLimits())
    assert nothing.phase is Phase.INCONCLUSIVE
    assert nothing.text.endswith("but the baseline has 49 requests, 50 are needed, and max_ms is not set")
    alone = judge_latency(around(900, 50), None, LatencyLimits())
    assert alone.phase is Phase.INCONCLUSIVE
    assert alone.text.endswith("but there is no baseline, and max_ms is not set")
    assert judge_latency(around(100, 50), around(1, 49), LatencyLimits(max_ms=150)).phase is Phase.SUCCESS


def test_values_that_are_no_numbers_do_not_count() -> None:
    bad = [math.nan, math.inf, -math.inf] * 20
    assert judge_latency([*around(100, 49), *bad], around(100, 90), LatencyLimits()).phase is Phase.NO_DATA
    found = judge_latency([*around(100, 60), *bad], [*around(100, 90), *bad], LatencyLimits(max_ms=150))
    assert (found.phase, found.evidence["total"], found.evidence["baseline_total"]) == (Phase.SUCCESS, 60, 90)
    json.dumps(found.evidence, allow_nan=False)


MILLISECONDS = st.lists(st.integers(0, 200), min_size=5, max_size=60)


@given(MILLISECONDS, st.none() | MILLISECONDS, st.integers(0, 100), st.none() | st.integers(1, 200))
def test_slower_is_never_judged_better(
    canary: list[int], baseline: list[int] | None, slower: int, max_ms: int | None
) -> None:
    limits = LatencyLimits(min_samples=10, max_ms=max_ms, percentile=80)
    before = judge_latency(canary, baseline, limits)
    after = judge_latency([value + slower for value in canary], baseline, limits)
    assert SEVERITY.index(after.phase) >= SEVERITY.index(before.phase)
    assert (before.phase is Phase.NO_DATA) == (len(canary) < 10)
    json.dumps(after.evidence, allow_nan=False)
