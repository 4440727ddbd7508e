from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.load.audit import StoredOrder, compare
from demo.load.ledger import Ledger, LedgerError, LedgerWriter, parse_ledger, read_ledger


def _stored(number: int, key: str) -> StoredOrder:
    return StoredOrder(number, key, key)


def test_all_is_well() -> None:
    ledger = Ledger(["r"], {"r-1": {1}, "r-2": {2}}, {"r-3", "r-4"})
    audit = compare(ledger, [_stored(1, "r-1"), _stored(2, "r-2"), _stored(3, "r-3"), _stored(9, "r-9")])
    assert audit.clean
    assert (audit.acknowledged, audit.exactly_once, audit.lost, audit.doubled) == (2, 2, 0, 0)
    assert (audit.unknown, audit.unknown_stored, audit.unknown_not_stored) == (2, 1, 1)
    assert audit.unrecorded_stored == 1


def test_lost() -> None:
    audit = compare(Ledger(["r"], {"r-1": {1}, "r-2": {2}}), [_stored(1, "r-1")])
    assert not audit.clean
    assert (audit.lost, audit.lost_keys, audit.exactly_once) == (1, ["r-2"], 1)


def test_doubled_under_the_same_key_or_only_by_reference() -> None:
    ledger = Ledger(["r"], {"r-1": {1}, "r-2": {3}})
    audit = compare(ledger, [_stored(1, "r-1"), _stored(2, "r-1"), _stored(3, "r-2"), StoredOrder(4, "other", "r-2")])
    assert not audit.clean
    assert (audit.doubled, set(audit.doubled_keys)) == (2, {"r-1", "r-2"})


def test_an_unknown_order_that_is_stored_twice_is_doubled_too() -> None:
    assert compare(Ledger(["r"], {}, {"r-1"}), [_stored(1, "r-1"), _stored(2, "r-1")]).doubled == 1


def test_stored_under_another_id_than_acknowledged() -> None:
    audit = compare(Ledger(["r"], {"r-1": {1}}), [_stored(7, "r-1")])
    assert not audit.clean
    assert (audit.mismatched, audit.mismatched_keys, audit.exactly_once) == (1, ["r-1"], 0)


def test_acknowledged_with_two_ids() -> None:
    assert compare(Ledger(["r"], {"r-1": {1, 2}}), [_stored(1, "r-1")]).mismatched == 1


def test_every_line_is_on_disk_at_once_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(str(path)) as writer:
        writer.write("run", run="r")
        writer.write("acknowledged", key="r-1", order_id=5)
        writer.write("unknown", key="r-1", kind="timeout")
        writer.write("unknown", key="r-2", kind="timeout")
        ledger = read_ledger(path)
    assert ledger == Ledger(["r"], {"r-1": {5}}, {"r-2"})


def test_a_line_cut_short_by_a_kill_is_ignored_anywhere_else_it_is_an_error() -> None:
    good = json.dumps({"outcome": "acknowledged", "key": "r-1", "order_id": 5}) + "\n"
    assert parse_ledger([good, good[:20]]).acknowledged == {"r-1": {5}}
    for bad in ([good[:20] + "\n", good], [good, "{}\n"], ['{"outcome":"x"}\n']):
        with pytest.raises(LedgerError, match="Line"):
            parse_ledger(bad)


def test_missing_ledger() -> None:
    with pytest.raises(LedgerError, match="/nowhere"):
        read_ledger("/nowhere")
