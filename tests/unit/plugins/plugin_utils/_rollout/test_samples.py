# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sample from what several load balancers have counted: silence, hosts kept out, hosts that come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Seen
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Counted, SampleRequest, Taken, Timed
from hypothesis import given
from hypothesis import strategies as st
from traffic_model import Model

ERRORS = {"type": "haproxy", "measure": "errors"}
UP = {"type": "haproxy", "measure": "state"}
LATENCY = {"type": "haproxy", "measure": "latency"}
RANGE = {"type": "promql", "url": "http://p", "query": "new", "baseline": "old", "max_ratio": 1.5, "range": 60}
SERVERS = ("app-1", "app-2", "app-3")


def request(
    probe: Mapping[str, Any], canary: Sequence[str] = ("app-1",), baseline: Sequence[str] = ("app-2", "app-3")
) -> SampleRequest:
    return SampleRequest("x/", probe, "", canary, baseline)


def sample(phase: str, text: str = "text") -> dict[str, Any]:
    return {"phase": phase, "text": text}


def taken(probe: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> Taken:
    return Samples().taken(request(probe), found)


class Edge:
    """Two load balancers, and what a gate sees of them."""

    def __init__(self, *versions: str) -> None:
        names = versions or ("2.6", "3.0")
        self.balancers = {f"lb-{number}": Model(one, SERVERS) for number, one in enumerate(names, 1)}
        self.samples = Samples()

    def enter(self, *at: str, percent: int = 100) -> None:
        looks = {name: one.look(0) for name, one in self.balancers.items()}
        self.samples.enter({name: ["app-1"] for name in at or self.balancers}, percent, looks)

    def note_before(self) -> None:
        self.samples.note_before({name: one.look(0) for name, one in self.balancers.items()})

    def take(self, probe: Mapping[str, Any] = ERRORS, **more: Any) -> Taken:
        raw = {
            name: {"phase": "raw", "text": "", "data": {"traffic": one.look()}} for name, one in self.balancers.items()
        }
        return self.samples.taken(request(probe, **more), raw)

    def counted(self, **more: Any) -> Counted:
        figures = self.take(ERRORS, **more).figures
        assert isinstance(figures, Counted)
        return figures


# ------------------------------------------------------------------------------------------------------ without numbers


def test_success_of_all_is_told_once() -> None:
    found = {"lb-1": sample("success", "app-1 up"), "lb-2": sample("success", "app-1 up")}
    assert taken({"type": "http"}, found) == Taken(Phase.SUCCESS, "app-1 up")
    found["lb-2"] = sample("success", "app-1 up too")
    assert taken({"type": "http"}, found).text == "app-1 up; app-1 up too"


def test_sample_of_one_host_is_told_without_its_name() -> None:
    assert taken({"type": "http"}, {"app-1": sample("failure", "answered 503")}) == Taken(Phase.FAILURE, "answered 503")


@pytest.mark.parametrize("phase", ["failure", "error", "inconclusive", "no_data"])
@pytest.mark.parametrize("good", [sample("success"), {"phase": "raw", "text": "", "data": {}}])
def test_one_host_without_success_decides(phase: str, good: dict[str, Any]) -> None:
    for found in ({"lb-1": good, "lb-2": sample(phase)}, {"lb-1": sample(phase), "lb-2": good}):
        bad = next(host for host in found if found[host] is not good)
        assert taken(ERRORS, found) == Taken(Phase(phase), f"{bad}: text")


@given(st.permutations(["failure", "error", "no_data", "success", "raw"]), st.integers(2, 5))
def test_the_worst_decides_whoever_answers_first(phases: list[str], many: int) -> None:
    raw = {"phase": "raw", "text": "", "data": {"traffic": Model().look()}}
    found = {f"lb-{n}": raw if phase == "raw" else sample(phase) for n, phase in enumerate(phases[:many])}
    worst = next((phase for phase in ("failure", "error", "no_data") if phase in phases[:many]), None)
    result = taken(ERRORS, found)
    if worst is None:
        assert isinstance(result.figures, Counted)
    else:
        assert (result.phase.value, result.text) == (worst, f"lb-{phases.index(worst)}: text")


def test_all_hosts_with_the_worst_are_named() -> None:
    found = {"lb-1": sample("error", "silent"), "lb-2": sample("success"), "lb-3": sample("error", "refused")}
    assert taken(ERRORS, found) == Taken(Phase.ERROR, "lb-1: silent; lb-3: refused")


@pytest.mark.parametrize("phase", ["", "ok", "SUCCESS", "passed"])
def test_a_word_that_nobody_knows_is_no_success(phase: str) -> None:
    assert taken({"type": "http"}, {"app-1": sample(phase)}).phase is Phase.ERROR


def test_nobody_is_no_success() -> None:
    assert taken({"type": "http"}, {}) == Taken(Phase.NO_DATA, "nobody was asked")


def test_numbers_that_nobody_judges_are_an_error() -> None:
    found = {"lb-1": {"phase": "raw", "text": "", "data": {}}}
    assert taken({"type": "http"}, found) == Taken(Phase.ERROR, "a probe of type http gave numbers that nobody judges")


# --------------------------------------------------------------------------------------------------------------- errors


def test_load_balancers_are_summed_and_what_was_before_does_not_count() -> None:
    edge = Edge()
    for one in edge.balancers.values():
        one.send("app-1", "5xx", 100)
    edge.note_before()
    edge.enter(percent=10)
    edge.balancers["lb-1"].send("app-1", "5xx", 6)
    edge.balancers["lb-2"].send("app-1", "good", 94)
    edge.balancers["lb-1"].send("app-2", "good", 700)
    edge.balancers["lb-2"].send("app-3", "empty, tried again", 2)
    found = edge.counted()
    assert (found.canary.failed, found.canary.total) == (6, 100)
    assert found.baseline is not None
    assert (found.baseline.failed, found.baseline.total) == (2, 702)
    assert found.share == pytest.approx(0.05), "a tenth of the weight of one of two others"
    assert edge.counted().canary.total == 0, "each sample has what came in since the one before"


def test_two_gates_have_looks_of_their_own() -> None:
    edge = Edge("2.6")
    edge.enter()
    edge.balancers["lb-1"].send("app-1", "good", 10)
    assert edge.counted().canary.total == 10
    raw = {"lb-1": {"phase": "raw", "text": "", "data": {"traffic": edge.balancers["lb-1"].look()}}}
    other = edge.samples.taken(SampleRequest("y/", ERRORS, "", ["app-1"], ["app-2"]), raw).figures
    assert isinstance(other, Counted)
    assert other.canary.total == 10


def test_a_balancer_where_the_host_is_kept_out_has_nothing_to_say_about_it() -> None:
    """Taken out at lb-2 three days ago, for 5 % failures of the version before."""
    edge = Edge()
    edge.balancers["lb-2"].send("app-1", "5xx", 2_500)
    edge.balancers["lb-2"].in_traffic["app-1"] = False
    edge.enter("lb-1")
    edge.balancers["lb-1"].send("app-1", "good", 400)
    edge.balancers["lb-2"].send("app-1", "5xx", 9)
    edge.balancers["lb-2"].send("app-2", "good", 300)
    found = edge.counted()
    assert (found.canary.failed, found.canary.total) == (0, 400)
    assert found.baseline is not None
    assert found.baseline.total == 300, "the others serve there, over the same time"


def test_others_that_have_no_traffic_are_no_baseline() -> None:
    edge = Edge("2.6")
    edge.enter()
    edge.balancers["lb-1"].send("app-1", "good", 50)
    for name in ("app-2", "app-3"):
        edge.balancers["lb-1"].in_traffic[name] = False
    assert edge.counted().baseline is None


def test_what_came_in_between_a_sample_and_a_greater_share_is_not_lost() -> None:
    edge = Edge("2.6")
    edge.enter(percent=10)
    edge.counted()
    edge.balancers["lb-1"].send("app-1", "5xx", 7)
    edge.enter(percent=100)
    assert edge.counted().canary.failed == 7


def test_a_sample_that_one_balancer_did_not_give_is_made_up_for_by_the_next() -> None:
    edge = Edge()
    edge.enter()
    for one in edge.balancers.values():
        one.send("app-1", "5xx", 5)
    raw = {"phase": "raw", "text": "", "data": {"traffic": edge.balancers["lb-1"].look()}}
    assert edge.samples.taken(request(ERRORS), {"lb-1": raw, "lb-2": sample("error")}).phase is Phase.ERROR
    assert edge.counted().canary.failed == 10


def test_usual_is_what_the_hosts_beside_it_had_before() -> None:
    edge = Edge("2.6")
    edge.balancers["lb-1"].send("app-2", "5xx", 3)
    edge.balancers["lb-1"].send("app-2", "good", 97)
    edge.balancers["lb-1"].send("app-1", "good", 40)
    edge.note_before()
    edge.samples.note_drained(["app-1"])
    edge.enter()
    edge.balancers["lb-1"].send("app-2", "5xx", 1000)
    usual = edge.counted().usual
    assert usual is not None
    assert (usual.failed, usual.good) == (3, 97)
    alone = edge.counted(baseline=()).usual
    assert alone is not None
    assert alone.good == 40, "its own where there are no others"


def test_what_a_host_did_that_ran_the_release_already_is_not_usual() -> None:
    """A run that goes on where another one was broken off does not drain it again."""
    edge = Edge("2.6")
    edge.balancers["lb-1"].send("app-1", "5xx", 40)
    edge.note_before()
    edge.balancers["lb-1"].send("app-1", "5xx", 400)
    edge.enter()
    assert edge.counted(baseline=()).usual == Seen()


@pytest.mark.parametrize(
    ("lifetime", "recent", "known"),
    [
        # An outage of last week that is over; one that has begun since; a service that always fails a little.
        ((90_000, 10_000), (0, 1_000), (0, 1_000)),
        ((100, 99_900), (400, 600), (100, 99_900)),
        ((5_000, 95_000), (52, 948), (5_000, 95_000)),
        # A worker that has just begun.
        ((0, 5), (30, 970), (30, 970)),
        # Next to nothing came in meanwhile.
        ((100, 99_900), (3, 0), (100, 99_900)),
        ((90_000, 10_000), (0, 3), None),
        ((0, 0), (0, 0), (0, 0)),
    ],
)
@pytest.mark.parametrize("version", ["2.6", "3.0"])
def test_neither_an_outage_that_is_over_nor_one_that_begins_is_usual(
    version: str, lifetime: tuple[int, int], recent: tuple[int, int], known: tuple[int, int] | None
) -> None:
    edge = Edge(version)
    for when in (lifetime, recent):
        for fate, times in zip(("5xx", "good"), when):
            edge.balancers["lb-1"].send("app-2", fate, times)
        edge.note_before()
    edge.enter()
    usual = edge.counted().usual
    assert (None if usual is None else (usual.failed, usual.good)) == known


# ----------------------------------------------------------------------------------------------------------- staying up


def up(edge: Edge) -> Taken:
    raw = {
        name: {"phase": "success", "text": "", "data": {"traffic": one.look()}} for name, one in edge.balancers.items()
    }
    return edge.samples.taken(request(UP), raw)


def test_a_host_that_stays_up_is_up() -> None:
    edge = Edge()
    edge.enter()
    assert up(edge) == Taken(Phase.SUCCESS, "app-1 up")


def test_down_at_one_load_balancer_is_a_failure_even_when_it_is_up_again() -> None:
    edge = Edge()
    edge.enter()
    edge.balancers["lb-2"].flap("app-1")
    assert up(edge) == Taken(Phase.FAILURE, "app-1 was down for a while at lb-2")
    edge.balancers["lb-2"].up["app-1"] = False
    assert up(edge) == Taken(Phase.FAILURE, "app-1 is DOWN at lb-2")


def test_down_before_it_got_traffic_does_not_count_nor_where_it_is_kept_out() -> None:
    edge = Edge()
    edge.balancers["lb-1"].flap("app-1")
    edge.balancers["lb-2"].up["app-1"] = False
    edge.enter("lb-1")
    edge.balancers["lb-2"].flap("app-1")
    assert up(edge).phase is Phase.SUCCESS


def test_down_together_with_others_is_no_fault_of_the_release() -> None:
    edge = Edge()
    edge.enter()
    edge.balancers["lb-1"].flap("app-1")
    edge.balancers["lb-1"].flap("app-3")
    found = up(edge)
    assert found.phase is Phase.HOLD
    assert found.text == (
        "app-1 was down for a while at lb-1; app-3 was down for a while at lb-1: not the release alone"
    )
    edge.balancers["lb-1"].flap("app-3")
    assert up(edge).phase is Phase.SUCCESS, "what others do is no matter while it is up"


def test_a_check_that_fails_now_and_then_is_forgiven_and_coming_and_going_is_not() -> None:
    edge = Edge()
    edge.enter()
    phases = []
    for failing in (1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1):
        for one in edge.balancers.values():
            one.workers[one.pid]["app-1"]["failed_checks"] += failing
        phases.append(up(edge).phase)
    assert phases == [Phase.SUCCESS] * 12 + [Phase.FAILURE]


def test_a_host_without_traffic_anywhere_gives_no_data() -> None:
    edge = Edge()
    edge.samples.enter({}, 100, {name: one.look(0) for name, one in edge.balancers.items()})
    assert up(edge).phase is Phase.NO_DATA


# -------------------------------------------------------------------------------------------------------------- latency


def times(until: float = 5.0, **servers: Sequence[float]) -> dict[str, Any]:
    data = {name.replace("_", "-"): list(values) for name, values in servers.items()}
    return {"phase": "raw", "text": "requests", "data": {"ms": data, "until": until}}


def test_latencies_of_all_load_balancers_are_put_together_and_are_asked_for_once() -> None:
    samples = Samples()
    found = {"lb-1": times(app_1=[1, 2], app_2=[3], app_9=[9]), "lb-2": times(7.5, app_1=[4], app_3=[5])}
    figures = samples.taken(request(LATENCY), found).figures
    assert figures == Timed([1, 2, 4], [3, 5])
    assert (samples.since("x/", "lb-1"), samples.since("x/", "lb-2"), samples.since("y/", "lb-1")) == (5.0, 7.5, None)


def test_latency_without_others_has_no_baseline() -> None:
    figures = Samples().taken(request(LATENCY, baseline=()), {"lb-1": times(app_1=[1])}).figures
    assert figures == Timed([1], None)


def test_values_of_a_query_are_those_of_both_sides() -> None:
    data = {"canary": [0.5], "baseline": [0.1, 0.2], "until": 9.0}
    figures = Samples().taken(request(RANGE), {"obs-1": {"phase": "raw", "text": "", "data": data}}).figures
    assert figures == Timed([0.5], [0.1, 0.2])


@pytest.mark.parametrize("measure", ["errors", "answers"])
def test_requests_counted_in_the_log_are_those_of_all_load_balancers(measure: str) -> None:
    def logged(**pairs: list[int]) -> dict[str, Any]:
        data = {"bad_and_all": {name.replace("_", "-"): pair for name, pair in pairs.items()}, "until": 1.0}
        return {"phase": "raw", "text": "requests by method", "data": data}

    probe = {**ERRORS, "measure": measure, "methods": ["POST"]}
    figures = taken(probe, {"lb-1": logged(app_1=[6, 50], app_2=[0, 50]), "lb-2": logged(app_1=[4, 50])}).figures
    assert isinstance(figures, Counted)
    assert (figures.canary.failed, figures.canary.total) == (10, 100)
    assert figures.baseline is not None
    assert figures.baseline.total == 50
    alone = taken(probe, {"lb-1": logged(app_1=[0, 50])}).figures
    assert isinstance(alone, Counted)
    assert alone.baseline is None
