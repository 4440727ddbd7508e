# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of the reference service on the demo estate: good ones one after the other, and every bad one.

MESOPS_TEST=full makes 20 good rollouts with 100,000 requests and takes every bad release; otherwise 2 with 10,000,
and of the bad ones those that only the numbers show. The scenario rollout has others with its small service; one that
never starts and one with a wrong version are tried only with MESOPS_TEST=full, in both.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

import estate
import pytest

from demo import orders

FULL = os.environ.get("MESOPS_TEST") == "full"
ROLLOUTS, REQUESTS = (20, 100_000) if FULL else (2, 10_000)
RATE, READS = (75 if FULL else 50), 0.8
_numbers = itertools.count(int(time.time()))


def build(*arguments: str) -> tuple[str, Path]:
    """A release that nobody has seen before; its version and its note."""
    version = f"1.{next(_numbers)}"
    return version, estate.build_release(version=version, arguments=arguments)


def roll_out(note: Path, **variables: object) -> estate.Recap:
    """The pipeline's command; it may fail."""
    return estate.roll_out(note, check=False, **variables)


def versions() -> dict[str, str]:
    """What each node says it runs."""
    return {
        host: estate.get_json(f"http://{address}:8080/version")["version"]
        for host, address in estate.addresses("mes").items()
    }


@pytest.fixture(autouse=True)
def _serving() -> None:
    """Every test begins with both nodes in service."""
    estate.wait_for(lambda: len(serving()) == 2, timeout=90, what="both nodes to serve")


def serving() -> set[str]:
    """The nodes that answer through the load balancers."""
    found = set()
    for address in estate.addresses("loadbalancers").values():
        for _request in range(4):
            found.add(estate.get(f"http://{address}/version")[2].get("x-served-by", ""))
    return found - {""}


def test_good_releases_one_after_the_other() -> None:
    notes = [build() for _rollout in range(ROLLOUTS)]
    with orders.load(rate=RATE, reads=READS, count=10_000_000) as run:
        for version, note in notes:
            recap = roll_out(note)
            assert recap.status == 0, recap.output[-6000:]
            assert set(versions().values()) == {version}
        left = REQUESTS / RATE + 1 - run.now()
        estate.wait_for(
            lambda: run.now() * RATE > REQUESTS + RATE, timeout=max(30, left + 30), what=f"{REQUESTS} requests"
        )
        run.stop()
    verdict = orders.audit(run)
    print(run.report.table(), verdict.table(), sep="\n")
    assert run.report.sent >= REQUESTS
    assert run.report.failed == 0, run.report.table()
    assert verdict.clean, verdict.table()
    assert verdict.exactly_once == run.report.acknowledged


# What the builder is told, what may fail at the client (share of the canary's requests), and what the report says.
BAD = {
    "never starts": (["--fault", "never-starts"], 0.0, r"gate ready: mes-1: release \S+ (died|ended|is not ready)"),
    "starts and exits": (["--fault", "exits-after=10"], 0.2, r"gate (running|ready|errors|latency) failed"),
    "never ready": (["--fault", "never-ready"], 0.0, r"gate ready: mes-1: release \S+ is not ready after \d+ s: .*503"),
    "500 on some POSTs": (["--fault", "errors=0.05"], 0.2, r"gate (errors|orders) failed: .* failed"),
    "three times slower": (["--fault", "slow=3"], 0.0, r"gate latency failed: .*p95 is \d+ ms"),
    "wrong version": (["--fault", "wrong-version"], 0.0, r"gate version failed: .*version is '0.0.0-wrong', not '1\."),
    "ignores SIGTERM": (["--fault", "ignores-sigterm"], 0.0, r"gate stops: .*ignored SIGTERM"),
}


ALWAYS = ("500 on some POSTs", "three times slower")


@pytest.mark.parametrize("name", BAD if FULL else ALWAYS)
def test_bad_release_is_rolled_back(name: str) -> None:
    arguments, share, reason = BAD[name]
    before = versions()
    version, note = build(*arguments)
    with orders.load(rate=RATE, reads=0.5 if "POST" in name else READS, count=1_000_000) as run:
        run.wait_for_acknowledged(50)
        # Long enough for an exit after ten seconds, and nobody waits a minute for what never comes.
        recap = roll_out(note, rollout_min_healthy_time=20, mes_ready_timeout=20)
        run.wait_for_acknowledged(run.acknowledged() + 20)
        run.stop()
    said = " ".join(recap.output.split())
    assert recap.status != 0, recap.output[-6000:]
    assert f"ROLLED BACK: rollout of mes to {version}" in said, recap.output[-6000:]
    assert re.search(reason, said), recap.output[-6000:]
    assert versions() == before
    verdict = orders.audit(run)
    print(run.report.table(), verdict.table(), sep="\n")
    assert verdict.clean, verdict.table()
    canary = sum(run.report.per_node.get("mes-1", {}).values())
    assert run.report.failed <= share * canary, run.report.table()
    # The second node never ran it.
    assert f"mes-2  runs {version}" not in recap.output


def test_expand_step_that_fails_drains_nothing() -> None:
    before = versions()
    _version, note = build("--fault", "expand-fails")
    with orders.load(rate=RATE, reads=READS, count=1_000_000) as run:
        recap = roll_out(note)
        run.stop()
    assert recap.status != 0
    assert "expand: 'bin/mes migrate'" in " ".join(recap.output.split())
    assert "  drained" not in recap.output.split("FAILED: rollout")[0]
    assert versions() == before
    assert run.report.failed == 0, run.report.table()


@pytest.mark.parametrize("kind", ["truncated", "checksum"])
def test_corrupt_archive_drains_nothing(kind: str) -> None:
    before = versions()
    _version, note = build("--fault", f"corrupt={kind}")
    recap = roll_out(note)
    assert recap.status != 0
    assert "truncated" in recap.output if kind == "truncated" else "has checksum" in recap.output
    assert "  drained" not in recap.output.split("FAILED: rollout")[0]
    assert versions() == before
