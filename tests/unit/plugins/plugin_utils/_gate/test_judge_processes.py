# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is judged look by look: nobody can fool the judge by looking often, by burning as well, or by waiting."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import (
    Counts,
    ErrorLimits,
    ErrorProcess,
    JudgeError,
    Judgement,
    LatencyLimits,
    LatencyProcess,
    Phase,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ALPHA = 0.01
CALM = Counts(100, 100_000)
"""What was usual where 0.1 % of the requests fail."""
Look = tuple[Counts, "Counts | None"]
SIDE = st.integers(0, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


def errors(looks: Iterable[Look], usual: Counts | None = CALM, **limits: Any) -> list[Judgement]:
    process = ErrorProcess(ErrorLimits(**limits), ALPHA)
    return [process.look(canary, baseline, usual) for canary, baseline in looks]


def phases(looks: Iterable[Look], usual: Counts | None = CALM, **limits: Any) -> list[Phase]:
    return [one.phase for one in errors(looks, usual, **limits)]


# -------------------------------------------------------------------------------------------------------------- errors


def test_a_release_that_fails_where_the_others_do_not_is_a_failure() -> None:
    found = errors([(Counts(1, 15), Counts(0, 135)), (Counts(4, 15), Counts(0, 135))])
    assert [one.phase for one in found] == [Phase.INCONCLUSIVE, Phase.FAILURE]
    assert found[-1].text.startswith("5 of 30 requests failed (16.7 %), baseline 0 of 270 (0 %), provably worse, p = ")
    assert found[-1].evidence["p"] is not None


def test_a_release_without_failures_is_a_success_once_that_is_proven() -> None:
    found = phases([(Counts(0, 100), Counts(0, 900))] * 8)
    assert found[0] is Phase.INCONCLUSIVE
    assert found[-1] is Phase.SUCCESS


def test_what_both_share_moves_nothing() -> None:
    usual = Counts(5000, 100_000)
    assert set(phases([(Counts(5, 100), Counts(45, 900))] * 60, usual)) <= {Phase.INCONCLUSIVE, Phase.SUCCESS}


@pytest.mark.parametrize("share", [0.005, 0.1])
def test_many_looks_do_not_condemn_a_good_release(share: float) -> None:
    random.seed(f"looks {share}")

    def some(total: int) -> Counts:
        return Counts(sum(random.random() < share for _request in range(total)), total)

    usual = Counts(int(share * 100_000), 100_000)
    for _rollout in range(20):
        assert not {Phase.FAILURE, Phase.HOLD} & set(phases([(some(15), some(60)) for _look in range(100)], usual))


def test_a_release_that_goes_bad_late_is_found_as_if_it_had_just_begun() -> None:
    fine: Look = (Counts(0, 75), Counts(0, 75))
    mixed: Look = (Counts(1, 75), Counts(1, 75))
    bad: Look = (Counts(8, 75), Counts(1, 75))
    found = phases([*[fine] * 9, mixed] * 20 + [bad] * 4)
    assert Phase.FAILURE not in found[:200]
    assert found[199] is Phase.SUCCESS
    assert found[200] is not Phase.SUCCESS  # what was proven is taken back by the first look that speaks against it
    assert found[-1] is Phase.FAILURE


def test_another_batch_is_neither_shielded_nor_condemned() -> None:
    process = ErrorProcess(ErrorLimits(), ALPHA)
    for _look in range(50):
        process.look(Counts(0, 100), Counts(1, 100), CALM)
    process.begin()
    assert process.look(Counts(0, 0), Counts(0, 100), CALM).phase is Phase.NO_DATA
    assert process.look(Counts(30, 100), Counts(1, 100), CALM).phase is Phase.FAILURE
    process.begin()
    assert process.look(Counts(0, 300), Counts(0, 300), CALM).phase is not Phase.FAILURE


def test_less_than_the_tolerance_is_no_failure_though_the_others_have_none() -> None:
    assert Phase.FAILURE not in phases([(Counts(2, 1000), Counts(0, 1000))] * 30)


def test_one_request_and_its_retries_prove_nothing() -> None:
    assert Phase.FAILURE not in phases([(Counts(4, 10), Counts(0, 5000))])
    assert Phase.FAILURE in phases([(Counts(5, 10), Counts(0, 5000))])


def test_attempts_that_all_failed_are_no_missing_data() -> None:
    # Every request of the canary was tried again elsewhere: it has as many bad ones as requests, and few of them.
    found = phases([(Counts(3, 3), Counts(0, 33)), (Counts(3, 3), Counts(0, 33))])
    assert found == [Phase.INCONCLUSIVE, Phase.FAILURE]


@pytest.mark.parametrize(
    ("canary", "phase"),
    [(Counts(0, 0), Phase.NO_DATA), (Counts(0, 19), Phase.NO_DATA), (Counts(1, 19), Phase.INCONCLUSIVE)],
)
def test_few_requests_are_no_data_unless_one_failed(canary: Counts, phase: Phase) -> None:
    assert phases([(canary, Counts(0, 100))]) == [phase]


@pytest.mark.parametrize(
    ("usual", "baseline"),
    [
        (CALM, Counts(60, 1000)),
        (Counts(3000, 100_000), Counts(200, 1000)),
        (None, Counts(300, 1000)),
        (Counts(0, 3), Counts(300, 1000)),
    ],
)
@pytest.mark.parametrize("canary", [Counts(0, 400), Counts(8, 100), Counts(50, 100), Counts(100, 100)])
def test_a_baseline_that_burns_is_no_baseline(usual: Counts | None, baseline: Counts, canary: Counts) -> None:
    (found,) = errors([(canary, baseline)], usual)
    assert found.phase is Phase.HOLD
    assert found.text.endswith("the other hosts are far outside what is usual, so there is nothing to compare with")


@pytest.mark.parametrize(
    ("usual", "baseline"),
    [(Counts(5000, 100_000), Counts(80, 1000)), (None, Counts(50, 1000)), (CALM, Counts(9, 1000))],
)
def test_a_baseline_that_is_as_bad_as_ever_is_one(usual: Counts | None, baseline: Counts) -> None:
    assert Phase.HOLD not in phases([(Counts(1, 100), baseline)] * 20, usual)


def test_what_was_seen_while_the_others_burned_is_not_held_against_the_release() -> None:
    burning: Look = (Counts(60, 100), Counts(400, 1000))
    quiet: Look = (Counts(0, 100), Counts(0, 1000))
    found = phases([burning] * 3 + [quiet] * 20)
    assert found[:3] == [Phase.HOLD] * 3
    assert Phase.FAILURE not in found
    assert found[-1] is Phase.SUCCESS
    assert Phase.FAILURE in phases([burning] * 3 + [quiet] * 3 + [(Counts(20, 100), Counts(1, 1000))] * 2)


def test_what_was_seen_while_the_others_burned_does_not_speak_for_the_release_either() -> None:
    process = ErrorProcess(ErrorLimits(), ALPHA)
    process.look(Counts(0, 100), Counts(400, 1000), CALM)
    before = process.state()["track"]["worse"]
    for _look in range(5):
        assert process.look(Counts(0, 100), Counts(400, 1000), CALM).phase is Phase.HOLD
    assert process.state()["track"]["worse"] == before


def test_without_a_baseline_the_tolerance_or_what_is_usual_judges() -> None:
    assert phases([(Counts(9, 300), None)], None)[-1] is Phase.INCONCLUSIVE
    assert phases([(Counts(9, 300), None)] * 3, None)[-1] is Phase.FAILURE
    assert Phase.FAILURE not in phases([(Counts(9, 300), None)] * 30, Counts(3000, 100_000))
    assert phases([(Counts(0, 300), None)] * 3, None)[-1] is Phase.SUCCESS


def test_a_baseline_without_requests_is_waited_for_and_then_is_none() -> None:
    nobody = Counts(0, 0)
    found = phases([(Counts(5, 5), nobody), (Counts(5, 5), nobody), (Counts(10, 10), nobody)])
    assert found == [Phase.INCONCLUSIVE, Phase.INCONCLUSIVE, Phase.FAILURE]
    # One request without a baseline between looks that have one is not judged alone.
    assert Phase.FAILURE not in phases([(Counts(10, 10), nobody), (Counts(0, 10), Counts(0, 100))])


def test_who_tolerates_nothing_condemns_what_is_worse_than_the_others() -> None:
    assert phases([(Counts(6, 3000), Counts(0, 9000))], max_ratio=0)[-1] is Phase.FAILURE
    assert phases([(Counts(0, 9000), Counts(0, 9000))], max_ratio=0)[-1] is Phase.SUCCESS
    assert phases([(Counts(50, 300), None)], None, max_ratio=0)[-1] is Phase.FAILURE


@pytest.mark.parametrize("size", [10**6, 10**9])
def test_counts_of_any_size_are_judged(size: int) -> None:
    million = size // 10**6
    good: Look = (Counts(100 * million, size), Counts(100 * million, size))
    bad: Look = (Counts(50_000 * million, size), Counts(100 * million, size))
    assert phases([good] * 3)[-1] is Phase.SUCCESS
    assert phases([good] * 3 + [bad])[-1] is Phase.FAILURE


@pytest.mark.parametrize(("bad", "total"), [(2, 1), (-1, 5)])
def test_more_bad_requests_than_requests_are_refused(bad: int, total: int) -> None:
    with pytest.raises(JudgeError, match="cannot be bad"):
        Counts(bad, total)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 0.6, math.nan])
