# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gates mean over their life: what is not known never passes, a bad baseline holds, a person's word is obeyed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate, Verdict
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Seen
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import sampling, watch, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Counted, SampleRequest, Taken
from rollout_simulation import Estate, World, engine, roll_out, settings

PROMQL = {"type": "promql", "url": "http://p:9090", "query": "x", "max": 1}
GOOD = Taken(Phase.SUCCESS, "well")

Answer = Callable[[World, SampleRequest], "Taken | None"]


def run(estate: Estate, answer: Answer, **changes: Any) -> tuple[Record, World]:
    """A rollout in which ``answer`` gives samples; what it does not give is as the estate is."""
    rollout, outside = engine(estate, settings(estate, **changes))
    usual = outside._sample
    outside._sample = lambda request: answer(outside, request) or usual(request)  # type: ignore[method-assign]
    return rollout.roll_out(), outside


def of_gate(name: str, *answers: Taken) -> Answer:
    """Answers of one gate, one after the other; the last one stays."""
    left = list(answers)

    def answer(_outside: World, request: SampleRequest) -> Taken | None:
        if request.key.partition("/")[0] != name:
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def counted(canary: Seen, baseline: Seen | None = None) -> Taken:
    return Taken(Phase.INCONCLUSIVE, "", figures=Counted(canary, baseline, None, 1.0))


def texts(record: Record) -> str:
    return "\n".join(str(event["text"]) for event in record.events)


# ------------------------------------------------------------------------------------- what is not known never passes


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (Phase.ERROR, "gate db error: nothing was found well while it was observed"),
        (Phase.INCONCLUSIVE, "gate db inconclusive: nothing was found well while it was observed"),
        (Phase.NO_DATA, "gate db inconclusive: nothing was found well while it was observed"),
    ],
)
def test_an_observation_without_one_usable_sample_is_not_passed(phase: Phase, reason: str) -> None:
    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if request.key == "db/":
            return Taken(phase, "nothing") if "enter 100" in outside.operations else GOOD
        return None

    estate = Estate.of(2)
    record, _outside = run(estate, answer, gates={"db": {"probe": PROMQL}}, min_healthy_time=10.0)
    assert record.status == state.REVERTED
    assert record.reason.startswith(reason)


def test_an_observation_with_policies_that_let_it_pass_says_so() -> None:
    gates = {"db": {"probe": PROMQL, "on_inconclusive": "continue"}}
    record, _outside = run(Estate.of(2), of_gate("db", Taken(Phase.NO_DATA, "nothing")), gates=gates)
    assert record.status == state.SUCCEEDED
    assert "gate db is inconclusive (nothing was found well while it was observed" in texts(record)


def test_one_good_sample_is_enough_for_an_observation() -> None:
    answers = of_gate("db", GOOD, GOOD, GOOD, Taken(Phase.ERROR, "silent"))
    record, _outside = run(Estate.of(1), answers, gates={"db": {"probe": PROMQL, "interval": 2}}, min_available=0)
    assert record.status == state.SUCCEEDED


def test_without_an_observation_there_is_nothing_to_decide() -> None:
    gates = {name: {"enabled": False} for name in ("errors", "answers", "up")}
    record, _outside = run(Estate.of(2), lambda *_any: None, gates=gates, min_healthy_time=0.0, weights=(100,))
    assert record.status == state.SUCCEEDED


def test_without_an_observation_traffic_is_waited_for_once() -> None:
    starved = counted(Seen(), Seen(sent=4, good=4))
    gates = {"errors": {"timeout": 20}}
    record, _outside = run(Estate.of(2), of_gate("errors", starved), gates=gates, min_healthy_time=0.0, weights=(100,))
    assert texts(record).count("waits for traffic: hardly a request came to app-1") == 1


def test_a_quiet_night_goes_on_and_says_that_no_request_was_sent() -> None:
    record, _outside = run(Estate.of(2), of_gate("errors", counted(Seen(), Seen())))
    assert record.status == state.SUCCEEDED
    assert "no request was sent to it); the gate says continue" in texts(record)


@pytest.mark.parametrize("sent", [1, 4, 15])
def test_a_release_that_answers_nothing_of_what_was_sent_never_goes_on(sent: int) -> None:
    """Too few to prove anything, and the default gate lets pass what it cannot judge."""
    first, later = Seen(sent=sent, waiting=sent), Seen(waiting=sent)
    record, _outside = run(Estate.of(2), of_gate("errors", counted(first), counted(later)))
    assert record.status == state.REVERTED
    assert f"only 0 of {quantity(sent, 'request')} got a good answer" in record.reason


