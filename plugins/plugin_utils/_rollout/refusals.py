# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons not to begin, each told in one sentence that names the way out. Touches nothing, no Ansible in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import closed_by
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server, Snapshot, down_at
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


def refuse_silent(hosts: Collection[str], snapshot: Snapshot) -> None:
    """Refuse to begin while a host that takes part gives no answer."""
    silent = [f"{host} ({snapshot.nodes[host].reason})" for host in hosts if snapshot.nodes[host].reason]
    if silent:
        it = "it" if len(silent) == 1 else "them"
        raise PlanError(
            f"{', '.join(silent)} gave no answer; bring {it} back, or exclude {it} with rollout_exclude, knowing that "
            "an excluded host keeps the version that it has."
        )


def refuse_unserved_shares(settings: Settings, snapshot: Snapshot) -> None:
    """Refuse shares of traffic that a load balancer, as it runs now, could not give the hosts.

    HAProxy itself would refuse them too, but when the first host has been taken out and restarted.
    """
    least = min(settings.weights)
    place = policies.place_in_service(settings.service.name, "weights")
    for balancer, seen in snapshot.servers.items():
        for host in settings.hosts if least < 100 else ():
            server = seen.get(host, Server("maint", up=False))
            wanted = f"but the weights are {list(settings.weights)}; set {place} to [100], or"
            if server.algorithm in plan.STATIC:
                raise PlanError(
                    f"{settings.service.name} is balanced by {server.algorithm} at {balancer}, which knows no shares "
                    f"of a server's traffic, {wanted} balance by roundrobin, leastconn or random and run site.yml."
                )
            if server.weight * least < 100:
                raise PlanError(
                    f"{host} has the weight {server.weight} at {balancer}, of which {least} % would be 0, {wanted} "
                    "give it a larger one in haproxy_services, such as 100, and run site.yml."
                )


def refuse_half_down(hosts: Collection[str], snapshot: Snapshot, kept: Mapping[str, Collection[str]]) -> None:
    """Refuse a host that serves at one load balancer while another does not see it up.

    It would be drained where it serves, and could not come back where it does not: neither is the release's doing. A
    host that serves nowhere loses nothing, and this very release may be what mends it.
    """
    for host in hosts:
        down = down_at(host, snapshot, kept)
        serving = [name for name, found in snapshot.servers.items() if name not in down and found[host].serving]
        if down and serving:
            said = ", ".join(f"{name} ({snapshot.servers[name][host].check or 'its check fails'})" for name in down)
            raise PlanError(
                f"{host} serves at {', '.join(serving)} but is not up at {said}, which no release can mend; bring it "
                "back there, or exclude it with rollout_exclude, knowing that it keeps the version that it has."
            )


def refuse_other_version(settings: Settings, snapshot: Snapshot) -> None:
    """Refuse to bring a configuration to hosts whose version was changed since it was looked at."""
    if not settings.configuration_only:
        return
    others = [host for host in settings.hosts if version_of(snapshot.nodes[host].current or "") != settings.version]
    if others:
        do = "does" if len(others) == 1 else "do"
        raise PlanError(
            f"{', '.join(others)} {do} not have version {settings.version} any more, with which the configuration was "
            "to be rolled out; run it again."
        )


def refuse_unkept(settings: Settings, snapshot: Snapshot) -> None:
    """Refuse to roll a configuration out where hosts do not keep any yet."""
    unkept = [host for host in settings.hosts if not snapshot.nodes[host].wanted]
    if settings.configuration_only and unkept:
        keep = "keeps" if len(unkept) == 1 else "keep"
        raise PlanError(
            f"{', '.join(unkept)} {keep} no configurations yet, so there would be none to go back to; run site.yml "
            "once, which changes that."
        )


def refuse_irreversible(record: Record, reverted: str = "") -> None:
    """Refuse to go back where a migration has closed the way."""
    refuse_closed(closed_by(record), reverted or record.id)


def refuse_closed(migration: str, reverted: str) -> None:
    """Refuse to go back past a migration; there may be none."""
    if migration:
        raise PlanError(
            f"The migration {migration} cannot be undone and has run, so {reverted} cannot be reverted; roll forward "
            "to a corrected version."
        )
