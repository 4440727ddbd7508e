# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a single value of the inventory has to be, and the one sentence for a wrong one. No Ansible in here.

The sentence names the place, the value and what to give instead: ``app_services.catalog.port is 0; give a TCP port from
1 to 65535.``
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

Value = TypeVar("Value")
SECONDS_PER_UNIT = {"us": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Rule(Generic[Value]):
    """What a value has to be."""

    read: Callable[[Any], Value]
    """What the value means; ValueError or OverflowError where it means nothing."""
    wanted: str
    """What to give, as it stands after "give"."""

    def fits(self, value: Any) -> bool:
        """Whether a value is right."""
        try:
            self.read(value)
        except (ValueError, OverflowError):
            return False
        return True

    def of(self, value: Any, place: str, error: Callable[[str], Exception] = Refused) -> Value:
        """What the value at a place of the inventory means, or an error with the sentence."""
        try:
            return self.read(value)
        except (ValueError, OverflowError):
            raise error(refusal(place, repr(value), self.wanted)) from None


def refusal(place: str, shown: str, wanted: str) -> str:
    """The sentence for a wrong value, which is ``shown`` as it may be: of a secret nothing is."""
    return f"{place} is {shown}; give {wanted}."


def when(fits: Callable[[Any], bool], wanted: str) -> Rule[Any]:
    """A value that is taken as it is."""

    def read(value: Any) -> Any:
        if not fits(value):
            raise ValueError
        return value

    return Rule(read, wanted)


def matching(pattern: str, wanted: str) -> Rule[str]:
    """A text of a form."""
    form = re.compile(pattern)
    return when(lambda value: isinstance(value, str) and form.fullmatch(value) is not None, wanted)


def choice(allowed: Sequence[str]) -> Rule[str]:
    """One of some words."""
    return when(lambda value: isinstance(value, str) and value in allowed, f"one of {', '.join(allowed)}")


def integer(least: int, most: int | None = None, what: str = "a whole number", *, text: bool = False) -> Rule[int]:
    """A whole number; with ``text`` also one that is written as a text, as ``-e`` and templates bring it."""

    def read(value: Any) -> int:
        if text and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError
        if value < least or (most is not None and value > most):
            raise ValueError
        return value

    return Rule(read, f"{what} from {least} to {most}" if most is not None else f"{what}, at least {least}")


def number(
    least: float = -math.inf,
    most: float = math.inf,
    what: str = "a number",
    *,
    above: bool = False,
    text: bool = False,
) -> Rule[float]:
    """A finite number in a range; ``above`` excludes the least one, ``text`` takes a number in a text as well."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str) if text else (int, float)):
            raise ValueError
        found = float(value)
        if not math.isfinite(found) or not least <= found <= most or (above and found == least):
            raise ValueError
        return found

    return Rule(read, f"{what}{_range(least, most, above)}")


def _range(least: float, most: float, above: bool) -> str:
    if above:
        return f" above {_plain(least)}" + (f" and at most {_plain(most)}" if most < math.inf else "")
    if most < math.inf:
        return f" from {_plain(least)} to {_plain(most)}"
    return "" if least == -math.inf else f", at least {_plain(least)}"


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _truth(value: Any) -> bool:
    found = _TRUTHS.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def _seconds(value: Any) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)?", str(value).strip(), re.ASCII)
    if isinstance(value, bool) or found is None:
        raise ValueError
    return float(found.group(1)) * SECONDS_PER_UNIT[found.group(2) or "s"]


def _address(value: Any) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\s\[\]]+\]|[^\s\[\]:]+):(\d{1,5})", str(value), re.ASCII)
    if found is None or not 0 < int(found.group(2)) < 65536:
        raise ValueError
    return found.group(1).strip("[]"), int(found.group(2))


TEXT: Rule[str] = when(lambda value: isinstance(value, str), "a text")
ONE_LINE = when(lambda value: isinstance(value, (str, int, float)) and str(value).isprintable(), "a text of one line")
BOOLEAN: Rule[bool] = when(lambda value: isinstance(value, bool), "true or false")
TRUTH = Rule(_truth, "true or false")
"""Also as the text that ``-e`` brings."""
DURATION = Rule(_seconds, "a time such as 30s or 5m")
"""Seconds, from a number of them or a time with HAProxy's unit."""
NUMBER = number()
NOT_NEGATIVE = number(0)
PORT = integer(1, 65535, "a TCP port")
URL_PATH = matching(r"/[!-~]*", "a path that begins with /")
HOST = matching(r"[A-Za-z0-9_.-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?", "a host name, such as www.example.com")
"""A host with or without a port, as a header carries it."""
ADDRESS = Rule(_address, "host:port, with an IPv6 address in brackets")
