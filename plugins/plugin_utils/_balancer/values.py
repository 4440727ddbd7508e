# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a single value of the haproxy role's variables has to be.

Every complaint is one sentence that names the place, the value, the rule and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import host_address

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
RESERVED = {"stats", "unrouted"}

_TIME = scalars.matching(r"0|[0-9]{1,9}(us|ms|s|m|h|d)", "a number with a unit (us, ms, s, m, h, d), such as 30s")
_WORD = scalars.matching(r"[^\s\"'\\#{}$]+", "one word without quotes, '#', '$', braces or backslashes")
PATH = scalars.when(lambda value: value.startswith("/"), "a path that begins with /")

Hostvars = Mapping[str, Mapping[str, Any]]


class ModelError(ValueError):
    """The variables are not usable; the text is one sentence for the user."""


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def mapping(value: Any, place: str, allowed: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a mapping, or refuse: not a mapping, or a key that nobody reads."""
    if not isinstance(value, Mapping):
        raise ModelError(f"{place} must be a mapping, not {value!r}.")
    for key in value:
        if allowed is not None and key not in allowed:
            raise ModelError(f"{place} has the unknown key '{key}'; the allowed keys are {', '.join(sorted(allowed))}.")
    return {str(key): one for key, one in value.items()}


def sequence(value: Any, place: str) -> list[Any]:
    """Return a list, or refuse."""
    if not _is_list(value):
        raise ModelError(f"{place} must be a list, not {value!r}.")
    return list(value)


def one_or_many(value: Any, place: str) -> list[Any]:
    """Return a list from one text or a list of them."""
    return [value] if isinstance(value, str) else sequence(value, place)


def choice(value: Any, place: str, allowed: Sequence[str]) -> str:
    """Return one of the allowed words, or refuse."""
    return scalars.choice(allowed).of(str(value), place, ModelError)


def number(value: Any, place: str, low: int, high: int) -> int:
    """Return a whole number in a range, or refuse."""
    return scalars.integer(low, high, text=True).of(value, place, ModelError)


def port(value: Any, place: str) -> int:
    """Return a TCP port, or refuse."""
    return scalars.integer(1, 65535, "a TCP port", text=True).of(value, place, ModelError)


def boolean(value: Any, place: str) -> bool:
    """Return a boolean, or refuse."""
    return scalars.BOOLEAN.of(value, place, ModelError)


def time(value: Any, place: str) -> str:
    """Return a time with HAProxy's unit; without one HAProxy would silently take milliseconds."""
    return _TIME.of(str(value), place, ModelError)


def milliseconds(value: str) -> float:
    """Return a checked time in milliseconds."""
    found = re.fullmatch(r"(\d+)([a-z]*)", value)
    return 1000 * int(found.group(1)) * scalars.SECONDS_PER_UNIT[found.group(2) or "ms"] if found else 0


def name(value: Any, place: str) -> str:
    """Return a name that HAProxy and a log query can carry, or refuse."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ModelError(
            f"{place} has the name '{value}'; a name starts with a letter and goes on with letters, digits, '_', '.' "
            "and '-', at most 63 characters."
        )
    return str(value)


def word(value: Any, place: str) -> str:
    """Return a text that stays one word in the configuration, or refuse."""
    return _WORD.of(value, place, ModelError)


def quote(value: Any) -> str:
    """Quote a text so that HAProxy takes it as it is."""
    text = str(value)
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ModelError("A text for HAProxy's configuration contains a control character or a line break; remove it.")
    return "'" + text.replace("'", "'\\''") + "'"


def address_of(host: Any, place: str, hostvars: Hostvars) -> str:
    """Return the address by which other hosts reach an inventory host."""
    if host not in hostvars:
        raise ModelError(
            f"{place} names the host '{host}', which is not in the inventory; add it there, or describe the member "
            "under 'servers' with its address."
        )
    return word(host_address(host, hostvars), f"{place}: address of '{host}'")


def times(value: Any, place: str, allowed: Sequence[str]) -> dict[str, str]:
    """Return times by what they are for, or refuse."""
    return {key: time(one, f"{place}.{key}") for key, one in mapping(value, place, allowed).items()}


def unreserved(value: str, place: str) -> str:
    """Return a name that the role does not use itself, or refuse."""
    if value in RESERVED:
        raise ModelError(f"{place} has a name that the role itself uses; choose another one.")
    return value
