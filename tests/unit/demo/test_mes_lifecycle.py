from __future__ import annotations

import itertools

import pytest

from demo.mes.lifecycle import STATUSES, allowed_after, is_legal, refusal, sources_of

LEGAL = {
    ("INITIATED", "FILE_UPLOADED"),
    ("FILE_UPLOADED", "SUBMITTED"),
    ("SUBMITTED", "PRICE_CALCULATED"),
    ("PRICE_CALCULATED", "MANUFACTURING_APPROVED"),
    ("MANUFACTURING_APPROVED", "MANUFACTURING_STARTED"),
    ("MANUFACTURING_STARTED", "MANUFACTURING_COMPLETED"),
    ("MANUFACTURING_COMPLETED", "PACKAGING"),
    ("PACKAGING", "SHIPPED"),
    ("SHIPPED", "CLOSED"),
}


@pytest.mark.parametrize(("current", "wanted"), list(itertools.product(STATUSES, STATUSES)))
def test_every_pair(current: str, wanted: str) -> None:
    assert is_legal(current, wanted) == ((current, wanted) in LEGAL)


@pytest.mark.parametrize("status", STATUSES)
def test_sources_are_the_inverse_of_followers(status: str) -> None:
    assert set(sources_of(status)) == {source for source in STATUSES if status in allowed_after(source)}


def test_refusal_names_both_statuses_and_the_way_out() -> None:
    sentence = refusal(7, "INITIATED", "SHIPPED")
    assert sentence == "Order 7 cannot go from INITIATED to SHIPPED; allowed from INITIATED: FILE_UPLOADED."
    assert refusal(7, "CLOSED", "SHIPPED") == "Order 7 cannot go from CLOSED to SHIPPED; CLOSED is final."
