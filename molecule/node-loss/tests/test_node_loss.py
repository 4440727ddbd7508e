"""A service process killed, then a service host stopped, under load.

No GET may fail. A POST is either acknowledged and stored once, or it failed visibly and can be repeated with its key.
"""

from __future__ import annotations

import estate
import pytest

from demo import orders
from demo.load.background import BackgroundLoad

RATE, READS = 40, 0.5


def judge(run: BackgroundLoad) -> None:
    """What holds after every loss, however many POSTs were in flight."""
    report, verdict = run.report, orders.audit(run)
    print(report.table(), verdict.table(), sep="\n")
    assert report.failed_by_method.get("GET", 0) == 0, report.table()
    assert verdict.clean, verdict.table()
    assert verdict.exactly_once == report.acknowledged
    # A POST that died with its node is visible to the client as a failure, not silently missing.
    assert report.acknowledged + report.failed_by_method.get("POST", 0) == report.sent - gets(run)


def gets(run: BackgroundLoad) -> int:
    """How many GETs the run sent and got answered."""
    return sum(numbers.get("GET", 0) for numbers in run.report.per_node.values())


@pytest.mark.parametrize("retry", ["none", "safe"])
def test_process_killed(retry: str) -> None:
    host, address = next(iter(estate.addresses("mes").items()))
    with orders.load(rate=RATE, reads=READS, duration=60, retry=retry) as run:
        run.wait_for_acknowledged(100)
        estate.on(host, "systemctl kill --signal KILL --kill-whom all mes")
        estate.wait_for(
            lambda: estate.get(f"http://{address}:8080/readyz")[0] == 200, timeout=60, what=f"{host} to serve again"
        )
        run.wait_for_acknowledged(run.acknowledged() + 100)
        run.stop()
    judge(run)
    if retry == "safe":
        assert run.report.failed == 0, run.report.table()


def test_host_stopped() -> None:
    host, address = next(iter(estate.addresses("mes").items()))
    with orders.load(rate=RATE, reads=READS, duration=180) as run:
        run.wait_for_acknowledged(100)
        estate.kill_host(host)
        try:
            run.wait_for_acknowledged(run.acknowledged() + 300, timeout=90)
        finally:
            estate.start_host(host)
        estate.wait_for(
            lambda: estate.get(f"http://{address}:8080/readyz")[0] == 200, timeout=90, what=f"{host} to serve again"
        )
        run.stop()
    judge(run)


def test_both_nodes_serve_again() -> None:
    def served() -> set[str]:
        with orders.load(rate=RATE, reads=READS, count=80) as run:
            run.wait()
        return set(run.report.per_node)

    estate.wait_for(lambda: served() == set(estate.addresses("mes")), timeout=60, what="both nodes to serve again")
