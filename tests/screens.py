# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of rollouts, and the screen that every text about them has to fit; for tests of what a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies, rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
COLUMNS, LINES = 110, 45


def screen(text: str) -> list[str]:
    """The lines of a text that has to fit one screen."""
    lines = text.split("\n")
    assert max(map(len, lines)) <= COLUMNS, max(lines, key=len)
    assert len(lines) <= LINES, text
    assert not [line for line in lines if line != line.rstrip()]
    return lines


def line_of(text: str, start: str) -> str:
    """The one line that begins so, without the spaces in front."""
    found = [line.strip() for line in text.split("\n") if line.strip().startswith(start)]
    assert len(found) == 1, (start, text)
    return found[0]


def names(number: int, name: str = "app-{}") -> tuple[str, ...]:
    return tuple(name.format(one) for one in range(1, number + 1))


def settings(hosts: Sequence[str], gates: Mapping[str, Any] | None = None, **changes: Any) -> Settings:
    given_settings: dict[str, Any] = {
        "service": SERVICE,
        "hosts": tuple(hosts),
        "balancers": ("lb-1", "lb-2"),
        "backends": ("catalog", "catalog_api"),
        "gates": rollout_gates.check_gates(gates or {}, SERVICE),
    }
    return Settings(**{**given_settings, **changes})


def new_record(hosts: Sequence[str], batches: Sequence[policies.Share] = (1, "25%"), **changes: Any) -> Record:
    found = Record(
        "catalog-20261125T180000Z-ab12",
        "catalog",
        "1.5.0",
        "ops@controller",
        1_800_000_000.0,
        balancers=["lb-1", "lb-2"],
        weights=[10, 100],
        **changes,
    )
    left = list(hosts)
    for number, size in enumerate(plan.sizes(len(hosts), batches)):
        found.batches.append(left[:size])
        for host in left[:size]:
            found.hosts[host] = HostRecord(number, "1.5.0", "1.4.0")
        left = left[size:]
    return found


ROUTE = ("prepared", "draining", "drained", "activated", "healthy", "in_service", "in_service", "done")
BACK = ("draining", "drained", "activated", "healthy", "rolled_back")


def walk(record: Record, host: str, phases: Sequence[str] = ROUTE, begin: float = 0, step: float = 5) -> HostRecord:
    """Let a host go through phases, one each ``step`` seconds."""
    for number, phase in enumerate(phases):
        record.enter([host], phase, record.started_at + begin + step * number)
    one = record.hosts[host]
    one.drain_s, one.sessions, one.stop_s, one.start_s, one.observed_s, one.turn_s = 4.1, 12, 0.3, 1.2, 20.0, 28.0
    return one
