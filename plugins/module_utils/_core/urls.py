# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which text is an address, and what of it may be kept and shown. No Ansible in here."""

from __future__ import annotations

import re


def is_url(text: str | None) -> bool:
    """Whether something is fetched over HTTP."""
    return text is not None and text.lower().startswith(("http://", "https://"))


def without_credentials(text: str) -> str:
    """A path or an address as it may be kept: of an address neither user and password nor what follows the path."""
    if "://" not in text:
        return text
    scheme, _separator, rest = text.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
