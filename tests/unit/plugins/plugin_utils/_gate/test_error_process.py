# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors are judged look by look: nobody can fool the judge by looking often, by burning as well, or by waiting."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.error_process import ErrorProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import (
    Counts,
    JudgeError,
    Judgement,
    Phase,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.latency_process import LatencyProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import ErrorLimits, LatencyLimits
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


def test_a_release_that_fails_where_the_others_do_not_is_a_failure() -> None:
    found = errors([(Counts(1, 15), Counts(0, 135)), (Counts(4, 15), Counts(0, 135))])
    assert [one.phase for one in found] == [Phase.INCONCLUSIVE, Phase.FAILURE]
    assert found[-1].text.startswith("5 of 30 requests failed (16.7 %), baseline 0 of 270 (0 %), provably worse, p = ")
    assert found[-1].evidence["p"] is not None


def test_a_release_without_failures_is_a_success_once_there_is_a_proof() -> None:
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
    assert found[200] is not Phase.SUCCESS  # a success is taken back by the first look that speaks against it
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
