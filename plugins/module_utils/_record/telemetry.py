# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout tells the telemetry of the estate: metrics for Prometheus and one line for the log. No Ansible."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import write_atomically

IDENTIFIER = "mesops-rollout"
"""The name under which the line stands in the journal, and so the unit that dashboards look for."""
LABELS = ("service", "kind", "id", "version")


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, text in labels.items()}
    return f"{name}{{{','.join(f'{key}={chr(34)}{text}{chr(34)}' for key, text in escaped.items())}}} {value:g}\n"


def figures(found: Mapping[str, Any]) -> str:
    """The text file for node_exporter: when the rollout began and ended (seconds since the epoch), and its status."""
    labels = {key: str(found[key]) for key in LABELS}
    status = _sample("mesops_rollout_status", {**labels, "status": str(found["status"])}, 1)
    times = [("started", found["started_at"]), ("ended", found["ended_at"])]
    return status + "".join(
        f"mesops_rollout_{name}_timestamp_seconds{_sample('', labels, 0).rsplit(' ', 1)[0]} {at:.3f}\n"
        for name, at in times
        if at
    )


def line(found: Mapping[str, Any]) -> str:
    """The line for the log, as JSON."""
    told = {"rollout_id" if key == "id" else key: found[key] for key in (*LABELS, "status", "reason", "by")}
    return json.dumps(told, ensure_ascii=False)


def _has_ended(path: str, rollout: str) -> bool:
    """Whether the metrics that are there tell of the end of this rollout."""
    try:
        with open(path, encoding="utf-8") as stream:
            return any("_ended_" in row and f'id="{rollout}"' in row for row in stream)
    except FileNotFoundError:
        return False


def write(directory: str, found: Mapping[str, Any]) -> bool:
    """Replace the metrics of the service in one step; whether there is a place for them.

    Signals are not waited for, so one may arrive after that of the end. The end stays.
    """
    if not os.path.isdir(directory):
        return False
    path = os.path.join(directory, f"{IDENTIFIER}-{found['service']}.prom")
    if not found["ended_at"] and _has_ended(path, str(found["id"])):
        return True
    write_atomically(path, figures(found), 0o644)
    return True
