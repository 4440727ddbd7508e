# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout is asked to do, checked; and how its hosts are cut into batches. No Ansible in here.

Every complaint is one sentence that names the value, the rule and the way out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

from ansible_collections.mesops.platform.plugins.module_utils import app_migration, probes, release_store
from ansible_collections.mesops.platform.plugins.module_utils.gates import READY, TRAFFIC, GateError, GateSpec
from ansible_collections.mesops.platform.plugins.module_utils.judge import ErrorLimits, JudgeError, LatencyLimits
from ansible_collections.mesops.platform.plugins.module_utils.release_archive import Refused

Share = Union[int, str]
"""A number, or a percentage such as "25%"."""

ON_TIMEOUT = ("wait", "kill", "fail")
MIGRATIONS = ("expand", "contract")
SECONDS_PER_UNIT = {"us": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class PlanError(Exception):
    """The rollout is refused; the text is one sentence for the user. Nothing was changed."""


@dataclass(frozen=True)
class Service:
    """What the app role knows of the service."""

    name: str
    port: int
    unit: str
    command: str
    user: str
    readiness_path: str = "/readyz"
    ready_timeout: float = 60.0
    stop_timeout: float = 30.0
    keep: int = 5

    @property
    def environment_file(self) -> str:
        """Where the app role puts its environment."""
        return f"/etc/default/{self.name}"


@dataclass(frozen=True)
class Settings:
    """A rollout as asked for, checked."""

    service: Service
    hosts: tuple[str, ...]
    """The hosts of the service that take part, in inventory order."""
    balancers: tuple[str, ...]
    backends: tuple[str, ...]
    addresses: Mapping[str, str] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    version: str = ""
    artifact: str = ""
    checksum: str = ""
    batches: tuple[Share, ...] = (1, "25%")
    min_available: Share = "50%"
    weights: tuple[int, ...] = (10, 100)
    min_healthy_time: float = 10.0
    drain_deadline: float = 60.0
    drain_on_timeout: str = "fail"
    gates: Mapping[str, GateSpec] = field(default_factory=dict)
    pause_timeout: float = 3600.0
    prove_stop: bool = False
    migrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """How many servers of the service have to stay available at every load balancer."""
        total = len(self.hosts) + len(self.excluded)
        return amount(self.min_available, total, math.ceil)


def amount(share: Share, total: int, rounding: Any = math.floor) -> int:
    """A share of a total as a whole number."""
    if isinstance(share, str):
        return int(rounding(total * int(share[:-1]) / 100))
    return share


def check_share(value: Any, place: str, least: int) -> Share:
    """A number or a percentage, or one sentence."""
    text = str(value).strip()
    if re.fullmatch(r"\d{1,3}%", text) and least <= int(text[:-1]) <= 100:
        return text
    if not isinstance(value, bool) and re.fullmatch(r"\d{1,6}", text) and int(text) >= least:
        return int(text)
    raise PlanError(f"{place} is {value!r}; give a whole number from {least}, or a percentage such as 25%.")


def check_number(value: Any, place: str, low: float, high: float) -> float:
    """A number in a range, or one sentence."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not low <= number <= high:
        raise PlanError(f"{place} is {value!r}; give a number from {low:g} to {high:g}.")
    return number


def seconds(value: Any, place: str) -> float:
    """A time as HAProxy writes it (30s, 5m) or a number of seconds, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)?", str(value).strip())
    if isinstance(value, bool) or found is None:
        raise PlanError(f"{place} is {value!r}; give a time such as 30s or 5m.")
    return float(found.group(1)) * SECONDS_PER_UNIT[found.group(2) or "s"]


def check_weights(value: Any) -> tuple[int, ...]:
    """Rising percentages that end in 100."""
    steps = [value] if not isinstance(value, (list, tuple)) else list(value)
    good = bool(steps) and all(isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 100 for one in steps)
    if not good or steps != sorted(set(steps)) or steps[-1] != 100:
        raise PlanError(
            f"rollout_weights is {value!r}; give rising whole percentages from 1 that end in 100, such as [10, 100]."
        )
    return tuple(steps)


