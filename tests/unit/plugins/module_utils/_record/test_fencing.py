# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers of who may change a service: the highest number of its store, and no other store."""

from __future__ import annotations

import multiprocessing
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import ARGUMENTS, Fence, Fenced, store_id
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

HERE, THERE = "lb-1:/var/lib/mesops/rollouts #s0123456789ab", "etcd pg-1:/mesops/rollouts #sba9876543210"


def fence(path: Path, number: int, store: str = HERE, **more: str) -> Fence:
    return Fence("catalog", number, store, directory=str(path / "fences"), **more)


def test_a_later_run_keeps_an_earlier_one_out(tmp_path: Path) -> None:
    earlier = fence(tmp_path, 10)
    earlier.claim()
    earlier.claim()
    assert not earlier.superseded()
    fence(tmp_path, 11).claim()
    assert earlier.superseded()
    with pytest.raises(Fenced) as why:
        earlier.claim()
    assert str(why.value) == (
        "A newer run changes catalog here now (number 11 of its lock), so this one (number 10) changes nothing; see "
        "which one: ansible-playbook mesops.platform.status"
    )
    fence(tmp_path, 11).claim()


@bounded(max_examples=30, deadline=None)
@given(numbers=st.lists(st.integers(1, 2**63), min_size=1, max_size=12))
def test_the_highest_number_counts_in_whatever_order_they_come(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    path = tmp_path_factory.mktemp("fence")
    highest = 0
    for number in numbers:
        one = fence(path, number)
        assert one.superseded() == (number < highest)
        if number >= highest:
            one.claim()
            highest = number


def test_services_do_not_meet(tmp_path: Path) -> None:
    fence(tmp_path, 10).claim()
    Fence("parts", 1, THERE, directory=str(tmp_path / "fences")).claim()
    fence(tmp_path, 10).check()


def test_who_has_no_number_is_let_in_and_leaves_no_trace(tmp_path: Path) -> None:
    """The app role, which changes what no rollout changes, and a person at the host."""
    Fence("", directory=str(tmp_path / "fences")).claim()
    Fence("catalog", 0, HERE, directory=str(tmp_path / "fences")).claim()
    assert not (tmp_path / "fences").exists()
    fence(tmp_path, 10).claim()
    Fence("catalog", directory=str(tmp_path / "fences")).claim()


def test_a_look_leaves_no_trace_and_is_refused_like_a_change(tmp_path: Path) -> None:
    fence(tmp_path, 10).claim(write=False)
    assert not (tmp_path / "fences").exists()
    fence(tmp_path, 10).claim()
    with pytest.raises(Fenced):
        fence(tmp_path, 9).claim(write=False)


@pytest.mark.parametrize("number", [0, 1, 10, 10**9])
def test_another_store_is_noticed_whatever_its_numbers_and_both_are_named(tmp_path: Path, number: int) -> None:
    fence(tmp_path, 10).claim()
    assert fence(tmp_path, 1).remembered() == HERE
    with pytest.raises(Fenced) as why:
        fence(tmp_path, number, THERE).claim()
    assert str(why.value) == (
        f"The rollouts of catalog here go by the store {HERE}, but this run goes by the store {THERE}; let "
        "rollout_store and rollout_balancers lead to the first one again, or, if that one is given up for good, run it "
        "once with adopt: s0123456789ab in rollout_store."
    )


def test_a_store_that_is_given_up_is_succeeded_once_and_for_all(tmp_path: Path) -> None:
    fence(tmp_path, 10).claim()
    with pytest.raises(Fenced):
        fence(tmp_path, 1, THERE, adopt="sffffffffffff").claim()
    fence(tmp_path, 1, THERE, adopt="s0123456789ab").claim()
    fence(tmp_path, 2, THERE).claim()
    with pytest.raises(Fenced, match=r"go by the store etcd pg-1"):
        fence(tmp_path, 11).claim()
    with pytest.raises(Fenced, match="A newer run"):
        # The option is no way around the order within the store.
        fence(tmp_path, 1, THERE, adopt=store_id(HERE)).claim()


def test_a_memory_that_is_damaged_lets_nobody_in_and_is_named(tmp_path: Path) -> None:
    fence(tmp_path, 10).claim()
    path = tmp_path / "fences" / "catalog.json"
    for text in ("", "{", "[]", "{}", '{"store": "x"}', '{"store": "x", "number": "y"}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(Fenced, match=rf"{path} is damaged, .* and remove the file"):
            fence(tmp_path, 11).claim()
    path.unlink()
    fence(tmp_path, 1).claim()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../etc/passwd", "a\n", "-a"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(Fenced, match="is of no plain name"):
        Fence(name, 1, HERE, directory=str(tmp_path)).claim()
    assert list(tmp_path.iterdir()) == []


def test_nobody_but_root_reads_or_writes_it(tmp_path: Path) -> None:
    fence(tmp_path, 10).claim()
    assert [path.name for path in (tmp_path / "fences").iterdir()] == ["catalog.json"]
    assert stat.S_IMODE((tmp_path / "fences" / "catalog.json").stat().st_mode) == 0o600


def test_of_two_that_come_at_once_the_higher_one_stays(tmp_path: Path) -> None:
    def claim(number: int) -> None:
        with suppress(Fenced):
            fence(tmp_path, number).claim()

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=claim, args=(number,)) for number in range(1, 25)]
    for one in children:
        one.start()
    for one in children:
        one.join(30)
    fence(tmp_path, 24).check()
    assert fence(tmp_path, 23).superseded()


def test_a_module_takes_what_a_run_shows(tmp_path: Path) -> None:
    shown = Fence("catalog", 3, HERE, "s0123456789ab").options
    assert set(shown) == set(ARGUMENTS)
    assert Fence.of("catalog", shown) == Fence("catalog", 3, HERE, "s0123456789ab")