def test_a_host_that_gets_nothing_beside_busy_ones_is_trouble_and_not_the_release() -> None:
    record, _outside = run(Estate.of(2), of_gate("errors", counted(Seen(), Seen(sent=500, good=500))))
    assert record.status == state.HALTED
    assert "not one request came to it, while the others were sent" in record.reason


@pytest.mark.parametrize("weights", [(10, 100), (100,)])
@pytest.mark.parametrize("good", [True, False])
def test_a_canary_without_traffic_beside_busy_hosts_is_waited_for(good: bool, weights: tuple[int, ...]) -> None:
    """Its first requests come when gate and observation are over; what they say still counts."""
    begun: list[float] = []

    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if request.key != "errors/":
            return None
        begun.append(outside.clock())
        silent = begun[-1] - begun[0] < 35
        return counted(Seen() if silent else Seen(sent=4, good=4 * good, failed=4 * (not good)), Seen(sent=4, good=4))

    gates = {"errors": {"timeout": 20}}
    record, _outside = run(Estate.of(2), answer, gates=gates, weights=weights, min_healthy_time=10.0)
    assert "gate errors waits for traffic: hardly a request came to app-1, and the others are busy" in texts(record)
    assert record.status == (state.SUCCEEDED if good else state.REVERTED)
    assert (record.phase("app-2") == state.DONE) is good


@pytest.mark.parametrize("weights", [(10, 100), (100,)])
@pytest.mark.parametrize("good", [True, False])
def test_the_first_few_requests_that_fail_are_no_verdict_while_more_may_come(
    good: bool, weights: tuple[int, ...]
) -> None:
    """Hardly anybody calls, and what the release is sent first fails, as one request in twenty of this service does."""
    first, later = [Seen(sent=1, failed=1)], [Seen(sent=1, good=1 * good, failed=1 * (not good))] * 2
    begun: list[float] = []

    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if request.key != "errors/":
            return None
        begun.append(outside.clock())
        came = later if begun[-1] - begun[0] > 22 else first
        return counted(came.pop() if came else Seen(), Seen())

    gates = {"errors": {"timeout": 20}}
    record, _outside = run(Estate.of(2), answer, gates=gates, weights=weights, min_healthy_time=10.0)
    told = "gate errors waits for traffic: most of what came to app-1 has failed, but that is little"
    assert texts(record).count(told) == 1
    assert record.status == (state.SUCCEEDED if good else state.REVERTED)
    if not good:
        assert "only 0 of 3 requests got a good answer" in record.reason


@pytest.mark.parametrize("busy", [0, 500])
def test_the_gate_for_answers_holds_up_nobody(busy: int) -> None:
    """Who has taken away the gate `errors` does not want to wait for traffic."""
    gates = {"errors": {"enabled": False}}
    nothing = of_gate("answers", counted(Seen(), Seen(sent=busy, good=busy)))
    record, outside = run(Estate.of(2), nothing, gates=gates)
    assert record.status == state.SUCCEEDED
    assert outside.clock() - record.started_at < 60
    judged = [(gate["name"], gate["verdict"]) for gate in record.gates if gate["name"] == "answers"]
    assert judged[0] == ("answers", None)


def test_what_the_gate_for_answers_has_seen_at_the_first_share_counts_at_the_next() -> None:
    first, later = Seen(sent=3, good=3, other=3).answers, Seen(sent=4, good=4, other=4).answers
    beside = Seen(sent=60, good=60).answers
    gates = {
        "errors": {"enabled": False},
        "answers": {"probe": {"type": "haproxy", "measure": "answers", "min_samples": 5}},
    }
    answer = of_gate("answers", counted(first, beside), counted(later, beside))
    record, _outside = run(Estate.of(2), answer, gates=gates)
    assert record.status == state.REVERTED
    assert "gate answers failed" in record.reason
    assert "7 of 7 requests got 3xx or 4xx" in record.reason


# ------------------------------------------------------------------------------------------------------ a bad baseline

HOLD = Taken(Phase.HOLD, "the others fail as well")


