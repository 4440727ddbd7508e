# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One verdict from what several load balancers have counted: sums, restarts, silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils.judge import Phase
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import SampleRequest, Taken
from ansible_collections.mesops.platform.plugins.plugin_utils import samples
from hypothesis import given
from hypothesis import strategies as st

ERRORS = {"type": "haproxy", "measure": "errors"}
LATENCY = {"type": "haproxy", "measure": "latency"}
RANGE = {"type": "promql", "url": "http://p", "query": "new", "baseline": "old", "max_ratio": 1.5, "range": 60}


def request(
    probe: Mapping[str, Any], canary: Sequence[str] = ("app-1",), baseline: Sequence[str] = ("app-2", "app-3")
) -> SampleRequest:
    return SampleRequest("x", probe, "", canary, baseline)


def sample(phase: str, text: str = "text") -> dict[str, Any]:
    return {"phase": phase, "text": text}


def counters(requests: int, bad: int = 0, connection: int = 0, response: int = 0, **more: int) -> dict[str, float]:
    counted = {"requests": requests, "responses_5xx": bad, "connection_errors": connection, "response_errors": response}
    return {**counted, **more}


def counted(**servers: Mapping[str, float]) -> dict[str, Any]:
    named = {name.replace("_", "-"): values for name, values in servers.items()}
    return {"phase": "raw", "text": "counters", "data": {"counters": named}}


def judge_errors(
    found: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, samples.Counters] | None = None,
    **more: Any,
) -> Taken:
    return samples.judge(request({**ERRORS, **more}), found, reference or {})


# ------------------------------------------------------------------------------------------------------ without numbers


def test_success_of_all_is_told_once() -> None:
    found = {"lb-1": sample("success", "app-1 up"), "lb-2": sample("success", "app-1 up")}
    assert samples.judge(request({"type": "haproxy"}), found, {}) == Taken(Phase.SUCCESS, "app-1 up")
    found["lb-2"] = sample("success", "app-1 up too")
    assert samples.judge(request({"type": "haproxy"}), found, {}).text == "app-1 up; app-1 up too"


def test_sample_of_one_host_is_told_without_its_name() -> None:
    taken = samples.judge(request({"type": "http"}), {"app-1": sample("failure", "answered 503")}, {})
    assert taken == Taken(Phase.FAILURE, "answered 503")


@pytest.mark.parametrize("phase", ["failure", "error", "inconclusive", "no_data"])
@pytest.mark.parametrize("good", [sample("success"), counted(app_1=counters(1000))])
def test_one_host_without_success_decides(phase: str, good: dict[str, Any]) -> None:
    for found in ({"lb-1": good, "lb-2": sample(phase)}, {"lb-1": sample(phase), "lb-2": good}):
        bad = next(host for host in found if found[host] is not good)
        assert judge_errors(found) == Taken(Phase(phase), f"{bad}: text")


@given(st.permutations(["failure", "error", "no_data", "success", "raw"]), st.integers(2, 5))
def test_the_worst_decides_whoever_answers_first(phases: list[str], many: int) -> None:
    found = {
        f"lb-{number}": counted(app_1=counters(1000)) if phase == "raw" else sample(phase)
        for number, phase in enumerate(phases[:many])
    }
    taken = judge_errors(found)
    order = ["failure", "error", "no_data"]
    worst = next((phase for phase in order if phase in phases[:many]), "success")
    assert taken.phase.value == worst
    if worst != "success":
        assert taken.text == f"lb-{phases.index(worst)}: text"


def test_all_hosts_with_the_worst_are_named() -> None:
    found = {"lb-1": sample("error", "silent"), "lb-2": sample("success"), "lb-3": sample("error", "refused")}
    assert judge_errors(found) == Taken(Phase.ERROR, "lb-1: silent; lb-3: refused")


@pytest.mark.parametrize("phase", ["", "ok", "SUCCESS", "passed"])
def test_a_word_that_nobody_knows_is_no_success(phase: str) -> None:
    assert samples.judge(request({"type": "http"}), {"app-1": sample(phase)}, {}).phase is Phase.ERROR


def test_nobody_is_no_success() -> None:
    assert samples.judge(request({"type": "http"}), {}, {}) == Taken(Phase.NO_DATA, "nobody was asked")


def test_numbers_that_nobody_judges_are_an_error() -> None:
    taken = samples.judge(request({"type": "haproxy"}), {"lb-1": counted()}, {})
    assert taken == Taken(Phase.ERROR, "a probe of type haproxy gave numbers that nobody judges")


