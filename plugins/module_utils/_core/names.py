# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service may be called. No Ansible in here."""

from __future__ import annotations

import re

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


def check_service(service: str) -> str:
    """A service becomes a directory, a user and a unit name."""
    if not _NAME.fullmatch(service):
        raise Refused(
            f"service {service[:200]!r} is no plain name; use 1 to 31 lower-case letters, digits, '_' and '-', "
            "beginning with a letter"
        )
    return service
