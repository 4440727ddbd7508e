# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type systemd: what systemctl may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from hypothesis import given
from hypothesis import strategies as st
from probing import (
    SYSTEMD,
    accepted,
    phase_and_text,
    refused,
    tools,
)


@pytest.mark.parametrize(
    "probe",
    [
        {**SYSTEMD, "max_restarts": 2},
    ],
)
def test_good_descriptions(probe: dict[str, Any]) -> None:
    assert accepted(probe)


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        (
            {**SYSTEMD, "max_restarts": 0.5},
            "PLACE.max_restarts is 0.5; give a whole number, at least 0.",
        ),
        ({**SYSTEMD, "unit": "a\nb"}, "PLACE.unit is 'a\\nb'; give the name of a systemd unit."),
    ],
)
def test_refusals_name_the_value_the_rule_and_the_way_out(probe: Any, sentence: str) -> None:
    assert sentence in refused(probe)


def shown(active: str, sub: str, restarts: str | None = "0", load: str = "loaded") -> str:
    lines = [f"LoadState={load}", f"ActiveState={active}", f"SubState={sub}"]
    return "\n".join([*lines, *([] if restarts is None else [f"NRestarts={restarts}"])]) + "\n"


@pytest.mark.parametrize(
    ("answer", "more", "phase", "text"),
    [
        ((0, shown("active", "running"), ""), {}, "success", "catalog.service is active, 0 restarts by itself"),
        (
            (0, shown("active", "running", "1"), ""),
            {},
            "failure",
            "catalog.service died and was restarted 1 time, more than 0",
        ),
        (
            (0, shown("active", "running", "2"), ""),
            {"max_restarts": 2},
            "success",
            "catalog.service is active, 2 restarts by itself",
        ),
        (
            (0, shown("activating", "auto-restart", "3"), ""),
            {"max_restarts": 9},
            "failure",
            "catalog.service is activating (auto-restart, 3 restarts by itself)",
        ),
        (
            (0, shown("failed", "failed", "5"), ""),
            {},
            "failure",
            "catalog.service is failed (failed, 5 restarts by itself)",
        ),
        (
            (0, shown("reloading", "reload"), ""),
            {},
            "failure",
            "catalog.service is reloading (reload, 0 restarts by itself)",
        ),
        ((0, shown("inactive", "dead", load="not-found"), ""), {}, "failure", "there is no unit catalog.service"),
        (
            (1, "", "Failed to connect to bus"),
            {},
            "error",
            "systemctl show catalog.service failed: Failed to connect to bus",
        ),
        ((0, "", ""), {}, "error", "systemctl show catalog.service failed: exit status 0"),
        ((0, "nonsense", ""), {}, "error", "systemctl show catalog.service failed: nonsense"),
        ((0, shown("active", "running", None), ""), {}, "error", "invalid literal for int() with base 10: ''"),
        ((0, shown("active", "running", "many"), ""), {}, "error", "invalid literal for int() with base 10: 'many'"),
        (
            (0, shown("active", "listening", None), ""),
            {"unit": "catalog.socket"},
            "success",
            "catalog.socket is active, 0 restarts by itself",
        ),
    ],
)
def test_systemd(answer: tuple[int, str, str], more: dict[str, Any], phase: str, text: str) -> None:
    sample = probes.take({**SYSTEMD, **more}, tools(run=lambda _command: answer))
    assert phase_and_text(sample) == (phase, text)


def test_systemd_name_is_no_option() -> None:
    commands = []

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        commands.append(list(command))
        return 0, shown("active", "running"), ""

    probes.take({"type": "systemd", "unit": "--version"}, tools(run=run))
    assert commands[0][-2:] == ["--", "--version"]


@given(st.integers(-2, 300), st.text(max_size=60), st.text(max_size=20))
def test_whatever_systemctl_says_is_a_sample(rc: int, out: str, err: str) -> None:
    phase, _text = phase_and_text(probes.take(SYSTEMD, tools(run=lambda _command: (rc, out, err))))
    assert phase in ("failure", "error")
