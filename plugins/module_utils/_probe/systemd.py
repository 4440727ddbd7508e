# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type systemd: whether a unit runs, and did not die meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars, systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import NODE, ProbeType
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    ERROR,
    FAILURE,
    SUCCESS,
    Sample,
    Tools,
    sample,
)


def _describe(probe: Mapping[str, Any]) -> str:
    return f"unit {probe.get('unit')} runs, {quantity(int(probe.get('max_restarts') or 0), 'restart')}"


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    unit = str(probe["unit"])
    names = ("LoadState", "ActiveState", "SubState", "NRestarts")
    try:
        found = systemd.show(tools.run, unit, names)
    except systemd.Unanswered as error:
        return sample(ERROR, str(error))
    if found.get("LoadState") == "not-found":
        return sample(FAILURE, f"there is no unit {unit}")
    # Only services are restarted; sockets, timers and mounts have no such property.
    counts = "." not in unit or unit.endswith(".service")
    restarts, most = int(found.get("NRestarts", "") if counts else 0), int(probe.get("max_restarts", 0))
    if found["ActiveState"] != "active":
        state = f"{found['ActiveState']} ({found.get('SubState')}, {quantity(restarts, 'restart')} by itself)"
        return sample(FAILURE, f"{unit} is {state}")
    if restarts > most:
        return sample(FAILURE, f"{unit} died and was restarted {quantity(restarts, 'time')}, more than {most}")
    return sample(SUCCESS, f"{unit} is active, {quantity(restarts, 'restart')} by itself")


TYPE = ProbeType(
    name="systemd",
    place=NODE,
    keys={
        "unit": (scalars.when(scalars.ONE_LINE.fits, "the name of a systemd unit"),),
        "max_restarts": keys.WHOLE,
    },
    required=("unit",),
    documentation=(
        "C(unit), which must be active; C(max_restarts) 0, how often systemd may have restarted it since it was "
        "started by hand"
    ),
    describe=_describe,
    take=_take,
)
