# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._patroni import api

A = api.Member("pg-a", "http://a:8008")
B = api.Member("pg-b", "http://b:8008")
ETCD = "http://etcd:2379"
STREAMING = {"application_name": "pg-b", "state": "streaming", "sync_state": "sync"}


class World:
    """A Patroni cluster and an etcd that answer from dictionaries, and a clock that only sleep moves."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = dict(answers)
        self.keys: dict[str, tuple[str, int]] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.now = 0.0

    def fetch(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        self.calls.append((method, url, body))
        if url.startswith(ETCD):
            return 200, self.etcd(url, body or {})
        answer = self.answers.get(f"{method} {url}", OSError("Connection refused"))
        if isinstance(answer, Exception):
            raise answer
        status, payload = answer if isinstance(answer, tuple) else (200, answer)
        return status, copy.deepcopy(payload)

    def etcd(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if url.endswith("/range"):
            name = base64.b64decode(body["key"]).decode()
            if name not in self.keys:
                return {}
            value, revision = self.keys[name]
            entry: dict[str, Any] = {"key": body["key"], "mod_revision": str(revision)}
            if value:
                entry["value"] = base64.b64encode(value.encode()).decode()
            return {"kvs": [entry]}
        for compare in body["compare"]:
            name = base64.b64decode(compare["key"]).decode()
            if compare["target"] == "VERSION" and name in self.keys:
                return {}
            if compare["target"] == "MOD" and str(self.keys[name][1]) != compare["mod_revision"]:
                return {}
        del self.keys[base64.b64decode(body["success"][0]["request_delete_range"]["key"]).decode()]
        return {"succeeded": True}

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> api.Cluster:
        return api.read_cluster(self.fetch, [A, B])


def leading(member: api.Member, *standbys: Mapping[str, Any], role: str = "primary") -> dict[str, Any]:
    return {
        f"GET {member.url}/patroni": {"role": role, "state": "running", "replication": list(standbys)},
        f"GET {member.url}/primary": {},
    }


def standing_by(member: api.Member, state: str = "running") -> dict[str, Any]:
    return {f"GET {member.url}/patroni": {"role": "replica", "state": state}}


@pytest.mark.parametrize("role", ["primary", "master"])
def test_a_healthy_pair_of_either_patroni_release(role: str) -> None:
    cluster = World(**leading(A, STREAMING, role=role), **standing_by(B)).read()
    assert (cluster.leader, cluster.streaming, cluster.synchronous) == ("pg-a", ["pg-b"], ["pg-b"])
    assert api.verdict(cluster, ["pg-a", "pg-b"], synchronous=True) == ""


def test_a_standby_that_only_runs_does_not_stream() -> None:
    cluster = World(**leading(A, {**STREAMING, "state": "catchup"}), **standing_by(B, "running")).read()
    assert api.verdict(cluster, ["pg-b"], synchronous=False) == (
        "pg-a leads, but these members do not stream from it: pg-b (state running, not streaming)"
    )


def test_a_silent_member_is_missing_and_named() -> None:
    cluster = World(**leading(A)).read()
    assert cluster.missing(["pg-a", "pg-b"]) == ["pg-b"]
    assert "pg-b (no answer from http://b:8008: Connection refused)" in api.verdict(cluster, ["pg-b"], False)
    assert api.verdict(cluster, [], synchronous=True) == ""


def test_a_primary_without_the_lock_is_no_leader() -> None:
    answers = leading(A)
    answers[f"GET {A.url}/primary"] = (503, {})
    cluster = World(**answers, **standing_by(B)).read()
    assert cluster.leader == ""
    assert api.verdict(cluster, [], False) == "No member leads: pg-a (running), pg-b (running)"


def test_two_primaries_are_never_good() -> None:
    cluster = World(**leading(A), **leading(B)).read()
    assert api.verdict(cluster, [], False) == "More than one member runs as primary: pg-a, pg-b"


def test_synchronous_is_waited_for_when_asked() -> None:
    cluster = World(**leading(A, {**STREAMING, "sync_state": "async"}), **standing_by(B)).read()
    assert api.verdict(cluster, ["pg-b"], synchronous=False) == ""
    assert "none of its standbys is synchronous yet: pg-b" in api.verdict(cluster, ["pg-b"], synchronous=True)


def test_the_wait_ends_when_the_cluster_is_ready() -> None:
    world = World(**standing_by(B))

    def meanwhile(_cluster: api.Cluster) -> None:
        if world.now >= 3:
            world.answers.update(leading(A, STREAMING))

    cluster = api.wait_cluster(
        world.read,
        lambda seen: api.verdict(seen, ["pg-b"], True),
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
        api.wait_cluster(
            world.read,
            lambda seen: api.verdict(seen, [], False),
            timeout=5,
            interval=1,
            clock=world.clock,
            sleep=world.sleep,
        )
    assert world.now == 5


# --- the claim ----------------------------------------------------------------------------------------------


def claim(world: World) -> api.Claim:
    return api.Claim(world.fetch, [ETCD], "/service/main", world.clock)


def after_kill(state: str = "stopped") -> World:
    world = World(**standing_by(A, state), **standing_by(B, "stopped"))
    world.keys["/service/main/initialize"] = ("", 7)
    return world


def test_an_orphaned_claim_is_released_after_the_grace_time() -> None:
    world = after_kill()
    freed = claim(world)
    freed.release_if_orphaned(world.read())
    assert not freed.released
    world.sleep(api.CLAIM_GRACE)
    freed.release_if_orphaned(world.read())
    assert freed.released
    assert world.keys == {}


@pytest.mark.parametrize("state", ["running custom bootstrap script", "starting", "running", "creating replica"])
def test_a_claim_that_somebody_works_on_stays(state: str) -> None:
    world = after_kill(state)
    kept = claim(world)
    for _sample in range(5):
        kept.release_if_orphaned(world.read())
        world.sleep(api.CLAIM_GRACE)
    assert not kept.released
    assert "/service/main/initialize" in world.keys


def test_a_claim_of_a_real_cluster_stays() -> None:
    world = after_kill()
    world.keys["/service/main/initialize"] = ("7711512236566519494", 9)
    kept = claim(world)
    for _sample in range(3):
        kept.release_if_orphaned(world.read())
        world.sleep(api.CLAIM_GRACE)
    assert not kept.released


def test_a_new_claim_gets_its_own_grace_time() -> None:
    world = after_kill()
    kept = claim(world)
    kept.release_if_orphaned(world.read())
    world.sleep(api.CLAIM_GRACE)
    world.keys["/service/main/initialize"] = ("", 8)
    kept.release_if_orphaned(world.read())
    assert not kept.released


def test_a_leader_key_protects_the_claim() -> None:
    world = after_kill()
    world.keys["/service/main/leader"] = ("pg-b", 8)
    kept = claim(world)
    for _sample in range(3):
        kept.release_if_orphaned(world.read())
        world.sleep(api.CLAIM_GRACE)
    assert not kept.released
    assert "/service/main/initialize" in world.keys


def test_a_silent_cluster_releases_nothing() -> None:
    world = World()
    world.keys["/service/main/initialize"] = ("", 7)
    kept = claim(world)
    for _sample in range(3):
        kept.release_if_orphaned(world.read())
        world.sleep(api.CLAIM_GRACE)
    assert not kept.released


# --- dynamic configuration ----------------------------------------------------------------------------------

CURRENT = {"ttl": 20, "pause": True, "postgresql": {"use_slots": True, "parameters": {"work_mem": "4MB", "jit": "off"}}}


def test_no_difference_no_patch() -> None:
    assert api.merge_patch(CURRENT, copy.deepcopy(CURRENT), ["postgresql.parameters"]) == {}


def test_the_patch_holds_only_what_differs() -> None:
    wanted = {"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB", "jit": "off"}}}
    patch = api.merge_patch(CURRENT, wanted, ["postgresql.parameters"])
    assert patch == {"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}}}
    assert api.apply_patch(CURRENT, patch)["pause"] is True


def test_keys_that_are_not_named_go_below_purge_only() -> None:
    wanted: dict[str, Any] = {"postgresql": {"parameters": {"jit": "off"}}}
    assert api.merge_patch(CURRENT, wanted) == {}
    patch = api.merge_patch(CURRENT, wanted, ["postgresql.parameters"])
    assert patch == {"postgresql": {"parameters": {"work_mem": None}}}
    assert api.apply_patch(CURRENT, patch)["postgresql"] == {"use_slots": True, "parameters": {"jit": "off"}}


def test_null_removes_and_true_is_not_one() -> None:
    assert api.merge_patch({"a": 1, "b": 1}, {"a": None, "b": True, "c": None}) == {"a": None, "b": True}


def test_the_configuration_comes_from_the_first_member_that_answers() -> None:
    world = World(**{f"GET {B.url}/config": CURRENT})
    assert api.read_config(world.fetch, [A, B]) == (B, CURRENT)


def test_a_cluster_without_a_configuration_gets_it_whole() -> None:
    world = World(**{f"GET {A.url}/config": (502, ""), f"PUT {A.url}/config": {}})
    member, current = api.read_config(world.fetch, [A])
    api.write_config(world.fetch, member, current, api.merge_patch(current, {"ttl": 20, "gone": None}))
    assert world.calls[-1] == ("PUT", f"{A.url}/config", {"ttl": 20})


def test_no_member_no_configuration() -> None:
    with pytest.raises(api.PatroniError, match=r"http://a:8008: Connection refused; http://b:8008: status 503"):
        api.read_config(World(**{f"GET {B.url}/config": (503, "")}).fetch, [A, B])


def test_a_wrong_password_is_said_plainly() -> None:
    world = World(**{f"PATCH {A.url}/config": (401, "")})
    with pytest.raises(api.PatroniError, match="refused the user name or password"):
        api.write_config(world.fetch, A, CURRENT, {"ttl": 30})


def test_a_change_is_waited_for_until_every_member_looked_twice() -> None:
    world = World(**{f"GET {A.url}/patroni": {"dcs_last_seen": 100}, f"GET {B.url}/patroni": {"dcs_last_seen": 100}})

    def sleep(seconds: float) -> None:
        world.sleep(seconds)
        for member, every in ((A, 5), (B, 3)):
            world.answers[f"GET {member.url}/patroni"] = {"dcs_last_seen": 100 + int(world.now) // every * every}

    api.wait_applied(world.fetch, [A, B], timeout=60, interval=1, clock=world.clock, sleep=sleep)
    assert world.now == 10


def test_a_dead_member_does_not_hold_a_change_up() -> None:
    world = World(**{f"GET {A.url}/patroni": {"dcs_last_seen": 100}})
    api.wait_applied(world.fetch, [A, B], timeout=7, interval=1, clock=world.clock, sleep=world.sleep)
    assert world.now == 7


# --- restart ------------------------------------------------------------------------------------------------


def test_the_leader_restarts_last() -> None:
    cluster = api.Cluster(leader="pg-a", pending_restart=["pg-a", "pg-c", "pg-b"])
    assert api.restart_order(cluster) == ["pg-b", "pg-c", "pg-a"]


def test_restart_answers() -> None:
    done = World(**{f"POST {A.url}/restart": (200, "restarted successfully")})
    assert api.restart(done.fetch, A)
    assert done.calls == [("POST", f"{A.url}/restart", {"restart_pending": True})]
    idle = World(**{f"POST {A.url}/restart": (503, "restart conditions are not satisfied")})
    assert not api.restart(idle.fetch, A)
    broken = World(**{f"POST {A.url}/restart": (503, "restart failed")})
    with pytest.raises(api.PatroniError, match=r"pg-a did not restart PostgreSQL .status 503.: restart failed"):
        api.restart(broken.fetch, A)
