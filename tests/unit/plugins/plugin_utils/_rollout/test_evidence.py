# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gates that compare make of what they have seen in a whole rollout."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Meter, Seen
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Counted, Taken, Timed
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from rollout_simulation import SERVICE
from traffic_model import Model

USUAL = Seen(sent=10_000, good=9_990, failed=10)


def gates(**more: Any) -> dict[str, GateSpec]:
    return rollout_gates.check_gates(more, SERVICE)


def judge(evidence: Evidence, canary: Seen, baseline: Seen | None = None, usual: Seen | None = USUAL) -> Taken:
    figures = Counted(canary, baseline, usual, 1.0)
    return evidence.judge("errors", Taken(Phase.INCONCLUSIVE, "", figures=figures))


def good(number: int, waiting: int = 0) -> Seen:
    return Seen(sent=number, good=number, waiting=waiting)


def bad(number: int) -> Seen:
    return Seen(sent=number, failed=number)


@pytest.mark.parametrize("version", ["2.6", "3.0"])
@pytest.mark.parametrize("fate", ["empty, tried again", "refused, tried again"])
def test_a_release_whose_failures_are_hidden_by_retries_is_condemned(version: str, fate: str) -> None:
    """Every client sees 200, for the other host answers."""
    balancer = Model(version)
    evidence, ours, theirs = Evidence(gates(), {}), Meter(balancer.look(0)), Meter(balancer.look(0))
    balancer.send("app-1", fate, 60)
    balancer.send("app-2", "good", 600)
    look = balancer.look()
    taken = judge(evidence, ours.look(look)["app-1"], theirs.look(look)["app-2"])
    assert taken.phase is Phase.FAILURE
    assert taken.text.startswith("60 of 60 requests failed (100.0 %), baseline 0 of 600 (0 %)")


@pytest.mark.parametrize("blocked", [True, False])
def test_a_release_that_hangs_is_condemned_at_the_second_look_whatever_the_timeouts(blocked: bool) -> None:
    """With blocked clients nobody sends anything more: 19 requests wait, and no other number moves."""
    balancer = Model()
    evidence, meter = Evidence(gates(), {}), Meter(balancer.look(0))
    phases = []
    for number in (0, 1):
        if number == 0 or not blocked:
            balancer.begin("app-1", 19)
            balancer.send("app-2", "good", 25)
        seen = meter.look(balancer.look())
        phases.append(judge(evidence, seen["app-1"], seen["app-2"]).phase)
    assert phases == [Phase.INCONCLUSIVE, Phase.FAILURE]


def test_a_service_that_polls_for_long_has_them_on_both_sides() -> None:
    balancer = Model()
    evidence, meter = Evidence(gates(), {}), Meter(balancer.look(0))
    for _look in range(20):
        polling = balancer.begin("app-1", 5) + balancer.begin("app-2", 5)
        balancer.send("app-1", "good", 20)
        balancer.send("app-2", "good", 20)
        for _more in range(2):
            seen = meter.look(balancer.look())
            assert judge(evidence, seen["app-1"], seen["app-2"]).phase is not Phase.FAILURE
        balancer.finish(polling)


def test_a_host_without_others_may_have_as_many_that_give_up_as_it_used_to_have() -> None:
    usual = Seen(sent=1000, good=950, given_up=50)
    evidence = Evidence(gates(), {})
    for _look in range(20):
        taken = judge(evidence, Seen(sent=100, good=95, given_up=5), None, usual)
        assert taken.phase is not Phase.FAILURE
    hanging = judge(Evidence(gates(), {}), Seen(sent=100, given_up=100), None, usual)
    assert hanging.phase is Phase.FAILURE


def test_many_that_wait_are_not_yet_well() -> None:
    evidence = Evidence(gates(), {})
    assert judge(evidence, good(5000), good(5000)).phase is Phase.SUCCESS
    taken = judge(evidence, Seen(sent=900, good=100, waiting=800), good(1000))
    assert (taken.phase, taken.text) == (Phase.INCONCLUSIVE, "800 requests still without an answer")
    assert judge(evidence, good(1000), good(1000)).phase is Phase.SUCCESS
    slow = Seen(sent=900, good=100, waiting=800)
    assert judge(evidence, slow, slow).phase is Phase.SUCCESS, "the others take as long"


def test_a_world_on_fire_is_no_evidence() -> None:
    taken = judge(Evidence(gates(), {}), bad(400), bad(400))
    assert taken.phase is Phase.HOLD


# ------------------------------------------------------------------------------------- answers that are no 2xx, no 5xx