@pytest.mark.parametrize("policies", [{}, {"on_inconclusive": "continue"}, {"on_error": "continue"}])
def test_a_bad_baseline_halts_and_blames_nobody(policies: Mapping[str, Any]) -> None:
    estate = Estate.of(3)
    record, outside = run(estate, of_gate("errors", HOLD), gates={"errors": {"timeout": 20, **policies}})
    assert record.status == state.HALTED
    assert record.reason.startswith("gate errors without a baseline, so nothing can be said of the release: it did not")
    assert "enter 100" not in outside.operations[: outside.operations.index("enter 10") + 5]
    assert [record.phase(host) for host in ("app-2", "app-3")] == [state.PREPARED] * 2


def test_a_bad_baseline_may_pause() -> None:
    gates = {"errors": {"timeout": 20, "on_bad_baseline": "pause"}}
    record, _outside = run(Estate.of(2), of_gate("errors", HOLD), gates=gates, pause_timeout=60.0)
    assert record.status == state.HALTED
    assert "paused because gate errors is without a baseline" in texts(record)


def test_a_baseline_that_recovers_is_waited_for() -> None:
    record, _outside = run(Estate.of(2), of_gate("errors", *[HOLD] * 5, GOOD))
    assert record.status == state.SUCCEEDED


@pytest.mark.parametrize(("holds", "status"), [(4, state.SUCCEEDED), (1000, state.HALTED)])
def test_the_end_of_an_observation_waits_for_the_baseline_too(holds: int, status: str) -> None:
    """It burns from the whole share of traffic on: the observation of six seconds becomes longer, up to the timeout."""
    left = [holds]
    at: list[float] = []

    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if request.key != "errors/" or "enter 100" not in outside.operations or left[0] == 0:
            return None
        at.append(outside.clock())
        left[0] -= 1
        return HOLD

    record, _outside = run(Estate.of(1), answer, min_available=0, min_healthy_time=6.0)
    assert record.status == status
    assert at[-1] - at[0] >= (8 if status == state.SUCCEEDED else 18)


def test_a_host_that_is_not_ready_is_not_blamed_while_the_others_burn() -> None:
    """The database is gone: the new version is not ready, and the old ones fail."""

    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if "enter 100" not in outside.operations:
            return None
        if request.key == "ready/app-1":
            return Taken(Phase.FAILURE, "answered 503")
        return HOLD if request.key in ("errors/", "up/") else None

    record, _outside = run(Estate.of(1), answer, min_available=0)
    assert record.status == state.HALTED
    alone, _outside = run(
        Estate.of(1), lambda *some: None if (found := answer(*some)) is HOLD else found, min_available=0
    )
    assert alone.status == state.REVERTED


# ------------------------------------------------------------------------------------------------------ a person's word


def test_promote_ends_the_observation_at_once() -> None:
    estate = Estate.of(2)
    rollout, outside = engine(estate, settings(estate, min_healthy_time=600.0))
    sleep = outside.sleep
    entered: list[float] = []
    longest: list[float] = []

    def watched(seconds: float) -> None:
        longest.append(seconds)
        sleep(seconds)
        if "enter 100" in outside.operations and not entered:
            entered.append(estate.time)
        if len(entered) == 1 and estate.time - entered[0] > 20:
            entered.append(estate.time)
            estate.control = outside.control = world.Control("promote", "ops@desk")

    outside.sleep = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    done = [at for phase, at in record.hosts["app-1"].history if phase == state.DONE]
    assert done[0] - entered[1] < 5
    assert max(longest) <= sampling.LONGEST_SLEEP
    assert "observed no longer, promoted by a person" in texts(record)
    assert record.status == state.SUCCEEDED


# ------------------------------------------------------------------------------------------------------------ readiness


def observed(failing: Callable[[int], bool], number: int) -> Gate:
    gate = Gate(watch._observing(settings(Estate.of(2)).gates["ready"]), 0.0)
    for one in range(number):
        gate.note(Phase.FAILURE if failing(one) else Phase.SUCCESS, one * 5.0)
    return gate


def test_two_hiccups_in_an_hour_are_forgiven() -> None:
    assert observed(lambda number: number in (10, 700), 720).verdict(3600.0) is None


@pytest.mark.parametrize("failing", [lambda n: n in (30, 31), lambda n: n % 2 == 1, lambda n: n in (30, 33)])
def test_a_host_that_comes_and_goes_is_not(failing: Callable[[int], bool]) -> None:
    gate = observed(failing, 60)
    assert gate.verdict(300.0) is Verdict.FAILED
    assert "samples failed and failure_limit is 1" in gate.reason


