# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name is a plain one or refused, and is taken apart as it was put together."""

from __future__ import annotations

import os

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import (
    check_version,
    joined,
    parted,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=2000)
@given(st.one_of(st.text(max_size=120), st.text("abc019._+~-/\0", max_size=110)))
def test_a_version_is_a_plain_name_or_refused(version: str) -> None:
    try:
        check_version(version)
    except Refused as why:
        assert "\n" not in str(why)  # noqa: PT017 - the property covers both outcomes
        return
    assert os.path.basename(version) == version
    assert 0 < len(version) <= 100
    assert version[0].isalnum()
    assert version.isascii()


@pytest.mark.parametrize("version", ["../../etc", ".hidden", "", "a/b", "x" * 101, "-rf", "1.0\n", "..", "é", "1 0"])
def test_versions_that_must_be_refused(version: str) -> None:
    with pytest.raises(Refused, match="plain name"):
        check_version(version)


@given(st.sampled_from(["1", "1.4.0~rc+x"]), st.sampled_from(["", "0123456789ab"]))
def test_a_name_is_taken_apart_as_it_was_put_together(version: str, digest: str) -> None:
    name = joined(version, digest)
    assert name is not None
    assert parted(name) == (version, digest)
    assert joined(None, digest) is None
