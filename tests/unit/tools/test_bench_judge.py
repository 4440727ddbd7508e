# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated rollouts of ``make bench PART=judge`` take looks, and hosts, as a rollout does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Counts, Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.engine import Engine
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from bench import judge as bench
from rollout_simulation import Estate, World, settings


class Watched(World):
    """A world whose gate cannot say, which notes when it is asked, of whom, and in which share of traffic."""

    def __init__(self, estate: Estate, wanted: plan.Settings) -> None:
        super().__init__(estate, wanted)
        self.asked: list[tuple[float, int, tuple[str, ...], tuple[str, ...]]] = []

    def sample(self, requests: Sequence[world.SampleRequest], *, save: Record | None = None) -> dict[str, world.Taken]:
        for request in requests:
            percent = self.estate.balancers["lb-1"][request.canary[0]].percent
            self.asked.append((self.estate.time, percent, tuple(request.canary), tuple(request.baseline)))
        super().sample(requests, save=save)
        return {request.key: world.Taken(Phase.INCONCLUSIVE, "cannot say") for request in requests}


@pytest.mark.parametrize(("hosts", "soak"), [(2, 10), (8, 10), (2, 31)])
def test_looks_and_hosts_are_those_of_a_rollout(hosts: int, soak: float) -> None:
    only = {name: {"enabled": False} for name in rollout_gates.default_gates(bench.SERVICE) if name != "errors"}
    estate = Estate.of(hosts)
    wanted = settings(estate, gates=only, min_healthy_time=float(soak), batches=bench.BATCHES, weights=bench.WEIGHTS)
    watched = Watched(estate, wanted)
    Engine(watched, wanted, lambda now: f"catalog-{now:.0f}", "tester@here").roll_out()
    done = 0
    for batch in plan.sizes(hosts, bench.BATCHES):
        for share, expected in bench.looks(bench.ERRORS, soak):
            real, watched.asked = watched.asked[: len(expected)], watched.asked[len(expected) :]
            assert {percent for _at, percent, _canary, _baseline in real} == {round(100 * share)}
            assert {len(canary) for _at, _percent, canary, _baseline in real} == {batch}
            others = hosts - done - batch
            assert {len(baseline) for _at, _percent, _canary, baseline in real} == {others or done}
            begin = real[0][0] - expected[0][0]
            # The last sample of an observation is taken so long before its end as the one before has lasted.
            assert [at - begin for at, *_rest in real] == pytest.approx([at for at, _since in expected], abs=0.5)
        done += batch
    assert watched.asked == []


def test_requests_are_shared_by_weight() -> None:
    cell = bench.Cell(8, 71, 10, 0, 0)
    assert bench.split(cell, 3, 0.1, 0, 1) == pytest.approx((3, 210, True))  # 0.1 of 7.1 hosts
    assert bench.split(cell, 1, 1.0, 3, 2) == pytest.approx((71 / 8 * 2, 71 / 8 * 3, True))
    assert bench.split(cell, 1, 1.0, 7, 1) == pytest.approx((71 / 8, 71 / 8 * 7, False))  # beside those that are done


def test_bad_requests_are_drawn_from_the_binomial_distribution() -> None:
    random.seed(1)
    drawn = [bench.draw(75, 0.05).bad for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    assert mean == pytest.approx(3.75, abs=0.05)
    assert sum((one - mean) ** 2 for one in drawn) / len(drawn) == pytest.approx(75 * 0.05 * 0.95, rel=0.05)
    assert (bench.draw(9, 1.0), bench.draw(9, 0.0)) == (Counts(9, 9), Counts(0, 9))


def test_intervals_are_those_of_a_table() -> None:
    # scipy.stats.binomtest(k, n).proportion_ci(method="exact")
    assert bench.interval(0, 2000) == pytest.approx((0.0, 0.0018427), abs=1e-6)
    assert bench.interval(10, 2000) == pytest.approx((0.0024001, 0.0091763), abs=1e-6)


def test_a_rollout_ends_as_its_release_deserves() -> None:
    drops = bench.simulate(bench.Cell(2, 50, 10, 1.0, 0.0, batches=1), bench.Errors, 0, 20)
    assert (drops.trials, drops.first) == (20, 20)
    hangs = bench.simulate(bench.Cell(2, 50, 10, 1.0, 0.0, "hangs", batches=1), bench.Errors, 0, 20)
    assert hangs.first == 20
    fine = bench.simulate(bench.Cell(2, 10, 10, 0.01, 0.01), bench.Errors, 0, 20)
    assert (fine.condemned, fine.held, fine.unsure) == (0, 0, 20)
    slow = bench.simulate(bench.Cell(2, 50, 10, 0.0, 0.0, "slow", batches=1), bench.Latency, 0, 5)
    assert slow.first == 5
