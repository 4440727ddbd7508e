# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of a task and the variables of the inventory to a rollout's settings, store and world."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.urls import is_url, without_credentials
from ansible_collections.mesops.platform.plugins.module_utils._record import options
from ansible_collections.mesops.platform.plugins.module_utils._record.stored_values import is_store_id
from ansible_collections.mesops.platform.plugins.module_utils._release import archives, naming
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import host_address
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.configuration import (
    configurations_of,
    variables_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import CoordinatorStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.holder import holder_of_play, is_dead
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import StoreSettings
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import service_of

MIN_TTL = 15
"""Seconds; the lease has to outlast a few heartbeats that are late."""


def new_id(service: str, now: float) -> str:
    """A name for a rollout that sorts by time and is never given twice."""
    return f"{service}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(2)}"


def check_version(version: Any) -> str:
    """A version that is a plain name. What YAML read as anything but a text need not be what was typed."""
    if isinstance(version, (float, bool)):
        kind = "a truth value" if isinstance(version, bool) else "a number"
        raise PlanError(
            f"rollout_version {version} is {kind} in YAML, where 1.10 without quotes becomes 1.1 and yes becomes true; "
            "put it in quotes."
        )
    if not isinstance(version, str):
        kind = "a number" if isinstance(version, int) else "no text"
        raise PlanError(
            f"rollout_version {version} is {kind} in YAML, where 2026_01 without quotes becomes 202601 and 12:30 "
            "becomes 750; put it in quotes."
        )
    try:
        return naming.check_version(version)
    except Refused as why:
        raise PlanError(f"rollout_version: {why}.") from why


def check_checksum(checksum: Any) -> str:
    """The checksum of an artifact."""
    try:
        return naming.check_checksum(str(checksum))
    except Refused as why:
        raise PlanError(f"rollout_checksum: {why}.") from why


def artifact_of(given: Any, checksum: Any, base: str) -> tuple[str, str]:
    """The artifact as an absolute path or a URL, and its checksum; a local file is checked before anything changes."""
    if not given:
        return "", ""
    if not checksum:
        raise PlanError(
            "rollout_artifact is given without rollout_checksum; add the checksum that the build printed, "
            "sha256:<64 hex digits>."
        )
    wanted = check_checksum(checksum)
    artifact = str(given)
    if is_url(artifact):
        return artifact, wanted
    candidates = [os.path.join(where, os.path.expanduser(artifact)) for where in (os.getcwd(), base)]
    path = next((os.path.abspath(one) for one in candidates if os.path.isfile(one)), None)
    if path is None:
        raise PlanError(
            f"rollout_artifact {without_credentials(artifact)} is no file on this controller; build "
            "it, or correct the path."
        )
    found = archives.sha256(path)
    if found != wanted:
        raise PlanError(
            f"rollout_artifact {os.path.basename(path)} has checksum {found}, not {wanted}; name the right "
            "file, or correct "
            "the checksum if the file is right."
        )
    return path, wanted


def settings_of(args: Mapping[str, Any], base: str, addresses: Mapping[str, str]) -> Settings:
    """Everything that a rollout is asked to do, checked; one sentence for the first mistake."""
    service = service_of(args.get("app"))
    hosts, excluded = _hosts_of(args, service.name)
    balancers = _names(args, "balancers")
    if not hosts or not balancers:
        what = "hosts" if not hosts else "load balancers"
        raise PlanError(f"{service.name} has no {what} in the inventory; add them to their group.")
    artifact, checksum = artifact_of(args.get("artifact"), args.get("checksum"), base)
    version = args.get("version")
    return Settings(
        service=service,
        hosts=hosts,
        balancers=balancers,
        addresses=addresses,
        excluded=excluded,
        version=check_version(version) if version not in (None, "") else "",
        artifact=artifact,
        checksum=checksum,
        **policies.check_policy(args["app"].get("rollout") or {}, args, service),
    )


def _hosts_of(args: Mapping[str, Any], service: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts that take part, and those that are excluded."""
    excluded = _names(args, "exclude")
    everybody = _names(args, "hosts")
    unknown = [host for host in excluded if host not in everybody]
    if unknown:
        raise PlanError(
            f"rollout_exclude names {', '.join(unknown)}, but {service} runs on {', '.join(everybody)}; correct it."
        )
    hosts = tuple(host for host in everybody if host not in excluded)
    if excluded and not hosts:
        raise PlanError(f"rollout_exclude names every host of {service}, so there is nothing to do; name fewer.")
    return hosts, excluded


def _names(args: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Names in a list, or in a text with commas between them, as ``-e`` brings it."""
    return tuple(str(one) for one in policies.listed(args.get(name) or ()))


def store_of(
    args: Mapping[str, Any], settings: Settings, what: str, hostvars: Mapping[str, Any]
) -> tuple[StoreSettings, bool]:
    """Where the record is kept, and whether the controller itself reaches it."""
    given = dict(args.get("store") or {})
    backend = given.get("backend", options.BACKENDS[0])
    via = given.pop("via", "coordinator")
    if via not in ("coordinator", "controller") or (via == "controller" and backend != "etcd"):
        raise PlanError(
            f"rollout_store.via is {via!r} with the backend {backend!r}; it is coordinator, or controller "
            "for a controller that "
            "reaches etcd."
        )
    coordinators = given.pop("coordinators", None)
    adopt = _adopted(given.pop("adopt", "") or "")
    unknown = [key for key in given if key not in options.STORE_OPTIONS]
    if unknown or backend not in options.BACKENDS:
        wrong = f"has the unknown keys {', '.join(unknown)}" if unknown else f"has the backend {backend!r}"
        raise PlanError(
            f"rollout_store {wrong}; it may have coordinators, adopt and {', '.join(options.STORE_OPTIONS)}, "
            f"and backend is {' or '.join(options.BACKENDS)}."
        )
    if not coordinators:
        coordinators = list(settings.balancers) if backend == "etcd" else [settings.balancers[0]]
    if backend == "file" and len(coordinators) != 1:
        raise PlanError(
            f"rollout_store.coordinators names {', '.join(coordinators)}, but with the backend file the record is "
            "on one host; name one, "
            "or use etcd."
        )
    unknown = [host for host in coordinators if host not in hostvars]
    if unknown:
        raise PlanError(
            f"rollout_store.coordinators names {', '.join(unknown)}, which is not in the inventory; correct it."
        )
    holder = holder_of_play(what)
    ttl = policies.check_number(args.get("lock_ttl", options.TTL), "rollout_lock_ttl", MIN_TTL, options.MAX_TTL)
    reached = {**given, "service": settings.service.name}
    others = [name for name in settings.balancers if backend == "file" and name not in coordinators]
    return StoreSettings(reached, coordinators, holder, ttl, is_dead, adopt, others), via == "controller"


def _adopted(name: Any) -> str:
    """The id of the store that is given up."""
    if name and not is_store_id(name):
        raise PlanError(
            f"rollout_store.adopt is {name!r}; give the id of the store that is given up, which stands behind # in its "
            "name."
        )
    return str(name)


def build(
    action: ActionBase,
    task_vars: Mapping[str, Any],
    args: Mapping[str, Any],
    what: str,
    tell: Callable[[str, Sequence[str]], None],
    *,
    configured: bool = False,
) -> EstateWorld:
    """The world of one rollout; ``configured`` when it brings the inventory's configuration to the hosts."""
    hostvars = task_vars["hostvars"]
    base = action._loader.get_basedir()
    addresses = {str(host): host_address(host, hostvars) for host in _names(args, "hosts")}
    settings = settings_of(args, base, addresses)
    forks = context.CLIARGS.get("forks") or C.DEFAULT_FORKS
    fleet = Fleet(action, task_vars, int(forks))
    found, direct = store_of(args, settings, what, hostvars)
    store = (ControllerStore if direct else CoordinatorStore)(fleet, found, lambda text: tell(text, ()))
    fleet.tick = store.keep_alive
    asked = settings.hosts if configured else ()
    configurations = configurations_of(partial(variables_of, action, hostvars), settings.service.name, asked)
    return EstateWorld(fleet, settings, store, tell, configurations)
