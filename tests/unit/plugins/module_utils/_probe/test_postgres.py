# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type postgres: what Patroni's members may say of their cluster."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import Request
from probing import (
    POSTGRES,
    accepted,
    phase_and_text,
    refused,
    timeouts_of,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        {**POSTGRES, "min_standbys": 0, "max_lag_mb": 0.5, "synchronous": True},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        ({"type": "postgres", "endpoints": []}, "PLACE has no endpoints; a probe of type postgres needs endpoints."),
        ({**POSTGRES, "endpoints": "http://pg-1:8008"}, "PLACE.endpoints is 'http://pg-1:8008'; give a list of"),
        (
            {**POSTGRES, "endpoints": ["http://pg-1:8008", "pg-2:8008"]},
            "PLACE.endpoints is ['http://pg-1:8008', 'pg-2:8008']; give addresses such as http://pg-1:8008, one",
        ),
        ({**POSTGRES, "synchronous": "yes"}, "PLACE.synchronous is 'yes'; give true or false."),
        ({**POSTGRES, "min_standbys": -1}, "PLACE.min_standbys is -1; give a whole number, at least 0."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


def member(name: str, role: str, state: str, **more: Any) -> dict[str, Any]:
    base = {"name": name, "role": role, "state": state, "api_url": f"http://{name}:8008/patroni", "timeline": 1}
    return {**base, "host": name, "port": 5432, **more}


LEADER = member("pg-1", "leader", "running")
"""A leader has no lag."""


def patroni(
    members: Any, replication: Any = (), dead: Sequence[str] = (), status: int = 200
) -> Callable[[Request, float], tuple[int, bytes]]:
    """Every member's REST API: all say the same of the cluster, the leader knows who streams."""

    def fetch(request: Request, _timeout: float) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(request.url)
        if url.hostname in dead:
            raise ConnectionRefusedError(111, "Connection refused")
        if url.path == "/patroni":
            assert url.hostname == "pg-1", "only the leader knows"
            rows = [{"application_name": name, "state": state} for name, state in replication]
            return 200, json.dumps({"role": "master", "state": "running", "replication": rows}).encode()
        assert url.path == "/cluster"
        return status, json.dumps({"members": members, "scope": "plant"}).encode()

    return fetch


def take_postgres(fetch: Any, **more: Any) -> tuple[str, str]:
    return phase_and_text(probes.take({**POSTGRES, **more}, tools(fetch=fetch)))


STREAMS = member("pg-2", "replica", "streaming", lag=0)
SYNC = member("pg-2", "sync_standby", "streaming", lag=0)
RUNS = member("pg-2", "replica", "running", lag=0)


@pytest.mark.parametrize(
    ("others", "more", "phase", "text"),
    [
        ([STREAMS], {}, "success", "pg-1 leads, 1 standby streams"),
        ([SYNC], {"synchronous": True}, "success", "pg-1 leads, 1 standby streams"),
        ([{**SYNC, "role": "quorum_standby"}], {"synchronous": True}, "success", "pg-1 leads, 1 standby streams"),
        ([STREAMS], {"synchronous": True}, "failure", "pg-1 leads but no standby that streams is synchronous"),
        (
            [STREAMS, member("pg-3", "replica", "streaming", lag=5)],
            {"min_standbys": 2},
            "success",
            "pg-1 leads, 2 stand",
        ),
        (
            [STREAMS],
            {"min_standbys": 2},
            "failure",
            "pg-1 leads and 1 standby streams with at most 16 MiB lag, fewer than 2 (there are no others)",
        ),
        (
            [{**STREAMS, "lag": 17 << 20}],
            {},
            "failure",
            "pg-1 leads and 0 standbys stream with at most 16 MiB lag, fewer than 1 "
            "(pg-2 replica is streaming, lag 17825792)",
        ),
        ([{**STREAMS, "lag": 16 << 20}], {}, "success", "pg-1 leads, 1 standby streams"),
        ([{**STREAMS, "lag": 17 << 20}], {"max_lag_mb": 20}, "success", "pg-1 leads, 1 standby streams"),
        ([{**STREAMS, "lag": "unknown"}], {}, "failure", "pg-1 leads and 0 standbys stream with at most 16 MiB lag"),
        # A lag that is not told is not known.
        ([member("pg-2", "replica", "streaming")], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "lag": True}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "state": "in archive recovery"}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        ([{**STREAMS, "state": "starting"}], {}, "failure", "pg-1 leads and 0 standbys stream"),
        (
            [{**SYNC, "lag": "unknown"}, member("pg-3", "replica", "streaming", lag=0)],
            {"synchronous": True},
            "failure",
            "",
        ),
        (
            [],
            {},
            "failure",
            "pg-1 leads and 0 standbys stream with at most 16 MiB lag, fewer than 1 (there are no others)",
        ),
        ([], {"min_standbys": 0}, "success", "pg-1 leads, 0 standbys stream"),
    ],
)
def test_postgres_with_patroni_4(others: list[dict[str, Any]], more: dict[str, Any], phase: str, text: str) -> None:
    found = take_postgres(patroni([LEADER, *others]), **more)
    assert found[0] == phase
    assert found[1].startswith(text)


@pytest.mark.parametrize(
    ("others", "replication", "phase"),
    [
        ([RUNS], [("pg-2", "streaming")], "success"),
        ([{**RUNS, "role": "sync_standby"}], [("pg-2", "streaming")], "success"),
        # Patroni 4 says so of a standby whose stream is cut, and Patroni 3.0 says so of every standby.
        ([RUNS], [], "failure"),
        ([RUNS], [("pg-2", "catchup")], "failure"),
        ([RUNS], [("pg-3", "streaming")], "failure"),
        ([{**RUNS, "lag": "unknown"}], [("pg-2", "streaming")], "failure"),
        ([{**RUNS, "lag": 17 << 20}], [("pg-2", "streaming")], "failure"),
        ([{**RUNS, "state": "stopped"}], [("pg-2", "streaming")], "failure"),
    ],
)
def test_postgres_with_patroni_3(others: list[dict[str, Any]], replication: list[Any], phase: str) -> None:
    assert take_postgres(patroni([LEADER, *others], replication))[0] == phase


def test_postgres_does_not_believe_a_leader_that_says_nothing() -> None:
    def fetch(request: Request, timeout: float) -> tuple[int, bytes]:
        if request.url.endswith("/patroni"):
            raise TimeoutError("timed out")
        return patroni([LEADER, RUNS])(request, timeout)

    assert take_postgres(fetch)[0] == "failure"
    without_url = {key: value for key, value in LEADER.items() if key != "api_url"}
    assert take_postgres(patroni([without_url, RUNS], [("pg-2", "streaming")]))[0] == "failure"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([STREAMS], "0 members lead, not one (pg-2 replica is streaming, lag 0)"),
        ([{**LEADER, "state": "stopped"}, STREAMS], "0 members lead, not one (pg-1 leader is stopped, pg-2 replica is"),
        ([{**LEADER, "state": "starting"}, STREAMS], "0 members lead, not one"),
        ([{**LEADER, "role": "standby_leader"}, STREAMS], "0 members lead, not one"),
        ([LEADER, {**LEADER, "name": "pg-2"}], "2 members lead, not one"),
    ],
)
def test_postgres_wants_one_leader_that_runs(members: list[dict[str, Any]], text: str) -> None:
    phase, found = take_postgres(patroni(members))
    assert phase == "failure"
    assert found.startswith(text)


