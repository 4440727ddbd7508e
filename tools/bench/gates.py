# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the gate engine: fifty probes in one task, beside fifty `uri` tasks with `until` that ask the same."""

from __future__ import annotations

import json
import statistics
import time

import estate
from bench.shared import table

PROBES, ROUNDS = 50, 3
HOST = "mes-1"
URL = "http://127.0.0.1:8080/readyz"


def plays() -> dict[str, list[dict[str, object]]]:
    """The two playbooks."""
    probe = {"probe": {"type": "http", "url": URL}, "count": 1, "interval": 1, "timeout": 30}
    gate = {
        "name": "Ask all",
        "mesops.platform.health_gate": {"gates": {f"probe_{number}": probe for number in range(PROBES)}},
    }
    asks = [
        {
            "name": f"Ask {number}",
            "ansible.builtin.uri": {"url": URL},
            "register": "asked",
            "until": "asked is succeeded",
            "retries": 30,
            "delay": 1,
        }
        for number in range(PROBES)
    ]
    frame = {"hosts": HOST, "gather_facts": False}
    return {
        "`health_gate`, one task": [{**frame, "tasks": [gate]}],
        f"`uri` with `until`, {PROBES} tasks": [{**frame, "tasks": asks}],
    }


def measure() -> str:
    """Measure on the demo estate as it stands; `make demo` first."""
    directory = estate.BUILD / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {name: [] for name in plays()}
    for _round in range(ROUNDS):
        for number, (name, play) in enumerate(plays().items()):
            path = directory / f"gates-{number}.yml"
            path.write_text(json.dumps(play), encoding="utf-8")
            begin = time.monotonic()
            recap = estate.playbook(path, title=name, log=f"bench/gates-{number}")
            seconds[name].append(time.monotonic() - begin)
            assert recap.status == 0, recap.output[-2000:]
    ours, theirs = seconds.values()
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    rows = [(name, f"{statistics.median(found):.1f}") for name, found in seconds.items()]
    return f"""## {PROBES} probes of one host

Both ask {URL} of one host {PROBES} times and want one good answer each; wall time of the whole
`ansible-playbook`, median of {ROUNDS} rounds.

{table(("how", "seconds"), rows)}

Ratio in the same round: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}).
"""
