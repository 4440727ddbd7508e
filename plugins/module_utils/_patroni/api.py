# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to Patroni's REST API and judge the answers. No Ansible in here.

Everything that touches the network is a ``Fetch``: ``fetch(method, url, body)`` gives ``(status, parsed JSON)`` and
raises ``OSError`` when nothing answers. Times are seconds.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct

Fetch = Callable[[str, str, "Mapping[str, Any] | None"], "tuple[int, Any]"]
Clock = Callable[[], float]
Sleep = Callable[[float], None]

PRIMARY_ROLES = ("primary", "master")
SYNCHRONOUS = ("sync", "quorum")
IDLE_STATES = ("", "stopped", "uninitialized", "crashed", "start failed", "initdb failed", "custom bootstrap failed")
CLAIM_GRACE = 2.0
NO_CONFIG = 502
"""What ``GET /config`` answers while etcd holds no configuration."""
CONFIG_CYCLES = 2


class PatroniError(Exception):
    """What was asked for cannot be had; the text is one sentence for the user."""


def http_fetch(timeout: float, username: str = "", password: str = "") -> Fetch:
    """A ``Fetch`` over HTTP that ignores the environment's proxies and sends basic auth when it has a password."""
    opener = http_direct.opener()

    def fetch(method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        if password and method != "GET":
            token = base64.b64encode(f"{username}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with opener.open(request, timeout=timeout) as reply:
                status, raw = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        text = raw.decode("utf-8", "replace")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    return fetch


# --- the cluster as its members see it ----------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """One expected member: its name in Patroni and the root of its REST API."""

    name: str
    url: str


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


# --- the claim that a killed bootstrap leaves in etcd -------------------------------------------------------


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Claim:
    """Frees the right to bootstrap when the member that took it died before there was a cluster.

    Patroni writes an empty ``initialize`` key before it runs initdb and never removes it if it is killed there: every
    member then waits for a leader for ever. The key is removed only if it is still empty, no leader key exists, no
    answering member is at work, and all of that held for ``CLAIM_GRACE`` seconds. One transaction checks and removes.
    """

    def __init__(self, fetch: Fetch, endpoints: Sequence[str], prefix: str, clock: Clock) -> None:
        self._fetch = fetch
        self._endpoints = endpoints
        self._initialize = f"{prefix}/initialize"
        self._leader = f"{prefix}/leader"
        self._clock = clock
        self._seen: tuple[str, float] | None = None
        self.released = False

    def _call(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        for endpoint in self._endpoints:
            try:
                status, answer = self._fetch("POST", f"{endpoint}{path}", body)
            except OSError:
                continue
            if status == 200 and isinstance(answer, dict):
                return answer
        return None

    def orphaned(self, cluster: Cluster) -> str:
        """The revision of an empty claim that nobody works on, or an empty string."""
        if cluster.primaries or not cluster.states or any(s not in IDLE_STATES for s in cluster.states.values()):
            return ""
        answer = self._call("/v3/kv/range", {"key": _encode(self._initialize)})
        found = (answer or {}).get("kvs") or []
        if not found or found[0].get("value"):
            return ""
        return str(found[0]["mod_revision"])

    def release_if_orphaned(self, cluster: Cluster) -> None:
        """Look once; remove the claim when the same one was orphaned ``CLAIM_GRACE`` seconds ago already."""
        revision = self.orphaned(cluster)
        if not revision:
            self._seen = None
            return
        if self._seen is None or self._seen[0] != revision:
            self._seen = (revision, self._clock())
            return
        if self._clock() - self._seen[1] < CLAIM_GRACE:
            return
        key = _encode(self._initialize)
        answer = self._call(
            "/v3/kv/txn",
            {
                "compare": [
                    {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision},
                    {"key": _encode(self._leader), "target": "VERSION", "result": "EQUAL", "version": "0"},
                ],
                "success": [{"request_delete_range": {"key": key}}],
            },
        )
        self.released = self.released or bool((answer or {}).get("succeeded"))
        self._seen = None


# --- dynamic configuration ----------------------------------------------------------------------------------


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any], purge: Sequence[str] = ()) -> dict[str, Any]:
    """The smallest patch that brings ``current`` to ``wanted``; Patroni takes ``None`` as "remove".

    Keys that only ``current`` has stay, save below the dotted paths in ``purge``, where ``wanted`` is the whole truth.
    """
    return _patch(current, wanted, frozenset(purge), "")


def _patch(current: Mapping[str, Any], wanted: Mapping[str, Any], purge: frozenset[str], path: str) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for key, value in wanted.items():
        have = current.get(key)
        if isinstance(value, dict):
            inner = _patch(have if isinstance(have, dict) else {}, value, purge, f"{path}.{key}" if path else key)
            if inner or not isinstance(have, dict):
                patch[key] = inner
        elif value is None:
            if key in current:
                patch[key] = None
        elif have != value or isinstance(have, bool) != isinstance(value, bool):
            patch[key] = value
    if path in purge:
        patch.update({key: None for key in current if key not in wanted})
    return patch


def apply_patch(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``current`` as it is after ``patch``."""
    result = dict(current)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            have = result.get(key)
            result[key] = apply_patch(have if isinstance(have, dict) else {}, value)
        else:
            result[key] = value
    return result


def read_config(fetch: Fetch, members: Sequence[Member]) -> tuple[Member, dict[str, Any]]:
    """The first member that answers, and the dynamic configuration (empty when none was stored yet)."""
    reasons = []
    for member in members:
        try:
            status, answer = fetch("GET", f"{member.url}/config", None)
        except OSError as error:
            reasons.append(f"{member.url}: {getattr(error, 'reason', error)}")
            continue
        if status == 200 and isinstance(answer, dict):
            return member, answer
        if status == NO_CONFIG:
            return member, {}
        reasons.append(f"{member.url}: status {status}")
    raise PatroniError(f"No member gave its dynamic configuration ({'; '.join(reasons)}).")


def write_config(fetch: Fetch, member: Member, current: Mapping[str, Any], patch: Mapping[str, Any]) -> None:
    """Store the patch; a cluster without any configuration yet gets it whole."""
    method, body = ("PATCH", patch) if current else ("PUT", apply_patch({}, patch))
    status, answer = fetch(method, f"{member.url}/config", body)
    if status == 401:
        raise PatroniError(
            f"{member.url} refused the user name or password of its REST API; "
            "set the ones that its configuration file has."
        )
    if status != 200:
        raise PatroniError(f"{member.url} refused the new configuration with status {status}: {answer}")


def wait_applied(
    fetch: Fetch, members: Sequence[Member], *, timeout: float, interval: float, clock: Clock, sleep: Sleep
) -> None:
    """Wait until each answering member went through its loop often enough to have seen a new configuration."""

    def last_seen() -> dict[str, int]:
        seen = {}
        for member in members:
            try:
                answer = fetch("GET", f"{member.url}/patroni", None)[1]
            except OSError:
                continue
            if isinstance(answer, dict) and answer.get("dcs_last_seen"):
                seen[member.name] = int(answer["dcs_last_seen"])
        return seen

    previous = last_seen()
    cycles = dict.fromkeys(previous, 0)
    deadline = clock() + timeout
    while any(count < CONFIG_CYCLES for count in cycles.values()) and clock() < deadline:
        sleep(interval)
        now = last_seen()
        for name in list(cycles):
            if name not in now:
                del cycles[name]
            elif now[name] > previous[name]:
                previous[name] = now[name]
                cycles[name] += 1


# --- restart of PostgreSQL ----------------------------------------------------------------------------------


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
