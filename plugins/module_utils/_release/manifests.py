# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release says of itself in its manifest. No Ansible in here."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

MANIFEST = "mesops.json"


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """What a release says of itself: one JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where} is no JSON ({error}); correct it in the release") from error
    if not isinstance(found, dict):
        raise Refused(f"{where} is no JSON object; correct it in the release")
    return found


def manifest_of(release: str) -> dict[str, Any]:
    """What the release in a directory says of itself, nothing when it has no manifest."""
    path = os.path.join(release, MANIFEST)
    try:
        with open(path, "rb") as handle:
            return parse_manifest(handle.read(), path)
    except FileNotFoundError:
        return {}
