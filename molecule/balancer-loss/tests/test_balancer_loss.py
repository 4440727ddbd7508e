"""One load balancer stopped under load: a client that knows both addresses loses nothing."""

from __future__ import annotations

import estate
import pytest

from demo import orders


@pytest.mark.parametrize("host", estate.addresses("loadbalancers"))
def test_balancer_stopped(host: str) -> None:
    address = estate.addresses("loadbalancers")[host]
    with orders.load(rate=40, reads=0.5, duration=180, retry="safe") as run:
        run.wait_for_acknowledged(100)
        estate.kill_host(host)
        try:
            run.wait_for_acknowledged(run.acknowledged() + 300, timeout=90)
        finally:
            estate.start_host(host)
        estate.wait_for(
            lambda: estate.get(f"http://{address}/readyz")[0] == 200, timeout=90, what=f"{host} to serve again"
        )
        run.wait_for_acknowledged(run.acknowledged() + 100, timeout=60)
        run.stop()
    verdict = orders.audit(run)
    print(run.report.table(), verdict.table(), sep="\n")
    assert run.report.retried > 0, "the load never met the stopped load balancer"
    assert run.report.failed == 0, run.report.table()
    assert verdict.clean, verdict.table()
    assert verdict.exactly_once == run.report.acknowledged
