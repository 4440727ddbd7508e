# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artifact, a path or an address, is called in messages. No Ansible in here."""

from __future__ import annotations

import os

from ansible_collections.mesops.platform.plugins.module_utils._core.urls import is_url, without_credentials


def shown(artifact: str) -> str:
    """The artifact's name for a message; a password in a URL stays out of it."""
    return without_credentials(artifact) if is_url(artifact) else os.path.basename(artifact)
