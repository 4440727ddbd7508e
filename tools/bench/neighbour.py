# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What any other work on this machine does to the latency of the estate: how to read the ratios of the rollouts.

Controller, load and all hosts share the machine's cores here, as they do not where the platform is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import estate
from bench.rollouts import RATE, READS
from bench.shared import table

from demo import orders
from demo.load import windows

SPAN_S = 45
PERCENTS = (50, 95, 99)


def neighbours(directory: Path) -> dict[str, list[str]]:
    """Work that asks nothing of the estate."""
    play = directory / "neighbour.yml"
    tasks = [{"name": f"Do nothing {number}", "ansible.builtin.command": "true"} for number in range(1000)]
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    return {
        "one busy loop, `nice 19`": ["nice", "-n", "19", "sh", "-c", "while :; do :; done"],
        "an Ansible play for localhost, `true` again and again": [str(estate.BIN / "ansible-playbook"), str(play)],
    }


def measure() -> str:
    """Measure on the demo estate as it stands; `make demo` first."""
    directory = estate.BUILD / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    spans: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
    with orders.load(rate=RATE, reads=READS, count=10_000_000) as run:
        time.sleep(10)
        for name, command in neighbours(directory).items():
            begin = run.now()
            time.sleep(SPAN_S)
            middle = run.now()
            process = subprocess.Popen(
                command,
                env=estate.environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                time.sleep(SPAN_S)
                assert process.poll() is None, f"{name} ended by itself"
                spans[name] = ((begin, middle), (middle, run.now()))
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(5)
        run.stop()
    requests = run.log().requests
    rows = []
    for name, both in spans.items():
        calm, beside = ([windows.latency(requests, percent, *span) for percent in PERCENTS] for span in both)
        cells = [f"{one:.1f} to {other:.1f} ({other / one:.2f})" for one, other in zip(calm, beside, strict=True)]
        rows.append([name, *cells])
    return f"""## What any other work on this machine does to latency

{RATE} requests per second ({READS:.0%} reads) through two load balancers, for {SPAN_S} s alone and then as long
beside work that asks nothing of the estate; in brackets the ratio. The controller of a rollout is such work here;
elsewhere it has a machine of its own. Read the rollouts' ratios on equal terms beside these. `nice` weighs within one
session only, where the kernel groups processes by session (`kernel.sched_autogroup_enabled`), as it does here.

{table(["beside", "p50 ms", "p95 ms", "p99 ms"], rows)}
"""
