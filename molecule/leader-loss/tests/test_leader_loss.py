"""The database leader's host killed under write load: a standby takes over, and nothing acknowledged is lost."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import estate

from demo import orders


def wait_for_another(old: str) -> str:
    """Wait until somebody else leads; until its lease ends, the cluster goes on naming the host that died."""

    def another() -> str | None:
        name = estate.leader()
        return name if name != old else None

    return estate.wait_for(another, timeout=120, what="a standby to take over") or ""


def test_standby_takes_over_and_nothing_acknowledged_is_lost() -> None:
    estate.wait_for(estate.healthy_cluster, timeout=120, what="a leader with a streaming standby")
    old = estate.leader()
    assert old is not None
    with orders.load(rate=30, duration=240, retry="safe", deadline=120) as run:
        run.wait_for_acknowledged(100)
        estate.kill_host(old)
        try:
            new = wait_for_another(old)
            run.wait_for_acknowledged(run.acknowledged() + 200, timeout=120)
        finally:
            estate.start_host(old)
        estate.wait_for(estate.healthy_cluster, timeout=180, what=f"{old} to come back as a standby")
        run.stop(timeout=150)
    verdict = orders.audit(run)
    print(run.report.table(), verdict.table(), sep="\n")
    assert new != old
    assert estate.leader() == new
    assert verdict.clean, verdict.table()
    assert verdict.exactly_once == run.report.acknowledged
    # Repeated with its key through the same two addresses, every order got through in the end.
    assert run.report.failed == 0, run.report.table()


def test_release_gets_no_more_traffic_while_the_leader_is_away() -> None:
    estate.wait_for(estate.healthy_cluster, timeout=120, what="a leader with a streaming standby")
    old = estate.leader()
    assert old is not None
    version = f"1.{int(time.time())}"
    note = estate.build_release(version=version)
    log = estate.BUILD / f"rollout-{version}.log"

    def said(text: str) -> bool:
        return log.exists() and text in log.read_text()

    with orders.load(rate=15, retry="safe", deadline=120, count=1_000_000) as run, ThreadPoolExecutor(1) as pool:
        rollout = pool.submit(estate.roll_out, note, check=False)
        estate.wait_for(lambda: said("in service with 10 %"), timeout=120, what="the first share of traffic")
        estate.kill_host(old)
        try:
            wait_for_another(old)
            more_while_away = said("in service with 100 %")
            recap = rollout.result(timeout=300)
        finally:
            estate.start_host(old)
        estate.wait_for(estate.healthy_cluster, timeout=180, what=f"{old} to come back as a standby")
        run.wait_for_acknowledged(run.acknowledged() + 200, timeout=120)
        if recap.status != 0:
            assert "HALTED" in recap.output, recap.output[-6000:]
            back = estate.playbook("playbooks/rollback.yml", "-e", "rollout_service=mes", log="back", check=False)
            assert back.status == 0, back.output[-6000:]
        run.stop(timeout=150)
    assert not more_while_away, recap.output[-6000:]
    # The outage lasts longer than the gates' first looks, so they must have seen it.
    assert "so there is nothing to compare with" in recap.output, recap.output[-6000:]
    # The baseline failed as well, so nobody may say that the release is worse.
    assert not re.search(r"ROLLED BACK|gate \w+ failed", recap.output), recap.output[-6000:]
    verdict = orders.audit(run)
    assert verdict.clean, verdict.table()
    assert verdict.exactly_once == run.report.acknowledged


def test_site_right_after_a_failover_changes_nothing_and_moves_nobody() -> None:
    before = estate.leader()
    inventory_first = next(iter(estate.addresses("postgres")))
    if before == inventory_first:
        # Make sure that the leader is not the one whom the inventory would have chosen.
        estate.kill_host(inventory_first)
        try:
            wait_for_another(inventory_first)
        finally:
            estate.start_host(inventory_first)
        estate.wait_for(estate.healthy_cluster, timeout=180, what=f"{inventory_first} to come back as a standby")
        before = estate.leader()
    recap = estate.site(log="after-failover")
    assert recap.changed() == {}
    assert estate.leader() == before != inventory_first
