# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of an estate: what is wrong in them, and what a host runs. No Ansible in here."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._program.catalog import PROGRAMS
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import COMMAND
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import (
    check_checksum,
    check_version,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import (
    DEFAULTS,
    LIMITS,
    complete,
    configuration,
    service_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.unit_files import OWN_DIRECTIVES, OWN_VARIABLES

# Names of users and units that Debian or this collection gives to something else.
TAKEN = frozenset(
    [
        *PROGRAMS,
        "root",
        "daemon",
        "bin",
        "sys",
        "sync",
        "games",
        "man",
        "lp",
        "mail",
        "news",
        "uucp",
        "proxy",
        "www-data",
        "backup",
        "list",
        "irc",
        "nobody",
        "messagebus",
        "sshd",
        "ssh",
        "cron",
        "dbus",
        "polkit",
        "rsyslog",
        "chrony",
        "docker",
        "containerd",
        "haproxy",
        "etcd",
        "patroni",
        "postgres",
        "postgresql",
        "grafana-server",
        "emergency",
        "getty",
        "mesops",
        "networking",
        "rc-local",
        "rescue",
    ]
)
# Directories of which a service gets none for itself: what is in them belongs to the system, to people or to releases.
SYSTEM = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "lost+found",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
    ]
)
TAKEN_BEGINNINGS = ("mesops-", "prometheus-", "systemd-")

REQUIRED = ("port", "command")


def _status(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and bool(keys.statuses(value, ""))
    except keys.ProbeError:
        return False


def _mapping(wanted: str) -> scalars.Rule[Any]:
    return scalars.when(lambda value: isinstance(value, dict), wanted)


CHECKS: dict[str, scalars.Rule[Any]] = {
    "group": scalars.matching(r"(?s).+", "the name of an inventory group"),
    "port": scalars.PORT,
    "command": COMMAND,
    "environment": _mapping("a mapping of variable names to values"),
    "liveness_path": scalars.URL_PATH,
    "readiness_path": scalars.URL_PATH,
    "readiness_host": scalars.HOST,
    "readiness_status": scalars.when(_status, "a status such as 200, or ranges such as 200-299,304"),
    "readiness_within": scalars.integer(1, 60, "seconds"),
    "metrics_path": scalars.when(
        lambda value: value == "" or scalars.URL_PATH.fits(value),
        f"{scalars.URL_PATH.wanted}, or nothing when the service has no metrics",
    ),
    "ready_timeout": scalars.integer(1, 86400, "seconds"),
    "stop_timeout": scalars.integer(1, 86400, "seconds"),
    "packages": scalars.when(
        lambda value: isinstance(value, list) and all(isinstance(one, str) and one for one in value),
        "a list of distribution packages",
    ),
    "user": scalars.matching(r"(?!root$)[a-z_][a-z0-9_-]{0,30}", "the name of an unprivileged user"),
    "limits": _mapping(f"a mapping with any of {', '.join(LIMITS)}"),
    "writable_paths": scalars.when(lambda value: isinstance(value, list), "a list of absolute paths"),
    "sandbox": _mapping("a mapping of systemd directives to values"),
    "keep": scalars.integer(1, 1000, "a number"),
    "release": scalars.when(
        lambda value: value is None or isinstance(value, dict), "a mapping with version, artifact and checksum"
    ),
    "rollout": _mapping(f"a mapping with any of {', '.join(policies.POLICY)}"),
}


def service_errors(name: str, given: Any) -> list[str]:
    """One sentence for each mistake in one of the services."""
    where = f"app_services.{name}"
    try:
        check_service(name)
    except Refused as why:
        return [f"{why}."]
    if name in TAKEN or name.startswith(TAKEN_BEGINNINGS):
        return [f"{where} has a name that Debian or this collection uses for something else; choose another name."]
    if not isinstance(given, dict):
        return [f"{where} is no mapping; give it at least {' and '.join(REQUIRED)}."]
    errors = [f"{where}.{key} is missing; give {CHECKS[key].wanted}." for key in REQUIRED if key not in given]
    unknown = sorted(str(key) for key in given if key not in CHECKS)
    if unknown:
        errors.append(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(CHECKS)}.")
    for key, rule in CHECKS.items():
        if key in given and not rule.fits(given[key]):
            errors.append(scalars.refusal(f"{where}.{key}", _brief(key, given[key]), rule.wanted))
    if errors:
        return errors
    service = {**DEFAULTS, **given}
    inside = _check_inside(name, service)
    return inside or policies.policy_errors(service["rollout"], service_of(complete(name, service, "")))


def _brief(key: str, value: Any) -> str:
    return "not usable" if key == "environment" else repr(value)[:80]


def _check_inside(name: str, service: dict[str, Any]) -> list[str]:
    where = f"app_services.{name}"
    errors = []
    for key, value in service["environment"].items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(key)):
            errors.append(f"{where}.environment has {key!r}, which is no variable name; use letters, digits and '_'.")
        elif key in OWN_VARIABLES:
            errors.append(f"{where}.environment sets {key}, which the role sets itself; remove it.")
        elif not isinstance(value, (str, int, float)) or "\0" in str(value):
            errors.append(f"{where}.environment.{key} is no text, number or boolean; write it as one.")
    for key, value in service["limits"].items():
        pattern = {"memory_max": r"\d+[KMGT]?|\d+%|infinity", "cpu_quota": r"\d+%"}.get(str(key), r"[1-9]\d*")
        if key not in LIMITS:
            errors.append(f"{where}.limits has unknown key {key}; known are {', '.join(LIMITS)}.")
        elif not re.fullmatch(pattern, str(value)):
            errors.append(f"{where}.limits.{key} is {value!r}; give a value such as 512M, 50% or 4096.")
    for path in service["writable_paths"]:
        if not isinstance(path, str) or not _may_write(name, path):
            errors.append(
                f"{where}.writable_paths has {path!r}; give an absolute path of at least two levels that belongs to no "
                f"one else, such as /srv/{name} or /var/lib/{name}."
            )
    for key, value in service["sandbox"].items():
        values = value if isinstance(value, list) else [value]
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", str(key)) or key in OWN_DIRECTIVES:
            errors.append(f"{where}.sandbox has {key!r}, which is no directive of systemd's sandbox; remove it.")
        elif not all(one is None or (isinstance(one, (str, int)) and str(one).isprintable()) for one in values):
            errors.append(f"{where}.sandbox.{key} is no text, boolean, list or null; write it as one.")
    return errors + (_check_release(where, service["release"]) if service["release"] is not None else [])


