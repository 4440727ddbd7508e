# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a rollout: it fits one screen however big the estate is, and every host is named or counted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan_text import gate_line, plan_text
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies, rollout_gates
from screens import COLUMNS, SERVICE, line_of, names, new_record, screen, settings

GATES: dict[str, Any] = {
    "version": {"stage": "ready", "probe": {"type": "http", "url": "http://127.0.0.1:$port/version"}},
    "order": {"probe": {"type": "http", "url": "http://127.0.0.1/orders", "body": {"a": 1}}, "count": 3, "interval": 2},
    "port": {"probe": {"type": "tcp", "address": "127.0.0.1:$port"}},
    "latency": {"probe": {"type": "haproxy", "measure": "latency"}},
    "bad": {"probe": {"type": "haproxy", "measure": "errors"}, "count": 2, "interval": 3, "timeout": 45},
    "alive": {"probe": {"type": "haproxy"}},
    "orders": {
        "probe": {
            "type": "promql",
            "url": "http://p:9090",
            "query": 'histogram_quantile(0.95,\n sum by (le) (rate(order_seconds_bucket{host=~"$hosts"}[1m])))',
            "baseline": "x",
            "max_ratio": 1.5,
        },
        "timeout": 120,
    },
    "stock": {"probe": {"type": "promql", "url": "http://p:9090", "query": "stock", "min": 5, "max": 100}},
    "replication": {"probe": {"type": "postgres", "endpoints": ["http://pg-1:8008"]}},
}


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        ("ready", "(ready): GET http://127.0.0.1:3000/readyz; 1 good, every 1 s, within 60 s"),
        ("running", "(ready): unit catalog.service runs, 0 restarts; 1 good, every 1 s, within 60 s"),
        ("bad", "(traffic): failed requests compared with the other hosts; 2 good, every 3 s, within 45 s"),
        ("version", "(ready): GET http://127.0.0.1:$port/version; 1 good, every 1 s, within 60 s"),
        ("order", "(traffic): POST http://127.0.0.1/orders; 3 good, every 2 s, within 60 s"),
        ("port", "(traffic): connect to 127.0.0.1:$port; 1 good, every 5 s, within 60 s"),
        ("latency", "(traffic): latency compared with the other hosts; 1 good, every 5 s, within 60 s"),
        ("alive", "(traffic): up at every load balancer; 1 good, every 5 s, within 60 s"),
        ("stock", "(traffic): at least 5 and at most 100: stock; 1 good, every 5 s, within 60 s"),
        ("replication", "(traffic): replication is healthy; 1 good, every 5 s, within 60 s"),
    ],
)
def test_gate_in_a_line(gate: str, text: str) -> None:
    spec = rollout_gates.check_gates(GATES, SERVICE)[gate]
    assert gate_line(spec) == f"  gate        {gate} {text}"


def test_long_query_is_cut_but_not_the_numbers() -> None:
    line = gate_line(rollout_gates.check_gates(GATES, SERVICE)["orders"])
    assert line.startswith("  gate        orders (traffic): at most 1.5 times its baseline: histogram")
    assert line.endswith("…; 1 good, every 5 s, within 120 s")
    assert len(line) <= COLUMNS


