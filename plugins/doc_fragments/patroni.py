# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules for Patroni reach a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """The members; add `mesops.platform.patroni.writer` to change something."""

    DOCUMENTATION = r"""
options:
  members:
    description:
      - The members that are expected, each name in Patroni with the root of its REST API, such as
        V(pg-1) with V(http://10.0.0.11:8008).
    type: dict
    required: true
"""

    WRITER = r"""
options:
  username:
    description: User name for the REST API's writing endpoints.
    type: str
    default: patroni
  password:
    description: Password for the REST API's writing endpoints.
    type: str
    required: true
"""
