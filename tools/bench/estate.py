# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the estate: wall time, tasks, orders under load, the write gap of a failover."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import estate
from bench.shared import table

from demo import orders

FAILOVERS = 5
ORDERS, RATE = 10_000, 120
CLONE = estate.BUILD / "bench" / "clone"


def timed_demo(title: str) -> float:
    """Wall time of `make demo` in the clone, in seconds."""
    begin = time.monotonic()
    estate.step(title, ["make", "-C", CLONE, "demo"], log=estate.BUILD / "bench" / f"{title.replace(' ', '-')}.log")
    return time.monotonic() - begin


def fresh_clone() -> None:
    """A clone without an environment, no hosts and no base image: what a new user has, but for the engine."""
    shutil.rmtree(CLONE, ignore_errors=True)
    CLONE.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", str(estate.ROOT), str(CLONE)], check=True)
    estate.clear(estate.OWNER)
    estate.docker("rmi", "--force", "mesops/debian-trixie:base", check=False)


def timed_site(title: str, *arguments: str) -> tuple[float, estate.Recap]:
    """Wall time and recap of one run of site.yml."""
    begin = time.monotonic()
    recap = estate.site(*arguments, title=title, log=f"bench/{title.replace(' ', '-')}")
    return time.monotonic() - begin, recap


def failover() -> tuple[float, int, int]:
    """Kill the leader's host under write load: the longest write gap in seconds, acknowledged orders, lost orders."""
    estate.wait_for(estate.healthy_cluster, timeout=180, what="a synchronous standby")
    old = estate.leader() or ""
    with orders.load(rate=20, duration=300, retry="safe", deadline=120) as run:
        run.wait_for_acknowledged(60)
        estate.kill_host(old)
        try:
            estate.wait_for(lambda: estate.leader() not in (None, old), timeout=120, what="a standby to take over")
            run.wait_for_acknowledged(run.acknowledged() + 100, timeout=120)
        finally:
            estate.start_host(old)
        estate.wait_for(estate.healthy_cluster, timeout=180, what=f"{old} to come back as a standby")
        run.stop(timeout=150)
    verdict = orders.audit(run)
    return run.report.longest_write_gap_s, verdict.acknowledged, verdict.lost + verdict.doubled


def measure() -> str:
    """Measure in the order that disturbs least."""
    fresh_clone()
    cold = timed_demo("make demo, cold")
    warm = timed_demo("make demo, warm")
    check, _ = timed_site("site.yml --check", "--check", "--diff")
    nothing, recap = timed_site("site.yml, nothing to change")
    with orders.load(orders=ORDERS, rate=RATE) as run:
        print(f"==> {ORDERS} orders", file=sys.stderr, flush=True)
        run.wait(timeout=900)
    verdict, report = orders.audit(run), run.report
    gaps = [failover() for _ in range(FAILOVERS)]
    after, after_recap = timed_site("site.yml after a failover")

    tasks: list[list[object]] = [
        [host, counters["ok"], counters["skipped"], counters["changed"]]
        for host, counters in sorted(recap.hosts.items())
    ]
    latency = report.latency_ms["POST"]
    return f"""## Wall time

{
        table(
            ["what", "seconds"],
            [
                ["`make demo`, cold: fresh clone, no environment, no base image, no hosts", f"{cold:.0f}"],
                ["`make demo`, warm: the second time", f"{warm:.0f}"],
                ["`site.yml --check --diff`, nothing to change", f"{check:.0f}"],
                ["`site.yml`, nothing to change", f"{nothing:.0f}"],
                [
                    f"`site.yml` right after a failover, {sum(after_recap.changed().values())} changes",
                    f"{after:.0f}",
                ],
            ],
        )
    }

## Tasks per host, nothing to change

Tasks of every kind, assertions and inclusions (which cost nothing on the host) among them.

{table(["host", "run", "skipped", "changed"], tasks)}

## {ORDERS:,} orders through both load balancers, {RATE} per second

{
        table(
            ["acknowledged", "failed", "stored exactly once", "lost", "doubled", "p50 ms", "p95 ms", "p99 ms"],
            [
                [
                    report.acknowledged,
                    report.failed,
                    verdict.exactly_once,
                    verdict.lost,
                    verdict.doubled,
                    latency["p50"],
                    latency["p95"],
                    latency["p99"],
                ]
            ],
        )
    }

Latency counts from the scheduled start of each order, so stalls show.

## Write gap when the database leader's host is killed

The longest time without an acknowledged order, under 20 orders per second. Of that, up to 20 s are the dead leader's
lock (`postgres_ttl`), the least that Patroni takes.

{
        table(
            ["run", "write gap, s", "orders acknowledged", "lost or doubled"],
            [[number, f"{gap:.1f}", acknowledged, lost] for number, (gap, acknowledged, lost) in enumerate(gaps, 1)],
        )
    }
"""
