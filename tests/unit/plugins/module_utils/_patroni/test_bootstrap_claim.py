# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claim of a bootstrap that was killed is released, and no other."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._patroni import bootstrap_claim

from .answers import ETCD, A, B, World, standing_by


def claim(world: World) -> bootstrap_claim.Claim:
    return bootstrap_claim.Claim(world.fetch, [ETCD], "/service/main", world.clock)


def after_kill(state: str = "stopped") -> World:
    world = World(**standing_by(A, state), **standing_by(B, "stopped"))
    world.keys["/service/main/initialize"] = ("", 7)
    return world


def released(world: World, samples: int = 3) -> bool:
    """Whether the claim is released by samples that lie a grace time apart."""
    found = claim(world)
    for _sample in range(samples):
        found.release_if_orphaned(world.read())
        world.sleep(bootstrap_claim.CLAIM_GRACE)
    return found.released


def test_an_orphaned_claim_is_released_after_the_grace_time() -> None:
    world = after_kill()
    freed = claim(world)
    freed.release_if_orphaned(world.read())
    assert not freed.released
    world.sleep(bootstrap_claim.CLAIM_GRACE)
    freed.release_if_orphaned(world.read())
    assert freed.released
    assert world.keys == {}


@pytest.mark.parametrize("state", ["running custom bootstrap script", "starting", "running", "creating replica"])
def test_a_claim_that_somebody_works_on_stays(state: str) -> None:
    world = after_kill(state)
    assert not released(world, samples=5)
    assert "/service/main/initialize" in world.keys


def test_a_claim_of_a_real_cluster_stays() -> None:
    world = after_kill()
    world.keys["/service/main/initialize"] = ("7711512236566519494", 9)
    assert not released(world)


def test_a_new_claim_gets_its_own_grace_time() -> None:
    world = after_kill()
    kept = claim(world)
    kept.release_if_orphaned(world.read())
    world.sleep(bootstrap_claim.CLAIM_GRACE)
    world.keys["/service/main/initialize"] = ("", 8)
    kept.release_if_orphaned(world.read())
    assert not kept.released


def test_a_leader_key_protects_the_claim() -> None:
    world = after_kill()
    world.keys["/service/main/leader"] = ("pg-b", 8)
    assert not released(world)
    assert "/service/main/initialize" in world.keys


def test_a_silent_cluster_releases_nothing() -> None:
    world = World()
    world.keys["/service/main/initialize"] = ("", 7)
    assert not released(world)
