# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which a rollout shows a host that it still is the one that may change a service."""

from __future__ import annotations


class ModuleDocFragment:
    """`mesops.platform.rollout_fence`, for the modules that a rollout runs."""

    DOCUMENTATION = r"""
options:
  fence:
    description:
      - The number of the lock under which a rollout changes this service, as M(mesops.platform.rollout_lock) returned
        it. The host remembers the highest one, over reboots too, and does nothing for a lower one. So a run whose
        controller slept until its successor came changes nothing any more.
      - 0 takes no part in that.
    type: int
    default: 0
  fence_store:
    description:
      - The store that O(fence) is of. A host that has seen a number of another store refuses this one, because the two
        cannot tell which of their runs is the newer one.
    type: str
    default: ""
  fence_adopt:
    description:
      - The id of the other store, once a person has decided that it is given up and O(fence_store) takes its place.
    type: str
    default: ""
"""
