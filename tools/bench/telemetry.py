# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the telemetry: tasks per host beside the field's, and what watching costs in memory and processor."""

from __future__ import annotations

import re
import time
import urllib.parse
from pathlib import Path

import estate
from bench.shared import table

from demo import orders

HOST, PLAIN = "obs-1", "lb-1"
"""Where the servers run, and a host with no other exporter than node_exporter."""
# Leaf tasks per host, skipped ones included, counted in the source of prometheus.prometheus 0.30 (P) and
# grafana.grafana 6.1.0 (G); see docs/telemetry.md.
FIELD = {
    "prometheus": ("P", 53),
    "alertmanager": ("P", 53),
    "exporter": ("P", 41),
    "grafana": ("G", 72),
    "alloy": ("G", 30),
    "loki": ("G", 23),
    "tempo": ("G", 17),
}
INCLUSIONS = ("Install the packages of", "List the installed packages", "Install what the list lacks")
IDLE, LOADED, RATE = 120, 120, 50
JOBS = ("node", "postgres", "alloy", "prometheus", "alertmanager", "loki", "tempo", "grafana")


def leaf_tasks(role: str) -> int:
    """Tasks that one run of a role has for a host, skipped ones included.

    Inclusions are none, and neither is the validation of arguments that Ansible itself inserts.
    """
    host = PLAIN if role == "exporter" else HOST
    arguments = ("--tags", role, "--limit", host)
    estate.site(*arguments, title=f"site.yml --tags {role}, nothing to change", log=f"bench/telemetry-{role}")
    text = (estate.BUILD / "bench" / f"telemetry-{role}.log").read_text(encoding="utf-8")
    play = text.rpartition(f"PLAY [{PLAYS[role]}")[2].split("\nPLAY ", 1)[0]
    tasks = re.findall(r"^TASK \[\S+ : (.+?)\] \*", play, re.MULTILINE)
    return len([name for name in tasks if not name.startswith(("Validating arguments", *INCLUSIONS))])


PLAYS = {
    "prometheus": "Keep metrics",
    "alertmanager": "Notify people",
    "exporter": "Measure every host",
    "grafana": "Show it",
    "alloy": "Ship logs",
    "loki": "Keep logs",
    "tempo": "Keep traces",
}


def ask(expression: str) -> dict[tuple[str, str], float]:
    """What Prometheus says now, by job and host."""
    address = next(iter(estate.addresses("monitoring").values()))
    url = f"http://{address}:9090/api/v1/query?query={urllib.parse.quote(expression)}"
    found = estate.get_json(url)["data"]["result"]
    return {(one["metric"]["job"], one["metric"]["instance"]): float(one["value"][1]) for one in found}


def cost(seconds: int) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """Resident memory in MiB and cores in use, over the last seconds."""
    names = "|".join(JOBS)
    memory = ask(f'avg_over_time(process_resident_memory_bytes{{job=~"{names}"}}[{seconds}s]) / 1048576')
    cores = ask(f'rate(process_cpu_seconds_total{{job=~"{names}"}}[{seconds}s])')
    return memory, cores


def measure() -> str:
    """Measure on the demo estate as it stands; `make demo` first."""
    counts = {role: leaf_tasks(role) for role in FIELD}
    time.sleep(IDLE)
    idle = cost(IDLE - 20)
    with orders.load(duration=LOADED, rate=RATE, reads=0.5) as run:
        run.wait()
    loaded = cost(LOADED - 20)
    rows = [
        (role, counts[role], f"{field} ({who})", f"{counts[role] / field:.2f}") for role, (who, field) in FIELD.items()
    ]
    total = sum(counts.values()), sum(field for _who, field in FIELD.values())
    rows.append(("together", total[0], str(total[1]), f"{total[0] / total[1]:.2f}"))
    own = len(re.findall(r"^\s*- name:", Path(estate.ROOT / "roles/daemon/tasks/run.yml").read_text(), re.MULTILINE))
    kinds = ((idle[0], ".0f"), (idle[1], ".3f"), (loaded[0], ".0f"), (loaded[1], ".3f"))
    parts = [
        (job, host, *(format(kind.get((job, host), 0), form) for kind, form in kinds)) for job, host in sorted(idle[0])
    ]
    sums = [
        (
            host,
            *(format(sum(value for (_job, one), value in kind.items() if one == host), form) for kind, form in kinds),
        )
        for host in sorted({host for _job, host in idle[0]})
    ]
    head = ("MiB idle", "cores idle", "MiB loaded", "cores loaded")
    return f"""## Telemetry: tasks, memory, processor

### Tasks per host

Leaf tasks of each role for {HOST}, skipped ones included, beside a static count of the field's roles for the same
component: P is prometheus.prometheus 0.30, G is grafana.grafana 6.1.0. All roles here share one file of {own} tasks.
The exporter is node_exporter on {PLAIN}, in both.

{table(("role", "tasks", "the field's", "ratio"), rows)}

### What watching costs

On the demo estate: nothing but checks and scrapes for {IDLE} s, then {RATE} requests per second for {LOADED} s.

{table(("host", *head), sums)}

{table(("part", "host", *head), parts)}
"""