def test_a_budget_that_makes_no_sense_is_refused(alpha: float) -> None:
    for make in (lambda: ErrorProcess(ErrorLimits(), alpha), lambda: LatencyProcess(LatencyLimits(), alpha)):
        with pytest.raises(JudgeError, match="alpha"):
            make()


def test_a_budget_may_be_as_small_as_one_likes() -> None:
    process = ErrorProcess(ErrorLimits(), 1e-30)
    found = [process.look(Counts(10, 20), Counts(0, 200), CALM).phase for _look in range(10)]
    assert (found[0], found[-1]) == (Phase.INCONCLUSIVE, Phase.FAILURE)


@pytest.mark.parametrize(
    "broken",
    [
        {"track": 7},
        {"track": {"canary": [3, 1]}},
        {"track": {"worse": {"kept": 1.0}}},
        {"hold": {"kept": math.inf, "cash": 0.0, "stakes": [0.0] * 5, "fresh": True}},
        {"hold": {"kept": 1.0, "cash": 0.0, "stakes": [0.0, -1.0, 0.0, 0.0, 0.0], "fresh": True}},
        {"hold": {"kept": 1.0, "cash": 0.0, "stakes": [0.0], "fresh": True}},
    ],
)
def test_a_state_that_is_none_is_refused_in_one_sentence(broken: dict[str, Any]) -> None:
    with pytest.raises(
        JudgeError, match=r"^What the record says of the evidence about errors cannot be read \(.*\); begin"
    ):
        ErrorProcess(ErrorLimits(), ALPHA, broken)
    with pytest.raises(JudgeError, match="about latency cannot be read"):
        LatencyProcess(LatencyLimits(), ALPHA, {"tracks": {"median": broken.get("track", 7)}, **broken, "owed": 3})


