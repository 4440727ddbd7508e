# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claim that a killed bootstrap leaves in etcd. No Ansible in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import etcd_json
from ansible_collections.mesops.platform.plugins.module_utils._core.etcd_json import Pair
from ansible_collections.mesops.platform.plugins.module_utils._patroni.api import Clock, Fetch
from ansible_collections.mesops.platform.plugins.module_utils._patroni.clusters import Cluster

IDLE_STATES = ("", "stopped", "uninitialized", "crashed", "start failed", "initdb failed", "custom bootstrap failed")
CLAIM_GRACE = 2.0


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
        self._seen: tuple[Pair, float] | None = None
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

    def orphaned(self, cluster: Cluster) -> Pair | None:
        """An empty claim that nobody works on."""
        if cluster.primaries or not cluster.states or any(s not in IDLE_STATES for s in cluster.states.values()):
            return None
        answer = self._call("/v3/kv/range", {"key": etcd_json.encode(self._initialize)})
        found = etcd_json.pairs(answer or {})
        return found[0] if found and not found[0].value else None

    def release_if_orphaned(self, cluster: Cluster) -> None:
        """Look once; remove the claim when the same one was orphaned ``CLAIM_GRACE`` seconds ago already."""
        claim = self.orphaned(cluster)
        if claim is None:
            self._seen = None
            return
        if self._seen is None or self._seen[0] != claim:
            self._seen = (claim, self._clock())
            return
        if self._clock() - self._seen[1] < CLAIM_GRACE:
            return
        compare = [etcd_json.unchanged(self._initialize, claim), etcd_json.unchanged(self._leader, None)]
        body = {"compare": compare, "success": [etcd_json.delete(self._initialize)]}
        answer = self._call("/v3/kv/txn", body)
        self.released = self.released or bool((answer or {}).get("succeeded"))
        self._seen = None
