# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts and load balancers are asked in a rollout: calls of this collection's modules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import parted, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import READY
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Call
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.gate_probe import fill_probe
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings

MIGRATION_WAIT = 4
SIGNAL_TIMEOUT = 10


@dataclass(frozen=True)
class Calls:
    """The calls of one run."""

    settings: Settings
    fence: Mapping[str, Any]
    """How the run shows itself to a host."""
    configurations: Mapping[str, Mapping[str, str]] = field(repr=False)
    """What the inventory says of each host, as app_release takes it; it holds secrets."""
    wanted: Mapping[str, str]
    """What each host is to run, as it was seen last."""

    # ------------------------------------------------------------------------------------------------------------ nodes

    def look(self, host: str) -> Call:
        """What a host has and runs."""
        given = self.configurations.get(host)
        return self._release(host, "read", {"configuration": given} if given else {})

    def install(self, host: str, target: str, check: bool) -> Call:
        """Install a version without activating it; one that is there needs no artifact."""
        version = version_of(target)
        more = {**_target_options(target), "command": self.settings.service.command}
        if "configuration_digest" in more and target == self.wanted.get(host):
            more["configuration"] = self.configurations[host]
        if self.settings.artifact and version == self.settings.version:
            more.update(artifact=self.settings.artifact, checksum=self.settings.checksum)
        return self._release(host, "installed", more, timeout=900, check=check, action="artifact" in more)

    def activate(self, host: str, target: str, hosts: Sequence[str], stop: bool) -> Call:
        """Let a host run a version, and take the first sample of every gate about it."""
        service = self.settings.service
        until, once = self._ready_probes(host, target, hosts)
        ready = {"until": until, "once": once, "timeout": service.ready_timeout, "prove_stop": stop}
        patience = (service.stop_timeout + service.ready_timeout) * (2 if stop else 1) + 30
        return self._release(host, "active", {**_target_options(target), "ready": ready}, timeout=patience)

    def _ready_probes(self, host: str, target: str, hosts: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Probes of the stage ready that the node itself can take: those to wait for, and those to look at once."""
        until: dict[str, Any] = {}
        once: dict[str, Any] = {}
        back = target != self.wanted.get(host, self.settings.version)
        for name, spec in self.settings.gates.items():
            # The version before is not judged by what is said about the new one.
            asked = not back or name == READY or spec.both
            if asked and spec.stage == READY and probes.place_of(spec.probe) == "node":
                # Going back nothing is judged by a single look: what is asked then is waited for.
                (until if back or spec.failure_limit < 0 else once)[name] = fill_probe(
                    spec, self.settings, target, host, hosts=hosts, baseline=()
                )
        return until, once

    def migrate(self, host: str, version: str, name: str, migration: Migration, look: bool) -> Call:
        """Begin a migration, or look at the one that was begun; with ``look`` none is begun."""
        # With the configuration that comes with the version: a step may need what only that one has.
        wanted = self.wanted.get(host, version)
        arguments = {
            "service": self.settings.service.name,
            "unit": self.settings.service.unit,
            **_target_options(wanted if version_of(wanted) == version else version),
            "step": name,
            "command": migration.command,
            "timeout": migration.timeout,
            "wait": MIGRATION_WAIT,
            **self.fence,
        }
        return Call(host, "app_migration", arguments, check=look)

    def prune(self, host: str, protect: Collection[str]) -> Call:
        """Remove old releases."""
        return self._release(host, "pruned", {"keep": self.settings.service.keep, "protect": sorted(protect)})

    def _release(
        self,
        host: str,
        state: str,
        more: Mapping[str, Any],
        *,
        timeout: float = 60,
        check: bool = False,
        action: bool = False,
    ) -> Call:
        service = self.settings.service
        arguments = {
            "service": service.name,
            "state": state,
            "unit": service.unit,
            "group": service.user,
            **self.fence,
            **more,
        }
        return Call(host, "app_release", arguments, timeout=timeout, check=check, action=action)

    # -------------------------------------------------------------------------------------------------------- balancers

    def servers(self, balancer: str, options: Mapping[str, Any] | None = None, patience: float = 0) -> Call:
        """Look at the servers of the service at a load balancer, or change them."""
        service = {"service": self.settings.service.name} if self.fence else {}
        arguments = {"backend": list(self.settings.backends), **service, **self.fence, **(options or {})}
        return Call(balancer, "haproxy_server", arguments, timeout=60 + patience)

    def drain(
        self, where: world.Where, mine: Collection[str], least: int, kill: bool, patience: float
    ) -> dict[str, Call]:
        """Take hosts out of traffic."""
        options = {"state": "drain", "on_timeout": "kill" if kill else "report", "min_available": least}
        return self._change(where, mine, options, patience)

    def enter(self, where: world.Where, mine: Collection[str], percent: int, patience: float) -> dict[str, Call]:
        """Put hosts into traffic with a share of their weight."""
        return self._change(where, mine, {"state": "ready", "weight": f"{percent}%", "on_timeout": "report"}, patience)

    def _change(
        self, where: world.Where, mine: Collection[str], options: Mapping[str, Any], patience: float
    ) -> dict[str, Call]:
        asked = {**options, **_unless(where, mine), "wait": patience}
        return {name: self.servers(name, {**asked, "server": list(hosts)}, patience) for name, hosts in where.items()}

    # -------------------------------------------------------------------------------------------------------- telemetry

    def signal(self, place: str, record: Record) -> Call:
        """Tell the telemetry of a record."""
        told = {key: getattr(record, key) for key in ("service", "id", "kind", "version", "status", "reason", "by")}
        times = {"started_at": record.started_at, "ended_at": record.ended_at or 0.0}
        return Call(place, "rollout_signal", {**told, **times}, timeout=SIGNAL_TIMEOUT)


def _target_options(target: str) -> dict[str, Any]:
    """A version, and a configuration where the name has one, as app_release takes them."""
    version, digest = parted(target)
    return {"version": version, **({"configuration_digest": digest} if digest else {})}


def _unless(where: world.Where, mine: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """What is left alone: a server in maint, and one in drain unless it is this rollout that has drained it."""
    hosts = sorted({host for meant in where.values() for host in meant})
    return {"unless": {host: ["maint"] if host in mine else ["maint", "drain"] for host in hosts}}
