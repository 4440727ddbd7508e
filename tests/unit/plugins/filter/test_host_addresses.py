# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts reach each other by one address, whatever an inventory says of them."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.filter.host_addresses import FilterModule

host_addresses = FilterModule().filters()["host_addresses"]


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({"mesops_address": "10.0.0.1", "ansible_host": "192.0.2.1"}, "10.0.0.1"),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1"),
        ({"mesops_address": "", "ansible_host": "192.0.2.1"}, "192.0.2.1"),
        ({}, "a"),
    ],
)
def test_the_first_address_that_is_known_counts(known: dict[str, str], wanted: str) -> None:
    assert host_addresses(["a"], {"a": known}) == [wanted]


def test_the_order_is_that_of_the_names() -> None:
    assert host_addresses(["b", "a"], {"a": {"ansible_host": "2"}, "b": {"ansible_host": "1"}}) == ["2", "1"]
