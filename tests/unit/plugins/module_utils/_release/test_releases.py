# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is asked for, and wherever a run is killed, the store stays whole."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import archives, plans
from ansible_collections.mesops.platform.plugins.module_utils._release.marks import MARKER
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Request
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = ["1", "2", "3", "4"]
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
SUM = "sha256:" + "0" * 64
VERSION = st.sampled_from(VERSIONS)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("artifacts")
    for version in VERSIONS:
        with tarfile.open(folder / version, "w") as out:
            for name in ("bin/run", "data/x"):
                info = tarfile.TarInfo(name)
                content = f"{version} {name}".encode()
                info.size, info.mode = len(content), 0o755
                out.addfile(info, io.BytesIO(content))
    return {version: str(folder / version) for version in VERSIONS}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), "catalog", os.getuid(), os.getgid(), False, (os.getuid(), os.getgid()))


def perform(store: Store, request: Request, artifacts: dict[str, str], now: str = "2026-11-23T00:00:00Z") -> Snapshot:
    plan = plans.make_plan(store.read(), request, store.base, now)
    path = artifacts[plan.install] if plan.install else None
    tree = archives.inspect(path, 1 << 20, MARKER) if path else None
    store.apply(plan, path, tree)
    found = store.read()
    assert found.view() == plan.after.view()
    return found


def install(version: str, state: str = "active") -> Request:
    return Request(state, version, SUM, has_artifact=True)


def assert_whole(store: Store) -> None:
    """What counts as a release is all there, and the link leads to such a one."""
    found = store.read()
    for release in found.releases:
        assert release.complete
        for name in ("bin/run", "data/x"):
            assert Path(store.path(release.version), name).read_text() == f"{release.version} {name}"
    assert found.current is None or found.find(found.current)


REQUESTS = st.one_of(
    st.builds(install, VERSION, st.sampled_from(["installed", "active", "active"])),
    st.just(Request("rolled_back")),
    st.builds(lambda keep, protect: Request("pruned", keep=keep, protect=(protect,)), st.integers(1, 3), VERSION),
)


