# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, dynamic_config

from .answers import A, B, World

CURRENT = {"ttl": 20, "pause": True, "postgresql": {"use_slots": True, "parameters": {"work_mem": "4MB", "jit": "off"}}}


def test_no_difference_no_patch() -> None:
    assert dynamic_config.merge_patch(CURRENT, copy.deepcopy(CURRENT), ["postgresql.parameters"]) == {}


def test_the_patch_holds_only_what_differs() -> None:
    wanted = {"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB", "jit": "off"}}}
    patch = dynamic_config.merge_patch(CURRENT, wanted, ["postgresql.parameters"])
    assert patch == {"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}}}
    assert dynamic_config.apply_patch(CURRENT, patch)["pause"] is True


def test_keys_that_are_not_named_go_below_purge_only() -> None:
    wanted: dict[str, Any] = {"postgresql": {"parameters": {"jit": "off"}}}
    assert dynamic_config.merge_patch(CURRENT, wanted) == {}
    patch = dynamic_config.merge_patch(CURRENT, wanted, ["postgresql.parameters"])
    assert patch == {"postgresql": {"parameters": {"work_mem": None}}}
    assert dynamic_config.apply_patch(CURRENT, patch)["postgresql"] == {
        "use_slots": True,
        "parameters": {"jit": "off"},
    }


def test_null_removes_and_true_is_not_one() -> None:
    assert dynamic_config.merge_patch({"a": 1, "b": 1}, {"a": None, "b": True, "c": None}) == {
        "a": None,
        "b": True,
    }


def test_the_configuration_comes_from_the_first_member_that_answers() -> None:
    world = World(**{f"GET {B.url}/config": CURRENT})
    assert dynamic_config.read_config(world.fetch, [A, B]) == (B, CURRENT)


def test_a_cluster_without_a_configuration_gets_it_whole() -> None:
    world = World(**{f"GET {A.url}/config": (502, ""), f"PUT {A.url}/config": {}})
    member, current = dynamic_config.read_config(world.fetch, [A])
    dynamic_config.write_config(
        world.fetch, member, current, dynamic_config.merge_patch(current, {"ttl": 20, "gone": None})
    )
    assert world.calls[-1] == ("PUT", f"{A.url}/config", {"ttl": 20})


def test_no_member_no_configuration() -> None:
    with pytest.raises(api.PatroniError, match=r"http://a:8008: Connection refused; http://b:8008: status 503"):
        dynamic_config.read_config(World(**{f"GET {B.url}/config": (503, "")}).fetch, [A, B])


def test_a_wrong_password_is_said_plainly() -> None:
    world = World(**{f"PATCH {A.url}/config": (401, "")})
    with pytest.raises(api.PatroniError, match="refused the user name or password"):
        dynamic_config.write_config(world.fetch, A, CURRENT, {"ttl": 30})


def test_a_change_is_waited_for_until_every_member_looked_twice() -> None:
    world = World(**{f"GET {A.url}/patroni": {"dcs_last_seen": 100}, f"GET {B.url}/patroni": {"dcs_last_seen": 100}})

    def sleep(seconds: float) -> None:
        world.sleep(seconds)
        for member, every in ((A, 5), (B, 3)):
            world.answers[f"GET {member.url}/patroni"] = {"dcs_last_seen": 100 + int(world.now) // every * every}

    dynamic_config.wait_applied(world.fetch, [A, B], timeout=60, interval=1, clock=world.clock, sleep=sleep)
    assert world.now == 10


def test_a_dead_member_does_not_hold_a_change_up() -> None:
    world = World(**{f"GET {A.url}/patroni": {"dcs_last_seen": 100}})
    dynamic_config.wait_applied(world.fetch, [A, B], timeout=7, interval=1, clock=world.clock, sleep=world.sleep)
    assert world.now == 7
