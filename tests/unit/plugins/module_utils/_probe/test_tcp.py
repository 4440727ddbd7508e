# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type tcp, against a real server on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import real_tools
from probing import (
    TCP,
    accepted,
    closed_port,
    no_run,
    phase_and_text,
    raw_server,
    refused,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        TCP,
        {**TCP, "address": "[::1]:443"},
        {**TCP, "address": "localhost:1"},
        {**TCP, "address": "localhost:65535"},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        ({**TCP, "address": "host"}, "PLACE.address is 'host'; give host:port, with an IPv6 address in brackets."),
        (
            {**TCP, "address": "host:70000"},
            "PLACE.address is 'host:70000'; give host:port, with an IPv6 address in brackets.",
        ),
        (
            {**TCP, "address": "host:65536"},
            "PLACE.address is 'host:65536'; give host:port, with an IPv6 address in brackets.",
        ),
        ({**TCP, "address": "host:0"}, "PLACE.address is 'host:0'; give host:port, with an IPv6 address in brackets."),
        ({**TCP, "address": ":80"}, "PLACE.address is ':80'; give host:port, with an IPv6 address in brackets."),
        ({**TCP, "address": "a b:80"}, "PLACE.address is 'a b:80'; give host:port, with an IPv6 address in brackets."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


def test_tcp_for_real() -> None:
    with raw_server(b"") as port:
        probe = {"type": "tcp", "address": f"127.0.0.1:{port}"}
        sample = probes.take(probe, real_tools(no_run))
    assert sample == {"phase": "success", "text": f"127.0.0.1:{port} accepts connections"}
    address = f"127.0.0.1:{closed_port()}"
    phase, text = phase_and_text(probes.take({"type": "tcp", "address": address}, real_tools(no_run)))
    assert (phase, text) == ("failure", f"{address} accepts no connection ([Errno 111] Connection refused)")


def test_tcp_timeout_and_address() -> None:
    seen = []

    def connect(*arguments: Any) -> None:
        seen.append(arguments)
        raise TimeoutError("timed out")

    assert probes.take({"type": "tcp", "address": "[::1]:80", "timeout": 2}, tools(connect=connect)) == {
        "phase": "failure",
        "text": "[::1]:80 accepts no connection (timed out)",
    }
    assert seen == [("::1", 80, 2.0)]
