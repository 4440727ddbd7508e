# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan takes away is never what is needed."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._release import plans
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Request
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Release, Snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

RELEASES = st.lists(
    st.builds(
        Release,
        st.integers(1, 15).map(str),
        st.booleans(),
        st.integers(0, 9).map(lambda day: f"2026-11-0{day}T00:00:00Z"),
    ),
    unique_by=lambda release: release.version,
    max_size=15,
)
SOME = st.lists(st.integers(1, 15).map(str), max_size=6)


@settings(max_examples=2000)
@given(RELEASES, SOME, st.one_of(st.none(), st.integers(1, 15).map(str)), SOME, st.integers(1, 8))
def test_pruning_never_takes_what_is_needed(
    present: list[Release], history: list[str], current: str | None, protect: list[str], keep: int
) -> None:
    snapshot = Snapshot(True, current, tuple(history), tuple(present))
    gone = plans.prunable(snapshot, keep, protect)
    assert not {snapshot.current, snapshot.previous, *protect} & set(gone)
    complete = {one.version for one in present if one.complete}
    assert set(gone) <= complete
    left = complete - set(gone)
    assert len(left) >= min(keep, len(complete))
    if len(left) > keep:
        assert left <= {snapshot.current, snapshot.previous, *protect}
    dates = {one.version: (one.installed_at, one.version) for one in present}
    spare = left - {snapshot.current, snapshot.previous, *protect}
    assert all(dates[old] <= dates[new] for old in gone for new in spare)


def test_a_release_and_a_configuration_are_pruned_for_themselves() -> None:
    present = tuple(Release(version, True, version) for version in "123")
    snapshot = Snapshot(
        True, "3", ("3@c", "2@b", "1@a"), present, kept=True, configuration="c", configurations=("a", "b", "c")
    )
    plan = plans.make_plan(snapshot, Request("pruned", keep=1), "/opt/catalog", "now")
    assert (plan.remove, plan.forget, plan.after.history) == (("1",), ("a",), ("3@c", "2@b"))
    plan = plans.make_plan(snapshot, Request("pruned", keep=1, protect=("1@a",)), "/opt/catalog", "now")
    assert (plan.remove, plan.forget) == ((), ())
