# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers in sentences for people: "1 host", "2 hosts", "1,136 requests"."""

from __future__ import annotations


def quantity(number: int, one: str, many: str = "") -> str:
    """A number and what it counts; ``many`` where that is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