def answers(evidence: Evidence, canary: tuple[int, int], *more: tuple[int, int] | None) -> Taken:
    """One look at the gate ``answers``; of each side how many were 3xx or 4xx, of how many."""
    seen = [None if one is None else Seen(sent=one[1], good=one[1], other=one[0]).answers for one in (canary, *more)]
    baseline, usual = (*seen[1:], None, None)[:2]
    return evidence.judge("answers", Taken(Phase.INCONCLUSIVE, "", figures=Counted(seen[0] or Seen(), baseline, usual)))


def test_a_release_that_has_lost_its_routes_is_condemned() -> None:
    taken = answers(Evidence(gates(), {}), (30, 30), (15, 300))
    assert taken.phase is Phase.FAILURE
    assert taken.text.startswith("30 of 30 requests got 3xx or 4xx (100.0 %), baseline 15 of 300 (5.0 %)")


@pytest.mark.parametrize("beside", [0, 40, 90])
def test_a_service_that_refuses_much_may_do_so_and_a_little_more(beside: int) -> None:
    """Bots, partners with an old token: what clients ask for. Ten more in a hundred are no defect."""
    evidence = Evidence(gates(), {})
    phases = {answers(evidence, (min(100, beside + 10), 100), (beside, 100)).phase for _look in range(60)}
    assert phases <= {Phase.SUCCESS, Phase.INCONCLUSIVE}


def test_a_scan_that_hits_all_hosts_is_no_bad_baseline() -> None:
    evidence = Evidence(gates(), {})
    answers(evidence, (0, 100), (0, 100), (0, 5000))
    assert {answers(evidence, (95, 100), (95, 100), (0, 5000)).phase for _look in range(20)} <= {
        Phase.SUCCESS,
        Phase.INCONCLUSIVE,
    }


def test_where_no_other_host_is_left_what_was_usual_decides_and_nothing_without_that() -> None:
    unknown, known, as_before = (Evidence(gates(), {}) for _one in range(3))
    for _look in range(10):
        assert answers(unknown, (40, 40), None, None).phase is Phase.INCONCLUSIVE
        assert answers(as_before, (20, 40), None, (2500, 5000)).phase is not Phase.FAILURE
    assert Phase.FAILURE in {answers(known, (40, 40), None, (100, 5000)).phase for _look in range(3)}


def test_one_client_that_sticks_to_the_canary_is_compared_with_nobody() -> None:
    """The others get no request at all, and HAProxy has begun anew: nobody knows what this client is usually told."""
    evidence = Evidence(gates(), {})
    phases = {answers(evidence, (20, 50), (0, 0), None).phase for _look in range(40)}
    assert phases == {Phase.INCONCLUSIVE}


def test_a_baseline_that_is_lost_meanwhile_is_remembered() -> None:
    evidence = Evidence(gates(), {})
    answers(evidence, (2, 40), (2, 40))
    assert Phase.FAILURE in {answers(evidence, (40, 40), None, None).phase for _look in range(3)}


def test_a_few_of_them_are_no_objection() -> None:
    evidence = Evidence(gates(), {})
    answers(evidence, (4, 4), (0, 9))
    assert evidence.objection("answers") is None
    assert not evidence.hardly_knows("answers")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.98])
def test_hardly_ever_is_a_release_that_answers_alike_condemned_for_its_answers(share: float) -> None:
    draw = Random(4711)

    def some(number: int) -> tuple[int, int]:
        return sum(draw.random() < share for _one in range(number)), number

    condemned = 0
    for _rollout in range(200):
        evidence = Evidence(gates(), {})
        phases = {answers(evidence, some(5), some(50)).phase for _look in range(40)}
        condemned += Phase.FAILURE in phases
    assert condemned == 0


# ------------------------------------------------------------------------------------------------- what is not known


def test_no_request_at_all_is_told_as_that_and_speaks_for_nothing() -> None:
    evidence = Evidence(gates(), {})
    taken = judge(evidence, Seen(), Seen())
    assert (taken.phase, taken.text) == (Phase.NO_DATA, "no request was sent to it")
    assert evidence.objection("errors") is None
    assert evidence.objection("up") is None


def test_no_request_while_the_others_are_busy_is_no_lack_of_traffic() -> None:
    evidence = Evidence(gates(), {})
    judge(evidence, Seen(), good(5))
    assert evidence.objection("errors") is None, "that may be chance"
    judge(evidence, Seen(), good(200))
    objection = evidence.objection("errors")
    assert objection is not None
    assert objection.text == "not one request came to it, while the others were sent 205 and some 205 were its share"
    assert not objection.blames


