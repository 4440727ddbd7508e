# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of a task and the variables of the inventory to a rollout's settings, store and world."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.module_utils._record.stores import is_store_id
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.module_utils._release.artifacts import is_url, without_credentials
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined, version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gates import READY
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import host_address
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import refuse_silent
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import (
    CoordinatorStore,
    StoreSettings,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import Node, Sight
from ansible_collections.mesops.platform.plugins.plugin_utils._service import policies
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import service_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan

STORE_OPTIONS = (
    "backend",
    "directory",
    "endpoints",
    "prefix",
    "username",
    "password",
    "ca_file",
    "cert_file",
    "key_file",
    "timeout",
)


def new_id(service: str, now: float) -> str:
    """A name for a rollout that sorts by time and is never given twice."""
    return f"{service}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(2)}"


def who() -> str:
    """The person or account that runs the play."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"


def artifact_of(given: Any, checksum: Any, base: str) -> tuple[str, str]:
    """The artifact as an absolute path or a URL, and its checksum; a local file is checked before anything changes."""
    if not given:
        return "", ""
    if not checksum:
        raise PlanError(
            "rollout_artifact is given without rollout_checksum; add the checksum that the build printed, "
            "sha256:<64 hex digits>."
        )
    wanted = plan.check_checksum(checksum)
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
        version=plan.check_version(version) if version not in (None, "") else "",
        artifact=artifact,
        checksum=checksum,
        **policies.check_policy(args["app"].get("rollout") or {}, args, service),
    )


def _hosts_of(args: Mapping[str, Any], service: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts that take part, and those that are left out."""
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
    backend = given.get("backend", "file")
    via = given.pop("via", "coordinator")
    if via not in ("coordinator", "controller") or (via == "controller" and backend != "etcd"):
        raise PlanError(
            f"rollout_store.via is {via!r} with the backend {backend!r}; it is coordinator, or controller "
            "for a controller that "
            "reaches etcd."
        )
    coordinators = given.pop("coordinators", None)
    adopt = _adopted(given.pop("adopt", "") or "")
    unknown = [key for key in given if key not in STORE_OPTIONS]
    if unknown or backend not in ("file", "etcd"):
        wrong = f"has the unknown keys {', '.join(unknown)}" if unknown else f"has the backend {backend!r}"
        raise PlanError(
            f"rollout_store {wrong}; it may have coordinators, adopt and {', '.join(STORE_OPTIONS)}, and backend is "
            "file or etcd."
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
    holder = {
        "user": os.environ.get("SUDO_USER") or getpass.getuser(),
        "host": socket.gethostname(),
        "pid": os.getppid(),
        "boot": _boot(),
        "process_started": _process_started(os.getppid()),
        "what": what,
    }
    ttl = policies.check_number(args.get("lock_ttl", 45), "rollout_lock_ttl", 15, 3600)
    options = {**given, "service": settings.service.name}
    others = [name for name in settings.balancers if backend == "file" and name not in coordinators]
    return StoreSettings(options, coordinators, holder, ttl, is_dead, adopt, others), via == "controller"


def _adopted(name: Any) -> str:
    """The id of the store that is given up."""
    if name and not is_store_id(name):
        raise PlanError(
            f"rollout_store.adopt is {name!r}; give the id of the store that is given up, which stands behind # in its "
            "name."
        )
    return str(name)


def _boot() -> str:
    """This boot of this machine, seen from this container if it is one: within it a process id means one process."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return f"{stream.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(lease: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this very machine that is no more."""
    holder = lease.get("holder") or {}
    here = bool(holder.get("boot")) and (holder.get("host"), holder["boot"]) == (socket.gethostname(), _boot())
    return here and _process_started(int(holder.get("pid") or 0)) != str(holder.get("process_started"))


def variables_of(action: ActionBase, hostvars: Any, host: str) -> dict[str, Any]:
    """What the inventory says of a host's services, as a task on it sees it: it may ask for other hosts' variables."""
    raw = {**hostvars.raw_get(host), "hostvars": hostvars}
    templar = action._templar.copy_with_new_env(available_variables=raw)
    return {name: templar.template(raw[name]) for name in ("app_services", "group_names") if name in raw}


def configurations_of(
    variables: Callable[[str], Mapping[str, Any]], service: str, hosts: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """What the inventory says of the service's configuration on each host, secrets included; none where it is silent.

    It is asked here and not given as an option: options of a task are shown by some callbacks.
    """
    found = {}
    for host in hosts:
        try:
            seen = variables(host)
            if "app_services" not in seen:
                continue
            planned = app_service_plan(seen["app_services"], seen["group_names"], host)
        except AnsibleError as why:
            raise PlanError(f"app_services of {host} cannot be read: {' '.join(str(why).split())}") from why
        if planned["errors"]:
            raise PlanError(" ".join(planned["errors"]))
        if service in planned["configurations"]:
            found[host] = planned["configurations"][service]
    return found


def without_empty_hosts(settings: Settings, nodes: Mapping[str, Node]) -> Settings:
    """The settings without hosts that have no release yet, as new ones in an estate."""
    empty = tuple(host for host, node in nodes.items() if not node.current and not node.reason)
    hosts = tuple(host for host in settings.hosts if host not in empty)
    return replace(settings, hosts=hosts, excluded=(*settings.excluded, *empty))


def with_version_that_runs(settings: Settings, nodes: Mapping[str, Node]) -> Settings:
    """The settings for a changed configuration: it comes to the version that all hosts run."""
    refuse_silent(settings.hosts, Sight(nodes, {}))
    versions = sorted({version_of(node.current) for node in nodes.values() if node.current})
    idle = [host for host, node in nodes.items() if not node.current]
    if len(versions) != 1 or idle:
        what = f"{', '.join(idle)} has no release" if idle else f"its hosts have the versions {', '.join(versions)}"
        raise PlanError(
            f"A configuration is rolled out with the version that runs, but of {settings.service.name} {what}; roll a "
            "version out, which brings the configuration along."
        )
    return replace(settings, version=versions[0], configuration_only=True)


def differing(nodes: Mapping[str, Node]) -> dict[str, str]:
    """The hosts that do not run the inventory's configuration, with the names of the settings that differ."""
    found = {}
    for host, node in nodes.items():
        wanted = joined(version_of(node.current or ""), node.wanted)
        old = node.wanted and node.running and (node.current, node.running) != (wanted, wanted)
        # A host without a release has nothing to configure yet: its first one brings the configuration along.
        if (node.changes and node.current) or old:
            found[host] = node.changes or "nothing but that its process was started before that"
    return found


def without_traffic_gates(settings: Settings) -> Settings:
    """The settings with which site.yml brings a changed configuration: one host after the other, once it is ready."""
    gates = {name: spec for name, spec in settings.gates.items() if spec.stage == READY}
    return replace(settings, batches=(1,), weights=(100,), min_healthy_time=0.0, gates=gates, prove_stop=False)


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
