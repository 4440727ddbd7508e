# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster as its members see it: read, judged, waited for, and its PostgreSQL restarted. No Ansible in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.mesops.platform.plugins.module_utils._patroni.api import (
    Clock,
    Fetch,
    Member,
    PatroniError,
    Sleep,
)

PRIMARY_ROLES = ("primary", "master")
SYNCHRONOUS = ("sync", "quorum")


@dataclass
class Cluster:
    """What the members that answered say together."""

    leader: str = ""
    """The member that runs as primary and holds the leader lock, empty when there is none."""
    primaries: list[str] = field(default_factory=list)
    """Every member whose PostgreSQL runs as primary; more than one is a split brain."""
    streaming: list[str] = field(default_factory=list)
    """Standbys that the leader sees streaming."""
    synchronous: list[str] = field(default_factory=list)
    """Standbys that hold every acknowledged transaction."""
    states: dict[str, str] = field(default_factory=dict)
    """State per member that answered, such as ``running`` or ``creating replica``."""
    silent: dict[str, str] = field(default_factory=dict)
    """Why a member gave no answer."""
    pending_restart: list[str] = field(default_factory=list)
    """Members with settings that wait for a restart of PostgreSQL."""
    paused: bool = False
    """Whether automatic failover is switched off."""

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that neither lead nor stream, in order."""
        return [name for name in names if name != self.leader and name not in self.streaming]

    def describe(self, name: str) -> str:
        """One member for an error message."""
        if name in self.silent:
            return f"{name} ({self.silent[name]})"
        return f"{name} (state {self.states.get(name, 'unknown')}, not streaming)"


def read_cluster(fetch: Fetch, members: Sequence[Member]) -> Cluster:
    """Ask every member for its own state, and the leader for its standbys."""
    cluster = Cluster()
    for member in members:
        try:
            status, answer = fetch("GET", f"{member.url}/patroni", None)
        except OSError as error:
            cluster.silent[member.name] = f"no answer from {member.url}: {getattr(error, 'reason', error)}"
            continue
        if not isinstance(answer, dict):
            cluster.silent[member.name] = f"{member.url}/patroni answered {status} without JSON"
            continue
        cluster.states[member.name] = str(answer.get("state", ""))
        if answer.get("pending_restart"):
            cluster.pending_restart.append(member.name)
        cluster.paused = cluster.paused or bool(answer.get("pause"))
        if answer.get("role") not in PRIMARY_ROLES or answer.get("state") != "running":
            continue
        cluster.primaries.append(member.name)
        if fetch("GET", f"{member.url}/primary", None)[0] != 200:
            continue
        cluster.leader = member.name
        standbys = [row for row in answer.get("replication") or [] if row.get("state") == "streaming"]
        cluster.streaming = sorted(str(row.get("application_name")) for row in standbys)
        cluster.synchronous = sorted(
            str(row.get("application_name")) for row in standbys if row.get("sync_state") in SYNCHRONOUS
        )
    return cluster


def verdict(cluster: Cluster, required: Sequence[str], synchronous: bool) -> str:
    """Why the cluster is not ready yet in one sentence, or an empty string when it is.

    ``required`` are the members that must lead or stream; with none, one leader is enough.
    """
    if len(cluster.primaries) > 1:
        return f"More than one member runs as primary: {', '.join(cluster.primaries)}"
    if not cluster.leader:
        seen = [f"{name} ({state or 'no state'})" for name, state in cluster.states.items()]
        seen += [f"{name} ({why})" for name, why in cluster.silent.items()]
        return f"No member leads: {', '.join(seen)}"
    missing = cluster.missing(required)
    if missing:
        lost = ", ".join(cluster.describe(name) for name in missing)
        return f"{cluster.leader} leads, but these members do not stream from it: {lost}"
    if synchronous and cluster.streaming and not cluster.synchronous:
        return f"{cluster.leader} leads, but none of its standbys is synchronous yet: {', '.join(cluster.streaming)}"
    return ""


def wait_cluster(
    read: Callable[[], Cluster],
    done: Callable[[Cluster], str],
    *,
    timeout: float,
    interval: float,
    clock: Clock,
    sleep: Sleep,
    meanwhile: Callable[[Cluster], None] = lambda _cluster: None,
) -> Cluster:
    """Sample until ``done`` has no objection; ``meanwhile`` may help along between two samples."""
    deadline = clock() + timeout
    while True:
        cluster = read()
        objection = done(cluster)
        if not objection:
            return cluster
        if clock() >= deadline:
            raise PatroniError(f"{objection}. Waited {timeout:g} s.")
        meanwhile(cluster)
        sleep(interval)


def restart_order(cluster: Cluster) -> list[str]:
    """Members whose settings wait for a restart: standbys first, the leader last."""
    return sorted(cluster.pending_restart, key=lambda name: (name == cluster.leader, name))


def restart(fetch: Fetch, member: Member) -> bool:
    """Restart PostgreSQL below a member's Patroni, which keeps its role; ``False`` when nothing waits for it."""
    status, answer = fetch("POST", f"{member.url}/restart", {"restart_pending": True})
    if status == 503 and "conditions are not satisfied" in str(answer):
        return False
    if status != 200:
        raise PatroniError(f"{member.name} did not restart PostgreSQL (status {status}): {answer}.")
    return True
