# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn jobs and services, as the inventory has them, into what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import endpoint, host_address
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import DEFAULTS

DOCUMENTATION = r"""
name: prometheus_targets
short_description: Turn jobs and services of the inventory into scrape configurations
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Gives every target the label C(instance) with the host's name in the inventory, so that a host is called the same in
    metrics, logs and traces.
  - A job without hosts is omitted, and so is a host whose fact C(mesops_skipped) names the job.
  - Checks are asked of a blackbox_exporter and carry the job C(check), the label C(check) with their name, and the
    address that was asked as C(instance).
positional: _input, services, groups, hostvars
options:
  _input:
    description:
      - Job name to C(hosts) (inventory names) and C(port), and where they differ C(path), C(scheme), C(interval),
        C(labels), and C(config) for anything else that a C(scrape_config) takes.
      - Where C(port) differs from host to host it is a mapping from host to number, and C(hosts) may be omitted.
    type: dict
    required: true
  services:
    description: The variable C(app_services) of the role C(mesops.platform.app); each becomes a job of its name.
    type: dict
    default: {}
  groups:
    description: The inventory's groups.
    type: dict
    default: {}
  hostvars:
    description: The variables of all hosts, for their addresses.
    type: dict
    default: {}
  checks:
    description: The variable C(mesops_checks); of each, C(urls) and C(interval) matter here.
    type: dict
    default: {}
  prober:
    description: Where the blackbox_exporter listens, as host:port.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show what would be scraped
  ansible.builtin.debug:
    msg: "{{ jobs | mesops.platform.prometheus_targets({}, groups, hostvars) }}"
  vars:
    jobs: {node: {hosts: "{{ groups['all'] }}", port: 9100}}
"""

RETURN = r"""
_value:
  description: The list C(scrape_configs) of prometheus.yml.
  type: list
  elements: dict
"""

KEYS = ("hosts", "port", "path", "scheme", "interval", "labels", "config")
METRICS_PATH = "/metrics"
"""Where Prometheus looks by itself."""


def _hosts(job: Mapping[str, Any]) -> Any:
    port = job.get("port")
    return job.get("hosts", list(port) if isinstance(port, Mapping) else None)


def _check(name: str, job: Any, hostvars: Mapping[str, Any]) -> None:
    where = f"prometheus_jobs.{name}"
    if not isinstance(job, Mapping):
        raise AnsibleFilterError(f"{where} is no mapping; give it hosts and port.")
    unknown = sorted(str(key) for key in job if key not in KEYS)
    if unknown:
        raise AnsibleFilterError(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(KEYS)}.")
    hosts = _hosts(job)
    if not isinstance(hosts, (list, tuple)):
        raise AnsibleFilterError(f"{where}.hosts is {hosts!r}; give a list of inventory names.")
    strangers = [str(host) for host in hosts if host not in hostvars]
    if strangers:
        raise AnsibleFilterError(
            f"{where}.hosts names {strangers[0]!r}, which the inventory does not have; add it, or correct the name."
        )
    port = job.get("port")
    if isinstance(port, Mapping):
        for host in hosts:
            scalars.PORT.of(port.get(host), f"{where}.port.{host}", AnsibleFilterError)
    else:
        scalars.PORT.of(port, f"{where}.port", AnsibleFilterError)


def _scrape(name: str, job: Mapping[str, Any], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {"job_name": name}
    if job.get("path", METRICS_PATH) != METRICS_PATH:
        config["metrics_path"] = job["path"]
    if job.get("scheme", "http") != "http":
        config["scheme"] = job["scheme"]
    if job.get("interval"):
        config["scrape_interval"] = job["interval"]
    config.update(job.get("config") or {})
    port = job["port"]
    config["static_configs"] = [
        {
            "targets": [endpoint(host_address(host, hostvars), port[host] if isinstance(port, Mapping) else port)],
            "labels": {"instance": str(host), **(job.get("labels") or {})},
        }
        for host in job["hosts"]
    ]
    return config


def _check_scrape(name: str, check: Any, prober: str) -> dict[str, Any]:
    """Ask the prober, and not the address itself."""
    urls = check.get("urls") if isinstance(check, Mapping) else None
    if not isinstance(urls, (list, tuple)) or not urls:
        raise AnsibleFilterError(f"mesops_checks.{name} has no urls; give a list of addresses to ask.")
    return {
        "job_name": f"check-{name}",
        "metrics_path": "/probe",
        **({"scrape_interval": check["interval"]} if check.get("interval") else {}),
        "params": {"module": [name]},
        "static_configs": [{"targets": sorted(urls), "labels": {"job": "check", "check": name}}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": prober},
        ],
    }


def prometheus_targets(
    jobs: Mapping[str, Any],
    services: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    hostvars: Mapping[str, Any] | None = None,
    *,
    checks: Mapping[str, Any] | None = None,
    prober: str = "",
) -> list[dict[str, Any]]:
    """All scrape configurations, by name; what cannot be scraped is refused with one sentence."""
    known = hostvars if hostvars is not None else {}
    wanted: dict[str, Any] = {}
    for name, service in (services or {}).items():
        path = service.get("metrics_path", DEFAULTS["metrics_path"])
        if path:
            hosts = list((groups or {}).get(service.get("group", name), []))
            wanted[name] = {"hosts": hosts, "port": service.get("port"), "path": path, "labels": {"service": name}}
    wanted.update(jobs)
    for name, job in wanted.items():
        _check(str(name), job, known)
    found = []
    for name, job in sorted(wanted.items()):
        # The order of an inventory's hosts depends on how it is given, and is no reason to change anything.
        hosts = sorted(_hosts(job), key=str)
        there = [host for host in hosts if name not in (known[host].get("mesops_skipped") or {})]
        if there:
            found.append(_scrape(str(name), {**job, "hosts": there}, known))
    return found + [_check_scrape(str(name), check, prober) for name, check in sorted((checks or {}).items())]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"prometheus_targets": prometheus_targets}
