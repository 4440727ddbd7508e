# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each worker of one HAProxy has counted of each server, and which requests wait at this moment. Pure.

Measured on 2.6 and 3.0 (``molecule/haproxy/tests/test_traffic.py``), and the reason for what is read here:

- ``stot`` of a server grows by one for every attempt that is sent to it, those included that are tried again elsewhere.
- ``req_tot`` grows when the header of a response has come, so ``stot - req_tot`` waits, or has come to nothing.
- An attempt that came to nothing and was tried again counts as ``wretr`` and ``wredis`` of the server that failed; on
  3.0 as ``eresp`` too. A refused connection that is tried on another server counts as ``wredis`` only. An empty
  response that is not tried again counts once in ``eresp`` on 2.6, and twice on 3.0.
- A client that gives up counts as ``cli_abrt`` only with "option abortonclose". Without it the request goes on, and
  waits in "show sess" with the analyser AN_RES_WAIT_HTTP on its response.
- A response that breaks off counts as ``srv_abrt`` and ``eresp``, and as one of its status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import number

MOST_SESSIONS = 5000
"""Where a worker has more sessions than this, they are not listed: counters alone tell enough by then."""
MOST_TOLD = 500
"""Sessions of one server that are told at most, the oldest ones."""

_COLUMNS = {
    "sent": "stot",
    "answered": "req_tot",
    "redirected": "hrsp_3xx",
    "rejected": "hrsp_4xx",
    "failed": "hrsp_5xx",
    "cut": "srv_abrt",
    "refused": "econ",
    "broken": "eresp",
    "retries": "wretr",
    "redispatches": "wredis",
    "aborted": "cli_abrt",
    "downs": "chkdown",
    "failed_checks": "chkfail",
    "now": "scur",
}
_WAITS_FOR_RESPONSE = 0x00400000
_AGE = re.compile(r"(\d+)([dhms])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def counts(row: Mapping[str, str]) -> dict[str, int]:
    """What one worker has counted of one server, from its row in "show stat"; ``now`` is how many it has at the moment.

    Over tcp nothing is answered: there a connection is good when it was made.
    """
    found = {name: number(row.get(column)) for name, column in _COLUMNS.items()}
    if not row.get("req_tot"):
        lost = found["refused"] + max(found["retries"], found["redispatches"])
        found["answered"] = max(0, found["sent"] - lost)
    return found


def add(into: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts to counts."""
    for key, value in more.items():
        into[key] = into.get(key, 0) + value


def merge(found: dict[str, dict[str, dict[str, int]]], server: str, workers: Mapping[int, Mapping[str, int]]) -> None:
    """Add what the workers have counted of a server in one backend to what they have in others."""
    for pid, counted in workers.items():
        add(found.setdefault(str(pid), {}).setdefault(server, {}), counted)


def _age(text: str) -> int:
    """Seconds from HAProxy's own words, such as 2m3s."""
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _AGE.findall(text))


def _session(line: str) -> tuple[str, str, str, int, bool] | None:
    """Name, backend, server, age in seconds, and whether it waits for a response; nothing for any other line."""
    head, _colon, rest = line.partition(":")
    words = dict(word.split("=", 1) for word in rest.split() if "=" in word)
    response = re.search(r" rp\[[^\]]*?an=([0-9a-f]+)h", line)
    if not head.startswith("0x") or not {"be", "srv", "age"} <= set(words) or response is None:
        return None
    waits = bool(int(response.group(1), 16) & _WAITS_FOR_RESPONSE)
    return f"{head}/{words.get('src', '')}", words["be"], words["srv"], _age(words["age"]), waits


def sessions(text: str, pid: int, backends: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Sessions in "show sess" of one worker: {"waiting": {server: {name: age}}, "streaming": ...}, the oldest first.

    ``waiting`` is for the header of a response, ``streaming`` is after it. The age is in seconds and counts the time
    for which the client was idle before it sent the request as well; so only what is seen twice is known to wait.
    """
    found: dict[str, dict[str, dict[str, int]]] = {"waiting": {}, "streaming": {}}
    for line in text.splitlines():
        one = _session(line)
        if one is not None and one[1] in backends:
            name, _backend, server, age, waits = one
            found["waiting" if waits else "streaming"].setdefault(server, {})[f"{pid}/{name}"] = age
    return {kind: {server: _oldest(some) for server, some in servers.items()} for kind, servers in found.items()}


def _oldest(some: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(some.items(), key=lambda item: -item[1])[:MOST_TOLD])


def together(several: Iterable[Mapping[str, Mapping[str, Mapping[str, int]]]]) -> dict[str, dict[str, dict[str, int]]]:
    """The sessions of several workers."""
    found: dict[str, dict[str, dict[str, int]]] = {"waiting": {}, "streaming": {}}
    for one in several:
        for kind, servers in one.items():
            for server, some in servers.items():
                found[kind].setdefault(server, {}).update(some)
    return found


Traffic = Mapping[str, Any]
"""One look at one load balancer, as JSON: ``at`` (seconds since the epoch there), ``workers`` ({pid: {server:
counts}}), ``health`` ({server: {up, in_traffic, status, check}}), and where sessions were listed ``waiting`` and
``streaming``."""
