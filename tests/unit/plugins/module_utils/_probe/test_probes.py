# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of all types: what they refuse to be, what is filled in, and that garbage is never a success."""

from __future__ import annotations

import http.client
import json
import string
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import Request
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from hypothesis import given
from hypothesis import strategies as st
from probing import (
    HTTP,
    PLACE,
    POSTGRES,
    PROMQL,
    RATIO,
    SYSTEMD,
    TCP,
    phase_and_text,
    refused,
    tools,
)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        ("up", "PLACE is 'up', which is no mapping; give it a type and that type's keys."),
        ({}, "PLACE.type is None; give one of http, tcp, systemd, haproxy,"),
        (
            {"type": "icmp"},
            "PLACE.type is 'icmp'; give one of http, tcp, systemd, haproxy,",
        ),
        ({"type": ["http"]}, "PLACE.type is ['http']; give one of http,"),
        ({**TCP, "url": "x"}, "PLACE has the unknown key 'url'; a probe of type tcp has type, from, address, timeout."),
        ({"type": "http"}, "PLACE has no url; a probe of type http needs url."),
        ({**HTTP, "url": ""}, "PLACE has no url; a probe of type http needs url."),
        ({**HTTP, "from": "moon"}, "PLACE.from is 'moon'; give one of node, balancers, coordinator."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([HTTP, TCP, SYSTEMD, {"type": "haproxy"}, PROMQL, RATIO, POSTGRES]),
    st.data(),
)
def test_any_value_of_any_key_is_good_or_refused_in_a_sentence(
    value: Any, probe: Mapping[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(["type", "from", *probes.TYPES[probe["type"]].keys]))
    found, refused = None, ""
    try:
        found = probes.check({**probe, key: value}, PLACE)
    except ProbeError as why:
        refused = str(why)
    if found is None:
        assert refused.startswith(PLACE)
    else:
        assert (key in found) == (value is not None)


# ------------------------------------------------------------------------------------------------------- substitutions

NAMES = {"host": "app-1", "port": "3000", "hosts": "app-1|app-2"}


@pytest.mark.parametrize(
    ("given_text", "filled"),
    [
        ("http://$host:$port/", "http://app-1:3000/"),
        ("http://${host}x:${port}0/", "http://app-1x:30000/"),
        ('rate(x{host=~"$hosts"}[1m])', 'rate(x{host=~"app-1|app-2"}[1m])'),
        ('x{path=~".*/pay$$"}', 'x{path=~".*/pay$"}'),
        ("$$host", "$host"),
        ("$$$host", "$app-1"),
        ("", ""),
    ],
)
def test_fill(given_text: str, filled: str) -> None:
    assert probes.fill(given_text, NAMES, PLACE) == filled


def test_fill_reaches_every_text_and_nothing_else() -> None:
    probe = {"a": {"b": ["$host", ("${port}", 5)]}, "$host": True, "c": None, "d": 1.5}
    filled = probes.fill(probe, NAMES, PLACE)
    assert filled == {"a": {"b": ["app-1", ["3000", 5]]}, "$host": True, "c": None, "d": 1.5}
    assert probe["a"] == {"b": ["$host", ("${port}", 5)]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://$hsot/", "$hsot is no known name"),
        ("${hosts_}", "$hosts_ is no known name"),
        ('x{path=~"a$"}', "a dollar sign is followed by no name"),
        ("$", "a dollar sign is followed by no name"),
        ("costs $5", "a dollar sign is followed by no name"),
        ("${host", "a dollar sign is followed by no name"),
    ],
)
def test_fill_refuses_what_it_does_not_know(text: str, why: str) -> None:
    with pytest.raises(ProbeError) as refused:
        probes.fill({"query": [text]}, NAMES, PLACE)
    known = "known are $host, $hosts, $port, and $$ for a dollar sign."
    assert str(refused.value) == f"{PLACE}.query is {text!r}: {why}; {known}"


def test_fill_leaves_access_data_alone_and_does_not_show_them() -> None:
    probe = {"username": "$host", "password": "pa$$word$", "url": "$host"}
    assert probes.fill(probe, NAMES, PLACE) == {**probe, "url": "app-1"}
    with pytest.raises(ProbeError, match=r"^rollout_gates\.x\.probe\.headers\.Authorization is not usable: "):
        probes.fill({"headers": {"Authorization": "secret $x"}}, NAMES, PLACE)


@given(st.text(alphabet="$ab{}_ é", max_size=12))
def test_fill_is_what_a_template_of_the_standard_library_makes_of_it(text: str) -> None:
    known = {"a": "1", "b": "$2"}
    try:
        expected = string.Template(text).substitute(known)
    except (KeyError, ValueError):
        with pytest.raises(ProbeError):
            probes.fill(text, known, PLACE)
    else:
        assert probes.fill(text, known, PLACE) == expected


# -------------------------------------------------------------------------------------------------------------- taking


@pytest.mark.parametrize("probe", [{}, {"type": None}, {"type": "icmp"}, {"type": 5}, 5, None, "http", ["type"]])
def test_taking_what_is_no_probe_is_an_error(probe: Any) -> None:
    assert probes.take(probe, tools())["phase"] == "error"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["", "leader", "running", "success"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "data", "result", "resultType", "value", "values", "members", "name", "role", "state", "lag"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
BODIES = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())
TROUBLE = st.sampled_from(
    [
        OSError("broken"),
        TimeoutError("timed out"),
        ConnectionResetError(104, "Connection reset by peer"),
        http.client.BadStatusLine("x"),
        http.client.IncompleteRead(b"half", 5),
        UnicodeError("label too long"),
        OverflowError("too large"),
    ]
)


@given(st.data(), st.sampled_from([{**HTTP, "json": {"version": "1.4.0"}}, PROMQL, RATIO, POSTGRES]))
def test_garbage_is_never_a_success(data: st.DataObject, probe: dict[str, Any]) -> None:
    def fetch(_request: Request, _timeout: float) -> tuple[int, bytes]:
        if data.draw(st.booleans()):
            raise data.draw(TROUBLE)
        return data.draw(st.sampled_from([200, 200, 503])), data.draw(BODIES)

    phase, _text = phase_and_text(probes.take(probe, tools(fetch=fetch)))
    assert phase not in ("success", "raw")
