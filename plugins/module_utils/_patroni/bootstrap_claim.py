# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claim that a killed bootstrap leaves in etcd. No Ansible in here."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._patroni.api import Clock, Fetch
from ansible_collections.mesops.platform.plugins.module_utils._patroni.clusters import Cluster

IDLE_STATES = ("", "stopped", "uninitialized", "crashed", "start failed", "initdb failed", "custom bootstrap failed")
CLAIM_GRACE = 2.0


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
