# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artifact is called: a path or an address, and what of it may be kept and shown. No Ansible in here."""

from __future__ import annotations

import os
import re


def is_url(artifact: str | None) -> bool:
    """Whether an artifact is fetched from an address by the host itself."""
    return artifact is not None and artifact.lower().startswith(("http://", "https://"))


def without_credentials(artifact: str) -> str:
    """An artifact as it may be kept and shown: of an address neither user and password nor what follows the path."""
    if "://" not in artifact:
        return artifact
    scheme, _separator, rest = artifact.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def shown(artifact: str) -> str:
    """The artifact's name for a message; a password in a URL stays out of it."""
    return without_credentials(artifact) if is_url(artifact) else os.path.basename(artifact)