# ------------------------------------------------------------------------------------------------------------- baseline


def baselines(estate: Estate, **changes: Any) -> list[list[str]]:
    """With whom the batches were compared."""
    found: list[list[str]] = []

    def answer(_outside: World, request: SampleRequest) -> Taken | None:
        if request.key == "errors/" and list(request.baseline) not in found:
            found.append(list(request.baseline))
        return None

    record, _outside = run(estate, answer, **changes)
    assert record.status == state.SUCCEEDED
    return found


def test_hosts_that_are_not_deployed_yet_come_first_then_all_others() -> None:
    assert baselines(Estate.of(3)) == [["app-2", "app-3"], ["app-3"], ["app-1", "app-2"]]


def test_hosts_that_ran_the_version_before_are_a_baseline_for_the_last_straggler() -> None:
    estate = Estate.of(3)
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED
    estate.hosts["app-3"].current = estate.hosts["app-3"].running = "1"
    assert baselines(estate) == [["app-1", "app-2"]]


def test_excluded_hosts_are_a_baseline_where_no_other_is_left_and_only_while_they_take_traffic() -> None:
    estate = Estate.of(3)
    wanted = {"hosts": ("app-1",), "excluded": ("app-2", "app-3")}
    for found in estate.balancers.values():
        found["app-3"].admin = "drain"
    assert baselines(estate, **wanted) == [["app-2"]]


# ----------------------------------------------------------------------------------------------- since there is traffic


def test_a_query_waits_until_its_window_has_only_the_new_version() -> None:
    entered: list[float] = []
    asked: list[tuple[float, bool]] = []

    def answer(outside: World, request: SampleRequest) -> Taken | None:
        if request.key != "slow/":
            return None
        asked.append((outside.clock(), request.in_traffic))
        return GOOD

    estate = Estate.of(1)
    gates = {"slow": {"probe": {**PROMQL, "query": "rate(x[1m])"}, "timeout": 100}}
    rollout, outside = engine(estate, settings(estate, gates=gates, min_available=0))
    usual, enter = outside._sample, outside.enter

    def entering(*args: Any, **more: Any) -> world.Entered:
        entered.append(outside.clock())
        return enter(*args, **more)

    outside._sample = lambda request: answer(outside, request) or usual(request)  # type: ignore[method-assign]
    outside.enter = entering  # type: ignore[method-assign]
    assert rollout.roll_out().status == state.SUCCEEDED
    assert 60 <= asked[0][0] - entered[0] < 65
    assert asked[1][0] - entered[1] < 10, "by the whole share of traffic it has had some for long enough"
    assert all(in_traffic for _at, in_traffic in asked)


# --------------------------------------------------------------------------------------------------------- what is kept


def test_what_was_seen_is_in_the_record_and_a_run_that_goes_on_has_it() -> None:
    estate = Estate.of(2)
    some = counted(Seen(sent=200, good=199, failed=1), Seen(sent=400, good=398, failed=2))
    rollout, outside = engine(estate, settings(estate))
    usual = outside._sample

    def dies(_number: int, name: str, when: str) -> None:
        if name == "enter 100" and when == "before":
            raise world.BalancerTrouble("lb-1 gives no answer")

    outside._sample = lambda request: some if request.key == "errors/" else usual(request)  # type: ignore[method-assign]
    outside._trouble = dies
    record = rollout.roll_out()
    assert record.status == state.HALTED
    kept = record.evidence["errors"]
    again = Record.from_dict(record.to_dict())
    evidence = Evidence(rollout.settings.gates, again.evidence)
    assert evidence._gates["errors"].process.state() == kept["seen"]


def test_figures_are_no_first_sample() -> None:
    estate = Estate.of(1)
    rollout, outside = engine(estate, settings(estate, min_available=0))
    activate = outside.activate
    raw = {"phase": "raw", "text": "12 values", "data": {}}

    def activated(*args: Any, **more: Any) -> dict[str, world.Activated]:
        return {
            host: replace(one, samples={**one.samples, "running": raw}) for host, one in activate(*args, **more).items()
        }

    outside.activate = activated  # type: ignore[method-assign]
    assert rollout.roll_out().status == state.SUCCEEDED
