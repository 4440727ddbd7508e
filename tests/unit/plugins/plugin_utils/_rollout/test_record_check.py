# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record that a store brings back is checked like what a user types: what no rollout has written decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import record_check
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from rollout_simulation import Estate, Killed, engine, roll_out, settings

IRREVERSIBLE = {"expand": {"command": "bin/migrate --to 2", "reversible": False, "timeout": 60.0}}


def killed(after: str = "activate", **more: Any) -> tuple[Estate, dict[str, Any]]:
    """An estate whose rollout was killed, and the record that it has left."""
    estate = Estate.of(3)

    def kill(_number: int, name: str, when: str) -> None:
        if (name, when) == (after, "after"):
            raise Killed

    with pytest.raises(Killed):
        roll_out(estate, settings(estate, "2", **more), kill)
    estate.lock = None
    assert estate.open_record is not None
    return estate, estate.open_record


def placed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A record with one field changed; a value that is ``...`` takes the field away."""
    found = deepcopy(data)
    *way, last = path.split("/")
    inside: Any = found
    for one in way:
        inside = inside[one]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return found


FORGED: list[tuple[str, Any]] = [
    ("id", "../../etc/cron.d/x"),
    ("id", None),
    ("service", "parts"),
    ("version", "../../../root"),
    ("version", "2/3"),
    ("version", 2),
    ("version", ...),
    ("kind", "migration"),
    ("status", "approved"),
    ("status", "done"),
    ("direction", "sideways"),
    ("started_at", float("inf")),
    ("started_at", float("nan")),
    ("started_at", -1),
    ("started_at", True),
    ("ended_at", 5.0),
    ("resumed", -1),
    ("resumed", 1.5),
    ("weights", [100, 10]),
    ("weights", [0]),
    ("weights", [True]),
    ("weights", "10,100"),
    ("checksum", "md5:1"),
    ("batches", []),
    ("batches", [["app-1", "app-1"], ["app-2"], ["app-3"]]),
    ("batches", [["app-1"], ["app-2"], ["app-3"], ["pg-1"]]),
    ("balancers", ["lb 1"]),
    ("balancers", "lb-1"),
    ("kept_out", {"lb-1": "app-1"}),
    ("excluded", [1]),
    ("hosts", []),
    ("hosts", {}),
    ("hosts/app-1", None),
    ("hosts/app-1/target", "3"),
    ("hosts/app-1/target", "2; id"),
    ("hosts/app-1/previous", "../current"),
    ("hosts/app-1/previous", 1),
    ("hosts/app-1/phase", "root"),
    ("hosts/app-1/phase", "done"),
    ("hosts/app-1/history", [["done", 1.0]]),
    ("hosts/app-1/history", [["drained"]]),
    ("hosts/app-1/batch", 2),
    ("hosts/app-1/batch", "0"),
    ("hosts/app-1/drain_s", float("inf")),
    ("hosts/app-1/down_at", ["a b"]),
    ("migrations", []),
    ("migrations/expand", "bin/migrate"),
    ("migrations/expand/command", "/bin/sh -c id"),
    ("migrations/expand/command", "../../../bin/sh"),
    ("migrations/expand/command", "+/bin/sh"),
    ("migrations/expand/command", "bin/x\nUser=root"),
    ("migrations/expand/command", ["bin/x"]),
    ("migrations/expand/command", ...),
    ("migrations/expand/reversible", "no"),
    ("migrations/expand/timeout", 1e9),
    ("migrations/expand/timeout", float("nan")),
    ("migrations/expand/state", "granted"),
    ("migrations/expand/host", "pg-1"),
    ("migrations/root", {"command": "bin/x"}),
    ("events", [{"at": "now", "text": ""}]),
    ("gates", ["x"]),
    ("schema", 99),
    ("schema", ...),
]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """What a rollout with a migration has written, as JSON brings it back."""
    found: dict[str, Any] = json.loads(json.dumps(killed(migrations=IRREVERSIBLE)[1]))
    return found


@pytest.mark.parametrize(("path", "value"), FORGED)
def test_a_forged_or_damaged_record_is_refused_by_name_and_changes_nothing(
    written: dict[str, Any], path: str, value: Any
) -> None:
    estate, _record = killed(migrations=IRREVERSIBLE)
    estate.open_record = placed(written, path, value)
    before = deepcopy((estate.hosts, estate.balancers)), repr(estate.open_record)
    for act in ("roll_out", "roll_back"):
        rollout, _outside = engine(estate, settings(estate, "2", migrations=IRREVERSIBLE))
        with pytest.raises(PlanError) as why:
            getattr(rollout, act)()
        text = str(why.value)
        assert text.startswith(
            f"The open record {record_check._name(estate.open_record)} of catalog is damaged or forged: "
        )
        assert path.split("/", maxsplit=1)[0] in text
        assert "take its mark open out of the store" in text
        assert text.isprintable()
        assert estate.lock is None
    # As text: a damaged record may hold what does not equal itself.
    assert before == ((estate.hosts, estate.balancers), repr(estate.open_record))


def test_what_a_rollout_has_written_is_resumed(written: dict[str, Any]) -> None:
    record_check.check_record(written, "catalog")
    assert record_check.read_record(written, "catalog").to_dict() == written


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"schema": 1}, {"id": "a"}])
def test_what_is_no_record_at_all_is_refused(value: Any) -> None:
    with pytest.raises(PlanError, match="is damaged or forged: "):
        record_check.read_record(value, "catalog")


def test_a_record_beyond_all_size_or_depth_is_refused(written: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(PlanError, match="it is nothing that JSON holds"):
        record_check.read_record({**written, "note": deep}, "catalog")
    monkeypatch.setattr(record_check, "MAX_SIZE", 100)
    with pytest.raises(PlanError, match=r"it has \d+ characters, and a record has 100 at most"):
        record_check.read_record(written, "catalog")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@bounded(deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_field_it_is_refused_in_a_sentence_or_makes_a_record(
    written: dict[str, Any], data: st.DataObject
) -> None:
    paths = [*written, *(f"hosts/app-1/{name}" for name in written["hosts"]["app-1"])]
    paths += [f"migrations/expand/{name}" for name in written["migrations"]["expand"]]
    changed = placed(written, data.draw(st.sampled_from(paths)), data.draw(JSON))
    with suppress(PlanError):
        found = record_check.read_record(changed, "catalog")
        assert found.service == "catalog"
        assert all(step.command.startswith("bin/") for step in found.migrations.values())


@bounded(max_examples=12, deadline=None)
@given(versions=st.lists(st.sampled_from(["2", "3"]), min_size=1, max_size=3), bad=st.sampled_from(["", "2", "3"]))
def test_every_record_of_a_rollout_passes(versions: list[str], bad: str) -> None:
    """Whatever becomes of it, at every write."""
    estate = Estate.of(3)
    if bad:
        estate.bad[bad] = "errors"
    for version in versions:
        rollout, outside = engine(estate, settings(estate, version))
        save, close = outside.save, outside.close

        def checked(act: Callable[[Record], None], record: Record) -> None:
            record_check.check_record(json.loads(json.dumps(record.to_dict())), "catalog")
            act(record)

        outside.save = lambda record, act=save: checked(act, record)  # type: ignore[method-assign,misc]
        outside.close = lambda record, act=close: checked(act, record)  # type: ignore[method-assign,misc]
        rollout.roll_out()


# ----------------------------------------------------------------------------------------------------------- history


def test_a_record_of_the_past_that_is_damaged_is_skipped_aloud() -> None:
    estate = Estate.of(2)
    assert roll_out(estate, settings(estate, "2")).status == state.SUCCEEDED
    good = estate.history[0]
    estate.history = [placed(good, "hosts/app-1/previous", "../x"), placed(good, "status", "granted"), "x", good]  # type: ignore[list-item]
    found, told = record_check.usable(estate.history, "catalog")
    assert found == [good]
    assert [text.isprintable() and text.startswith("the record ") for text in told] == [True] * 3
    record = roll_out(estate, settings(estate, "3"))
    assert record.status == state.SUCCEEDED
    assert set(told) <= {event["text"] for event in record.events}


def test_an_open_record_is_no_past_and_the_past_is_not_open(written: dict[str, Any]) -> None:
    found, told = record_check.usable([written], "catalog")
    assert (found, len(told)) == ([], 1)
    with pytest.raises(PlanError, match="which is not that of an open rollout"):
        record_check.read_record(placed(written, "status", "rolled_back"), "catalog")


# ------------------------------------------------------------------------------------------------------ what it may do


def test_a_command_of_the_record_gives_way_to_that_of_the_release() -> None:
    """It passes every check, and is run all the same only when the release brings it."""
    estate, record = killed("prepare", migrations=IRREVERSIBLE)
    migrations = {"expand": {**IRREVERSIBLE["expand"], "command": "bin/other --drop", "state": "pending", "host": ""}}
    contract = {"contract": {"command": "bin/never", "reversible": True, "timeout": 60.0}}
    estate.open_record = {**record, "migrations": {**migrations, **contract}}
    done = roll_out(estate, settings(estate, "2", migrations=IRREVERSIBLE))
    assert {name: one.command for name, one in done.migrations.items()} == {"expand": "bin/migrate --to 2"}


def test_a_step_that_has_run_stays_on_record_and_is_for_ever_if_it_ever_was() -> None:
    record = Record("r", "catalog", "2", "x", 1.0)
    record.migrations = {
        "expand": Migration("bin/x", False, 60, "done"),
        "contract": Migration("bin/y", True, 60, "failed"),
    }
    record.bring({"expand": {"command": "bin/z", "reversible": True, "timeout": 5.0}})
    assert record.migrations["expand"] == Migration("bin/z", False, 5.0, "done")
    assert record.migrations["contract"].state == "failed"


def test_a_contract_is_not_forgotten_when_every_host_is_done() -> None:
    steps = {"contract": {"command": "bin/contract", "reversible": True, "timeout": 60.0}}
    estate, record = killed("migrate contract", migrations=steps)
    assert {one["phase"] for one in record["hosts"].values()} == {"done"}
    assert roll_out(estate, settings(estate, "2")).migrations["contract"].state == "done"


# ------------------------------------------------------------------------------------------------- secrets of addresses

ADDRESS = "https://deploy:s3cret@nexus.example.com:8443/catalog-2.tar.gz?X-Amz-Signature=abc#frag"


def test_credentials_of_an_artifact_are_kept_nowhere() -> None:
    estate = Estate.of(2)
    done = roll_out(estate, settings(estate, "2", artifact=ADDRESS, checksum="sha256:" + "0" * 64))
    assert done.status == state.SUCCEEDED
    assert estate.history[0]["artifact"] == "https://nexus.example.com:8443/catalog-2.tar.gz"
    for secret in ("s3cret", "deploy", "X-Amz", "abc"):
        assert secret not in json.dumps([done.to_dict(), estate.history])


def test_a_record_that_still_has_them_loses_them_when_it_is_resumed() -> None:
    estate, record = killed()
    estate.open_record = {**record, "artifact": ADDRESS}
    roll_out(estate, settings(estate, "2"))
    assert "s3cret" not in json.dumps(estate.history)
