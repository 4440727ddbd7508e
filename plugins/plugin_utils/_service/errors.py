# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a rollout, or what the inventory says of it, is not carried out. No Ansible in here."""

from __future__ import annotations


class PlanError(Exception):
    """A rollout, or what the inventory says of it, is refused; the text is one sentence. Nothing was changed."""
