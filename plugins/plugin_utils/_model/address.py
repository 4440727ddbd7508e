# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address by which the hosts of an estate reach each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def host_address(host: Any, hostvars: Mapping[Any, Any]) -> str:
    """``mesops_address``, or else the address by which Ansible reaches the host, or else its name."""
    known = hostvars[host]
    return str(known.get("mesops_address") or known.get("ansible_host") or host)


def bracketed(address: str) -> str:
    """An address as it stands before a port: one of IPv6 in brackets."""
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def endpoint(address: str, port: int) -> str:
    """``host:port``, for an address of either family."""
    return f"{bracketed(address)}:{port}"