def test_plan_says_what_would_happen() -> None:
    hosts = names(3)
    record = new_record(hosts, excluded=["app-9"], kept_out={"lb-1": ["app-2"]})
    wanted = settings(
        hosts,
        {"errors": {"count": 6}},
        excluded=("app-9",),
        min_available="50%",
        drain_deadline=90.0,
        drain_on_timeout="kill",
        min_healthy_time=15.0,
        migrations={"expand": {"command": "bin/up", "reversible": True}, "contract": {"command": "bin/down"}},
    )
    text = plan_text(record, wanted, {}, ["now         ready/app-1: success, ready", "locked      by ops"])
    lines = screen(text)
    assert lines[0] == "Plan: rollout of catalog to 1.5.0, 3 hosts, 3 batches"
    assert line_of(text, "batch 1:") == "batch 1: app-1 1.4.0 -> 1.5.0"
    assert line_of(text, "batch 3:") == "batch 3: app-3 1.4.0 -> 1.5.0"
    assert line_of(text, "balancers") == "balancers   lb-1, lb-2"
    assert line_of(text, "backends") == "backends    catalog, catalog_api"
    assert line_of(text, "capacity") == "capacity    at least 2 of 4 servers stay available at each of them"
    assert line_of(text, "drain") == "drain       at most 90 s, then kill"
    assert line_of(text, "weights") == "weights     10 % -> 100 %, then observed for 15 s"
    assert line_of(text, "expand") == "expand      bin/up (can be undone)"
    assert line_of(text, "contract") == "contract    bin/down (cannot be undone: then failure freezes)"
    assert "; 6 good, every " in line_of(text, "gate        errors")
    assert line_of(text, "excluded") == "excluded    they keep their version: app-9"
    assert line_of(text, "kept out") == "kept out    at lb-1, taken out by somebody else and left so: app-2"
    assert lines[-2:] == ["  now         ready/app-1: success, ready", "  locked      by ops"]


def test_plan_of_a_first_release_and_of_a_manifest() -> None:
    record = new_record(["app-1"])
    record.hosts["app-1"].previous = None
    manifest = {"migrations": {"expand": {"command": "bin/up", "reversible": False}}}
    text = plan_text(record, settings(["app-1"]), manifest, [])
    assert line_of(text, "batch 1:") == "batch 1: app-1 nothing -> 1.5.0"
    assert line_of(text, "expand") == "expand      bin/up (cannot be undone: then failure freezes)"
    # What the inventory says takes the place of what the release says.
    own = settings(["app-1"], migrations={"expand": {"command": "bin/own"}})
    assert line_of(plan_text(record, own, manifest, []), "expand") == "expand      bin/own (can be undone)"


@pytest.mark.parametrize("batches", [(1,), (1, "25%"), ("100%",), (7,)])
@pytest.mark.parametrize("name", ["app-{}", "catalog-node-{}.hall-3.plant.example.com"])
def test_plan_of_fifty_hosts_fits_one_screen(batches: tuple[policies.Share, ...], name: str) -> None:
    hosts = names(50, name)
    many = {f"query-{number}": GATES["orders"] for number in range(20)}
    record = new_record(
        hosts,
        batches,
        excluded=list(names(30, "excluded-{}.hall-3.plant.example.com")),
        kept_out={f"lb-{number}": list(hosts) for number in range(1, 6)},
    )
    record.balancers = list(names(12, "balancer-{}.hall-3.plant.example.com"))
    wanted = settings(
        hosts,
        {**GATES, **many},
        backends=names(12, "catalog_backend_{}"),
        migrations={"expand": {"command": "bin/up " + "x" * 200}, "contract": {"command": "bin/down"}},
    )
    facts = ["now         query: failure, " + "x" * 300] * 40
    text = plan_text(record, wanted, {}, facts)
    screen(text)
    # Every host is either named or counted.
    shown = text.count(" -> 1.5.0")
    counted = sum(map(int, re.findall(r"  batch .*? and (\d+) more$", text.replace("\n           ", " "), re.M)))
    rest = re.search(r"and (\d+) more batches with (\d+) hosts", text)
    assert shown + counted + (int(rest.group(2)) if rest else 0) == 50
    assert re.search(r"and \d+ more gates", text)
    assert re.search(r"and \d+ more samples", text)
    assert re.search(r"excluded .*and \d+ more", text.replace("\n", " "))
    assert "and 3 more load balancers" in text


def test_gate_texts_need_no_more_than_a_type() -> None:
    for kind in ("http", "tcp", "systemd", "haproxy", "promql", "postgres"):
        assert gate_line(GateSpec("x", {"type": kind})).startswith("  gate        x (traffic): ")
