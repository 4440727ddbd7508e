# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of an address nothing is kept that lets anybody in."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.urls import is_url, without_credentials
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "found"),
    [("https://host/a", True), ("HTTP://host", True), ("ftp://host/a", False), ("a/b", False), (None, False)],
)
def test_what_is_fetched_over_http(text: str | None, found: bool) -> None:
    assert is_url(text) is found


@given(st.text(max_size=10), st.text(max_size=10), st.text(max_size=20))
def test_whatever_stands_before_the_at_sign_or_behind_the_path_goes(user: str, password: str, query: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    shown = without_credentials(f"https://{login}host/a/b.tgz?{query}")
    assert shown == "https://host/a/b.tgz"


@pytest.mark.parametrize("artifact", ["", "dist/catalog.tgz", "/srv/a@b?c#d.tgz", "C:relative"])
def test_a_path_is_kept_as_it_is(artifact: str) -> None:
    assert without_credentials(artifact) == artifact


def test_an_address_without_anything_is_kept_and_one_of_another_kind_is_cut_too() -> None:
    assert without_credentials("http://host") == "http://host"
    assert without_credentials("ftp://me:pw@host/x") == "ftp://host/x"
    assert without_credentials("https://me:p@w@[bad/x?y") == "https://[bad/x"
