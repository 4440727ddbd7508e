# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one sample on a load balancer takes from the access log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.access_log import AccessLog
from ansible_collections.mesops.platform.plugins.module_utils._probe.balancer import Balancer
from ansible_collections.mesops.platform.plugins.module_utils._probe.haproxy import LOG_SECONDS

PROBE = {"type": "haproxy", "measure": "errors", "backend": ["catalog"], "methods": ["post"]}


def line(method: str, status: int, server: str = "app-1", age: float = 1.0) -> str:
    timers = dict.fromkeys(("ms_request", "ms_queue", "ms_connect", "ms_response", "ms_active", "ms_total"), 0)
    told = {"type": "http", "backend": "catalog", "server": server, "method": method, "status": status, **timers}
    return json.dumps({**told, "ts": time.time() - age, "termination": "----"})


def logged(*lines: str) -> AccessLog:
    def answer(_command: Sequence[str]) -> tuple[int, str, str]:
        return 0, "\n".join(lines), ""

    return AccessLog(answer, time.time(), LOG_SECONDS)


def nobody(_command: str) -> str:
    raise AssertionError("the log says it all")


def sample_of(log: AccessLog, **more: float | str) -> dict[str, Any]:
    sample = Balancer(log, nobody, 1234.5).sample({**PROBE, **more})
    assert sample["data"]["until"] == 1234.5
    return dict(sample["data"])


def test_errors_of_some_methods_are_counted_per_server() -> None:
    log = logged(line("POST", 500), line("POST", 201), line("GET", 500), line("POST", 201, server="app-2"))
    assert sample_of(log)["bad_and_all"] == {"app-1": [1, 2], "app-2": [0, 1]}


def test_answers_of_some_methods_are_counted_per_server() -> None:
    told = [line("POST", status) for status in (201, 302, 304, 404, 500, -1)]
    log = logged(*told, line("GET", 404), line("POST", 201, server="app-2"))
    assert sample_of(log, measure="answers")["bad_and_all"] == {"app-1": [2, 4], "app-2": [0, 1]}


def test_only_the_last_seconds_count() -> None:
    log = logged(line("POST", 500, age=30), line("POST", 201, age=2))
    assert sample_of(log, seconds=10)["bad_and_all"] == {"app-1": [0, 1]}
    assert sample_of(log)["bad_and_all"] == {"app-1": [1, 2]}


def test_what_an_earlier_look_has_seen_does_not_count_again() -> None:
    log = logged(line("POST", 500, age=30), line("POST", 201, age=2))
    assert sample_of(log, since=time.time() - 10)["bad_and_all"] == {"app-1": [0, 1]}
    found = sample_of(log, since=time.time() - 10, measure="latency")["ms"]
    assert found == {"app-1": [0]}
