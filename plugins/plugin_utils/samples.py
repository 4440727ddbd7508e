# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what one or several hosts have sampled for one probe. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils.judge import (
    Counts,
    ErrorLimits,
    LatencyLimits,
    Phase,
    judge_errors,
    judge_latency,
)
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import limits_of
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import SampleRequest, Taken

Counters = Mapping[str, Mapping[str, float]]
"""Server to what was counted of it."""
FAILED_REQUESTS = ("responses_5xx", "connection_errors", "response_errors")


def judge(request: SampleRequest, samples: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Counters]) -> Taken:
    """One judged sample from those of all the hosts that were asked.

    ``reference`` has what each host had counted when the observation began. A host whose sample is no success decides;
    raw samples of all hosts are put together first.
    """
    for host, sample in samples.items():
        if sample["phase"] not in ("success", "raw"):
            text = f"{host}: {sample['text']}" if len(samples) > 1 else str(sample["text"])
            return Taken(Phase(sample["phase"]), text)
    raw = {host: sample["data"] for host, sample in samples.items() if sample["phase"] == "raw"}
    if not raw:
        return Taken(Phase.SUCCESS, "; ".join(dict.fromkeys(str(one["text"]) for one in samples.values())))
    limits = limits_of(request.probe)
    if isinstance(limits, ErrorLimits):
        counted = {host: _since(data["counters"], reference.get(host, {})) for host, data in raw.items()}
        baseline = _count(counted, request.baseline)
        judgement = judge_errors(_count(counted, request.canary), baseline if baseline.total else None, limits)
    else:
        assert isinstance(limits, LatencyLimits)
        canary, others = _latencies(request, raw)
        judgement = judge_latency(canary, others or None, limits)
    return Taken(judgement.phase, judgement.text, judgement.evidence)


def _latencies(request: SampleRequest, raw: Mapping[str, Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    if request.probe.get("range"):
        data = next(iter(raw.values()))
        return list(data["canary"]), list(data["baseline"])

    def values(servers: Sequence[str]) -> list[float]:
        return [value for data in raw.values() for server in servers for value in data.get(server, ())]

    return values(request.canary), values(request.baseline)


def _since(counters: Counters, reference: Counters) -> dict[str, dict[str, float]]:
    """How much counters have grown; one that is smaller than it was began anew, with a new worker."""
    return {
        server: {
            key: value - reference.get(server, {}).get(key, 0)
            if value >= reference.get(server, {}).get(key, 0)
            else value
            for key, value in values.items()
        }
        for server, values in counters.items()
    }


def _count(counted: Mapping[str, Counters], servers: Sequence[str]) -> Counts:
    """Failed requests and all requests of some servers, over all hosts."""
    bad = total = 0
    for counters in counted.values():
        for server in servers:
            values = counters.get(server, {})
            failed = int(sum(values.get(key, 0) for key in FAILED_REQUESTS))
            bad += failed
            total += max(int(values.get("requests", 0)), failed)
    return Counts(bad, total)
