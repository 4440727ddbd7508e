# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No name of a member leads out of its release."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import trees
from hypothesis import given, settings
from hypothesis import strategies as st

PART = st.sampled_from(["..", ".", "", "a", "b", "c", "release", "etc", "..a", "a..", "...", "\x00", "\n", "\\", " "])
PATH = st.one_of(
    st.lists(PART, min_size=1, max_size=6).map("/".join),
    st.text(max_size=12),
    st.lists(PART, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
)


@settings(max_examples=3000, deadline=None)
@given(PATH)
def test_a_member_name_stays_inside_or_is_refused(name: str) -> None:
    try:
        parts = trees.split_member(name)
    except Refused:
        return
    assert os.path.normpath(os.path.join("/release", *parts)).startswith("/release")
    assert not {"..", ".", ""} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "/etc/passwd", "//etc", "a\\..\\b", "a\nb", "x" * 300])
def test_names_that_must_be_refused(name: str) -> None:
    with pytest.raises(Refused):
        trees.split_member(name)
