# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service is rolled out, as the inventory or one run says it, checked. No Ansible in here.

Every complaint is one sentence that names the value, the rule and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._release import migration
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import COMMAND
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.rollout_gates import check_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service

Share = Union[int, str]
"""A number, or a percentage such as "25%"."""

ON_TIMEOUT = ("wait", "kill", "fail")
MIGRATIONS = ("expand", "contract")


def check_share(value: Any, place: str, least: int) -> Share:
    """A number or a percentage, or one sentence."""
    text = str(value).strip()
    if re.fullmatch(r"\d{1,3}%", text) and least <= int(text[:-1]) <= 100:
        return text
    if not isinstance(value, bool) and re.fullmatch(r"\d{1,6}", text) and int(text) >= least:
        return int(text)
    raise PlanError(scalars.refusal(place, repr(value), f"a whole number from {least}, or a percentage such as 25%"))


def check_number(value: Any, place: str, low: float, high: float) -> float:
    """A number in a range, or one sentence."""
    return scalars.number(low, high, text=True).of(value, place, PlanError)


def check_truth(value: Any, place: str) -> bool:
    """True or false, also as the text that ``-e`` brings, or one sentence."""
    return scalars.TRUTH.of(value, place, PlanError)


def listed(value: Any) -> list[Any]:
    """The parts of a list, of a text with commas between them, as ``-e`` brings it, or of one value alone."""
    if isinstance(value, str):
        return [one for one in (part.strip() for part in value.split(",")) if one]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def check_names(value: Any, place: str) -> tuple[str, ...]:
    """Names of which there is at least one, or one sentence."""
    names = listed(value)
    if not names or not all(isinstance(one, str) and one for one in names):
        raise PlanError(f"{place} is {value!r}; give a list of names.")
    return tuple(names)


def check_batches(value: Any, place: str) -> tuple[Share, ...]:
    """Sizes of batches."""
    sizes_given = listed(value)
    if not sizes_given:
        raise PlanError(f"{place} is empty; give at least one size, such as [1, '25%'].")
    return tuple(check_share(one, place, 1) for one in sizes_given)


def check_weights(value: Any, place: str = "rollout_weights") -> tuple[int, ...]:
    """Rising percentages that end in 100."""
    steps = listed(value)
    if isinstance(value, str) and all(re.fullmatch(r"[0-9]{1,3}", one) for one in steps):
        steps = [int(one) for one in steps]
    good = bool(steps) and all(map(scalars.integer(1, 100).fits, steps))
    if not good or steps != sorted(set(steps)) or steps[-1] != 100:
        raise PlanError(
            f"{place} is {value!r}; give rising whole percentages from 1 that end in 100, such as [10, 100]."
        )
    return tuple(steps)


@dataclass(frozen=True)
class Drain:
    """How a host is taken out of traffic."""

    deadline: float = 60.0
    """Seconds for which its sessions may end by themselves."""
    on_timeout: str = "fail"
    """What those get that outlive it."""
    condemned: float = 10.0
    """The deadline of sessions on a release that was judged bad; those that outlive it are shut down."""


def check_drain(value: Any, place: str) -> Drain:
    """How a host is taken out of traffic, or one sentence."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{place} is {value!r}; give a mapping such as {{deadline: 60s, on_timeout: fail}}.")
    rules: dict[str, scalars.Rule[Any]] = {
        "deadline": scalars.DURATION,
        "on_timeout": scalars.choice(ON_TIMEOUT),
        "condemned": scalars.DURATION,
    }
    unknown = sorted(str(key) for key in value if key not in rules)
    if unknown:
        raise PlanError(f"{place} has the unknown keys {', '.join(unknown)}; known are {', '.join(rules)}.")
    return Drain(**{key: rules[key].of(given, f"{place}.{key}", PlanError) for key, given in value.items()})


def is_reversible(name: Any, step: Mapping[str, Any]) -> Any:
    """What a release says of one of its steps, and what holds where it says nothing."""
    # Expanding only adds; contracting takes away what the version before still needs.
    return step.get("reversible", name == "expand")


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
        command = COMMAND.of(step.get("command"), f"{where}.command", PlanError)
        found[str(name)] = {
            "command": command,
            "reversible": scalars.BOOLEAN.of(is_reversible(name, step), f"{where}.reversible", PlanError),
            "timeout": check_number(step.get("timeout", migration.TIMEOUT), f"{where}.timeout", 1, migration.LONGEST),
        }
    return found


def _drain(value: Any, place: str, _service: Service) -> dict[str, Any]:
    drain = check_drain(value, place)
    return {
        "drain_deadline": drain.deadline,
        "drain_on_timeout": drain.on_timeout,
        "condemned_deadline": drain.condemned,
    }


POLICY: Mapping[str, Callable[[Any, str, Service], dict[str, Any]]] = {
    "batches": lambda value, place, _: {"batches": check_batches(value, place)},
    "min_available": lambda value, place, _: {"min_available": check_share(value, place, 0)},
    "weights": lambda value, place, _: {"weights": check_weights(value, place)},
    "min_healthy_time": lambda value, place, _: {"min_healthy_time": check_number(value, place, 0, 86400)},
    "drain": _drain,
    "gates": lambda value, place, service: {"gates": check_gates(value, service, place)},
    "prove_stop": lambda value, place, _: {"prove_stop": check_truth(value, place)},
    "migrations": lambda value, place, _: {"migrations": check_migrations(value, place)},
    "pause_timeout": lambda value, place, _: {"pause_timeout": check_number(value, place, 1, 30 * 86400)},
    "backends": lambda value, place, _: {"backends": check_names(value, place)},
}
"""The keys of ``app_services.<name>.rollout``: from a value, its place and the service to fields of ``Settings``."""


def place_in_service(service: str, key: str) -> str:
    """Where a setting of a service's rollouts stands."""
    return f"app_services.{service}.rollout.{key}"


def policy_errors(given: Mapping[str, Any], service: Service) -> list[str]:
    """One sentence for each mistake in ``app_services.<name>.rollout``."""
    errors = []
    unknown = sorted(str(key) for key in given if key not in POLICY)
    if unknown:
        where = f"app_services.{service.name}.rollout"
        errors.append(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(POLICY)}.")
    for key in POLICY:
        try:
            check_policy({key: given.get(key)}, {}, service)
        except PlanError as why:
            errors.append(str(why))
    return errors


def check_policy(given: Mapping[str, Any], overrides: Mapping[str, Any], service: Service) -> dict[str, Any]:
    """How this run rolls the service out, as fields of ``Settings``; PlanError for the first mistake.

    ``given`` is ``app_services.<name>.rollout``. ``overrides`` are of this run alone, each as a whole in the place of
    the service's. What is None is as good as not given.
    """
    found: dict[str, Any] = {"gates": check_gates({}, service), "backends": (service.name,)}
    for key, check in POLICY.items():
        if overrides.get(key) is not None:
            found.update(check(overrides[key], f"rollout_{key}", service))
        elif given.get(key) is not None:
            found.update(check(given[key], place_in_service(service.name, key), service))
    return found
