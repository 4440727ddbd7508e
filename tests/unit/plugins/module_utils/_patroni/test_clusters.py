# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, clusters

from .answers import STREAMING, A, B, World, leading, standing_by


@pytest.mark.parametrize("role", ["primary", "master"])
def test_a_healthy_pair_of_either_patroni_release(role: str) -> None:
    cluster = World(**leading(A, STREAMING, role=role), **standing_by(B)).read()
    assert (cluster.leader, cluster.streaming, cluster.synchronous) == ("pg-a", ["pg-b"], ["pg-b"])
    assert clusters.verdict(cluster, ["pg-a", "pg-b"], synchronous=True) == ""


def test_a_standby_that_only_runs_does_not_stream() -> None:
    cluster = World(**leading(A, {**STREAMING, "state": "catchup"}), **standing_by(B, "running")).read()
    assert clusters.verdict(cluster, ["pg-b"], synchronous=False) == (
        "pg-a leads, but these members do not stream from it: pg-b (state running, not streaming)"
    )


def test_a_silent_member_is_missing_and_named() -> None:
    cluster = World(**leading(A)).read()
    assert cluster.missing(["pg-a", "pg-b"]) == ["pg-b"]
    assert "pg-b (no answer from http://b:8008: Connection refused)" in clusters.verdict(cluster, ["pg-b"], False)
    assert clusters.verdict(cluster, [], synchronous=True) == ""


def test_a_primary_without_the_lock_is_no_leader() -> None:
    answers = leading(A)
    answers[f"GET {A.url}/primary"] = (503, {})
    cluster = World(**answers, **standing_by(B)).read()
    assert cluster.leader == ""
    assert clusters.verdict(cluster, [], False) == "No member leads: pg-a (running), pg-b (running)"


def test_two_primaries_are_never_good() -> None:
    cluster = World(**leading(A), **leading(B)).read()
    assert clusters.verdict(cluster, [], False) == "More than one member runs as primary: pg-a, pg-b"


def test_synchronous_is_waited_for_when_asked() -> None:
    cluster = World(**leading(A, {**STREAMING, "sync_state": "async"}), **standing_by(B)).read()
    assert clusters.verdict(cluster, ["pg-b"], synchronous=False) == ""
    assert "none of its standbys is synchronous yet: pg-b" in clusters.verdict(cluster, ["pg-b"], synchronous=True)


def test_the_wait_ends_when_the_cluster_is_ready() -> None:
    world = World(**standing_by(B))

    def meanwhile(_cluster: clusters.Cluster) -> None:
        if world.now >= 3:
            world.answers.update(leading(A, STREAMING))

    cluster = clusters.wait_cluster(
        world.read,
        lambda seen: clusters.verdict(seen, ["pg-b"], True),
        timeout=10,
        interval=1,
        clock=world.clock,
        sleep=world.sleep,
        meanwhile=meanwhile,
    )
    assert cluster.leader == "pg-a"
    assert world.now == 4


def test_the_wait_gives_up_with_the_last_reason() -> None:
    world = World(**standing_by(A))
    with pytest.raises(api.PatroniError, match=r"No member leads: pg-a \(running\), pg-b .*Waited 5 s\."):
        clusters.wait_cluster(
            world.read,
            lambda seen: clusters.verdict(seen, [], False),
            timeout=5,
            interval=1,
            clock=world.clock,
            sleep=world.sleep,
        )
    assert world.now == 5


def test_the_leader_restarts_last() -> None:
    cluster = clusters.Cluster(leader="pg-a", pending_restart=["pg-a", "pg-c", "pg-b"])
    assert clusters.restart_order(cluster) == ["pg-b", "pg-c", "pg-a"]


def test_restart_answers() -> None:
    done = World(**{f"POST {A.url}/restart": (200, "restarted successfully")})
    assert clusters.restart(done.fetch, A)
    assert done.calls == [("POST", f"{A.url}/restart", {"restart_pending": True})]
    idle = World(**{f"POST {A.url}/restart": (503, "restart conditions are not satisfied")})
    assert not clusters.restart(idle.fetch, A)
    broken = World(**{f"POST {A.url}/restart": (503, "restart failed")})
    with pytest.raises(api.PatroniError, match=r"pg-a did not restart PostgreSQL .status 503.: restart failed"):
        clusters.restart(broken.fetch, A)
