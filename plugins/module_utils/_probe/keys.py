# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the keys of probes may be, where several types have them, and how they are read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars


class ProbeError(ValueError):
    """A probe's description is not usable; the text is one sentence for the user."""


def is_url(value: Any) -> bool:
    """Whether a value is an address that a probe may ask over HTTP."""
    # Access data in a URL would be shown with it, and no HTTP client of Python's library makes use of them.
    return isinstance(value, str) and re.fullmatch(r"(?i)https?://[^\s/?#@]+([/?#]\S*)?", value) is not None


def _headers(value: Any) -> bool:
    fits = scalars.ONE_LINE.fits
    return isinstance(value, Mapping) and all(fits(key) and fits(one) for key, one in value.items())


Rules = Mapping[str, Sequence[scalars.Rule[Any]]]
"""Names of keys, and what the value of each has to be: every rule in turn. A key without one is read by its type."""
LONGEST_TIMEOUT = 3600
SECRET = ("headers", "username", "password")
"""Keys whose values are never shown."""
WHOLE = (scalars.integer(0),)
ABOVE_ZERO = (scalars.number(0, above=True),)
NOT_NEGATIVE = (scalars.NOT_NEGATIVE,)
TIMEOUT = (scalars.number(0, LONGEST_TIMEOUT, "a number of seconds", above=True),)
SCALAR = (scalars.when(lambda value: isinstance(value, (str, int, float)), "a text"),)
URL = (
    scalars.when(
        is_url,
        "an address that begins with http:// or https:// and a host, and has no user or password; there are keys for "
        "those",
    ),
)
TEXTS = (
    scalars.when(
        lambda value: isinstance(value, (list, tuple)) and all(map(scalars.TEXT.fits, value)), "a list of texts"
    ),
)
ACCESS: Rules = {
    "headers": (scalars.when(_headers, "a mapping of header names to texts of one line"),),
    "username": SCALAR,
    "password": SCALAR,
    "timeout": TIMEOUT,
}


def statuses(value: Any, place: str) -> list[tuple[int, int]]:
    """Ranges of HTTP statuses, first and last, from 200, "200-299,304" or a list of such."""
    ranges = []
    for one in value if isinstance(value, (list, tuple)) else str(value).split(","):
        found = re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", str(one), re.ASCII)
        if found is None or int(found.group(1)) > int(found.group(2) or found.group(1)):
            raise ProbeError(f"{place}.status is {value!r}; give a status such as 200, or ranges such as 200-299,304.")
        ranges.append((int(found.group(1)), int(found.group(2) or found.group(1))))
    if not ranges:
        raise ProbeError(f"{place}.status is {value!r}; give a status such as 200, or ranges such as 200-299,304.")
    return ranges