# --------------------------------------------------------------------------------------------------------------- errors


def test_load_balancers_are_summed_and_what_was_before_does_not_count() -> None:
    found = {
        "lb-1": counted(app_1=counters(1120, 106), app_2=counters(5500, 41), app_3=counters(100), other=counters(9, 9)),
        "lb-2": counted(app_1=counters(120, 6), app_2=counters(1155), app_3=counters(0)),
    }
    reference = {
        "lb-1": {"app-1": counters(1000, 100), "app-2": counters(4400, 40)},
        "lb-2": {"app-1": counters(0), "app-2": counters(100)},
    }
    taken = judge_errors(found, reference)
    assert taken.phase is Phase.FAILURE
    assert taken.text.startswith("12 of 240 requests failed (5.0 %), baseline 1 of 2,255 (0.04 %), p = ")
    assert taken.evidence["p"] is not None


@pytest.mark.parametrize("kind", ["bad", "connection", "response"])
def test_every_kind_of_failure_counts(kind: str) -> None:
    found = {"lb-1": counted(app_1=counters(100, **{kind: 30}), app_2=counters(1000))}
    assert judge_errors(found).text.startswith("30 of 100 requests failed")


def test_failures_without_requests_are_requests_too() -> None:
    # A server that takes no connection has errors and no request.
    found = {"lb-1": counted(app_1=counters(0, connection=40), app_2=counters(1000))}
    taken = judge_errors(found)
    assert taken.phase is Phase.FAILURE
    assert taken.text.startswith("40 of 40 requests failed")


def test_counters_that_have_nothing_to_do_with_it() -> None:
    before = {"lb-1": {"app-1": counters(0, downtime_s=500, retries=7), "app-2": counters(50)}}
    found = {"lb-1": counted(app_1=counters(100, downtime_s=0, retries=0), app_2=counters(1050))}
    evidence = judge_errors(found, before).evidence
    assert (evidence["total"], evidence["baseline_total"]) == (100, 1000)


def test_load_balancer_that_began_to_count_anew() -> None:
    before = {"lb-1": {"app-1": counters(1000, 2), "app-2": counters(9000, 0)}}
    # Of app-1 there are already more failures than before, and of app-2 more requests: only one number shows it.
    found = {"lb-1": counted(app_1=counters(100, 10), app_2=counters(9500))}
    taken = judge_errors(found, before)
    assert taken.text.startswith("10 of 100 requests failed (10.0 %), baseline 0 of 9,500")
    assert taken.phase is Phase.FAILURE


def test_only_the_load_balancer_that_began_anew_counts_from_there() -> None:
    before = {"lb-1": {"app-1": counters(1000)}, "lb-2": {"app-1": counters(1000)}}
    found = {"lb-1": counted(app_1=counters(100)), "lb-2": counted(app_1=counters(1200))}
    assert judge_errors(found, before).evidence["total"] == 300


def test_server_that_was_not_there_before_counts_from_nothing() -> None:
    found = {"lb-1": counted(app_1=counters(300), app_2=counters(300))}
    for reference in ({"lb-1": {"app-2": counters(0)}}, {"lb-9": {"app-1": counters(100)}}):
        assert judge_errors(found, reference).evidence["total"] == 300


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (counted(), Phase.NO_DATA),
        (counted(app_2=counters(1000)), Phase.NO_DATA),
        (counted(app_1={}, app_2={}), Phase.NO_DATA),
        (counted(app_1=counters(10), app_2=counters(1000)), Phase.NO_DATA),
        (counted(app_1=counters(1000)), Phase.SUCCESS),
        # Without a baseline the limit alone judges.
        (counted(app_1=counters(1000, 100)), Phase.FAILURE),
    ],
)
def test_missing_numbers(data: dict[str, Any], phase: Phase) -> None:
    taken = judge_errors({"lb-1": data})
    assert taken.phase is phase
    assert "baseline" not in taken.text


def test_limits_of_the_probe_are_used() -> None:
    found = {"lb-1": counted(app_1=counters(1000, 40), app_2=counters(1000))}
    assert judge_errors(found).phase is Phase.FAILURE
    assert judge_errors(found, max_ratio=0.05).phase is Phase.SUCCESS
    assert judge_errors(found, min_samples=2000).phase is not Phase.SUCCESS


