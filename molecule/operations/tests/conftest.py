# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell to type in, on an estate that serves all the time."""

from __future__ import annotations

from collections.abc import Iterator

import estate
import pytest
import typed

from demo import orders


@pytest.fixture(scope="module")
def shell() -> Iterator[typed.Shell]:
    with typed.Shell(estate.ROOT, estate.environment()) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def load() -> Iterator[None]:
    """Orders come in all the while, and all that were acknowledged are there in the end."""
    with orders.load(rate=20, duration=900, retry="safe", deadline=120) as run:
        run.wait_for_acknowledged(50)
        yield
        run.stop(timeout=150)
    verdict = orders.audit(run)
    assert verdict.clean, verdict.table()
    assert run.report.failed == 0, run.report.table()
