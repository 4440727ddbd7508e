# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence that may be looked at at any time: its factors agree with values of others, and its wagers are fair.

Published: the example of ``logrankSingleEExact`` in the R package safestats 0.8.7 (Ly, Turner, ter Schure), whose
factors are those of Fisher's noncentral hypergeometric distribution for one look after the other. Values without
another origin were computed with scipy (``nchypergeom_fisher.pmf``, ``binom.logpmf``), those for thousands of bad ones
with mpmath at 40 digits.
"""

from __future__ import annotations

import json
import math
import random
from itertools import product

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.sequential import (
    BETTER,
    WORSE,
    Wager,
    bets_on_one,
    bets_on_two,
    one_group,
    two_groups,
)
from hypothesis import given, settings
from hypothesis import strategies as st

Table = tuple[int, int, int, int]
SIDE = st.integers(0, 12).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


# ------------------------------------------------------------------------------------------------------------- factors


def test_the_published_example_of_safestats() -> None:
    # Treated and untreated patients at risk, and who of them died, at six moments.
    untreated, treated = (5, 4, 3, 3, 2, 1), (5, 5, 4, 2, 2, 0)
    died_untreated, died_treated = (1, 1, 0, 1, 0, 1), (0, 0, 1, 0, 1, 0)
    tables = list(zip(died_treated, treated, died_untreated, untreated, strict=True))
    less, greater = (math.exp(sum(two_groups(*table, [odds])[0] for table in tables)) for odds in (0.7, 1 / 0.7))
    assert less == pytest.approx(1.116161, abs=1e-6)
    assert greater == pytest.approx(0.7665818, abs=1e-7)
    assert (less + greater) / 2 == pytest.approx(0.9413714, abs=1e-7)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((3, 15, 1, 135), (1.0220539363854846, 3.793383295696324, 4.96619856104938, -5.332882400502614)),
        ((0, 15, 4, 135), (-0.19434138793906516, -1.5818951119878966, -5.237393583937143, 0.35847755415497345)),
        ((8, 75, 0, 75), (1.4661021783273847, 4.4100249102309785, 5.453884084255003, -10.64471410898761)),
        ((12, 240, 1, 2310), (4.268369143562365, 16.51755511190303, 23.861662161364084, -21.679246300504946)),
        ((30, 100, 60, 400), (3.8444365101932614, -0.7789491556068435, -41.88430601492771, -38.642712614069886)),
    ],
)
def test_two_groups_agree_with_known_values(table: Table, expected: tuple[float, ...]) -> None:
    assert two_groups(*table, (1.5, 6.0, 30.0, 0.15)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("table", "odds", "expected"),
    [
        ((1200, 10_000, 1000, 10_000), 3.0, -175.5308279391070248623),
        ((1200, 10_000, 1000, 10_000), 1.5, 0.5006015443008896106),
        ((5200, 40_000, 1000, 10_000), 1.5, 30.29593020220450485312),
        ((900, 1000, 700, 100_000), 30.0, 2711.524911971709815708),
    ],
)
def test_thousands_of_bad_ones_agree_with_known_values(table: Table, odds: float, expected: float) -> None:
    assert two_groups(*table, [odds]) == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "total", "share", "expected"),
    [
        (5, 60, 0.01, (4.3049038055697615, 1.727453805895932, -10.970480785841291)),
        (0, 300, 0.01, (-5.940788188853914, -76.39266551207422, 2.7122233956447186)),
        (40, 500, 0.05, (-3.7105983554380515, -311.9961170118315, -69.08143446905842)),
    ],
)
def test_one_group_agrees_with_known_values(bad: int, total: int, share: float, expected: tuple[float, ...]) -> None:
    assert one_group(bad, total, share, (3.0, 30.0, 0.1)) == pytest.approx(expected, rel=1e-9)


@given(SIDE, SIDE, st.sampled_from([0.1, 0.6, 1.5, 3.0, 30.0]))
def test_two_groups_are_the_ratio_of_sums_over_all_tables(a: tuple[int, int], b: tuple[int, int], odds: float) -> None:
    bad = a[0] + b[0]
    ways = {x: math.comb(a[1], x) * math.comb(b[1], bad - x) for x in range(bad + 1) if bad - x >= 0}
    weighted = sum(number * odds**x for x, number in ways.items())
    assert two_groups(*a, *b, [odds])[0] == pytest.approx(
        a[0] * math.log(odds) - math.log(weighted / sum(ways.values())), abs=1e-9
    )


@pytest.mark.parametrize("table", [(0, 0, 3, 5), (3, 5, 0, 0), (0, 9, 0, 9), (9, 9, 4, 4), (0, 0, 0, 0)])
def test_what_can_say_nothing_says_nothing(table: Table) -> None:
    assert two_groups(*table, WORSE) == [0.0] * len(WORSE)


@settings(max_examples=50)
@given(st.tuples(*[st.integers(1, 10**9)] * 4))
def test_counts_of_any_size_give_numbers(numbers: Table) -> None:
    bad_a, good_a, bad_b, good_b = numbers
    logs = two_groups(bad_a, bad_a + good_a, bad_b, bad_b + good_b, (*WORSE, 0.6))
    assert all(math.isfinite(log) for log in logs)
    assert all(
        factor >= 0 for factors in bets_on_two(bad_a, bad_a + good_a, bad_b, bad_b + good_b) for factor in factors
    )
    # Whoever wins with one of two odds ratios loses with the other.
    away = two_groups(bad_b, bad_b + good_b, bad_a, bad_a + good_a, WORSE)
    back = two_groups(bad_a, bad_a + good_a, bad_b, bad_b + good_b, [1 / ratio for ratio in WORSE])
    assert away == pytest.approx(back, rel=1e-6, abs=1e-3)


def test_evenly_spaced_terms_are_as_good_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.mesops.platform.plugins.plugin_utils._gate import sequential  # noqa: PLC0415

    tables = [(200, 4000, 150, 4000), (30, 3000, 470, 90_000), (450, 500, 60, 900), (3, 40, 500, 50_000)]
    exact = [two_groups(*table, (1.5, 6.0, 30.0, 0.15)) for table in tables]
    monkeypatch.setattr(sequential, "_ENUMERATED", 0)
    for table, expected in zip(tables, exact, strict=True):
        assert two_groups(*table, (1.5, 6.0, 30.0, 0.15)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


# ------------------------------------------------------------------------------------------------------- fair by count


def share_of(bad: int, total: int, share: float) -> float:
    return math.comb(total, bad) * share**bad * (1 - share) ** (total - bad)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 7), (7, 3), (6, 6)])
@pytest.mark.parametrize("shared", [0.03, 0.3, 0.8])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_good_release_wins_nothing_for_its_accuser(n: int, m: int, shared: float, ratio: float) -> None:
    """All outcomes counted: the mean of each factor is at most 1, and exactly 1 where both are equal."""
    ours = ratio * shared / (1 - shared) / (1 + ratio * shared / (1 - shared))
    means = [0.0] * len(WORSE)
    for a, b in product(range(n + 1), range(m + 1)):
        chance = share_of(a, n, ours) * share_of(b, m, shared)
        means = [mean + chance * factor for mean, factor in zip(means, bets_on_two(a, n, b, m)[0], strict=True)]
    assert all(mean <= 1 + 1e-12 for mean in means)
    if ratio == 1:
        assert means == pytest.approx([1.0] * len(WORSE))


@pytest.mark.parametrize("ratio", [1.5, 4.0])
@pytest.mark.parametrize("shared", [0.03, 0.3])
def test_a_release_beyond_the_tolerance_wins_nothing_for_its_advocate(shared: float, ratio: float) -> None:
    odds = ratio * shared / (1 - shared)
    means = [0.0] * len(BETTER)
    for a, b in product(range(8), range(6)):
        chance = share_of(a, 7, odds / (1 + odds)) * share_of(b, 5, shared)
        means = [mean + chance * factor for mean, factor in zip(means, bets_on_two(a, 7, b, 5)[1], strict=True)]
    assert all(mean <= 1 + 1e-12 for mean in means)


@pytest.mark.parametrize(("odds", "true"), [(WORSE, 0.05), (WORSE, 0.01), (BETTER, 0.05), (BETTER, 0.2)])
def test_bets_on_one_group_are_fair(odds: tuple[float, ...], true: float) -> None:
    """Against "at most 5 %" when it is at most that; against "at least 5 %" when it is at least that."""
    means = [
        math.fsum(share_of(bad, 40, true) * bets_on_one(bad, 40, 0.05, odds)[kind] for bad in range(41))
        for kind in range(len(odds))
    ]
    assert all(mean <= 1 + 1e-9 for mean in means)


# -------------------------------------------------------------------------------------------------------------- wagers


@st.composite
def stories(draw: st.DrawFn) -> list[str]:
    return draw(st.lists(st.sampled_from(["look", "look", "look", "begin", "forgo"]), min_size=1, max_size=5))


@settings(max_examples=30, deadline=None)
@given(stories())
def test_wealth_does_not_grow_on_average_whatever_is_done_with_it(story: list[str]) -> None:
    """All outcomes of a fair coin that doubles or takes each stake: the mean wealth stays at most 1."""

    def mean(wager: Wager, rest: list[str]) -> float:
        if not rest:
            return wager.wealth
        outcomes = []
        for factors in ((2.0, 0.0), (0.0, 2.0)):
            one = Wager(2, state=json.loads(json.dumps(wager.state())))
            before = one.state()
            if rest[0] == "begin":
                one.begin()
            else:
                one.look(factors)
            outcomes.append(mean(one, rest[1:]))
            if rest[0] == "forgo":
                # Even if it is done only where it pays.
                one.forgo(before)
                outcomes[-1] = max(outcomes[-1], mean(one, rest[1:]))
        return sum(outcomes) / 2

    assert mean(Wager(2), story) <= 1 + 1e-12


def test_what_says_nothing_costs_nothing() -> None:
    wager = Wager(3)
    for _look in range(1000):
        wager.look([1.0, 1.0, 1.0])
    assert wager.state() == Wager(3).state()


def test_a_gain_is_given_away_with_the_batch_and_a_loss_is_not() -> None:
    wager = Wager(1)
    wager.look([50.0])
    assert wager.wealth > 20
    wager.begin()
    assert wager.wealth == 1
    wager.look([0.0])
    lost = wager.wealth
    assert lost < 0.5
    wager.begin()
    assert wager.wealth == lost


def test_a_long_good_time_does_not_shield_what_comes_after_it() -> None:
    wager = Wager(1)
    for _look in range(100):
        wager.look([0.5])
    assert wager.wealth < 0.3
    looks = 0
    while wager.wealth < 100:
        wager.look([2.0])
        looks += 1
    assert looks < 20  # and not the hundred that it would take to win back what was lost


def test_wealth_beyond_the_most_is_given_away_so_that_it_is_lost_quickly() -> None:
    wager = Wager(1, most=200)
    for _look in range(1000):
        wager.look([3.0])
    assert wager.wealth == pytest.approx(200)
    for _look in range(5):
        wager.look([0.5])
    assert wager.wealth < 20
    assert math.isfinite(Wager(1).wealth)


@pytest.mark.parametrize("shared", [0.01, 0.2])
def test_hundreds_of_looks_at_a_good_release_rarely_accuse_it(shared: float) -> None:
    """Of 100 rollouts of 5 batches with 40 looks each, 1 is allowed; 5 would be four standard errors above."""
    random.seed(f"rollouts {shared}")
    accused = 0
    for _rollout in range(100):
        wager = Wager(len(WORSE))
        for number in range(200):
            if number % 40 == 0:
                wager.begin()
            n, m = (4, 40) if number % 40 < 10 else (20, 20)
            a, b = (sum(random.random() < shared for _request in range(total)) for total in (n, m))
            wager.look(bets_on_two(a, n, b, m)[0])
            if wager.wealth >= 100:
                accused += 1
                break
    assert accused < 5
