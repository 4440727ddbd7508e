# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration is activated or put back whole, wherever a run is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import plans
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import (
    Configuration,
    Difference,
    difference,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.marks import MARKER
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import parted
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Plan, Request
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store
from hypothesis import given, settings
from hypothesis import strategies as st

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
UNIT = "[Service]\nUser=catalog\nMemoryMax=512M\n"
A = Configuration.of('LEVEL="info"\nPASSWORD="old secret"\n', UNIT)
B = Configuration.of('LEVEL="info"\nPASSWORD="new secret"\n', UNIT)
C = Configuration.of('LEVEL="debug"\n', UNIT.replace("512M", "1G"))


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def make(root: str) -> Store:
    for folder in ("opt", "etc/default", "etc/systemd/system"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    ids = os.getuid(), os.getgid()
    return Store(os.path.join(root, "opt"), "catalog", *ids, True, ids, owner_gid=ids[1], etc=root)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = make(str(tmp_path))
    perform(found, "prepared", A, initial=True)
    put(found, "1", "2")
    return found


def put(store: Store, *versions: str) -> None:
    """Releases that are there without their content."""
    for version in versions:
        os.makedirs(store.path(version))
        Path(store.path(version), MARKER).write_text(f"SERVICE_VERSION={version}\nSERVICE_CHECKSUM=sha256:{'0' * 64}\n")


def perform(
    store: Store, state: str, given: Configuration | str | None = None, version: str | None = None, **more: object
) -> Plan:
    """One run, with a configuration or the digest of one."""
    content = given if isinstance(given, Configuration) else None
    digest = given if isinstance(given, str) else store.shelf.name(content)
    request = Request(state, version, configuration=digest, has_configuration=content is not None)
    plan = plans.make_plan(store.read(), replace(request, **more), store.base, "now")  # type: ignore[arg-type]
    store.apply(plan, None, None, content)
    return plan


def environment(store: Store) -> Path:
    return Path(store.etc, "etc/default/catalog")


def test_the_first_configuration_is_active_at_once_and_only_its_readers_read_it(store: Store) -> None:
    digest = store.shelf.name(A)
    assert environment(store).read_text() == f'{A.environment}SERVICE_CONFIGURATION="{digest}"\n'
    assert Path(store.etc, "etc/systemd/system/catalog.service").read_text() == UNIT
    kept = Path(store.base, "configurations", digest)
    modes = {path: path.stat().st_mode & 0o777 for path in (environment(store), kept / "environment", kept / "unit")}
    assert list(modes.values()) == [0o640, 0o640, 0o644]
    assert Path(store.base, "configurations/.key").stat().st_mode & 0o777 == 0o600
    assert store.shelf.active() == A
    assert not perform(store, "prepared", A, initial=True).changed


def test_a_running_service_keeps_its_configuration_until_a_rollout(store: Store) -> None:
    perform(store, "active", A, "1")
    assert not perform(store, "prepared", B, initial=True).changed
    assert not perform(store, "active", B, "1", initial=True).changed
    assert store.shelf.active() == A


def test_release_and_configuration_go_and_come_back_together(store: Store) -> None:
    perform(store, "active", A, "1")
    perform(store, "installed", B, "2")
    assert (store.read().current, store.shelf.active()) == ("1", A)
    perform(store, "active", store.shelf.name(B), "2")
    assert (store.read().current, store.shelf.active()) == ("2", B)
    perform(store, "rolled_back", version="2")
    assert (store.read().current, store.shelf.active()) == ("1", A)
    assert not perform(store, "rolled_back", version="2").changed


def test_a_changed_configuration_is_a_step_of_its_own_to_go_back_from(store: Store) -> None:
    perform(store, "active", A, "1")
    perform(store, "active", B, "1")
    perform(store, "active", C, "1")
    for expected in (B, A):
        assert store.read().previous == "1"
        perform(store, "rolled_back")
        assert (store.read().current, store.shelf.active()) == ("1", expected)
    with pytest.raises(Refused, match="no release to roll back to"):
        perform(store, "rolled_back")


def test_what_somebody_edited_by_hand_is_replaced_and_brought_back(store: Store) -> None:
    perform(store, "active", A, "1")
    edited = Configuration.of("# by hand\nLEVEL=debug\n", UNIT)
    environment(store).write_text(edited.environment.rstrip("\n"))
    assert difference(store.shelf.active(), A) == Difference(added=("PASSWORD",), changed=("LEVEL",))
    by_hand = store.read().configuration
    perform(store, "active", B, "1")
    assert store.shelf.active() == B
    perform(store, "rolled_back")
    assert store.shelf.active() == edited
    assert store.read().configuration == by_hand


def test_a_file_that_others_may_read_is_protected_again(store: Store) -> None:
    environment(store).chmod(0o644)
    assert perform(store, "prepared", A, initial=True).actions == (f"protect {environment(store)}",)
    assert environment(store).stat().st_mode & 0o777 == 0o640


def test_no_moment_shows_a_secret_to_others(tmp_path: Path) -> None:
    store = make(str(tmp_path))
    seen: list[str] = []

    def look(name: str) -> None:
        seen.append(name)
        for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
            assert "secret" not in path.read_text(errors="replace") or path.stat().st_mode & 0o007 == 0, path

    store.step = look
    perform(store, "prepared", A, initial=True)
    assert "write environment" in seen


def test_a_configuration_that_is_not_kept_is_refused_before_anything_changes(store: Store) -> None:
    perform(store, "active", A, "1")
    before = store.read()
    with pytest.raises(Refused, match="configuration 0123456789ab is not kept"):
        perform(store, "active", "0123456789ab", "2")
    assert store.read() == before


def test_without_a_configuration_there_is_none(tmp_path: Path) -> None:
    store = make(str(tmp_path))
    put(store, "1")
    environment(store).write_text("LEVEL=info\n")
    perform(store, "active", None, "1")
    found = store.read()
    assert (found.name, found.kept, found.history) == ("1", False, ("1",))
    perform(store, "prepared", A)
    # From now on it has a name; the release that was active under the old one is still the same.
    assert store.read().name == f"1@{store.read().configuration}"
    assert store.read().previous is None


SOME = st.sampled_from([A, B, C])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), wanted=st.lists(st.tuples(st.sampled_from(["1", "2"]), SOME), min_size=1, max_size=4))
def test_a_run_killed_anywhere_is_finished_by_the_next_and_the_way_back_stays(
    data: st.DataObject, wanted: list[tuple[str, Configuration]]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        store = make(root)
        put(store, "1", "2")
        perform(store, "active", A, "1")
        for version, configuration in wanted:
            before = store.read()
            steps = data.draw(st.integers(0, 14))

            def step(_name: str, left: list[int] = [steps]) -> None:  # noqa: B006 - one list for each run
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

            store.step = step
            with contextlib.suppress(Killed):
                perform(store, "active", configuration, version)
            store.step = lambda _name: None
            # Whatever is kept is whole, and what was active before the run is among it or still active.
            for digest in store.read().configurations:
                assert store.shelf.name(store.shelf.load(digest)) == digest
            assert before.configuration in (store.read().configuration, *store.read().configurations)
            perform(store, "active", configuration, version)
            after = store.read()
            assert after.name == f"{version}@{store.shelf.name(configuration)}"
            assert after.previous_name == (before.previous_name if after.name == before.name else before.name)
            assert not after.leftovers


@given(st.lists(SOME, min_size=1, max_size=6), st.integers(1, 4), st.data())
@settings(max_examples=25, deadline=None)
def test_pruning_never_forgets_what_is_needed(wanted: list[Configuration], keep: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        store = make(root)
        put(store, "1")
        for configuration in wanted:
            perform(store, "active", configuration, "1")
        before = store.read()
        recorded = data.draw(st.sampled_from(before.configurations))
        perform(store, "pruned", keep=keep, protect=(f"1@{recorded}",))
        after = store.read()
        assert {recorded, before.configuration} <= set(after.configurations)
        assert (after.name, after.previous_name) == (before.name, before.previous_name)
        needed = {recorded, before.configuration, parted(before.previous_name or "")[1]}
        assert len(after.configurations) <= max(keep, len(needed & set(before.configurations)))


def test_the_same_configuration_has_another_digest_on_each_host(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        store = make(str(tmp_path / name))
        perform(store, "prepared", A, initial=True)
        assert store.shelf.name(A) == make(str(tmp_path / name)).shelf.name(A)
        found.add(store.shelf.name(A))
    assert len(found) == 2


def test_where_what_is_kept_was_lost_the_name_of_the_active_one_goes_too(store: Store) -> None:
    """A process that says the old name would be taken for one of another configuration, and restarted by each run."""
    perform(store, "active", version="1")
    shutil.rmtree(store.base)
    plan = perform(store, "prepared", A, initial=True)
    assert plan.actions[1].startswith("keep configurations in")
    assert environment(store).read_text() == A.environment
    assert environment(store).stat().st_mode & 0o777 == 0o640
    assert not perform(store, "prepared", A, initial=True).changed
