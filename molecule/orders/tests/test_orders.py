"""10,000 orders at a steady rate through both load balancers: all acknowledged, each stored exactly once."""

from __future__ import annotations

import estate

from demo import orders

ORDERS, RATE = 10_000, 120


def test_ten_thousand_orders() -> None:
    with orders.load(orders=ORDERS, rate=RATE) as run:
        run.wait(timeout=900)
    verdict = orders.audit(run)
    report = run.report
    print(report.table(), verdict.table(), sep="\n")
    assert (report.acknowledged, report.failed) == (ORDERS, 0), report.table()
    assert (verdict.exactly_once, verdict.lost, verdict.doubled) == (ORDERS, 0, 0), verdict.table()
    assert set(report.per_node) == set(estate.addresses("mes"))
    assert all(numbers["POST"] > ORDERS / 10 for numbers in report.per_node.values())
    assert len(report.per_target) == len(estate.addresses("loadbalancers"))
