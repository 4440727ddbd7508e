# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Response times are judged look by look: what is tolerated, what both share, and what waits for an answer."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import (
    JudgeError,
    Phase,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.latency_process import LatencyProcess
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import LatencyLimits
from hypothesis import given, settings
from hypothesis import strategies as st

ALPHA = 0.01


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


def test_the_same_latency_is_a_success_once_there_is_a_proof() -> None:
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


@pytest.mark.parametrize(
    "broken",
    [
        {"tracks": 7},
        {"tracks": {"median": 7}},
        {"tracks": {"median": {"canary": [3, 1]}}},
        {"tracks": {"percentile": {"worse": {"kept": 1.0}}}},
        {"hold": {"kept": math.inf, "cash": 0.0, "stakes": [0.0] * 5, "fresh": True}},
        {"owed": 3},
    ],
)
def test_a_state_that_is_none_is_refused_in_one_sentence(broken: dict[str, Any]) -> None:
    with pytest.raises(JudgeError, match="about latency cannot be read"):
        LatencyProcess(LatencyLimits(), ALPHA, broken)