@settings(deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE, st.booleans()), min_size=1, max_size=8), st.none() | SIDE)
def test_a_controller_that_is_killed_at_every_look_judges_the_same(
    story: list[tuple[tuple[int, int], tuple[int, int], bool]], known: tuple[int, int] | None
) -> None:
    usual = Counts(*known) if known else None
    whole = ErrorProcess(ErrorLimits(), ALPHA)
    broken = ErrorProcess(ErrorLimits(), ALPHA)
    for canary, baseline, begins in story:
        broken = ErrorProcess(ErrorLimits(), ALPHA, json.loads(json.dumps(broken.state(), allow_nan=False)))
        for process in (whole, broken):
            if begins:
                process.begin()
        look = (Counts(*canary), Counts(*baseline), usual)
        assert broken.look(*look) == whole.look(*look)
    assert broken.state() == whole.state()


@settings(deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=6))
def test_one_more_bad_request_never_makes_a_better_judgement_of_that_look(
    story: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    looks = [(Counts(*canary), Counts(*baseline)) for canary, baseline in story]
    last, others = looks[-1]
    if last.bad == last.total:
        return
    order = [Phase.SUCCESS, Phase.NO_DATA, Phase.INCONCLUSIVE, Phase.FAILURE]
    worse = phases([*looks[:-1], (Counts(last.bad + 1, last.total), others)])[-1]
    now = phases(looks)[-1]
    assert (now is Phase.HOLD) == (worse is Phase.HOLD)
    if now is not Phase.HOLD:
        assert order.index(worse) >= order.index(now)


# ------------------------------------------------------------------------------------------------------------- latency


class Times:
    """Response times around 40 ms, p95 91 ms, the same ones every time."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def some(self, number: int, factor: float = 1.0) -> list[float]:
        return [factor * self._random.lognormvariate(math.log(40), 0.5) for _time in range(number)]


def latency(**limits: Any) -> LatencyProcess:
    return LatencyProcess(LatencyLimits(**limits), ALPHA)


def looked(process: LatencyProcess, looks: Iterable[tuple[Sequence[float], Sequence[float] | None]]) -> list[Phase]:
    return [process.look(canary, baseline).phase for canary, baseline in looks]


def test_the_same_latency_is_a_success_once_that_is_proven() -> None:
    times = Times("same")
    found = looked(latency(), [(times.some(15), times.some(135)) for _look in range(30)])
    assert found[0] is Phase.NO_DATA
    assert Phase.FAILURE not in found
    assert found[-1] is Phase.SUCCESS


def test_three_times_slower_is_found_at_the_second_look() -> None:
    times = Times("slow")
    found = looked(latency(), [(times.some(25, 3), times.some(135)) for _look in range(2)])
    assert found[-1] is Phase.FAILURE


def test_what_was_usual_makes_the_first_look_count() -> None:
    times = Times("usual")
    judgement = latency().look(times.some(30, 3), times.some(135), times.some(500))
    assert judgement.phase is Phase.FAILURE
    assert judgement.evidence["test"] in ("percentile", "median")


def test_a_slow_tail_is_found_though_the_median_does_not_move() -> None:
    times = Times("tail")
    found = looked(latency(), [(times.some(68) + times.some(7, 10), times.some(75)) for _look in range(6)])
    assert Phase.FAILURE in found


def test_within_the_ratio_is_no_failure() -> None:
    times = Times("within")
    found = looked(latency(), [(times.some(75, 1.25), times.some(75)) for _look in range(40)])
    assert Phase.FAILURE not in found


def test_differences_below_the_tolerance_never_count() -> None:
    found = looked(latency(tolerance_ms=5), [([4.0] * 75, [1.0] * 75) for _look in range(10)])
    assert found[-1] is Phase.SUCCESS
    assert Phase.FAILURE in looked(latency(tolerance_ms=2), [([4.0] * 75, [1.0] * 75) for _look in range(10)])


def test_what_slows_down_both_condemns_nobody() -> None:
    times = Times("both")
    looks = [(times.some(15), times.some(135)) for _look in range(10)]
    looks += [(times.some(15, 2.5), times.some(135, 2.5)) for _look in range(10)]
    assert Phase.FAILURE not in looked(latency(), looks)


def test_a_threshold_from_before_a_slower_time_does_not_condemn_what_is_tolerated() -> None:
    times = Times("slower time")
    looks = [(times.some(15, 1.3), times.some(135)) for _look in range(10)]
    looks += [(times.some(15, 2.2 * 1.3), times.some(135, 2.2)) for _look in range(30)]
    assert Phase.FAILURE not in looked(latency(), looks)


def test_a_baseline_that_is_far_slower_than_before_is_no_baseline() -> None:
    times = Times("burning")
    process = latency()
    found = [process.look(times.some(15, 9), times.some(135, 6), times.some(500)).phase for _look in range(3)]
    assert found[-1] is Phase.HOLD
    assert Phase.FAILURE not in found
    # Without a word about the time before the rollout, the time before the fire tells.
    looks = [(times.some(15), times.some(135)) for _look in range(3)]
    looks += [(times.some(15, 9), times.some(135, 9)) for _look in range(3)]
    assert looked(latency(), looks)[-1] is Phase.HOLD


def test_requests_that_hang_are_slow_before_they_are_answered() -> None:
    times = Times("hang")
    process = latency()
    process.look([], times.some(135), waiting=([900.0] * 5, []))
    judgement = process.look([], times.some(135), waiting=([4000.0] * 5 + [900.0] * 5, [20.0]))
    assert judgement.phase is Phase.FAILURE
    assert judgement.evidence["slow"] == 10


def test_waiting_requests_are_no_missing_data() -> None:
    times = Times("waiting")
    assert latency().look([], times.some(135), waiting=([20.0] * 5, [])).phase is Phase.INCONCLUSIVE
    assert latency().look([], times.some(135)).phase is Phase.NO_DATA


def test_a_request_that_waits_and_is_answered_later_counts_once() -> None:
    times = Times("once")
    process = latency(max_ms=1000)
    process.look(times.some(30), times.some(135))
    process.look(times.some(30), times.some(135), waiting=([5000.0] * 4, [5000.0]))
    process.look(times.some(30), times.some(135), waiting=([8000.0] * 4, [8000.0]))
    judgement = process.look([*times.some(30), *[9000.0] * 4], [*times.some(135), 9000.0])
    tracks = process.state()["tracks"]
    assert tracks["max_ms"]["canary"] == [4, 124]
    assert tracks["max_ms"]["baseline"] == [1, 4 * 135 + 1]
    assert judgement.evidence["total"] == 124


def test_infinite_is_slow_and_no_number_is_no_measurement() -> None:
    times = Times("infinite")
    process = latency()
    for _look in range(2):
        judgement = process.look([math.inf] * 10 + times.some(5), times.some(135))
    assert judgement.phase is Phase.FAILURE
    assert "p95 is infinite of 30 requests" in judgement.text
    assert latency().look([math.nan] * 60 + [-1.0] * 60, times.some(135)).phase is Phase.NO_DATA
    json.dumps([process.state(), judgement.evidence], allow_nan=False)


def test_a_baseline_of_infinite_times_is_none() -> None:
    times = Times("endless")
    found = looked(latency(), [([math.inf] * 15, [math.inf] * 30 + times.some(100)) for _look in range(3)])
    assert found[-1] is Phase.HOLD


def test_a_few_infinite_times_of_the_others_do_not_hide_a_slow_release() -> None:
    times = Times("some endless")
    looks = [(times.some(45, 3), [math.inf] * 3 + times.some(132)) for _look in range(4)]
    assert looked(latency(), looks)[-1] is Phase.FAILURE


def test_an_absolute_limit_needs_no_baseline() -> None:
    times = Times("absolute")
    assert looked(latency(max_ms=250), [(times.some(75), None) for _look in range(10)])[-1] is Phase.SUCCESS
    assert Phase.FAILURE in looked(latency(max_ms=60), [(times.some(75), None) for _look in range(10)])


def test_nothing_to_compare_with_is_said() -> None:
    judgement = latency().look(Times("alone").some(75), None)
    assert judgement.phase is Phase.INCONCLUSIVE
    assert "there is no baseline and max_ms is not set" in judgement.text


def test_another_batch_has_its_own_requests() -> None:
    times = Times("batch")
    process = latency()
    for _look in range(30):
        process.look(times.some(75), times.some(75))
    process.begin()
    assert process.look([], times.some(75)).phase is Phase.NO_DATA
    found = looked(process, [(times.some(75, 3), times.some(75)) for _look in range(2)])
    assert found[-1] is Phase.FAILURE


VALUES = st.lists(st.floats(0, 1e5) | st.sampled_from([math.inf, math.nan, -1.0]), max_size=80)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, st.booleans()), min_size=1, max_size=6))
def test_a_killed_controller_judges_latency_the_same(story: list[tuple[Any, ...]]) -> None:
    limits = LatencyLimits(max_ms=800, min_samples=20)
    whole, broken = LatencyProcess(limits, ALPHA), LatencyProcess(limits, ALPHA)
    for canary, baseline, waits, others, begins in story:
        broken = LatencyProcess(limits, ALPHA, json.loads(json.dumps(broken.state(), allow_nan=False)))
        for process in (whole, broken):
            if begins:
                process.begin()
        found = [process.look(canary, baseline, waiting=(waits, others)) for process in (whole, broken)]
        assert found[0].phase is found[1].phase
        json.dumps(found[0].evidence, allow_nan=False)
