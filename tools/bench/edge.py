# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the edge: throughput of the load balancer with everything on, beside a HAProxy that only passes on."""

from __future__ import annotations

import json
import re
import statistics

import estate
import yaml
from bench.shared import table

ROUNDS, SECONDS, CONNECTIONS = 5, 8, 50
EDGE, SERVERS, CLIENT = "lb-1", "lb-2", "obs-1"
PORTS = (9180, 9181)
BARE_PORT = 9182
DEFAULTS = """global
  stats socket /root/bench-{name}.sock
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
"""


def start(host: str, name: str, sections: str) -> None:
    """Run a HAProxy of our own beside the estate's."""
    config = DEFAULTS.format(name=name) + sections
    path = f"/root/bench-{name}.cfg"
    estate.on(host, f"cat > {path} <<'END'\n{config}END\nhaproxy -D -p /root/bench-{name}.pid -f {path}")


def stop(host: str, name: str) -> None:
    """End it."""
    estate.on(host, f"kill $(cat /root/bench-{name}.pid) && rm -f /root/bench-{name}.*", check=False)


def with_everything() -> str:
    """The edge's variables of the demo, and one more service behind a path."""
    path = estate.INVENTORY / "group_vars" / "loadbalancers.yml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    address = estate.addresses("loadbalancers")[SERVERS]
    servers = [{"name": f"bench-{port}", "address": address, "port": port} for port in PORTS]
    found["haproxy_services"]["bench"] = {"servers": servers, "check": {"path": "/"}}
    found["haproxy_frontends"]["edge"]["routes"].insert(0, {"path": "/bench", "service": "bench"})
    return json.dumps(found)


def throughput(url: str) -> tuple[float, float, int]:
    """Requests per second, p99 in milliseconds, and answers that were no success, of one round."""
    command = f"wrk --threads 1 --connections {CONNECTIONS} --duration {SECONDS}s --latency {url}"
    output = estate.on(CLIENT, command)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    assert rate, output
    assert late, output
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1, "s": 1000}[late[2]], int(bad[1]) if bad else 0


def measure() -> str:
    """Measure on the demo estate as it stands; `make demo` first."""
    address = estate.addresses("loadbalancers")
    estate.on(CLIENT, "apt-get update -q >/dev/null && apt-get install -qy --no-install-recommends wrk >/dev/null")
    answer = "  http-request return status 200 content-type text/plain string ok\n"
    start(SERVERS, "servers", "".join(f"frontend f{port}\n  bind :{port}\n{answer}" for port in PORTS))
    servers = "".join(f"  server s{port} {address[SERVERS]}:{port}\n" for port in PORTS)
    start(EDGE, "bare", f"frontend f\n  bind :{BARE_PORT}\n  default_backend b\nbackend b\n{servers}")
    urls = {
        "a HAProxy that only passes on": f"http://{address[EDGE]}:{BARE_PORT}/bench",
        "this collection's": f"http://{address[EDGE]}/bench",
    }
    rounds: dict[str, list[tuple[float, float, int]]] = {name: [] for name in urls}
    try:
        estate.site("--tags", "haproxy", "-e", with_everything(), log="bench/edge")
        for _round in range(ROUNDS):
            for name, url in urls.items():
                rounds[name].append(throughput(url))
    finally:
        stop(EDGE, "bare")
        stop(SERVERS, "servers")
        estate.site("--tags", "haproxy", log="bench/edge")
    rows = [
        (
            name,
            f"{statistics.median(rate for rate, _late, _bad in found):.0f}",
            f"{statistics.median(late for _rate, late, _bad in found):.1f}",
            sum(bad for _rate, _late, bad in found),
        )
        for name, found in rounds.items()
    ]
    bare, ours = rounds.values()
    ratios = sorted(one[0] / other[0] for one, other in zip(ours, bare, strict=True))
    return f"""## The edge with everything on

{ROUNDS} rounds of {SECONDS} s each, one after the other, {CONNECTIONS} connections that stay open, to two servers that
only answer "ok". Everything on means routes, request ids and traces, JSON access logs that Alloy ships to Loki on the
same machine, metrics, checks, safe retries.

{table(("edge", "requests/s", "p99 ms", "not 200"), rows)}

Ratio of the rates in the same round: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}).
"""
