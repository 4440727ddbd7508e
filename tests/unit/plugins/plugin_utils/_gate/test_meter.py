# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each request counts once, whatever becomes of it, whoever counts it and however HAProxy is reloaded meanwhile."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Meter, Seen, together, usual
from hypothesis import given
from hypothesis import strategies as st
from traffic_model import FATES, Model

VERSIONS = ["2.6", "3.0"]
FAILED = [fate for fate in FATES if fate not in ("good", "3xx", "4xx", "client gave up")]


def bad(seen: Seen) -> int:
    return seen.failed + seen.given_up


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fate", FAILED)
def test_every_way_to_fail_counts_once_in_every_version(version: str, fate: str) -> None:
    balancer = Model(version)
    meter = Meter(balancer.look(0))
    balancer.send("app-1", fate, 30)
    balancer.send("app-1", "good", 70)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.sent, seen.failed, seen.good, seen.total) == (100, 30, 70, 100)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fate", [fate for fate in FAILED if fate != "empty"])
def test_it_counts_once_also_while_others_wait(version: str, fate: str) -> None:
    """Where nothing waits, what was sent and not answered is a bound already; here it is none."""
    balancer = Model(version)
    meter = Meter(balancer.look(0))
    balancer.begin("app-1", 50)
    balancer.send("app-1", fate, 5)
    assert meter.look(balancer.look())["app-1"].failed == 5


@pytest.mark.parametrize("fate", ["3xx", "4xx"])
def test_answers_that_are_no_2xx_are_good_ones_that_are_told_apart(fate: str) -> None:
    balancer = Model()
    balancer.send("app-1", fate, 40)
    assert usual([balancer.look()], ["app-1"]).other == 40
    meter = Meter(balancer.look(0))
    balancer.send("app-1", fate, 30)
    first = meter.look(balancer.look())["app-1"]
    balancer.reload()
    balancer.send("app-1", "5xx", 10)
    balancer.send("app-1", fate, 5)
    seen = together([first, meter.look(balancer.look())["app-1"]])
    assert (seen.good, seen.other, seen.failed) == (35, 35, 10)
    assert (seen.answers.total, seen.answers.failed, seen.answers.sent) == (35, 35, seen.sent)


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_that_give_up_are_told_apart(version: str) -> None:
    balancer = Model(version)
    meter = Meter(balancer.look(0))
    balancer.send("app-1", "client gave up", 5)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.failed, seen.given_up, seen.total) == (0, 5, 5)


@given(
    st.sampled_from(VERSIONS),
    st.lists(st.lists(st.tuples(st.sampled_from(["good", *FAILED]), st.integers(0, 40)), max_size=6), max_size=5),
)
def test_looks_add_up_to_what_was_sent(version: str, looks: list[list[tuple[str, int]]]) -> None:
    balancer = Model(version)
    meter = Meter(balancer.look(0))
    found = []
    sent = {"good": 0, "bad": 0}
    for fates in looks:
        for fate, times in fates:
            balancer.send("app-1", fate, times)
            sent["good" if fate == "good" else "bad"] += times
        found.append(meter.look(balancer.look())["app-1"])
    total = together(found)
    assert (total.good, bad(total)) == (sent["good"], sent["bad"])


def test_what_was_counted_before_does_not_count() -> None:
    balancer = Model()
    balancer.send("app-1", "5xx", 500)
    meter = Meter()
    assert meter.look(balancer.look()) == {}, "the first look is the reference where there is none"
    balancer.send("app-1", "good", 10)
    assert meter.look(balancer.look())["app-1"].total == 10


# ------------------------------------------------------------------------------------------------------------- reloads


def test_a_worker_that_ends_brings_nothing_back() -> None:
    """An old worker is there at the reference, with a websocket; it ends while the batch is judged."""
    balancer = Model()
    balancer.send("app-1", "good", 1_000_000)
    balancer.begin("app-1", streaming=True)
    old = balancer.pid
    balancer.reload()
    balancer.send("app-1", "5xx", 300)
    balancer.send("app-1", "good", 5_700)
    meter = Meter(balancer.look(0))
    balancer.end(old)
    balancer.send("app-1", "good", 200)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.good, bad(seen)) == (200, 0)


def test_a_reload_between_two_looks_loses_nothing() -> None:
    balancer = Model()
    meter = Meter(balancer.look(0))
    balancer.send("app-1", "5xx", 10)
    balancer.reload()
    balancer.send("app-1", "5xx", 7)
    balancer.send("app-1", "good", 83)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.failed, seen.good) == (17, 83)


