# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type tcp: whether an address accepts connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import NODE, ProbeType
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    FAILURE,
    SUCCESS,
    Sample,
    Tools,
    reason,
    sample,
)


def _describe(probe: Mapping[str, Any]) -> str:
    return f"connect to {probe.get('address')}"


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    host, port = scalars.ADDRESS.of(probe["address"], "probe.address", keys.ProbeError)
    try:
        tools.connect(host, port, float(probe.get("timeout", 5)))
    except OSError as error:
        return sample(FAILURE, f"{probe['address']} accepts no connection ({reason(error)})")
    return sample(SUCCESS, f"{probe['address']} accepts connections")


TYPE = ProbeType(
    name="tcp",
    place=NODE,
    keys={"address": (scalars.ADDRESS,), "timeout": keys.TIMEOUT},
    required=("address",),
    documentation="C(address) (host:port); C(timeout) 5",
    describe=_describe,
    take=_take,
)
