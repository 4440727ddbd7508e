# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's configuration of a service: what each host is to have, and how it is rolled out on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import READY
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.refusals import refuse_silent
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan


def variables_of(action: ActionBase, hostvars: Any, host: str) -> dict[str, Any]:
    """What the inventory says of a host's services, as a task on it sees it: it may ask for other hosts' variables."""
    raw = {**hostvars.raw_get(host), "hostvars": hostvars}
    templar = action._templar.copy_with_new_env(available_variables=raw)
    return {name: templar.template(raw[name]) for name in ("app_services", "group_names") if name in raw}


def configurations_of(
    variables: Callable[[str], Mapping[str, Any]], service: str, hosts: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """What the inventory says of the service's configuration on each host, secrets included; none where it is silent.

    It is asked here and not given as an option: options of a task are shown by some callbacks.
    """
    found = {}
    for host in hosts:
        try:
            seen = variables(host)
            if "app_services" not in seen:
                continue
            planned = app_service_plan(seen["app_services"], seen["group_names"], host)
        except AnsibleError as why:
            raise PlanError(f"app_services of {host} cannot be read: {' '.join(str(why).split())}") from why
        if planned["errors"]:
            raise PlanError(" ".join(planned["errors"]))
        if service in planned["configurations"]:
            found[host] = planned["configurations"][service]
    return found


def without_empty_hosts(settings: Settings, nodes: Mapping[str, Node]) -> Settings:
    """The settings without hosts that have no release yet, as new ones in an estate."""
    empty = tuple(host for host, node in nodes.items() if not node.current and not node.reason)
    hosts = tuple(host for host in settings.hosts if host not in empty)
    return replace(settings, hosts=hosts, excluded=(*settings.excluded, *empty))


def with_version_that_runs(settings: Settings, nodes: Mapping[str, Node]) -> Settings:
    """The settings for a changed configuration: it comes to the version that all hosts run."""
    refuse_silent(settings.hosts, Snapshot(nodes, {}))
    versions = sorted({version_of(node.current) for node in nodes.values() if node.current})
    idle = [host for host, node in nodes.items() if not node.current]
    if len(versions) != 1 or idle:
        what = f"{', '.join(idle)} has no release" if idle else f"its hosts have the versions {', '.join(versions)}"
        raise PlanError(
            f"A configuration is rolled out with the version that runs, but of {settings.service.name} {what}; roll a "
            "version out, which brings the configuration along."
        )
    return replace(settings, version=versions[0], configuration_only=True)


def differing(nodes: Mapping[str, Node]) -> dict[str, str]:
    """The hosts that do not run the inventory's configuration, with the names of the settings that differ."""
    found = {}
    for host, node in nodes.items():
        wanted = joined(version_of(node.current or ""), node.wanted)
        old = node.wanted and node.running and (node.current, node.running) != (wanted, wanted)
        # A host without a release has nothing to configure yet: its first one brings the configuration along.
        if (node.changes and node.current) or old:
            found[host] = node.changes or "nothing but that its process was started before that"
    return found


def without_traffic_gates(settings: Settings) -> Settings:
    """The settings with which site.yml brings a changed configuration: one host after the other, once it is ready."""
    gates = {name: spec for name, spec in settings.gates.items() if spec.stage == READY}
    return replace(settings, batches=(1,), weights=(100,), min_healthy_time=0.0, gates=gates, prove_stop=False)