def test_postgres_asks_the_next_when_one_is_silent() -> None:
    cluster = [LEADER, STREAMS]
    assert take_postgres(patroni(cluster, dead=["pg-1"]))[0] == "success"
    assert take_postgres(patroni(cluster, dead=["pg-2"]))[0] == "success"
    assert take_postgres(patroni(cluster, dead=["pg-1", "pg-2"])) == (
        "error",
        "http://pg-1:8008/cluster: [Errno 111] Connection refused; "
        "http://pg-2:8008/cluster: [Errno 111] Connection refused",
    )


@pytest.mark.parametrize("members", [None, [], {}, "all", [1], [{}], [LEADER, {"role": "replica"}]])
def test_postgres_answer_without_members_is_an_error(members: Any) -> None:
    assert take_postgres(patroni(members)) == (
        "error",
        "http://pg-1:8008/cluster answered 200 without members; http://pg-2:8008/cluster answered 200 without members",
    )


def test_postgres_that_refuses_is_an_error() -> None:
    phase, text = take_postgres(patroni([LEADER, STREAMS], status=503))
    assert (phase, text) == (
        "error",
        "http://pg-1:8008/cluster answered 503; http://pg-2:8008/cluster answered 503",
    )


def test_the_timeout_reaches_the_request() -> None:
    assert timeouts_of(POSTGRES) == ({3.0}, {0.5})
