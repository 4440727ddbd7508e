# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value means, and the sentence for a wrong one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

WRONG = object()


@pytest.mark.parametrize(
    ("rule", "value", "meaning"),
    [
        (scalars.PORT, 1, 1),
        (scalars.PORT, 65535, 65535),
        (scalars.PORT, 0, WRONG),
        (scalars.PORT, 65536, WRONG),
        (scalars.PORT, True, WRONG),
        (scalars.PORT, "80", WRONG),
        (scalars.PORT, 80.0, WRONG),
        (scalars.integer(-1, text=True), " -1 ", -1),
        (scalars.integer(-1, text=True), "1.0", WRONG),
        (scalars.integer(-1, text=True), "\u0661", WRONG),
        (scalars.integer(-1, text=True), None, WRONG),
        (scalars.NUMBER, -2.5, -2.5),
        (scalars.NUMBER, math.inf, WRONG),
        (scalars.NUMBER, math.nan, WRONG),
        (scalars.NUMBER, 10**400, WRONG),
        (scalars.NUMBER, True, WRONG),
        (scalars.NUMBER, "1", WRONG),
        (scalars.number(0, 5, text=True), "2.5", 2.5),
        (scalars.number(0, 5, text=True), "5.1", WRONG),
        (scalars.number(0, 5, text=True), "soon", WRONG),
        (scalars.number(0, 5, text=True), [], WRONG),
        (scalars.NOT_NEGATIVE, 0, 0),
        (scalars.number(0, above=True), 0, WRONG),
        (scalars.number(0, above=True), 0.1, 0.1),
        (scalars.BOOLEAN, False, False),
        (scalars.BOOLEAN, "no", WRONG),
        (scalars.BOOLEAN, 0, WRONG),
        (scalars.TRUTH, "No", False),
        (scalars.TRUTH, True, True),
        (scalars.TRUTH, "perhaps", WRONG),
        (scalars.DURATION, "5m", 300),
        (scalars.DURATION, "200ms", 0.2),
        (scalars.DURATION, 1.5, 1.5),
        (scalars.DURATION, "1.5h", 5400),
        (scalars.DURATION, "5 minutes", WRONG),
        (scalars.DURATION, "-1s", WRONG),
        (scalars.DURATION, True, WRONG),
        (scalars.choice(("a", "b")), "b", "b"),
        (scalars.choice(("a", "b")), "ab", WRONG),
        (scalars.choice(("a", "b")), ["a"], WRONG),
        (scalars.TEXT, "", ""),
        (scalars.TEXT, 1, WRONG),
        (scalars.ONE_LINE, 1, 1),
        (scalars.ONE_LINE, "a\nb", WRONG),
        (scalars.ONE_LINE, None, WRONG),
        (scalars.URL_PATH, "/a?b=1", "/a?b=1"),
        (scalars.URL_PATH, "a", WRONG),
        (scalars.URL_PATH, "/a b", WRONG),
        (scalars.HOST, "www.example.com:8080", "www.example.com:8080"),
        (scalars.HOST, "[fd00::1]:80", "[fd00::1]:80"),
        (scalars.HOST, "fd00::1", WRONG),
        (scalars.HOST, "a b", WRONG),
        (scalars.ADDRESS, "pg-1:5432", ("pg-1", 5432)),
        (scalars.ADDRESS, "[fd00::1]:80", ("fd00::1", 80)),
        (scalars.ADDRESS, "fd00::1:80", WRONG),
        (scalars.ADDRESS, "pg-1", WRONG),
        (scalars.ADDRESS, "pg-1:0", WRONG),
    ],
)
def test_a_value_has_its_meaning_or_none(rule: scalars.Rule[Any], value: Any, meaning: Any) -> None:
    assert rule.fits(value) is (meaning is not WRONG)
    if meaning is WRONG:
        with pytest.raises(Refused):
            rule.of(value, "x")
    else:
        assert rule.of(value, "x") == meaning
        assert isinstance(rule.of(value, "x"), type(meaning)) or isinstance(meaning, int)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (scalars.PORT, "a TCP port from 1 to 65535"),
        (scalars.integer(1, what="lines"), "lines, at least 1"),
        (scalars.number(0, 0.5), "a number from 0 to 0.5"),
        (scalars.number(0, 30 * 86400, "seconds"), "seconds from 0 to 2592000"),
        (scalars.number(0, 3600, "a number of seconds", above=True), "a number of seconds above 0 and at most 3600"),
        (scalars.number(0, above=True), "a number above 0"),
        (scalars.NOT_NEGATIVE, "a number, at least 0"),
        (scalars.NUMBER, "a number"),
        (scalars.choice(("wait", "kill")), "one of wait, kill"),
    ],
)
def test_the_sentence_names_place_value_and_what_to_give(rule: scalars.Rule[Any], wanted: str) -> None:
    with pytest.raises(KeyError, match=f"the.place is 'x'; give {wanted}\\."):
        rule.of("x", "the.place", KeyError)