def test_requests_of_a_worker_that_has_ended_are_not_taken_for_lost() -> None:
    balancer = Model()
    meter = Meter(balancer.look(0))
    balancer.begin("app-1", 12)
    old = balancer.pid
    balancer.reload()
    meter.look(balancer.look())
    balancer.end(old)
    balancer.send("app-1", "good", 10)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.good, bad(seen)) == (10, 0), "nobody knows what became of them"


def test_another_process_with_the_same_number_counts_from_nothing() -> None:
    balancer = Model()
    balancer.send("app-1", "5xx", 500)
    meter = Meter(balancer.look(0))
    number = balancer.pid
    balancer.workers[number] = Model().workers["101"]
    balancer.send("app-1", "5xx", 3)
    balancer.send("app-1", "good", 4)
    seen = meter.look(balancer.look())["app-1"]
    assert (seen.failed, seen.good) == (3, 4)


# ---------------------------------------------------------------------------------------------------- what never ends


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_that_hang_count_once_and_not_again_when_they_fail_at_last(version: str) -> None:
    balancer = Model(version)
    meter = Meter(balancer.look(0))
    hanging = balancer.begin("app-1", 8)
    first = meter.look(balancer.look())["app-1"]
    assert (first.sent, first.total, first.waiting) == (8, 0, 8), "they may still be answered"
    second = meter.look(balancer.look())["app-1"]
    assert (second.given_up, second.total, second.waiting) == (8, 8, 8)
    assert meter.look(balancer.look())["app-1"].total == 0
    balancer.finish(hanging, "timed out")
    assert meter.look(balancer.look())["app-1"].total == 0


def test_a_request_that_only_looks_old_does_not_hang() -> None:
    """A client that was idle makes the age of its request larger, and another request begins where one has ended."""
    balancer = Model()
    meter = Meter(balancer.look(0))
    for _one in range(5):
        names = balancer.begin("app-1", 3)
        for name in names:
            balancer.sessions[name]["at"] -= 50
        assert bad(meter.look(balancer.look())["app-1"]) == 0
        balancer.finish(names)


def test_the_same_place_in_memory_with_another_request_does_not_hang() -> None:
    balancer = Model()
    meter = Meter(balancer.look(0))
    [name] = balancer.begin("app-1")
    meter.look(balancer.look())
    balancer.finish([name])
    balancer.begin("app-1")
    balancer.sessions[name] = balancer.sessions.pop(next(iter(balancer.sessions)))
    assert bad(meter.look(balancer.look())["app-1"]) == 0


def test_responses_that_stream_for_long_do_not_hang() -> None:
    balancer = Model()
    meter = Meter(balancer.look(0))
    balancer.begin("app-1", 20, streaming=True)
    found = together(meter.look(balancer.look())["app-1"] for _one in range(4))
    assert (found.good, bad(found)) == (20, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_where_sessions_cannot_be_listed_counters_alone_know_that_requests_wait(version: str) -> None:
    balancer = Model(version)
    balancer.listed = False
    meter = Meter(balancer.look(0))
    balancer.begin("app-1", 40)
    balancer.send("app-1", "5xx", 5)
    assert bad(meter.look(balancer.look())["app-1"]) == 5
    balancer.begin("app-1", 2)
    seen = meter.look(balancer.look())["app-1"]
    assert bad(seen) in (38, 40), "at least those that the two new ones cannot be"


def test_looks_that_follow_at_once_prove_no_long_wait() -> None:
    balancer = Model()
    meter = Meter(balancer.look(0))
    balancer.begin("app-1", 9)
    meter.look(balancer.look(0.3))
    assert bad(meter.look(balancer.look(0.3))["app-1"]) == 0


# -------------------------------------------------------------------------------------------------------- what is usual


def test_what_was_usual_is_the_sum_of_all_workers_and_load_balancers() -> None:
    one, two = Model(), Model("3.0")
    one.send("app-2", "good", 90)
    one.reload()
    one.send("app-2", "empty, tried again", 5)
    two.send("app-2", "client gave up", 5)
    two.begin("app-2", 3)
    found = usual([one.look(), two.look()], ["app-2", "app-9"])
    assert (found.good, found.failed, found.given_up, found.waiting) == (90, 5, 5, 3)