COUNTS = st.integers(0, 500)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), min_size=1, max_size=4), st.data())
def test_growth_is_all_that_matters(growth: list[tuple[int, int, int, int]], data: st.DataObject) -> None:
    alone: dict[str, Any] = {}
    found: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    for number, (ours, bad, theirs, worse) in enumerate(growth):
        name = f"lb-{number}"
        start = [data.draw(COUNTS) for _one in range(4)]
        alone[name] = counted(app_1=counters(ours, bad), app_2=counters(theirs, worse))
        reference[name] = {"app-1": counters(start[0], start[1]), "app-2": counters(start[2], start[3])}
        found[name] = counted(
            app_1=counters(start[0] + ours, start[1] + bad), app_2=counters(start[2] + theirs, start[3] + worse)
        )
    assert judge_errors(found, reference) == judge_errors(alone)


# -------------------------------------------------------------------------------------------------------------- latency


def times(**servers: Sequence[float]) -> dict[str, Any]:
    data = {name.replace("_", "-"): list(values) for name, values in servers.items()}
    return {"phase": "raw", "text": "requests", "data": data}


def test_latencies_of_all_load_balancers_are_put_together() -> None:
    found = {
        "lb-1": times(app_1=[10.0] * 30, app_2=[10.0] * 20, app_9=[9000.0] * 100),
        "lb-2": times(app_1=[10.0] * 30, app_2=[10.0] * 10, app_3=[10.0] * 30),
    }
    taken = samples.judge(request(LATENCY), found, {})
    assert taken.phase is Phase.SUCCESS
    assert taken.evidence["total"] == 60
    assert taken.evidence["baseline_total"] == 60


def test_slow_canary_fails() -> None:
    found = {"lb-1": times(app_1=[100.0] * 60, app_2=[10.0] * 60), "lb-2": times()}
    taken = samples.judge(request(LATENCY), found, {})
    assert taken.phase is Phase.FAILURE
    assert "p95 is 100 ms of 60 requests, baseline 10 ms of 60" in taken.text


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (times(), Phase.NO_DATA),
        (times(app_2=[10.0] * 60), Phase.NO_DATA),
        (times(app_1=[10.0] * 49, app_2=[10.0] * 60), Phase.NO_DATA),
        (times(app_1=[10.0] * 60), Phase.INCONCLUSIVE),
    ],
)
def test_missing_latencies(found: dict[str, Any], phase: Phase) -> None:
    assert samples.judge(request(LATENCY), {"lb-1": found}, {}).phase is phase


def ranged(canary: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    return {"phase": "raw", "text": "values", "data": {"canary": list(canary), "baseline": list(baseline)}}


def test_values_of_a_query_are_judged_whatever_their_unit() -> None:
    # Seconds: what takes half a second instead of a tenth is five times as slow, though it is "less than 5" slower.
    found = {"obs-1": ranged([0.5] * 60, [0.1] * 60)}
    assert samples.judge(request(RANGE), found, {}).phase is Phase.FAILURE
    assert samples.judge(request({**RANGE, "tolerance": 0.5}), found, {}).phase is Phase.SUCCESS
    assert samples.judge(request(RANGE), {"obs-1": ranged([0.1] * 60, [0.1] * 60)}, {}).phase is Phase.SUCCESS


@pytest.mark.parametrize(
    ("canary", "baseline", "phase"),
    [
        ([], [0.1] * 60, Phase.NO_DATA),
        ([0.1] * 60, [], Phase.INCONCLUSIVE),
        ([0.1] * 10, [0.1] * 60, Phase.NO_DATA),
    ],
)
def test_query_without_values(canary: list[float], baseline: list[float], phase: Phase) -> None:
    assert samples.judge(request(RANGE), {"obs-1": ranged(canary, baseline)}, {}).phase is phase


def test_requests_counted_in_the_log_need_no_reference() -> None:
    def logged(**pairs: list[int]) -> dict[str, Any]:
        data = {"failed_and_all": {name.replace("_", "-"): pair for name, pair in pairs.items()}}
        return {"phase": "raw", "text": "requests by method", "data": data}

    found = {"lb-1": logged(app_1=[6, 50], app_2=[0, 50]), "lb-2": logged(app_1=[4, 50], app_3=[0, 50])}
    taken = judge_errors(found, methods=["POST"])
    assert taken.phase is Phase.FAILURE
    assert taken.text.startswith("10 of 100")
    assert judge_errors({"lb-1": logged(app_1=[0, 50])}, methods=["POST"]).phase is Phase.SUCCESS
    assert judge_errors({"lb-1": logged(app_2=[0, 50])}, methods=["POST"]).phase is Phase.NO_DATA
