# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One round of samples: which host is asked for which of them, and what comes of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import Aim
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import SampleRequest, Taken


class SampleRound:
    """Samples that are taken at once, each where its probe belongs."""

    def __init__(
        self,
        requests: Sequence[SampleRequest],
        settings: Settings,
        samples: Samples,
        coordinator: str,
        present: float,
    ) -> None:
        """``present``: the seconds for which the hosts that are judged have had traffic."""
        self.requests = requests
        self.settings = settings
        self.samples = samples
        self.coordinator = coordinator
        self.present = present
        self.early = {one.key: Taken(Phase.NO_DATA, why) for one in requests if (why := self._too_early(one))}

    def calls(self) -> dict[str, Call]:
        """The probes of each host that is asked."""
        asked: dict[str, dict[str, Any]] = {}
        for request in self.requests:
            if request.key not in self.early:
                for host in self._places(request):
                    asked.setdefault(host, {})[request.key] = self._probe(request, host)
        calls = {}
        for host, some in asked.items():
            longest = sum(float(probe.get("timeout", 10)) for probe in some.values())
            calls[host] = Call(host, "health_gate", {"probes": some}, timeout=30 + longest)
        return calls

    def taken(self, answers: Mapping[str, Answer]) -> dict[str, Taken]:
        """The samples, from what the hosts have answered."""
        return {
            one.key: self.early[one.key] if one.key in self.early else self._judged(one, answers)
            for one in self.requests
        }

    def _probe(self, request: SampleRequest, host: str) -> dict[str, Any]:
        """A probe as one host gets it: never about what was before the last look, or before there was traffic."""
        aim = Aim(
            backends=self.settings.backends,
            canary=request.canary,
            in_traffic=request.in_traffic,
            in_traffic_for=self.present,
            since=self.samples.since(request.key, host),
        )
        return probes.aimed(request.probe, aim)

    def _too_early(self, request: SampleRequest) -> str:
        """Why a query would look at the version before; empty when it does not."""
        back = probes.looks_back(request.probe)
        if not request.in_traffic or self.present > back or not back:
            return ""
        return f"the query looks back {back:g} s, but the hosts have had traffic for {self.present:.0f} s only"

    def _places(self, request: SampleRequest) -> Sequence[str]:
        place = probes.place_of(request.probe)
        if place == "balancers":
            return self.settings.balancers
        return [request.host if place == "node" and request.host else self.coordinator]

    def _judged(self, request: SampleRequest, answers: Mapping[str, Answer]) -> Taken:
        taken = {}
        for host in self._places(request):
            answer = answers[host]
            if answer.failed:
                # Who cannot be asked is only silent; whether it is down is what the load balancers' checks tell.
                return Taken(Phase.ERROR, f"{host}: {answer.reason}")
            taken[host] = answer.result["samples"][request.key]
        return self.samples.taken(request, taken)
