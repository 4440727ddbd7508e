# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test begins with an estate that is in service, whatever the one before has left."""

from __future__ import annotations

from collections.abc import Iterator

import estate
import pytest
from helpers import Command, bad_in_service, in_service, new_version, roll_out, unfinished

PATIENCE = 30


@pytest.fixture(autouse=True)
def _healthy() -> Iterator[None]:
    # A test that failed half-way: what it left is reverted, and a good release brings back whoever stayed out.
    if unfinished():
        Command("rollback").end()
    try:
        estate.wait_for(in_service, timeout=PATIENCE, what="an estate in service")
        whole = not bad_in_service()
    except estate.EstateError:
        whole = False
    if not whole:
        command = roll_out(new_version(), rollout_min_available=0)
        assert command.end() == 0, command.said
        estate.wait_for(in_service, timeout=PATIENCE, what="an estate in service")
    yield
    Command.end_all()
