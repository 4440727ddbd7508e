# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout is to bring a host to: a version together with the configuration that the inventory has for the host.

A target is one name, as ``naming.joined`` makes it. So the engine, the record and the history compare
what a host runs, ran and is to run as one thing. No Ansible in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


def target_of(host: str, settings: Settings, snapshot: Snapshot) -> str:
    """What a rollout with these settings brings a host to."""
    return str(joined(settings.version, snapshot.nodes[host].wanted))


def versions_of(targets: Iterable[str]) -> str:
    """The versions in some targets, for a person."""
    return "/".join(sorted({version_of(target) for target in targets}))


def is_same(found: Record, settings: Settings, snapshot: Snapshot) -> bool:
    """Whether an unfinished record is of the very rollout that is asked for: same version, same configurations.

    A host that gives no answer, or takes no part any more, does not say otherwise.
    """
    asked = ("rollout", settings.version, settings.configuration_only)
    begun = (found.kind, found.version, found.configuration_only)
    return begun == asked and not _otherwise(found, settings, snapshot)


def _otherwise(found: Record, settings: Settings, snapshot: Snapshot) -> list[str]:
    """The hosts for which the inventory has another configuration by now than the record."""
    return [
        host
        for host, one in found.hosts.items()
        if host in settings.hosts
        and not snapshot.nodes[host].reason
        and one.target != target_of(host, settings, snapshot)
    ]


def unfinished(found: Record, settings: Settings, snapshot: Snapshot) -> PlanError:
    """Why a rollout cannot begin while another one is unfinished."""
    back = f"ansible-playbook mesops.platform.rollback -e rollout_service={found.service}"
    head = f"The {found.kind} {found.id} of {found.service} to {found.version} is unfinished ({found.status})."
    if found.kind == "rollback":
        return PlanError(f"{head} Finish it: {back}")
    what = f"with {'a changed configuration' if found.configuration_only else 'that version'}"
    if found.version == settings.version:
        hosts = _otherwise(found, settings, snapshot)
        what = f"with the configuration that it began with for {', '.join(hosts)}" if hosts else what
    other = "." if found.frozen_by else f", or revert it: {back}"
    return PlanError(f"{head} Finish it by running it again {what}{other}")


def note_changes(record: Record, snapshot: Snapshot) -> None:
    """Write into a record which settings it changes, by their names."""
    for host, one in record.hosts.items():
        one.changes = snapshot.nodes[host].changes


def changes_of(record: Record) -> list[str]:
    """The settings that a rollout changes, for a person: one line for each set of hosts with the same."""
    hosts: dict[str, list[str]] = {}
    for host, one in record.hosts.items():
        if one.changes:
            hosts.setdefault(one.changes, []).append(host)
    everywhere = len(hosts) == 1 and sum(map(len, hosts.values())) == len(record.hosts)
    return [changes if everywhere else f"{changes} on {_named(names)}" for changes, names in hosts.items()]


def _named(hosts: Sequence[str]) -> str:
    return ", ".join(hosts) if len(hosts) < 4 else quantity(len(hosts), "host")
