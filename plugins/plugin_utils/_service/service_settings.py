# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a service, complete: what holds where nothing is said, and what follows from it. No Ansible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import keys, readiness
from ansible_collections.mesops.platform.plugins.module_utils._release import configurations
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import ROOT
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Request
from ansible_collections.mesops.platform.plugins.module_utils._release.units import Ready
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.unit_files import (
    environment_text,
    sandbox_lines,
    unit_text,
)

DEFAULTS: dict[str, Any] = {
    "environment": {},
    "liveness_path": "/livez",
    "readiness_path": "/readyz",
    "readiness_host": "localhost",
    "readiness_status": readiness.STATUS,
    "readiness_within": 2,
    "metrics_path": "/metrics",
    "ready_timeout": Ready.timeout,
    "stop_timeout": 30,
    "packages": [],
    "limits": {},
    "writable_paths": [],
    "sandbox": {},
    "keep": Request.keep,
    "release": None,
    "rollout": {},
}
LIMITS = {"memory_max": "MemoryMax", "cpu_quota": "CPUQuota", "tasks_max": "TasksMax", "nofile": "LimitNOFILE"}
DEFAULT_LIMITS = {"tasks_max": 4096, "nofile": 65536}


def complete(name: str, given: dict[str, Any], host: str) -> dict[str, Any]:
    """A service with all its keys, without its environment."""
    service = {"group": name, "user": name, **DEFAULTS, **given}
    limits = {**DEFAULT_LIMITS, **service["limits"]}
    home = f"{ROOT}/{name}"
    del service["environment"]
    return {
        **service,
        "readiness_status": status_text(service["readiness_status"]),
        "name": name,
        "ready": {
            "url": f"http://127.0.0.1:{service['port']}{service['readiness_path']}",
            "host": service["readiness_host"],
            "status": status_text(service["readiness_status"]).split(","),
            "within": service["readiness_within"],
            "timeout": service["ready_timeout"],
        },
        "host": host,
        "home": home,
        "unit": f"{name}.service",
        "unit_file": configurations.unit_file(name),
        "environment_file": configurations.environment_file(name),
        "exec_start": f"{home}/current/" + service["command"].strip().replace("%", "%%"),
        "limits": [f"{LIMITS[key]}={limits[key]}" for key in LIMITS if key in limits],
        "capabilities": "CAP_NET_BIND_SERVICE" if service["port"] < 1024 else "",
        "sandbox": sandbox_lines(service["sandbox"]),
    }


def status_text(value: Any) -> str:
    """Ranges of HTTP statuses as one text, which a probe and HAProxy read alike: 200-299,304."""
    ranges = keys.statuses(value, "readiness_status")
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def configuration(name: str, given: dict[str, Any], host: str) -> dict[str, str]:
    """The texts that configure a service on a host."""
    environment = environment_text(given.get("environment", {}))
    return {"environment": environment, "unit": unit_text(complete(name, given, host))}


@dataclass(frozen=True)
class Service:
    """What the app role knows of the service."""

    name: str
    port: int
    unit: str
    command: str
    user: str
    readiness_path: str = DEFAULTS["readiness_path"]
    ready_timeout: float = DEFAULTS["ready_timeout"]
    stop_timeout: float = DEFAULTS["stop_timeout"]
    keep: int = DEFAULTS["keep"]
    readiness_host: str = DEFAULTS["readiness_host"]
    readiness_status: str = DEFAULTS["readiness_status"]
    readiness_within: float = DEFAULTS["readiness_within"]

    @property
    def environment_file(self) -> str:
        """Where the app role puts its environment."""
        return configurations.environment_file(self.name)


SERVICE_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "name": str,
    "port": int,
    "unit": str,
    "command": str,
    "user": str,
    "readiness_path": str,
    "readiness_host": str,
    "readiness_status": str,
    "readiness_within": float,
    "ready_timeout": float,
    "stop_timeout": float,
    "keep": int,
}


def service_of(given: Any) -> Service:
    """The service, from what the app role's filter has completed."""
    way_out = "pass the service as the filter mesops.platform.app_service_plan completes it"
    if not isinstance(given, Mapping):
        raise PlanError(f"app is no mapping; {way_out}.")
    missing = [name for name in SERVICE_KEYS if name not in given]
    if missing:
        raise PlanError(f"app has no {', '.join(missing)}; {way_out}.")
    return Service(**{name: kind(given[name]) for name, kind in SERVICE_KEYS.items()})
