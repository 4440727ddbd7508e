# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module to run on a host, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """One module of this collection to run on one host."""

    host: str
    module: str
    """Its name in this collection."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds that the module itself may take."""
    check: bool = False
    """Whether it is only to say what it would do."""
    action: bool = False
    """Whether its action plugin has to run, such as the one that brings a file to the host."""


@dataclass(frozen=True)
class Answer:
    """What came of a call: the module's result, or why there is none."""

    result: Mapping[str, Any]
    unreachable: bool = False

    @property
    def failed(self) -> bool:
        """Whether it did not do what it was asked."""
        return self.unreachable or bool(self.result.get("failed"))

    @property
    def reason(self) -> str:
        """Why it failed, on one line."""
        return " ".join(str(self.result.get("msg") or "no reason given").split())
