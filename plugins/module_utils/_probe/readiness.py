# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type readiness: what a health check of HAProxy would find."""

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
    sample,
)

STATUS = "200-299"


def _check(probe: Mapping[str, Any], place: str) -> None:
    keys.statuses(probe.get("status", STATUS), place)


def _describe(probe: Mapping[str, Any]) -> str:
    return f"GET {probe.get('url')}"


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    wanted = keys.statuses(probe.get("status", STATUS), "probe")
    timeout = float(probe.get("timeout", 2))
    passed, text = tools.ready(str(probe["url"]), str(probe.get("host", "")), wanted, timeout)
    return sample(SUCCESS if passed else FAILURE, text)


TYPE = ProbeType(
    name="readiness",
    place=NODE,
    keys={
        "url": keys.URL,
        "host": (scalars.when(scalars.ONE_LINE.fits, "the name that the Host header is to have"),),
        "status": (),
        "timeout": keys.TIMEOUT,
    },
    required=("url",),
    documentation=(
        "C(url); C(host) (the C(Host) header), C(status) (200-299), C(timeout) 2: the status decides, exactly as in "
        "HAProxy's own check; the body is not waited for"
    ),
    check=_check,
    describe=_describe,
    take=_take,
)
