# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not carried out, and why. No Ansible in here."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not carried out; its text is the one sentence that the user reads."""
