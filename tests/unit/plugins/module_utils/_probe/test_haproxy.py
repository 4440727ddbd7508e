# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type haproxy, which a load balancer takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import Sample
from probing import (
    PLACE,
    TCP,
    accepted,
    refused,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        {"type": "haproxy"},
        {"type": "haproxy", "measure": "errors", "backend": ["catalog"], "servers": ["app-1"], "baseline": ["app-2"]},
        {"type": "haproxy", "measure": "errors", "methods": ["POST"], "seconds": 30, "max_ratio": 0.005},
        {"type": "haproxy", "measure": "answers", "methods": ["POST"], "max_ratio": 0.1},
        {"type": "haproxy", "measure": "latency", "methods": ["GET"], "percentile": 99, "seconds": 30, "max_ms": 200},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        (
            {"type": "haproxy", "measure": "speed"},
            "PLACE.measure is 'speed'; give one of state, errors, answers, latency.",
        ),
        ({"type": "haproxy", "backend": "catalog"}, "PLACE.backend is 'catalog'; give a list of texts."),
        ({"type": "haproxy", "servers": ["a", 1]}, "PLACE.servers is ['a', 1]; give a list of texts."),
        (
            {"type": "haproxy", "measure": "errors", "max_ms": 5},
            "PLACE has max_ms, of which the measure errors makes no use; remove it, or choose another measure.",
        ),
        ({"type": "haproxy", "alpha": 0.1}, "PLACE has alpha, of which the measure state makes no use; remove it, or"),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


@pytest.mark.parametrize("key", ["backend", "servers"])
@pytest.mark.parametrize("value", [None, []])
def test_outside_a_rollout_a_load_balancer_has_to_be_told_the_servers(key: str, value: Any) -> None:
    probe = {"type": "haproxy", "backend": ["catalog"], "servers": ["app-1"]}
    assert probes.check_alone(probe, PLACE) == probe
    assert probes.check_alone(TCP, PLACE) == TCP
    with pytest.raises(ProbeError) as why:
        probes.check_alone({**probe, key: value}, PLACE)
    assert str(why.value) == (
        f"{PLACE} has no {key}; a probe of type haproxy needs backend and servers outside a rollout."
    )


def test_haproxy_is_asked_where_there_is_one() -> None:
    seen = []

    def balancer(probe: Mapping[str, Any]) -> Sample:
        seen.append(probe)
        return {"phase": "success", "text": "up"}

    probe = {"type": "haproxy", "measure": "state", "servers": ["app-1"], "alpha": None}
    assert probes.take(probe, tools(balancer=balancer)) == {"phase": "success", "text": "up"}
    assert seen == [{"type": "haproxy", "measure": "state", "servers": ["app-1"]}]
    assert probes.take(probe, tools()) == {"phase": "error", "text": "this host has no HAProxy to ask"}
