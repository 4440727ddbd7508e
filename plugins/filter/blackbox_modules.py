# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the checks of an estate into modules of blackbox_exporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: blackbox_modules
short_description: Turn the checks of an estate into modules of blackbox_exporter
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Each check becomes a module of its name with the prober C(http).
options:
  _input:
    description:
      - A name to C(urls), and where wanted C(method) (V(GET)), C(headers), C(body), C(status) (list; any 2xx when
        omitted), C(contains) (a regular expression that the answer must match), C(timeout) (V(10s)), C(interval), and
        C(config) for anything else that an http prober takes.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would be checked
  ansible.builtin.debug:
    msg: "{{ checks | mesops.platform.blackbox_modules }}"
  vars:
    checks: {start: {urls: ["https://www.example.com/"], contains: "Welcome"}}
"""

RETURN = r"""
_value:
  description: The mapping C(modules) of blackbox.yml.
  type: dict
"""

KEYS = ("urls", "method", "headers", "body", "status", "contains", "timeout", "interval", "config")
_HTTP = {"method": "method", "headers": "headers", "body": "body", "status": "valid_status_codes"}


def blackbox_modules(checks: Any) -> dict[str, Any]:
    """One module for each check; what cannot be a check is refused with one sentence."""
    if not isinstance(checks, Mapping):
        raise AnsibleFilterError(f"mesops_checks is {checks!r}; give a name to a mapping of {', '.join(KEYS)}.")
    modules = {}
    for name, check in checks.items():
        where = f"mesops_checks.{name}"
        if not isinstance(check, Mapping):
            raise AnsibleFilterError(f"{where} is {check!r}; give a mapping of {', '.join(KEYS)}.")
        unknown = sorted(str(key) for key in check if key not in KEYS)
        if unknown:
            raise AnsibleFilterError(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(KEYS)}.")
        urls = check.get("urls")
        if not isinstance(urls, (list, tuple)) or not urls or any("://" not in str(url) for url in urls):
            raise AnsibleFilterError(f"{where}.urls is {urls!r}; give a list of addresses with http:// or https://.")
        http: dict[str, Any] = {"preferred_ip_protocol": "ip4"}
        http |= {wanted: check[key] for key, wanted in _HTTP.items() if check.get(key)}
        if check.get("contains"):
            http["fail_if_body_not_matches_regexp"] = [check["contains"]]
        http |= check.get("config") or {}
        modules[str(name)] = {"prober": "http", "timeout": check.get("timeout", "10s"), "http": http}
    return modules


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"blackbox_modules": blackbox_modules}