def test_a_canary_lacks_traffic_when_hardly_any_of_its_share_comes() -> None:
    evidence = Evidence(gates(), {})
    judge(evidence, Seen(), good(9))
    assert not evidence.lacks_traffic("errors"), "that may be chance"
    judge(evidence, Seen(), good(11))
    assert evidence.lacks_traffic("errors")
    judge(evidence, good(1), good(20))
    assert evidence.lacks_traffic("errors"), "one of forty"
    judge(evidence, good(5), good(10))
    assert not evidence.lacks_traffic("errors")
    assert not evidence.lacks_traffic("up")
    evidence.begin()
    assert not evidence.lacks_traffic("errors"), "other hosts are the canary"


@pytest.mark.parametrize(
    ("seen", "objects"),
    [
        (Seen(sent=1, waiting=1), True),
        (Seen(sent=3, given_up=3), True),
        (Seen(sent=5, good=2, failed=3), True),
        (Seen(sent=5, good=5), False),
        (Seen(sent=5, good=4, failed=1), False),
    ],
)
def test_what_was_sent_and_not_answered_is_never_no_data(seen: Seen, objects: bool) -> None:
    evidence = Evidence(gates(), {})
    judge(evidence, seen, Seen())
    objection = evidence.objection("errors")
    assert (objection is not None and objection.blames) is objects
    assert evidence.hardly_knows("errors") is objects, "more may come"
    judge(evidence, bad(10), Seen())
    assert not evidence.hardly_knows("errors")
    assert not evidence.hardly_knows("up")


# ------------------------------------------------------------------------------------------------------------- budget


def test_the_budget_is_divided_over_the_gates_that_compare() -> None:
    def looks(evidence: Evidence) -> int:
        """How many looks with a failure in each it takes."""
        for number in range(1, 60):
            if judge(evidence, Seen(sent=40, good=38, failed=2), good(40)).phase is Phase.FAILURE:
                return number
        raise AssertionError

    latency = {"probe": {"type": "haproxy", "measure": "latency"}}
    alone = {"answers": {"enabled": False}}
    assert looks(Evidence(gates(), {})) == looks(Evidence(gates(**alone), {})), "the answers have a budget of their own"
    assert looks(Evidence(gates(), {})) < looks(Evidence(gates(**{f"l{n}": latency for n in range(40)}), {}))


def test_a_run_that_goes_on_keeps_what_was_seen() -> None:
    state: dict[str, Any] = {}
    evidence = Evidence(gates(), state)
    judge(evidence, Seen(sent=40, good=34, failed=6), good(400))
    again = Evidence(gates(), json.loads(json.dumps(state)))
    taken = judge(again, Seen(sent=40, good=40), good(400))
    assert taken.text.startswith("6 of 80 requests failed")


@pytest.mark.parametrize(
    "state",
    [
        {"judge": "LatencyProcess", "seen": {}},
        {"judge": "ErrorProcess", "seen": {"track": {"cash": "much"}}},
        {"judge": "ErrorProcess", "seen": [1]},
        {"judge": "ErrorProcess"},
        "12 of 40",
        None,
    ],
)
def test_what_a_record_says_that_this_gate_cannot_have_seen_is_not_known(state: Any) -> None:
    evidence = Evidence(gates(), {"errors": state})
    assert judge(evidence, Seen(sent=40, good=40), good(400)).text.startswith("0 of 40 requests failed")


def test_another_batch_is_another_canary() -> None:
    evidence = Evidence(gates(), {})
    judge(evidence, bad(5), Seen())
    evidence.begin()
    assert evidence.objection("errors") is None
    assert judge(evidence, Seen(), good(1)).text == "no request was sent to it"


def test_latencies_have_a_process_of_their_own() -> None:
    evidence = Evidence(gates(slow={"probe": {"type": "haproxy", "measure": "latency"}}), {})
    phase = Phase.INCONCLUSIVE
    for _look in range(5):
        figures = Timed([100.0] * 60, [10.0] * 60)
        phase = evidence.judge("slow", Taken(Phase.INCONCLUSIVE, "", figures=figures)).phase
    assert phase is Phase.FAILURE


def test_what_needs_no_judge_is_left_as_it_is_and_what_nobody_judges_is_an_error() -> None:
    evidence = Evidence(gates(), {})
    assert evidence.judge("ready", Taken(Phase.SUCCESS, "ready")) == Taken(Phase.SUCCESS, "ready")
    assert evidence.judge("ready", Taken(Phase.SUCCESS, "", figures=Timed([], None))).phase is Phase.ERROR
