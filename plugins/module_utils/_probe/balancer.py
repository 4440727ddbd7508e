# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This host's HAProxy and its access log, as probes of type haproxy ask them. No Ansible in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import access_log, master, reading
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import (
    READY,
    RuntimeFailure,
    Server,
    View,
)
from ansible_collections.mesops.platform.plugins.module_utils._probe import haproxy
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    ERROR,
    FAILURE,
    RAW,
    SUCCESS,
    Sample,
)

VALUES_SHIPPED = 4000
"""Latencies per server that one sample carries at most."""


class Balancer:
    """This host's HAProxy and its log; each is asked once, however many probes want to know."""

    def __init__(self, log: access_log.AccessLog, ask: reading.Ask, now: float) -> None:
        self._log = log
        self._ask = ask
        self._now = now
        self._looks: dict[tuple[str, ...], tuple[View, Mapping[str, Any]]] = {}

    def sample(self, probe: Mapping[str, Any]) -> Sample:
        """Take one sample."""
        measure = haproxy.measure(probe)
        backends = tuple(str(one) for one in probe.get("backend") or ())
        if measure == "latency":
            return self._latency(probe, backends)
        if measure in ("errors", "answers") and probe.get("methods"):
            return self._by_method(probe, backends)
        if backends not in self._looks:
            self._looks[backends] = reading.look_at_traffic(self._ask, backends, self._now)
        view, traffic = self._looks[backends]
        if measure in ("errors", "answers"):
            return {"phase": RAW, "text": "counters", "data": {"traffic": traffic}}
        servers = [one for one in view.servers.values() if one.backend in backends]
        return {**_state(probe, backends, servers), "data": {"traffic": traffic}}

    def _requests(self, probe: Mapping[str, Any], backends: Sequence[str]) -> Iterator[access_log.Request]:
        """The requests of the last seconds, of the methods that the probe names."""
        methods = [str(one).upper() for one in probe.get("methods") or ()]
        for backend in backends:
            for one in self._log.requests(backend, haproxy.seconds(probe), float(probe.get("since", 0))):
                if not methods or one.method in methods:
                    yield one

    def _latency(self, probe: Mapping[str, Any], backends: Sequence[str]) -> Sample:
        found: dict[str, list[float]] = {}
        for one in self._requests(probe, backends):
            found.setdefault(one.server, []).append(one.ms)
        data = {server: values[-VALUES_SHIPPED:] for server, values in found.items()}
        text = quantity(sum(map(len, data.values())), "request")
        return {"phase": RAW, "text": text, "data": {"ms": data, "until": self._now}}

    def _by_method(self, probe: Mapping[str, Any], backends: Sequence[str]) -> Sample:
        counted: dict[str, list[int]] = {}
        answers = probe["measure"] == "answers"
        for one in self._requests(probe, backends):
            bad_and_all = counted.setdefault(one.server, [0, 0])
            bad_and_all[0] += one.other if answers else one.failed
            bad_and_all[1] += one.answered if answers else 1
        data = {"bad_and_all": counted, "until": self._now}
        return {"phase": RAW, "text": "requests by method", "data": data}


def _state(probe: Mapping[str, Any], backends: Sequence[str], servers: Sequence[Server]) -> Sample:
    """Whether all servers that the probe names take traffic."""
    wanted = [str(one) for one in probe.get("servers") or ()]
    bad = [f"{one.name} is {one.status}" for one in servers if one.name in wanted and not serves(one)]
    missing = [name for name in wanted if all(one.name != name for one in servers)]
    bad += [f"{name} is no server of {', '.join(backends)}" for name in missing]
    if bad or not wanted:
        return {"phase": FAILURE, "text": ", ".join(bad) or "no server is named"}
    return {"phase": SUCCESS, "text": f"{', '.join(wanted)} up"}


def serves(server: Server) -> bool:
    """Whether a server takes traffic."""
    return server.admin == READY and (server.up or not server.checked)


def of_this_host(run: Run, wanted: Iterable[Mapping[str, Any]], now: float) -> Callable[[Mapping[str, Any]], Sample]:
    """What takes the samples of type haproxy for the ``wanted`` probes; ``now`` in seconds since the epoch."""
    longest = max((haproxy.seconds(probe) for probe in wanted if probe["type"] == haproxy.TYPE.name), default=0.0)

    def ask(command: str) -> str:
        return master.ask(master.MASTER_SOCKET, command)

    here = Balancer(access_log.AccessLog(run, now, longest), ask, now)

    def take(probe: Mapping[str, Any]) -> Sample:
        try:
            return here.sample(probe)
        except (RuntimeFailure, reading.NoAnswer, access_log.RequestsError) as error:
            return {"phase": ERROR, "text": str(error)}

    return take
