from __future__ import annotations

import json

import pytest

from demo.mes.orders import (
    MAX_POLYGONS,
    Refused,
    fingerprint,
    parse_after,
    parse_json_object,
    parse_key,
    parse_limit,
    parse_order,
    parse_order_id,
)

GOOD = {"customer": "shop", "model": "ring", "polygons": 10, "quantity": 2, "reference": "po-1"}


def test_equal_orders_have_equal_fingerprints_however_they_are_written() -> None:
    first = parse_order(parse_json_object(json.dumps(GOOD).encode()))
    second = parse_order(parse_json_object(json.dumps(dict(reversed(GOOD.items())), indent=4).encode()))
    assert fingerprint(first) == fingerprint(second)


def test_a_default_that_is_spelt_out_is_the_same_order() -> None:
    short = {"customer": "shop", "model": "ring", "polygons": 10}
    assert fingerprint(parse_order(short)) == fingerprint(parse_order({**short, "quantity": 1}))


@pytest.mark.parametrize(
    "change", [{"customer": "other"}, {"model": "x"}, {"polygons": 11}, {"quantity": 3}, {"reference": "po-2"}]
)
def test_any_other_order_has_another_fingerprint(change: dict[str, object]) -> None:
    assert fingerprint(parse_order(GOOD)) != fingerprint(parse_order({**GOOD, **change}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"customer": None}, "customer"),
        ({"customer": ""}, "customer"),
        ({"model": "x" * 201}, "model"),
        ({"model": "a\u0000b"}, "model"),
        ({"polygons": 0}, "polygons"),
        ({"polygons": MAX_POLYGONS + 1}, "polygons"),
        ({"polygons": True}, "polygons"),
        ({"polygons": "10"}, "polygons"),
        ({"quantity": 1.5}, "quantity"),
        ({"reference": None}, "reference"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_orders_are_refused_by_the_field_at_fault(change: dict[str, object], named: str) -> None:
    with pytest.raises(Refused, match=repr(named)) as refused:
        parse_order({**GOOD, **change})
    assert refused.value.code == 400


@pytest.mark.parametrize("field", ["customer", "model", "polygons"])
def test_required_fields(field: str) -> None:
    with pytest.raises(Refused, match=repr(field)):
        parse_order({name: value for name, value in GOOD.items() if name != field})


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_json_object(raw: bytes) -> None:
    with pytest.raises(Refused):
        parse_json_object(raw)


@pytest.mark.parametrize("key", [None, "", "a b", "a\n", "\u00e9", "x" * 201])
def test_bad_keys(key: str | None) -> None:
    with pytest.raises(Refused) as refused:
        parse_key(key)
    assert refused.value.code == 400


def test_good_key() -> None:
    assert parse_key("x" * 200) == "x" * 200


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "abc", "", "9" * 19, "\u0661"])
def test_order_ids_that_do_not_exist(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_order_id(text)
    assert refused.value.code == 404


def test_paging() -> None:
    assert (parse_limit(None), parse_limit("500"), parse_after(None), parse_after("12")) == (50, 500, None, 12)
    for bad in ("0", "501", "x", "-1"):
        with pytest.raises(Refused, match="'limit'"):
            parse_limit(bad)
    for bad in ("0", "x", "9" * 19):
        with pytest.raises(Refused, match="'after'"):
            parse_after(bad)
