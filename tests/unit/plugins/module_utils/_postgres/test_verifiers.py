# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifiers of passwords are PostgreSQL's own."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._postgres.verifiers import (
    password_matches,
    saslprep,
    scram_verifier,
)

SALT = b"0123456789abcdef"
# Made by PostgreSQL 17 itself: CREATE ROLE known PASSWORD 'pencil'.
KNOWN = (
    "SCRAM-SHA-256$4096:DxWatnisv0C6GLb2hbM8vw=="
    "$dX5CXBAwFhyjDJS4RN/uitG4yXEIfin7+iWsDilCTQM=:gaWvdGP9e2UPdey9URMRm7rwStp3cn9/h9Xh9TGUL28="
)


def test_the_verifier_is_the_servers_own() -> None:
    assert password_matches("pencil", KNOWN)
    assert not password_matches("Pencil", KNOWN)


@pytest.mark.parametrize("stored", ["", "md5abcdef", "SCRAM-SHA-256$4096:!!$aa:bb", "SCRAM-SHA-256$4096:a$YQ==:YQ=="])
def test_another_kind_of_verifier_never_matches(stored: str) -> None:
    assert not password_matches("pencil", stored)


def test_passwords_are_normalised_as_clients_do() -> None:
    assert saslprep("I\u00adX") == "IX"
    assert saslprep("\u00aa\u00a0\u2168") == "a IX"
    assert saslprep("pa\u0007ss") == "pa\u0007ss"
    assert saslprep("\u06271") == "\u06271"


def test_the_verifier_states_its_salt_and_iterations() -> None:
    head, keys = scram_verifier("pencil", SALT, 5000).rsplit("$", 1)
    assert head == f"SCRAM-SHA-256$5000:{base64.b64encode(SALT).decode()}"
    assert [len(base64.b64decode(key)) for key in keys.split(":")] == [32, 32]


def test_a_password_matches_as_the_client_sends_it() -> None:
    assert password_matches("I\u00adX", scram_verifier("IX", SALT))
