# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy complains of, as one clause for the user, and no secret in anything that a person reads."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

MASK = "********"
_SECRET_WORD = re.compile(
    r"(\bstats auth|[\w.-]*(?:password|passwd|secret|token|authorization|api-?key)[\w-]*[\"')]*)[ \t]+\S.*",
    re.IGNORECASE,
)
"""What follows such a word in a configuration is nobody's business, wherever in ``haproxy_extra`` it stands."""
_WORD = re.compile(r"[^\s\"'(){}:,]+")
SHORTEST = 4
"""Shorter words, such as "if" and "-m", tell nothing, and HAProxy's complaint needs them to be read."""


def alerts(output: str, level: str = "ALERT") -> list[str]:
    """Return the messages of one level from HAProxy's start-up output, in order and without repetition."""
    found = re.findall(rf"^\[{level}\]\s*(?:\S+\s*)?\(\d+\) : (.+)$", output, re.MULTILINE)
    return list(dict.fromkeys(re.sub(r"^config : ", "", one).strip() for one in found))


def explain(output: str, config: str, path: str, secrets: Sequence[str] = ()) -> str:
    """Turn HAProxy's complaints about the file ``path`` into one clause with the line's number and its text."""
    messages = alerts(output)
    lines = config.splitlines()
    for message in messages:
        found = re.search(r"\[?" + re.escape(path) + r":(\d+)\]?", message)
        if not found:
            continue
        number = int(found.group(1))
        text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        rest = re.sub(r"^(?i:parsing) ", "", message.replace(found.group(0), "")).strip(" :'.")
        shown = mask(text, secrets)
        hidden = set(_WORD.findall(text)) - set(_WORD.findall(shown))
        return f'line {number}, "{shown}": {_mask_words(mask(rest, secrets), hidden)}'
    useful = [one for one in messages if "rror(s) found" not in one and "errors found" not in one] or messages
    tail = output.strip().splitlines()[-1:] or ["no reason given"]
    return mask((useful or tail)[0].rstrip("."), secrets)


def _mask_words(text: str, hidden: Set[str]) -> str:
    """Hide words wherever they stand alone."""
    long = {word for word in hidden if len(word) >= SHORTEST}
    return _WORD.sub(lambda found: MASK if found.group() in long else found.group(), text)


def mask(text: str, secrets: Sequence[str]) -> str:
    """Hide secrets in text that a person will read."""
    # Also the one that is just being replaced, which the caller no longer knows.
    text = _SECRET_WORD.sub(rf"\1 {MASK}", text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK).replace(secret.replace("'", "'\\''"), MASK)
    return text
