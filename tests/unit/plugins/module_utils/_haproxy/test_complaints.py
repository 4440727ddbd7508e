# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is told, and what HAProxy complains of can still be read."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import complaints


def test_secrets_are_masked_quoted_or_not() -> None:
    assert complaints.mask("a 'it'\\''s' b it's", ["it's"]) == "a '********' b ********"


@pytest.mark.parametrize(
    "line",
    [
        "stats auth admin:{}",
        "user deploy insecure-password {}",
        "user deploy password {}",
        'http-request set-header Authorization "Bearer {}"',
        "http-check send hdr X-Api-Key {}",
        "http-request set-header x-apikey {}",
        "http-request deny unless { req.hdr(X-Internal-Token) {} }",
        'setenv DB_PASSWD "{}"',
        "http-request set-var(txn.client_secret) str({})",
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(line: str) -> None:
    """In ``haproxy_extra`` anything may stand, and nobody says which of it is secret."""
    line = line.replace("{}", "tok-4711")
    before = f"frontend web\n    {line}\n    bind :80\n"
    shown = complaints.mask(before, [])
    assert "tok-4711" not in shown
    assert shown.endswith("\n    bind :80\n")
    complaint = "[ALERT] (1) : config : parsing [/c.cfg:2] : unexpected 'tok-4711' here."
    said = complaints.explain(complaint, before, "/c.cfg")
    assert said.startswith("line 2, ")
    assert "tok-4711" not in said
    assert said.endswith("here")


def test_a_complaint_about_a_line_with_a_secret_can_still_be_read() -> None:
    config = "a\nhttp-request set-header Authorization x if a -m found\n"
    said = complaints.explain(
        "[ALERT] (1) : config : parsing [/c.cfg:2] : unknown ACL 'a', expects if, ix or -m", config, "/c.cfg"
    )
    assert said.endswith("unknown ACL 'a', expects if, ix or -m")


@pytest.mark.parametrize(
    ("output", "wanted_text"),
    [
        ("[ALERT]    (1) : config : backend 'x' has no server.\n", "backend 'x' has no server"),
        ("killed\n", "killed"),
        ("", "no reason given"),
    ],
)
def test_reasons_without_a_line(output: str, wanted_text: str) -> None:
    assert complaints.explain(output, "backend x\n", "/c.cfg") == wanted_text
