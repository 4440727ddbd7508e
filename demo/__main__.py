# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: seven hosts, the whole estate, real orders, a summary: ``python -m demo up`` and ``down``."""

from __future__ import annotations

import json
import re
import sys

import estate

from demo import orders
from demo.load.audit import Audit
from demo.load.background import BackgroundLoad

ORDERS, RATE = 1000, 40
IMAGE = "mesops/debian-trixie:base"
PARTS = {
    "monitoring": ("Prometheus", "9090/-/ready"),
    "logs": ("Loki", "3100/ready"),
    "traces": ("Tempo", "3200/ready"),
    "dashboards": ("Grafana", "3000/api/health"),
    "etcd": ("etcd member", "2379/health"),
}
"""Groups of which one answer says enough: what runs there, and the port and path that answer."""


def create_hosts() -> None:
    """Seven hosts; those that are there already are kept, those that stand still are started."""
    wanted = {host for hosts in estate.inventory().values() for host in hosts}
    listed = estate.docker("ps", "--all", "--format", "{{.Names}} {{.Image}}").splitlines()
    found = dict(line.split() for line in listed if line.split()[0] in wanted)
    if set(found) == wanted and set(found.values()) == {IMAGE}:
        for host in wanted - set(estate.running_hosts()):
            estate.start_host(host)
        return
    estate.clear(estate.OWNER)
    estate.molecule("create", title="Create seven hosts")


def summary(run: BackgroundLoad, verdict: Audit, recap: estate.Recap) -> str:
    """What a person wants to know, on one screen."""
    leads = estate.leader()
    unwrapped = re.sub(r"\n {8,}", " ", recap.output)
    skipped = dict(re.findall(r"^ +- '?(\w+) is SKIPPED: (.+?)'?$", unwrapped, re.MULTILINE))
    lines = ["", "The demo estate", ""]
    for group, hosts in estate.inventory().items():
        for host, address in hosts.items():
            lines.append(f"  {group:<14} {host:<7} {address:<13} {describe(group, host, address, leads, skipped)}")
    lines += [
        f"  {name} SKIPPED on every host: {reason}"
        for name, reason in skipped.items()
        if name not in {part.lower() for part, _url in PARTS.values()}
    ]
    report = run.report
    served = ", ".join(f"{node} {sum(numbers.values())}" for node, numbers in sorted(report.per_node.items()))
    latency = report.latency_ms.get("POST", {})
    first = next(iter(estate.addresses("loadbalancers").values()))
    lines += [
        "",
        f"  Orders: {report.acknowledged} accepted, {verdict.exactly_once} stored exactly once, {verdict.lost} lost, "
        f"{verdict.doubled} doubled, {report.failed} requests failed",
        f"  Served: {served}; p50 {latency.get('p50', 0):g} ms, p99 {latency.get('p99', 0):g} ms",
        f"  site.yml: {sum(recap.changed().values())} changes on {len(recap.hosts)} hosts",
        "",
        "  Open:   " + "  ".join(f"http://{address}/version" for address in estate.addresses("loadbalancers").values()),
        f"          http://{first}/orders?status=INITIATED&limit=5",
        f"          http://{first}:8404/stats   (user demo, password demo-stats-password)",
        f"          http://{next(iter(estate.addresses('monitoring').values()))}:9090/alerts",
        "  Again:  ansible-playbook -i inventories/demo site.yml     Remove: make demo-down",
        "",
    ]
    return "\n".join(lines)


def describe(group: str, host: str, address: str, leads: str | None, skipped: dict[str, str]) -> str:
    """What one host does right now, asked of the host itself."""
    if group == "loadbalancers":
        version = estate.on(host, "haproxy -v", check=False).split("\n", 1)[0].split(" 20", 1)[0]
        return f"{version}, {estate.on(host, 'systemctl is-active haproxy', check=False).strip()}"
    if group == "mes":
        status, body, _headers = estate.get(f"http://{address}:8080/version")
        return f"MES {json.loads(body)['version']}, serving" if status == 200 else f"MES does not answer: {body}"
    if group == "postgres":
        member = next((member for member in estate.cluster() if member["name"] == host), None)
        if member is None:
            return "unknown to Patroni"
        return f"PostgreSQL, {'leads' if host == leads else 'follows'} ({member['role']}, {member['state']})"
    name, url = PARTS[group]
    status, body, _headers = estate.get(f"http://{address}:{url}")
    if status == 200:
        return f"{name}, ready"
    return f"{name} SKIPPED: {skipped[name.lower()]}" if name.lower() in skipped else f"{name} is not ready: {body}"


def up() -> None:
    """Create, install, deploy, send orders, audit, summarise."""
    create_hosts()
    estate.build_release()
    recap = estate.site()
    estate.wait_for(
        lambda: all(estate.get(f"http://{a}/readyz")[0] == 200 for a in estate.addresses("loadbalancers").values()),
        timeout=60,
        what="the service to answer through both load balancers",
    )
    print(f"==> {ORDERS} orders through both load balancers, {RATE} per second", file=sys.stderr, flush=True)
    with orders.load(orders=ORDERS, rate=RATE) as run:
        run.wait()
    verdict = orders.audit(run)
    print(summary(run, verdict, recap))
    if run.report.failed or not verdict.clean:
        raise estate.EstateError(f"Not every order went well:\n{run.report.table()}\n{verdict.table()}")


def main(arguments: list[str]) -> int:
    """Carry out one command."""
    if arguments not in (["up"], ["down"]):
        print("usage: python -m demo up|down", file=sys.stderr)
        return 2
    try:
        if arguments == ["up"]:
            up()
        else:
            estate.clear(estate.OWNER)
    except estate.EstateError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
