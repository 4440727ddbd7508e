# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy 3.0 and 2.6 count of servers that drop requests or answer none, side by side."""

from __future__ import annotations

import json
from pathlib import Path

from .helpers import agent, each_balancer

STORIES = Path(__file__).parents[1] / "files/traffic.py"


@each_balancer
def test_every_request_counts_once_whatever_becomes_of_it(balancer: str) -> None:
    found = json.loads(agent(balancer, python=STORIES.read_text(encoding="utf-8")))
    well, reloaded = found["well"], found["over a reload"]
    assert [well[name]["good"] for name in ("one", "two")] == [10, 10]
    assert sum(reloaded[name]["good"] for name in reloaded) == 40, "a reload takes nothing and adds nothing"
    assert [well[name]["other"] for name in ("one", "two")] == [0, 0]
    for story in ("refuses", "redirects"):
        assert [found[story][name]["other"] for name in ("one", "two")] == [10, 0]
        assert [found[story][name]["good"] for name in ("one", "two")] == [10, 10]
    hidden = found["empty, tried again"]
    assert hidden["two"]["good"] == 20, "no client has seen anything"
    assert hidden["one"]["failed"] == hidden["one"]["sent"] >= 10
    assert found["empty"]["one"]["failed"] == found["empty"]["one"]["sent"] == 10
    hangs = found["hangs"]["one"]
    assert (hangs["given_up"], hangs["good"], hangs["sent"]) == (10, 0, 10), "their clients have long left"
    for one in (well, reloaded, found["hangs"]):
        assert one["two"]["failed"] == one["two"]["given_up"] == 0
