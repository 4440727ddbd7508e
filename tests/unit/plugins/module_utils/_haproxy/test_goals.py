# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import RuntimeFailure
from haproxy_simulation import Balancer, states
from hypothesis import assume, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("arguments", "wanted", "text"),
    [
        (("one", "nobody"), {"state": "drain"}, "no backend 'nobody' with servers; it has catalog, files"),
        (("four",), {"state": "drain"}, "Backend 'catalog' has no server 'four'; it has one, two."),
        (("two", "catalog,files"), {"state": "drain"}, "Backend 'files' has no server 'two'; it has one."),
        ((), {"server": (), "state": "drain"}, "needs the names of its servers"),
        (("one",), {"weight": "fast"}, "Weight 'fast' is neither"),
        (("one",), {"weight": "300"}, "would be 300"),
        (("one",), {"weight": "400%"}, "would be 400"),
        (("one",), {"weight": "-1"}, "Weight '-1' is neither"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_before_any_change(
    arguments: tuple[str, ...], wanted: dict[str, Any], text: str
) -> None:
    balancer = Balancer("catalog/one", "catalog/two", "files/one")
    assert text in str(balancer.refused(*arguments, **wanted))
    assert (balancer.commands, balancer.saves) == ([], 0)


def test_a_percentage_that_would_be_nothing_is_refused() -> None:
    balancer = Balancer(configured=1, weight=1)
    assert "would be 0, because its configured weight is 1" in str(balancer.refused(weight="10%"))
    assert balancer.commands == []
    balancer.change(weight="0")
    assert balancer.member().weight == 0


def test_the_capacity_guard_counts_the_others_that_take_traffic() -> None:
    balancer = Balancer()
    balancer.member("catalog/two").up = False
    text = str(balancer.refused(state="drain", min_available=2))
    assert "Taking catalog/one out of traffic would leave 1 of 3 servers of backend 'catalog' up and ready" in text
    assert balancer.commands == []
    balancer.change(state="drain", min_available=1)
    # One of weight 0 takes nothing, so it does not count.
    balancer.member().admin, balancer.member().weight = 0, 0
    assert "would leave 0 of 3" in str(balancer.refused("three", state="drain", min_available=1))
    balancer.member().admin = 8
    # Nothing is taken from what is out already, so nothing stands in the way.
    balancer.change(state="maint", min_available=2)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 8]), st.booleans(), st.sampled_from([0, 10, 100])), min_size=1, max_size=5
    ),
    st.sets(st.integers(0, 4), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from([{"state": "drain"}, {"state": "maint"}, {"weight": "0"}]),
)
def test_capacity_is_never_less_than_asked_for_after_a_server_was_taken_out(
    members: list[tuple[int, bool, int]], chosen: set[int], least: int, wanted: dict[str, Any]
) -> None:
    targets = [f"s{index}" for index in chosen if index < len(members)]
    assume(targets)
    balancer = Balancer(*[f"catalog/s{index}" for index in range(len(members))], checked=False)
    for index, (admin, up, weight) in enumerate(members):
        member = balancer.member(f"catalog/s{index}")
        member.admin, member.up, member.weight = admin, up and admin != 1, weight
    before = states(balancer)
    taken = [one for one in targets if balancer.member(f"catalog/{one}").takes_traffic and before[f"catalog/{one}"][1]]
    try:
        outcome = balancer.change(targets, min_available=least, wait=0.0, **wanted)
    except RuntimeFailure:
        assert states(balancer) == before
        assert taken
        others = [f"s{index}" for index in range(len(members)) if f"s{index}" not in targets]
        serving = [balancer.member(f"catalog/{one}") for one in others]
        assert sum(one.takes_traffic and one.weight > 0 for one in serving) < least
        return
    assert not taken or outcome.available["catalog"] >= least


def test_server_that_takes_no_traffic_may_always_be_taken_out() -> None:
    balancer = Balancer("catalog/s0", "catalog/s1", checked=True)
    for name in ("catalog/s0", "catalog/s1"):
        balancer.member(name).up = False
    outcome = balancer.change(["s0"], state="drain", min_available=2, wait=0.0)
    assert outcome.after["catalog/s0"].admin == "drain"
