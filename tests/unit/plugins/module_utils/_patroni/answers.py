# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of Patroni and its etcd, made of answers."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._patroni import api, clusters

A = api.Member("pg-a", "http://a:8008")
B = api.Member("pg-b", "http://b:8008")
ETCD = "http://etcd:2379"
STREAMING = {"application_name": "pg-b", "state": "streaming", "sync_state": "sync"}


class World:
    """A Patroni cluster and an etcd that answer from dictionaries, and a clock that only sleep moves."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = dict(answers)
        self.keys: dict[str, tuple[str, int]] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.now = 0.0

    def fetch(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        self.calls.append((method, url, body))
        if url.startswith(ETCD):
            return 200, self.etcd(url, body or {})
        answer = self.answers.get(f"{method} {url}", OSError("Connection refused"))
        if isinstance(answer, Exception):
            raise answer
        status, payload = answer if isinstance(answer, tuple) else (200, answer)
        return status, copy.deepcopy(payload)

    def etcd(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if url.endswith("/range"):
            name = base64.b64decode(body["key"]).decode()
            if name not in self.keys:
                return {}
            value, revision = self.keys[name]
            entry: dict[str, Any] = {"key": body["key"], "mod_revision": str(revision)}
            if value:
                entry["value"] = base64.b64encode(value.encode()).decode()
            return {"kvs": [entry]}
        for compare in body["compare"]:
            name = base64.b64decode(compare["key"]).decode()
            _value, revision = self.keys.get(name, ("", 0))
            if str(revision) != compare["mod_revision"]:
                return {}
        del self.keys[base64.b64decode(body["success"][0]["request_delete_range"]["key"]).decode()]
        return {"succeeded": True}

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> clusters.Cluster:
        return clusters.read_cluster(self.fetch, [A, B])


def leading(member: api.Member, *standbys: Mapping[str, Any], role: str = "primary") -> dict[str, Any]:
    return {
        f"GET {member.url}/patroni": {"role": role, "state": "running", "replication": list(standbys)},
        f"GET {member.url}/primary": {},
    }


def standing_by(member: api.Member, state: str = "running") -> dict[str, Any]:
    return {f"GET {member.url}/patroni": {"role": "replica", "state": state}}
