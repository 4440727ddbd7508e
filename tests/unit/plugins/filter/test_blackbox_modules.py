# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the estate as modules of blackbox_exporter."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.filter.blackbox_modules import FilterModule, blackbox_modules


def test_a_check_becomes_a_module() -> None:
    order = {
        "urls": ["http://lb-1/orders"],
        "method": "POST",
        "headers": {"Idempotency-Key": "synthetic"},
        "body": "{}",
        "status": [200, 201],
        "contains": '"id"',
        "interval": "30s",
        "config": {"follow_redirects": False},
    }
    found = FilterModule().filters()["blackbox_modules"]({"order": order, "page": {"urls": ["https://shop/"]}})
    assert found["order"] == {
        "prober": "http",
        "timeout": "10s",
        "http": {
            "preferred_ip_protocol": "ip4",
            "method": "POST",
            "headers": {"Idempotency-Key": "synthetic"},
            "body": "{}",
            "valid_status_codes": [200, 201],
            "fail_if_body_not_matches_regexp": ['"id"'],
            "follow_redirects": False,
        },
    }
    assert found["page"]["http"] == {"preferred_ip_protocol": "ip4"}


@pytest.mark.parametrize(
    ("checks", "sentence"),
    [
        ([], r"mesops_checks is \[\]; give a name to a mapping"),
        ({"a": "http://b"}, r"mesops_checks\.a is 'http://b'; give a mapping"),
        ({"a": {"url": "http://b"}}, r"mesops_checks\.a has unknown keys url; known are urls,"),
        ({"a": {"urls": "http://b"}}, r"mesops_checks\.a\.urls is 'http://b'; give a list"),
        ({"a": {"urls": ["b:80"]}}, r"mesops_checks\.a\.urls is \['b:80'\]; give a list"),
    ],
)
def test_what_is_no_check(checks: Any, sentence: str) -> None:
    with pytest.raises(AnsibleFilterError, match=sentence):
        blackbox_modules(checks)
