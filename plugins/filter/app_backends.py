# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the services of an estate ask of the load balancers in front of them."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import complete, service_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import service_errors

DOCUMENTATION = r"""
name: app_backends
short_description: What the services of an estate ask of the load balancers in front of them
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Reads the variable C(app_services) of the role C(mesops.platform.app), where a service says once how its readiness
    is asked and with which shares of traffic it is rolled out, so that the role C(mesops.platform.haproxy) need not be
    told again.
  - Fails with one sentence for the first mistake in C(app_services).
options:
  _input:
    description: Service name to settings.
    type: dict
    required: true
"""

EXAMPLES = r"""
# As the role haproxy has it in its defaults.
haproxy_apps: "{{ app_services | default({}) | mesops.platform.app_backends }}"
"""

RETURN = r"""
_value:
  description:
    - Name of each HAProxy backend (the service's, or those of its C(rollout.backends)) to C(service), C(path), C(host),
      C(status), C(within) (seconds) and C(weights).
  type: dict
"""


def app_backends(services: Any) -> dict[str, dict[str, Any]]:
    """By HAProxy backend, what the service behind it says of itself."""
    if not isinstance(services, dict):
        raise AnsibleFilterError("app_services is no mapping of service names to settings; write it as one.")
    found = {}
    for name, given in services.items():
        told = _told(given)
        errors = service_errors(str(name), told)
        if errors:
            raise AnsibleFilterError(errors[0])
        service = complete(str(name), told, "")
        policy = policies.check_policy(service["rollout"], {}, service_of(service))
        asked = {
            "service": str(name),
            "path": service["readiness_path"],
            "host": service["readiness_host"],
            "status": service["readiness_status"],
            "within": service["readiness_within"],
            "weights": list(policy.get("weights", plan.Settings.weights)),
        }
        found.update(dict.fromkeys(policy["backends"], asked))
    return found


def _told(given: Any) -> Any:
    """The part that a load balancer needs; the rest of a service may name variables that only its hosts have."""
    if not isinstance(given, dict):
        return given
    told = {key: given[key] for key in given if str(key).startswith("readiness_")}
    if isinstance(given.get("rollout"), dict):
        told["rollout"] = {key: given["rollout"][key] for key in ("weights", "backends") if key in given["rollout"]}
    return {"port": 1, "command": "unknown", **told}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"app_backends": app_backends}
