# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout may be asked to do, and how its hosts are cut into batches."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")


def settings(hosts: int = 4, **changes: Any) -> Settings:
    names = tuple(f"app-{number}" for number in range(1, hosts + 1))
    return Settings(**{"service": SERVICE, "hosts": names, "balancers": ("lb-1",), "backends": ("catalog",), **changes})


# ------------------------------------------------------------------------------------------------------------- batches

SHARES = st.integers(1, 12) | st.integers(1, 100).map(lambda percent: f"{percent}%")


@pytest.mark.parametrize(
    ("total", "batches", "expected"),
    [
        (0, [1], []),
        (1, [1, "25%"], [1]),
        (8, [1, "25%"], [1, 2, 2, 2, 1]),
        (10, [1, "25%"], [1, 2, 2, 2, 2, 1]),
        (3, ["25%"], [1, 1, 1]),
        (5, ["100%"], [5]),
        (5, [2, 1], [2, 1, 1, 1]),
        (5, [50], [5]),
        (7, ["30%", 1, "50%"], [2, 1, 3, 1]),
    ],
)
def test_sizes(total: int, batches: list[policies.Share], expected: list[int]) -> None:
    assert plan.sizes(total, batches) == expected


@given(total=st.integers(0, 60), batches=st.lists(SHARES, min_size=1, max_size=4))
def test_sizes_are_those_of_serial(total: int, batches: list[policies.Share]) -> None:
    found = plan.sizes(total, batches)
    assert sum(found) == total
    assert all(size >= 1 for size in found)
    for number, size in enumerate(found):
        share = batches[min(number, len(batches) - 1)]
        # In whole numbers: a share of the total, rounded down, but never nobody.
        wanted = max(1, total * int(share[:-1]) // 100) if isinstance(share, str) else share
        assert size == (wanted if number < len(found) - 1 else min(wanted, total - sum(found[:-1])))


@pytest.mark.parametrize(
    ("share", "total", "least"), [("50%", 4, 2), ("50%", 3, 2), ("1%", 3, 1), ("0%", 3, 0), (2, 9, 2), ("100%", 3, 3)]
)
def test_least_is_rounded_up(share: policies.Share, total: int, least: int) -> None:
    assert settings(total, min_available=share).least == least
    assert settings(1, min_available=share, excluded=tuple("abcdefgh"[: total - 1])).least == least


def test_batches_keep_the_order_but_hosts_that_are_down_come_first() -> None:
    wanted = settings(5, min_available=1, batches=(2,))
    assert plan.make_batches(wanted, {"lb-1": {"app-1", "app-2", "app-4", "app-5"}}) == [
        ["app-3", "app-1"],
        ["app-2", "app-4"],
        ["app-5"],
    ]


def test_no_balancer_has_an_opinion() -> None:
    assert plan.make_batches(settings(2, min_available=2), {}) == [["app-1"], ["app-2"]]


def test_too_few_servers_are_refused_with_the_numbers() -> None:
    wanted = settings(3, excluded=("app-9",), min_available="75%", batches=(2,))
    everybody = {"app-1", "app-2", "app-3", "app-9"}
    text = refused(plan.make_batches, wanted, {"lb-1": everybody, "lb-2": everybody})
    assert text == (
        "Batch 1 would take 2 of 4 servers of catalog out of traffic, which leaves 2 at lb-1, but "
        "min_available is 75% (3 of 4); use smaller batches, bring servers back, or lower it, in "
        "app_services.catalog.rollout or with -e for this run."
    )


def test_one_balancer_that_has_lost_servers_decides() -> None:
    wanted = settings(4, min_available=3, batches=(1,))
    everybody = set(wanted.hosts)
    assert plan.make_batches(wanted, {"lb-1": everybody, "lb-2": everybody})
    text = refused(plan.make_batches, wanted, {"lb-1": everybody, "lb-2": everybody - {"app-4"}})
    assert "which leaves 2 at lb-2" in text


def test_servers_that_are_down_come_back_with_their_batch() -> None:
    wanted = settings(3, min_available=2, batches=(1,))
    assert plan.make_batches(wanted, {"lb-1": {"app-2", "app-3"}}) == [["app-1"], ["app-2"], ["app-3"]]


def test_servers_that_are_kept_out_do_not_come_back() -> None:
    wanted = settings(3, min_available=2, batches=(1,))
    text = refused(plan.make_batches, wanted, {"lb-1": {"app-2", "app-3"}}, {"lb-1": ["app-1"]})
    assert text.startswith("Batch 2 would take 1 of 3 servers of catalog out of traffic, which leaves 1 at lb-1, but")


def shortage(
    batches: list[list[str]], up: Mapping[str, set[str]], kept: Mapping[str, list[str]], least: int
) -> tuple[int, int, int, str] | None:
    """Play the batches through: the first that takes servers out where too few are left, and how many those are."""
    for number, batch in enumerate(batches, 1):
        for name, servers in up.items():
            left = servers - set(batch)
            if left != servers and len(left) < least:
                return number, len(servers) - len(left), len(left), name
        for name, servers in up.items():
            servers.update(set(batch) - set(kept[name]))
    return None


@given(st.data())
def test_no_batch_ever_leaves_too_few_servers_anywhere(data: st.DataObject) -> None:
    hosts = data.draw(st.integers(1, 7))
    excluded = tuple(f"old-{number}" for number in range(data.draw(st.integers(0, 2))))
    wanted = settings(
        hosts,
        excluded=excluded,
        batches=tuple(data.draw(st.lists(SHARES, min_size=1, max_size=3))),
        min_available=data.draw(st.integers(0, hosts) | st.integers(0, 100).map(lambda percent: f"{percent}%")),
    )
    everybody = [*wanted.hosts, *excluded]
    balancers = [f"lb-{number}" for number in range(data.draw(st.integers(1, 3)))]
    up = {name: set(data.draw(st.lists(st.sampled_from(everybody)))) for name in balancers}
    out = {name: sorted(set(wanted.hosts) - up[name]) for name in balancers}
    kept = {name: data.draw(st.lists(st.sampled_from(out[name]))) if out[name] else [] for name in balancers}
    serving = set().union(*up.values())
    ordered = sorted(wanted.hosts, key=lambda host: host in serving)
    sizes = plan.sizes(hosts, wanted.batches)
    expected = [ordered[sum(sizes[:number]) : sum(sizes[: number + 1])] for number in range(len(sizes))]
    short = shortage(expected, copy.deepcopy(up), kept, wanted.least)
    if short is None:
        assert plan.make_batches(wanted, up, kept) == expected
        return
    text = refused(plan.make_batches, wanted, up, kept)
    number, taken, left, name = short
    assert re.search(rf"Batch {number} would take {taken} of {len(everybody)} servers? of catalog", text)
    assert f"which leaves {left} at {name}, but" in text
    assert f"({wanted.least} of {len(everybody)})" in text