def check_version(version: Any) -> str:
    """A version that is a plain name; a number would have lost zeros at its end."""
    if isinstance(version, (float, bool)):
        kind = "a truth value" if isinstance(version, bool) else "a number"
        raise PlanError(
            f"rollout_version {version} is {kind} in YAML, where 1.10 without quotes becomes 1.1 and yes becomes true; "
            "put it in quotes."
        )
    try:
        return release_store.check_version(str(version))
    except Refused as why:
        raise PlanError(f"rollout_version: {why}.") from why


def check_checksum(checksum: Any) -> str:
    """The checksum of an artifact."""
    try:
        return release_store.check_checksum(str(checksum))
    except Refused as why:
        raise PlanError(f"rollout_checksum: {why}.") from why


def check_migrations(value: Any, place: str) -> dict[str, dict[str, Any]]:
    """The steps that a release carries: {expand: {command, reversible, timeout}, contract: {...}}."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{place} is {value!r}; give a mapping with {' and '.join(MIGRATIONS)}.")
    found: dict[str, dict[str, Any]] = {}
    for name, step in value.items():
        where = f"{place}.{name}"
        if name not in MIGRATIONS:
            raise PlanError(f"{place} has the unknown step '{name}'; a release may carry {' and '.join(MIGRATIONS)}.")
        if not isinstance(step, Mapping) or not set(step) <= {"command", "reversible", "timeout"}:
            raise PlanError(f"{where} is {step!r}; give a mapping with command, reversible and timeout.")
        command = step.get("command")
        if not app_migration.is_command(command):
            raise PlanError(
                f"{where}.command is {command!r}; give one line that begins with a path in the release, such as "
                "bin/migrate."
            )
        if not isinstance(step.get("reversible", True), bool):
            raise PlanError(f"{where}.reversible is {step['reversible']!r}; it must be true or false.")
        found[str(name)] = {
            "command": str(command).strip(),
            # Expanding only adds; contracting takes away what the version before still needs.
            "reversible": step.get("reversible", name == "expand"),
            "timeout": check_number(step.get("timeout", 300), f"{where}.timeout", 1, app_migration.LONGEST),
        }
    return found


def default_gates(service: Service) -> dict[str, dict[str, Any]]:
    """The gates that every rollout has unless a gate of the same name takes its place or says ``enabled: false``."""
    path = service.readiness_path.replace("$", "$$")
    return {
        "ready": {
            "stage": READY,
            "probe": {"type": "http", "url": f"http://127.0.0.1:{service.port}{path}"},
            "failure_limit": -1,
            "timeout": service.ready_timeout,
        },
        "running": {"stage": READY, "probe": {"type": "systemd", "unit": service.unit}},
        "errors": {
            "stage": TRAFFIC,
            "probe": {"type": "haproxy", "measure": "errors"},
            "interval": 3,
            # At once there would hardly be a request to judge.
            "initial_delay": 3,
            # Where there is no traffic there is nothing to judge, and little sense in waiting for it.
            "timeout": 30,
            "on_inconclusive": "continue",
        },
        "up": {
            "stage": TRAFFIC,
            "probe": {"type": "haproxy", "measure": "state"},
            "interval": 3,
            "initial_delay": 3,
            "timeout": 30,
            # A host that a person keeps out everywhere has no checks that mean anything.
            "on_inconclusive": "continue",
        },
    }


def limits_of(probe: Mapping[str, Any]) -> ErrorLimits | LatencyLimits | None:
    """The judge's limits, for a probe whose samples it judges; JudgeError when they make no sense."""
    if probe.get("measure") == "errors":
        return ErrorLimits(**_given(ErrorLimits, probe))
    if probe.get("measure") == "latency":
        return LatencyLimits(**_given(LatencyLimits, probe))
    if probe.get("range"):
        # What a query measures need not be milliseconds, so no difference is too small unless the user says so.
        return LatencyLimits(**{**_given(LatencyLimits, probe), "tolerance_ms": probe.get("tolerance") or 0})
    return None


def looks_back(probe: Mapping[str, Any]) -> float:
    """How many seconds a sample of a probe looks back; 0 for one that asks for the present."""
    return probes.lookback(str(probe["query"])) if probe.get("type") == "promql" else 0.0