@settings(max_examples=1000, deadline=None)
@given(data=st.data(), requests=st.lists(REQUESTS, min_size=2, max_size=6))
def test_a_run_killed_anywhere_leaves_before_or_after(
    data: st.DataObject, requests: list[Request], artifacts: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        store = Store(root, "catalog", os.getuid(), os.getgid(), False, (os.getuid(), os.getgid()))
        for number, request in enumerate(requests):
            now = f"2026-11-23T00:00:0{number}Z"
            before = store.read()
            try:
                after = plans.make_plan(before, request, store.base, now).after
            except Refused:
                continue
            steps: Iterator[None] = iter([None] * data.draw(st.integers(0, 12), label="steps before the kill"))

            def step(name: str, steps: Iterator[None] = steps) -> None:
                if next(steps, name) == name:
                    raise Killed(name)

            store.step = step
            try:
                perform(store, request, artifacts, now)
            except Killed:
                found = store.read()
                pairs = [(one.current, one.previous) for one in (before, after)]
                assert (found.current, found.previous) in pairs
            assert_whole(store)
            store.step = lambda _name: None
            again = (
                request if (store.read().current, store.read().previous) != (after.current, after.previous) else None
            )
            if request.state != "rolled_back" or again:
                final = perform(store, request, artifacts, now)
                assert final.view()["current"] == after.current
                assert final.previous == after.previous
                assert not final.leftovers
            assert_whole(store)


def test_roll_back_goes_one_release_further_each_time(store: Store, artifacts: dict[str, str]) -> None:
    for version in ("1", "2", "3"):
        perform(store, install(version), artifacts)
    assert perform(store, Request("rolled_back"), artifacts).current == "2"
    assert perform(store, Request("rolled_back"), artifacts).current == "1"
    with pytest.raises(Refused, match="no release to roll back to"):
        perform(store, Request("rolled_back"), artifacts)
    assert store.read().current == "1"


def test_roll_back_from_a_version_happens_once(store: Store, artifacts: dict[str, str]) -> None:
    for version in ("1", "2", "3"):
        perform(store, install(version), artifacts)
    for _ in range(3):
        assert perform(store, Request("rolled_back", "3"), artifacts).current == "2"


def test_activating_the_previous_release_again_keeps_both_reachable(store: Store, artifacts: dict[str, str]) -> None:
    for version in ("1", "2", "1"):
        perform(store, install(version), artifacts)
    assert (store.read().current, store.read().previous) == ("1", "2")


def test_a_previous_release_that_is_gone_is_not_rolled_back_to(store: Store, artifacts: dict[str, str]) -> None:
    for version in ("1", "2"):
        perform(store, install(version), artifacts)
    Path(store.path("1"), MARKER).unlink()
    with pytest.raises(Refused, match="not complete"):
        perform(store, Request("rolled_back"), artifacts)
    assert store.read().current == "2"


def test_a_release_never_changes(store: Store, artifacts: dict[str, str]) -> None:
    perform(store, install("1"), artifacts)
    with pytest.raises(Refused, match="a release never changes"):
        perform(store, replace(install("1"), checksum="sha256:" + "1" * 64), artifacts)


def test_an_unmarked_directory_is_replaced_unless_it_runs(store: Store, artifacts: dict[str, str]) -> None:
    perform(store, install("1"), artifacts)
    half = Path(store.path("2"))
    half.mkdir()
    (half / "junk").touch()
    assert perform(store, install("2"), artifacts).current == "2"
    assert not (half / "junk").exists()
    (half / MARKER).unlink()
    with pytest.raises(Refused, match="is in use"):
        perform(store, install("2"), artifacts)


def test_the_first_release_is_only_the_first(store: Store, artifacts: dict[str, str]) -> None:
    assert perform(store, replace(install("1"), initial=True), artifacts).current == "1"
    found = perform(store, replace(install("2"), initial=True), artifacts)
    assert (found.current, [one.version for one in found.releases]) == ("1", ["1"])


def test_the_first_release_of_a_host_is_what_the_others_run(store: Store, artifacts: dict[str, str]) -> None:
    first = replace(install("1"), initial=True, elsewhere={"app-2": "2", "app-3": "1", "app-4": "2"})
    for request in (first, replace(first, state="installed")):
        with pytest.raises(
            Refused, match="has no release yet and would begin with 1, but app-2 runs 2, app-4 runs 2; "
        ):
            perform(store, request, artifacts)
    assert not os.path.exists(store.base)
    assert perform(store, replace(install("2"), initial=True, elsewhere={"app-2": "2"}), artifacts).current == "2"
    later = perform(store, first, artifacts)
    assert later.current == "2", "a host that runs a release is left to rollouts"
    assert perform(store, replace(first, elsewhere={}, silent=("app-2",)), artifacts).current == "2"
    assert perform(store, replace(install("1"), elsewhere={"app-2": "2"}), artifacts).current == "1"


def test_a_host_does_not_begin_with_the_first_release_while_nobody_knows_what_the_others_run(
    store: Store, artifacts: dict[str, str]
) -> None:
    request = replace(install("1"), initial=True, silent=("app-2", "app-3"))
    with pytest.raises(
        Refused, match="begin with 1, but app-2, app-3 may run a newer one and cannot be asked; bring back"
    ):
        perform(store, request, artifacts)
    assert not os.path.exists(store.base)
    assert perform(store, replace(request, elsewhere={"app-4": "1"}), artifacts).current == "1"


def test_a_version_that_is_nowhere_is_refused(store: Store, artifacts: dict[str, str]) -> None:
    with pytest.raises(Refused, match="not installed"):
        perform(store, Request("active", "9"), artifacts)
    assert not os.path.exists(store.base)


@pytest.mark.parametrize("target", ["/etc", "../../etc", "releases/../../etc", "releases/.unpack-1"])
def test_a_foreign_link_is_left_alone(store: Store, artifacts: dict[str, str], target: str) -> None:
    perform(store, install("1"), artifacts)
    os.unlink(store.current)
    os.symlink(target, store.current)
    with pytest.raises(Refused, match="no release of catalog"):
        perform(store, install("2"), artifacts)
    assert os.readlink(store.current) == target


def test_a_file_in_place_of_the_link_is_left_alone(store: Store) -> None:
    os.makedirs(store.current)
    with pytest.raises(Refused, match="no link to a release"):
        store.read()


def test_a_broken_history_is_not_guessed(store: Store, artifacts: dict[str, str]) -> None:
    perform(store, install("1"), artifacts)
    Path(store.base, ".history.json").write_text("{")
    with pytest.raises(Refused, match="cannot be read"):
        store.read()


def test_a_failed_unpack_leaves_nothing(store: Store, artifacts: dict[str, str], tmp_path: Path) -> None:
    perform(store, install("1"), artifacts)
    plan = plans.make_plan(store.read(), install("2"), store.base, "")
    tree = archives.inspect(artifacts["2"], 1 << 20, MARKER)
    before = sorted(os.listdir(store.releases))
    with pytest.raises(OSError, match="No such file"):
        store.apply(plan, str(tmp_path / "gone"), tree)
    assert sorted(os.listdir(store.releases)) == before


def test_a_release_is_on_the_disk_before_it_is_shown_and_nothing_else_is_waited_for(
    store: Store, artifacts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: set[int] = set()
    synced: set[int] = set()
    missing: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def check(name: str) -> None:
        if name == "show":
            (beside,) = Path(store.releases).iterdir()
            missing.extend(str(one) for one in (beside, *beside.rglob("*")) if one.stat().st_ino not in synced)
            synced.clear()

    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, *_what: begun.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "sync", lambda: pytest.fail("others' data was written out as well"))
    store.step = check
    perform(store, install("1", "installed"), artifacts)
    assert missing == []
    assert synced == {Path(store.releases).stat().st_ino}
    assert begun == {Path(store.path("1"), name).stat().st_ino for name in ("bin/run", "data/x")}


def test_two_runs_do_not_meet(store: Store) -> None:
    times = iter(range(100))
    waits: list[float] = []
    with (
        store.locked(5, lambda: 0.0, waits.append),
        pytest.raises(Refused, match="another run"),
        store.locked(5, lambda: float(next(times)), waits.append),
    ):
        pytest.fail("both hold the lock")
    assert waits
    with store.locked(0, lambda: 0.0, waits.append):
        pass


@pytest.mark.parametrize("after", range(7))
def test_a_killed_prune_leaves_no_half_release(store: Store, artifacts: dict[str, str], after: int) -> None:
    for version in VERSIONS:
        perform(store, install(version), artifacts)
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) > after:
            raise Killed(name)

    store.step = step
    try:
        perform(store, Request("pruned", keep=1), artifacts)
    except Killed:
        assert_whole(store)
    store.step = lambda _name: None
    assert [one.version for one in perform(store, Request("pruned", keep=1), artifacts).releases] == ["3", "4"]
