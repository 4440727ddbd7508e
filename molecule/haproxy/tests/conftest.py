# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test begins with all servers up."""

from __future__ import annotations

from functools import partial

import pytest

from .helpers import BALANCERS, up, wait_until


@pytest.fixture(autouse=True)
def _all_up() -> None:
    for balancer in BALANCERS:
        wait_until(partial(up, balancer, "catalog"), f"{balancer}: every catalog server is up")
