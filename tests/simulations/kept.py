# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories that once broke a promise, as short as they could be made. They stay, whatever the generator draws later."""

from __future__ import annotations

from simulations.story import Story

KEPT: dict[str, Story] = {}

KNOWN: dict[str, str] = {
    "every run ends, in a state that the next command can finish": "B7, B8",
    "nothing changes without the lock": "B6: a run goes on after it was told that its lock is lost",
    "no host ends worse than it was found, unless the report says so by name": "B3, B4, B8",
    "no run leaves a healthy host out of traffic when it is over": "B3, B4",
    "what a person took out stays out": "B11",
    "a good release without faults and without people is always done": "B7: clocks fence",
    "a run never waits longer than a person's word may wait": "B9",
    "an abort is obeyed within seconds": "B6: migrations are waited for whatever people say",
    "a bad release is never done": "A9",
    "no version that failed is ever put into full traffic again": "C2",
    "a migration that cannot be undone is never passed on the way back": "C1",
}
"""Promises that the product is known to break, and why; each goes with its mend."""
