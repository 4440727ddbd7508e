# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sample from what one or several hosts have answered for one probe: a phase, or figures that are to be judged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.traffic import Traffic
from ansible_collections.mesops.platform.plugins.module_utils._probe.probes import RAW, SUCCESS
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judge import (
    BEYOND_REASON,
    AnswerLimits,
    ErrorLimits,
    LatencyLimits,
    Phase,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.meter import Meter, Seen, health_of, together, usual
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Counted, SampleRequest, Taken, Timed
from ansible_collections.mesops.platform.plugins.plugin_utils._service.rollout_gates import limits_of

WORST_FIRST = (Phase.FAILURE, Phase.ERROR, Phase.HOLD, Phase.INCONCLUSIVE, Phase.NO_DATA)
"""What a host may say that is no success."""
ENOUGH = 100
"""So many requests tell what is usual."""
HICCUPS, HICCUP_WINDOW = 2, 5
"""Of so many looks in a row, so many may find that a check failed; more is a host that comes and goes."""

Raw = Mapping[str, Mapping[str, Any]]
"""The host that was asked to what it has measured."""


class Samples:
    """All samples of a run; remembers what each gate has seen at its last look.

    ``entered``: where the hosts that are judged have traffic, by load balancer; unknown outside a rollout.
    """

    def __init__(self) -> None:
        self._before: dict[str, Traffic] = {}
        self._recent: dict[str, Seen] | None = None
        self._drained: set[str] = set()
        self._reference: dict[str, Traffic] = {}
        self._meters: dict[str, dict[str, Meter]] = {}
        self._hiccups: dict[str, deque[bool]] = {}
        self._until: dict[str, dict[str, float]] = {}
        self._entered: dict[str, set[str]] | None = None
        self._percent = 100

    # ------------------------------------------------------------------------------------------------ what is known

    def note_before(self, looks: Mapping[str, Traffic]) -> None:
        """What the load balancers have counted when the run begins, by load balancer; only the first time says so."""
        self._before = self._before or dict(looks)

    def note_drained(self, hosts: Iterable[str]) -> None:
        """Hosts that this run takes out of traffic: until then they were what they were before the rollout."""
        self._drained.update(hosts)

    def enter(self, where: Mapping[str, Sequence[str]], percent: int, looks: Mapping[str, Traffic]) -> bool:
        """Hosts have got traffic, which the load balancers saw so at that moment; whether they had none before.

        A greater share for the same hosts goes on where it was: nothing that came in between is lost.
        """
        entered = {balancer: set(hosts) for balancer, hosts in where.items()}
        self._percent = percent
        if entered == self._entered:
            return False
        self._entered = entered
        self._reference = dict(looks)
        if self._recent is None:
            self._recent = _between(self._before, looks)
        self._meters, self._hiccups, self._until = {}, {}, {}
        return True

    def since(self, key: str, host: str) -> float | None:
        """The moment, by the host's own clock, until which a gate has read its log; nothing when it has not yet."""
        return self._until.get(key, {}).get(host)

    # ------------------------------------------------------------------------------------------------------- taking

    def taken(self, request: SampleRequest, samples: Raw) -> Taken:
        """One sample from those of all the hosts that were asked.

        A host whose sample is no success decides, and of several the worst; figures of all hosts are put together.
        """
        watched = request.probe.get("type") == "haproxy" and request.probe.get("measure", "state") == "state"
        if watched and self._entered is not None and samples and all("data" in one for one in samples.values()):
            return self._up(request, {host: one["data"] for host, one in samples.items()})
        worst = _worst(samples)
        if worst is not None:
            return worst
        if not samples:
            return Taken(Phase.NO_DATA, "nobody was asked")
        raw = {host: sample["data"] for host, sample in samples.items() if sample["phase"] == RAW}
        if not raw:
            return Taken(Phase.SUCCESS, "; ".join(dict.fromkeys(str(one["text"]) for one in samples.values())))
        return self._figures(request, raw)

    def _figures(self, request: SampleRequest, raw: Raw) -> Taken:
        limits = limits_of(request.probe)
        for host, data in raw.items():
            if "until" in data:
                self._until.setdefault(request.key, {})[host] = float(data["until"])
        if isinstance(limits, ErrorLimits):
            if any("bad_and_all" in data for data in raw.values()):
                return Taken(Phase.INCONCLUSIVE, "", figures=_logged(request, raw))
            counted = self._counted(request, raw)
            figures = _answers(counted) if isinstance(limits, AnswerLimits) else counted
            return Taken(Phase.INCONCLUSIVE, "", figures=figures)
        if isinstance(limits, LatencyLimits):
            return Taken(Phase.INCONCLUSIVE, "", figures=self._timed(request, raw))
        return Taken(Phase.ERROR, f"a probe of type {request.probe.get('type')} gave numbers that nobody judges")

    def _look(self, key: str, raw: Raw) -> dict[str, dict[str, Seen]]:
        """What is new for a gate, by load balancer and server."""
        meters = self._meters.setdefault(key, {})
        found = {}
        for balancer, data in raw.items():
            if balancer not in meters:
                meters[balancer] = Meter(self._reference.get(balancer))
            found[balancer] = meters[balancer].look(data["traffic"])
        return found

    def _counted(self, request: SampleRequest, raw: Raw) -> Counted:
        new = self._look(request.key, raw)
        ours, theirs = [], []
        for balancer, servers in new.items():
            health = raw[balancer]["traffic"]["health"]
            ours += [servers[one] for one in self._in_traffic(request, balancer) if one in servers]
            theirs += [servers[one] for one in request.baseline if one in servers and health[one]["in_traffic"]]
        known = self._usual(request.baseline if theirs else self._drained.intersection(request.canary))
        share = len(request.canary) * self._percent / 100 / max(1, len(request.baseline))
        return Counted(together(ours), together(theirs) if theirs else None, known, share)

    def _usual(self, servers: Collection[str]) -> Seen | None:
        """What some servers had before the rollout; None when nobody knows.

        Either what came in from the run's begin until its first hosts got traffic, or all that workers have counted
        since they began, whichever was better: what burns at this moment is not usual, nor is an outage of last week.
        Where little came in of late, workers that have counted too many failures know of an outage, and of no more.
        """
        lifetime = usual(self._before.values(), servers)
        recent = together((self._recent or {}).get(server, Seen()) for server in servers)
        if recent.total >= ENOUGH:
            return min((one for one in (recent, lifetime) if one.total >= ENOUGH), key=lambda one: one.bad_share)
        return lifetime if lifetime.bad_share <= BEYOND_REASON else None

    def _in_traffic(self, request: SampleRequest, balancer: str) -> list[str]:
        """The hosts of the batch that count at a load balancer: not those that somebody keeps out there."""
        if self._entered is None:
            return list(request.canary)
        return [host for host in request.canary if host in self._entered.get(balancer, ())]

    def _timed(self, request: SampleRequest, raw: Raw) -> Timed:
        if request.probe.get("range"):
            data = next(iter(raw.values()))
            return Timed(list(data["canary"]), list(data["baseline"]) or None)

        def values(servers: Sequence[str]) -> list[float]:
            found = (data["ms"].get(server, ()) for data in raw.values() for server in servers)
            return [value for some in found for value in some]

        return Timed(values(request.canary), values(request.baseline) if request.baseline else None)

    # ---------------------------------------------------------------------------------------------------- staying up

    def _up(self, request: SampleRequest, raw: Raw) -> Taken:
        """Whether the hosts of the batch stay up wherever they have traffic.

        HAProxy calls a server down after several failed checks in a row, so once is no hiccup. Hosts that go down
        together with others are no fault of the release.
        """
        new = self._look(request.key, raw)
        down: list[str] = []
        shared: list[str] = []
        failing, asked = 0, 0
        for balancer, data in raw.items():
            ours = self._in_traffic(request, balancer)
            asked += len(ours)
            found = _trouble(data["traffic"], new.get(balancer, {}), ours)
            others = _trouble(data["traffic"], new.get(balancer, {}), request.baseline)
            where = f" at {balancer}" if balancer else ""
            (shared if others else down).extend(f"{what}{where}" for what in found)
            shared.extend(f"{what}{where}" for what in others if found)
            failing += sum(new.get(balancer, {}).get(one, Seen()).failed_checks > 0 for one in ours)
        if down:
            return Taken(Phase.FAILURE, "; ".join(down))
        if shared:
            return Taken(Phase.HOLD, f"{'; '.join(shared)}: not the release alone")
        if not asked:
            return Taken(Phase.NO_DATA, "it has traffic at no load balancer")
        return self._steady(request, failing)

    def _steady(self, request: SampleRequest, failing: int) -> Taken:
        """Up, unless checks fail again and again in between."""
        latest = self._hiccups.setdefault(request.key, deque(maxlen=HICCUP_WINDOW))
        latest.append(failing > 0)
        names = ", ".join(request.canary)
        if sum(latest) > HICCUPS:
            text = f"{names} comes and goes: checks failed in {sum(latest)} of the last {quantity(len(latest), 'look')}"
            return Taken(Phase.FAILURE, text)
        return Taken(Phase.SUCCESS, f"{names} up{', although a check has failed' if failing else ''}")


def _answers(figures: Counted) -> Counted:
    """The same requests, told by whether they were answered 2xx."""
    baseline, before = figures.baseline, figures.usual
    return replace(
        figures,
        canary=figures.canary.answers,
        baseline=baseline and baseline.answers,
        usual=before and before.answers,
    )


def _between(before: Mapping[str, Traffic], now: Mapping[str, Traffic]) -> dict[str, Seen]:
    """What came in of each server at all load balancers between two looks."""
    found: dict[str, Seen] = {}
    for balancer, look in now.items():
        for server, new in Meter(before.get(balancer)).look(look).items():
            found[server] = found.get(server, Seen()) + new
    return found


def _worst(samples: Raw) -> Taken | None:
    """The worst of those that are no success, of all hosts that have it."""
    bad = {host: sample for host, sample in samples.items() if sample["phase"] not in (SUCCESS, RAW)}
    if not bad:
        return None
    phases = {host: _phase(sample["phase"]) for host, sample in bad.items()}
    worst = min(phases.values(), key=WORST_FIRST.index)
    texts = {host: str(sample["text"]) for host, sample in bad.items() if phases[host] is worst}
    return Taken(worst, "; ".join(f"{host}: {why}" if len(samples) > 1 else why for host, why in texts.items()))


def _phase(word: str) -> Phase:
    """A phase that is no success; a word that nobody knows is an error."""
    return next((one for one in WORST_FIRST if one.value == word), Phase.ERROR)


def _logged(request: SampleRequest, raw: Raw) -> Counted:
    """What the logs of all load balancers have of the requests that a gate counts."""

    def seen(servers: Collection[str]) -> Seen:
        pairs = [data["bad_and_all"][one] for data in raw.values() for one in servers if one in data["bad_and_all"]]
        bad, total = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        return Seen(sent=total, good=total - bad, failed=bad)

    baseline = seen(request.baseline)
    return Counted(seen(request.canary), baseline if request.baseline and baseline.total else None)


def _trouble(traffic: Traffic, new: Mapping[str, Seen], servers: Sequence[str]) -> list[str]:
    """What a load balancer's own checks have against some servers since the last look."""
    found = []
    for name, health in health_of(traffic, servers).items():
        if not health["up"]:
            found.append(f"{name} is {health['status']}{' (' + health['check'] + ')' if health['check'] else ''}")
        elif new.get(name, Seen()).downs > 0:
            found.append(f"{name} was down for a while")
    return found
