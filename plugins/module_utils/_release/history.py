# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of what was activated on a host, the newest first, and what a roll back goes to. No Ansible in here.

*Previous* is what follows the current release in the history. So the history may be written before the link is swapped:
until then the new first line counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of

MAX_HISTORY = 50


def _place(history: Sequence[str], current: str | None) -> int:
    """Where *current* stands, or else its version: its configuration may be edited by hand or half changed; or -1."""
    if current is None:
        return -1
    if current in history:
        return history.index(current)
    same = (number for number, name in enumerate(history) if version_of(name) == version_of(current))
    return next(same, -1)


def _older(history: Sequence[str], current: str | None) -> tuple[str, ...]:
    """What was activated before *current*; what stands above was rolled back, or about to follow in a killed run."""
    return tuple(history[_place(history, current) + 1 :])


def previous_of(history: Sequence[str], current: str | None) -> str | None:
    """The release that was active before *current*."""
    if current is None:
        return None
    return next((version for version in _older(history, current) if version != current), None)


def pushed(history: Sequence[str], current: str | None, version: str) -> tuple[str, ...]:
    """The history when *version* follows *current*; until the swap it means what it meant before."""
    if tuple(history[:1]) == (version,) and _place(history, current) >= 0:
        # It was left by a roll back, or a run was killed half-way: then what is there now was no state to go back to.
        return tuple(history)
    now = (current,) if current else ()
    return (version, *now, *_older(history, current))[:MAX_HISTORY]


def rolled_back(history: Sequence[str], current: str) -> tuple[str, ...]:
    """The history for a roll back: it means the same before the swap and, with the older release current, after it."""
    return (current, *_older(history, current))
