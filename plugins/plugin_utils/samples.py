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
from ansible_collections.mesops.platform.plugins.module_utils.probes import RAW, SUCCESS
from ansible_collections.mesops.platform.plugins.module_utils.rollout_plan import limits_of
from ansible_collections.mesops.platform.plugins.module_utils.rollout_world import SampleRequest, Taken

Counters = Mapping[str, Mapping[str, float]]
"""Server to what was counted of it."""
FAILED_REQUESTS = ("responses_5xx", "connection_errors", "response_errors")
COUNTED = ("requests", *FAILED_REQUESTS)
WORST_FIRST = (Phase.FAILURE, Phase.ERROR, Phase.INCONCLUSIVE, Phase.NO_DATA)
"""What a host may say that is no success."""


def judge(request: SampleRequest, samples: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Counters]) -> Taken:
    """One judged sample from those of all the hosts that were asked.

    ``reference`` has what each host had counted when the observation began. A host whose sample is no success decides,
    and of several the worst; raw samples of all hosts are put together first.
    """
    bad = {host: sample for host, sample in samples.items() if sample["phase"] not in (SUCCESS, RAW)}
    if bad:
        phases = {host: _phase(sample["phase"]) for host, sample in bad.items()}
        worst = min(phases.values(), key=WORST_FIRST.index)
        texts = {host: str(sample["text"]) for host, sample in bad.items() if phases[host] is worst}
        return Taken(worst, "; ".join(f"{host}: {why}" if len(samples) > 1 else why for host, why in texts.items()))
    raw = {host: sample["data"] for host, sample in samples.items() if sample["phase"] == RAW}
    if not raw:
        if not samples:
            return Taken(Phase.NO_DATA, "nobody was asked")
        return Taken(Phase.SUCCESS, "; ".join(dict.fromkeys(str(one["text"]) for one in samples.values())))
    limits = limits_of(request.probe)
    if isinstance(limits, ErrorLimits):
        counted = {host: _failures(data, reference.get(host, {})) for host, data in raw.items()}
        baseline = _count(counted, request.baseline)
        judgement = judge_errors(_count(counted, request.canary), baseline if baseline.total else None, limits)
    elif isinstance(limits, LatencyLimits):
        canary, others = _latencies(request, raw)
        judgement = judge_latency(canary, others or None, limits)
    else:
        return Taken(Phase.ERROR, f"a probe of type {request.probe.get('type')} gave numbers that nobody judges")
    return Taken(judgement.phase, judgement.text, judgement.evidence)


def _phase(word: str) -> Phase:
    """A phase that is no success; a word that nobody knows is an error."""
    return next((one for one in WORST_FIRST if one.value == word), Phase.ERROR)


def _latencies(request: SampleRequest, raw: Mapping[str, Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    if request.probe.get("range"):
        data = next(iter(raw.values()))
        return list(data["canary"]), list(data["baseline"])

    def values(servers: Sequence[str]) -> list[float]:
        return [value for data in raw.values() for server in servers for value in data.get(server, ())]

    return values(request.canary), values(request.baseline)


def _failures(data: Mapping[str, Any], reference: Counters) -> Mapping[str, Counts]:
    """Failed requests and all requests of each server, as one host knows them: from its log, or from its counters."""
    if "failed_and_all" in data:
        return {server: Counts(*pair) for server, pair in data["failed_and_all"].items()}
    found = {}
    for server, values in _since(data["counters"], reference).items():
        failed = int(sum(values.get(key, 0) for key in FAILED_REQUESTS))
        found[server] = Counts(failed, max(int(values.get("requests", 0)), failed))
    return found


def _since(counters: Counters, reference: Counters) -> Counters:
    """How much the counters of one host have grown.

    When one is smaller than it was, the host's HAProxy has begun to count anew, and all of them count from there.
    """
    before = {
        server: {key: reference.get(server, {}).get(key, 0) for key in COUNTED if key in values}
        for server, values in counters.items()
    }
    if any(counters[server][key] < value for server, values in before.items() for key, value in values.items()):
        return counters
    return {
        server: {key: counters[server][key] - value for key, value in values.items()}
        for server, values in before.items()
    }


def _count(counted: Mapping[str, Mapping[str, Counts]], servers: Sequence[str]) -> Counts:
    """Failed requests and all requests of some servers, over all hosts."""
    found = [by_server[server] for by_server in counted.values() for server in servers if server in by_server]
    return Counts(sum(one.bad for one in found), sum(one.total for one in found))