def _may_write(name: str, path: str) -> bool:
    if not re.fullmatch(r"(/[A-Za-z0-9._+@-]+){2,}", path) or posixpath.normpath(path) != path:
        return False
    top, second, *below = path.split("/")[1:]
    if top == "var":
        return second == "opt" or (second in ("cache", "lib", "log", "spool") and below[:1] == [name])
    return top not in SYSTEM


def _check_release(where: str, release: dict[str, Any]) -> list[str]:
    keys = ("version", "artifact", "checksum")
    missing = [key for key in keys if not isinstance(release.get(key), str)]
    unknown = sorted(str(key) for key in release if key not in keys)
    if missing:
        hint = "; put a version in quotes" if release.get("version") is not None and "version" in missing else ""
        return [f"{where}.release needs {', '.join(missing)} as text{hint}."]
    if unknown:
        return [f"{where}.release has unknown keys {', '.join(unknown)}; known are {', '.join(keys)}."]
    try:
        check_version(release["version"])
        check_checksum(release["checksum"])
    except Refused as why:
        return [f"{where}.release: {why}."]
    return []


def app_service_plan(services: Any, group_names: list[str], host: str = "") -> dict[str, Any]:
    """What is wrong in all services, and what one host runs of them."""
    if not isinstance(services, dict):
        return {
            "errors": ["app_services is no mapping of service names to settings; write it as one."],
            "services": [],
            "configurations": {},
            "packages": [],
        }
    errors = [error for name, given in services.items() for error in service_errors(str(name), given)]
    own = (
        {str(name): given for name, given in services.items() if given.get("group", name) in group_names}
        if not errors
        else {}
    )
    ports: dict[int, str] = {}
    for name, given in own.items():
        other = ports.setdefault(given["port"], name)
        if other != name:
            errors.append(
                f"app_services.{name}.port is {given['port']}, which {other} uses on the same host; change one."
            )
    return {
        "errors": errors,
        "services": [complete(name, given, host) for name, given in own.items()],
        "configurations": {name: configuration(name, given, host) for name, given in own.items()},
        "packages": sorted({package for given in own.values() for package in given.get("packages", [])}),
    }