def _check_window(spec: GateSpec, place: str) -> None:
    """A gate about traffic must have the time to see the new version alone."""
    back = looks_back(spec.probe)
    earliest = back + spec.interval * (spec.count - 1)
    if spec.stage == TRAFFIC and back and spec.timeout <= earliest:
        raise PlanError(
            f"{place}.timeout is {spec.timeout:g}, but its query looks back {back:g} s, which must not reach to the "
            f"version before, so it cannot pass before {earliest:g} s; make the timeout longer, or the window shorter."
        )


def _given(kind: Any, probe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: probe[key] for key in kind.__dataclass_fields__ if probe.get(key) is not None}


def example_names(service: Service) -> dict[str, str]:
    """What a probe may name, with values of the right form, to see before a rollout that it can be filled in."""
    return {
        "service": service.name,
        "version": "1",
        "port": str(service.port),
        "host": "localhost",
        "address": "127.0.0.1",
        "hosts": "localhost",
        "baseline": "localhost",
    }


def check_gates(value: Any, service: Service) -> dict[str, GateSpec]:
    """The gates of a rollout: the default ones, changed and completed by what the user gives."""
    if not isinstance(value, Mapping):
        raise PlanError(f"rollout_gates is {value!r}, which is no mapping of gate names to gates; write it as one.")
    merged = default_gates(service)
    for name, gate in value.items():
        place = f"rollout_gates.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", str(name)):
            raise PlanError(
                f"{place}: the name must have lower-case letters, digits, '_' and '-', and begin with a letter."
            )
        if not isinstance(gate, Mapping):
            raise PlanError(f"{place} is {gate!r}, which is no mapping; give it at least a probe.")
        merged[str(name)] = {**merged.get(str(name), {}), **gate}
    found = {}
    for name, gate in merged.items():
        place = f"rollout_gates.{name}"
        try:
            spec = GateSpec.parse(name, gate, place)
            if spec.enabled:
                filled = probes.fill(spec.probe, example_names(service), f"{place}.probe")
                limits_of(probes.check(filled, f"{place}.probe"))
                found[name] = replace(spec, probe=probes.given_keys(spec.probe))
                _check_window(found[name], place)
        except (GateError, probes.ProbeError) as why:
            raise PlanError(str(why)) from why
        except JudgeError as why:
            raise PlanError(f"{place}.probe: {why}") from why
    return found


def sizes(total: int, batches: Sequence[Share]) -> list[int]:
    """How many hosts each batch has; the last given size repeats until all hosts are in one."""
    found: list[int] = []
    left = total
    while left > 0:
        share = batches[min(len(found), len(batches) - 1)]
        found.append(min(left, max(1, amount(share, total))))
        left -= found[-1]
    return found


def make_batches(
    settings: Settings,
    available: Mapping[str, Collection[str]],
    kept_out: Mapping[str, Collection[str]] | None = None,
) -> list[list[str]]:
    """Cut the hosts into batches, or refuse what would leave too few servers.

    ``available`` has the servers of the service that take traffic now, per load balancer, excluded hosts included, and
    ``kept_out`` those that take none when their turn is over either. Hosts that take none anywhere come first: they
    cost no capacity.
    """
    serving = set().union(*available.values()) if available else set()
    ordered = [host for host in settings.hosts if host not in serving]
    ordered += [host for host in settings.hosts if host in serving]
    batches, begin = [], 0
    for size in sizes(len(ordered), settings.batches):
        batches.append(ordered[begin : begin + size])
        begin += size
    total = len(settings.hosts) + len(settings.excluded)
    for number, batch in enumerate(batches, 1):
        for balancer, names in available.items():
            # Servers that are out now come back with the batches before this one.
            recovered = {host for earlier in batches[: number - 1] for host in earlier}
            recovered -= set((kept_out or {}).get(balancer, ()))
            taken = set(batch) & set(names)
            left = len((set(names) | recovered) - set(batch))
            if taken and left < settings.least:
                raise PlanError(
                    f"Batch {number} would take {len(taken)} of {total} servers of {settings.service.name} out of "
                    f"traffic, which leaves {left} at {balancer}, but rollout_min_available is "
                    f"{settings.min_available} ({settings.least} of {total}); use smaller rollout_batches, bring "
                    "servers back, or lower it."
                )
    return batches
