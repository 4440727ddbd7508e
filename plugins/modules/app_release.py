#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, activate, roll back and prune the releases of a service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Install, activate, roll back and prune the releases of a service
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Keeps the releases of a service, written in any language, in C(/opt/<service>/releases/<version>) and lets the
    link C(/opt/<service>/current) point to the one that runs.
  - A release is judged whole before a byte of it is written, unpacked beside the others, marked complete, and becomes
    visible by one rename. The link is swapped by one rename too. A run that is killed at any moment leaves a store
    that the next run continues from; what it left behind is never taken for a release, and the next run removes it.
  - What it refuses, it refuses with one sentence and without having changed anything.
  - Files belong to O(owner), with mode 0644 or 0755 (0640 or 0750 when O(group) is given), whatever the archive says.
    A service that runs as another user cannot change its own code.
  - A release never changes. The same O(version) with another O(checksum) is refused.
  - What a service runs is its release and its configuration, that is its environment, secrets included, and its unit.
    Configurations are kept in C(/opt/<service>/configurations/<digest>) and put in force, in C(/etc/default/<service>)
    and C(/etc/systemd/system/<service>.service), together with a release. Both go back together.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.rollout_fence
attributes:
  check_mode:
    support: full
    details:
      - Brings the artifact to a temporary directory of the host and judges it as in a real run.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=rolled_back) goes one release further back each time, unless O(version) names the release to leave.
  platform:
    support: full
    platforms: posix
options:
  service:
    description:
      - Name of the service; 1 to 31 lower-case letters, digits, V(_) and V(-), beginning with a letter.
    type: str
    required: true
  state:
    description:
      - V(installed) puts the release and the configuration on disk and does not touch what runs.
      - V(active) also makes them the current ones, and lets O(unit) run them.
      - V(rolled_back) makes the release and the configuration current that were active before. With O(version) and
        O(configuration_digest) it does so only while these are current, so it may be repeated.
      - V(pruned) removes old releases and old configurations until O(keep) of each are left, never the current, the
        previous or a protected one.
      - V(prepared) only makes the directories, and reports what is there and in which settings O(configuration)
        differs from it.
      - V(read) does only the latter.
    type: str
    choices: [installed, active, rolled_back, pruned, prepared, read]
    default: active
  version:
    description:
      - Name of the release; 1 to 100 letters, digits and any of V(._+~-), beginning with a letter or a digit.
      - Quote it in YAML, where V(1.10) without quotes is the number 1.1; a number with a fraction is refused.
    type: str
  artifact:
    description:
      - The release archive, a tar file that Python can read (plain, gzip, bzip2 or xz) or a zip file. Its members are
        relative to the release's directory.
      - A path on the controller, a path on the host when O(remote_src=true), or an C(http) or C(https) URL that the
        host fetches.
      - Moves only when the release is not installed yet.
    type: str
  remote_src:
    description: Whether O(artifact) is a path on the host.
    type: bool
    default: false
  checksum:
    description: Checksum of O(artifact), written V(sha256:<64 hex digits>). Required with O(artifact).
    type: str
  command:
    description:
      - The start command. Its first word must be an executable file of the release, as a path relative to it.
    type: str
  initial:
    description:
      - Installs or activates only on a host that has no current release yet, and otherwise changes nothing, whatever
        O(version) and O(configuration) say. Later ones are then the business of a rollout.
      - With O(state=prepared) the configuration is put in force on such a host.
    type: bool
    default: false
  elsewhere:
    description:
      - What other hosts of the service run, by host; null or empty for a host that runs no release.
      - With O(initial=true) a host gets its first release only if it is what they run, and is refused otherwise. A host
        that is new or was built anew does not go back to the release with which the service once began.
    type: dict
    default: {}
  silent:
    description:
      - Other hosts of the service that could not be asked. With O(initial=true), and where no other host says what it
        runs, they may run a newer release, and a host without one is refused.
    type: list
    elements: str
    default: []
  keep:
    description:
      - How many complete releases O(state=pruned) leaves, the current one included, and how many configurations.
    type: int
    default: 5
  protect:
    description:
      - Versions that O(state=pruned) never removes, such as those that a rollout has on record. A name such as
        V(1.4.0@3fa2c1d01b2c) protects a version and a configuration.
    type: list
    elements: str
    default: []
  configuration:
    description:
      - The configuration of the service, as the filter P(mesops.platform.app_service_plan#filter) writes it.
      - It comes to the host through the connection, and its values are in no result, difference or log.
      - The host keeps configurations from the first run on that gives one. Without it, and without
        O(configuration_digest), the one in force stays.
    type: dict
    suboptions:
      environment:
        description: The content of C(/etc/default/<service>). May hold secrets.
        type: str
        default: ""
      unit:
        description: The content of C(/etc/systemd/system/<service>.service).
        type: str
        default: ""
  configuration_digest:
    description:
      - The configuration, by its name on this host. It is kept there already, or is the one that O(configuration) has.
    type: str
  unit:
    description:
      - The systemd unit that runs the service, with C(/opt/<service>/current) as its working directory.
      - With O(state=active) and O(state=rolled_back) it is restarted when its process was started on another release or
        with another configuration than the current one, or does not run. So a run that was killed between swap and
        restart is healed by the next one.
      - A unit that does not exist, or is masked, is left alone.
      - With the other states it is only looked at, for RV(running).
    type: str
  ready:
    description:
      - What proves that the release serves. Sampled on the host itself after O(unit) was restarted, or found running.
      - A unit that ends, or dies three times, fails the wait early.
    type: dict
    suboptions:
      until:
        description:
          - Probes by name, as M(mesops.platform.health_gate) describes them, that must all pass at the same time.
        type: dict
        default: {}
      once:
        description: Probes by name of which one sample is taken then. They are reported and never fail the task.
        type: dict
        default: {}
      timeout:
        description: Seconds until the probes of O(ready.until) must have passed.
        type: float
        default: 60
      prove_stop:
        description:
          - Then also stop the unit and start it once more. A process that ignores SIGTERM, so that systemd has to kill
            it, fails the task.
        type: bool
        default: false
  root:
    description: The directory of all services. It has to exist.
    type: path
    default: /opt
  owner:
    description: User that owns the release's files. Not the user that the service runs as.
    type: str
    default: root
  group:
    description:
      - Group of the release's files. When given, only this group and O(owner) can read them.
    type: str
  shared_owner:
    description:
      - User who owns C(/opt/<service>/shared), the place that outlives releases; its group is the user's primary one.
      - Left as it is when not given, and root's when it has to be made.
    type: str
  max_size_mb:
    description: The most that a release may take unpacked, in MiB.
    type: int
    default: 2048
  reserve_mb:
    description: What has to stay free on the file system when the release is unpacked, in MiB.
    type: int
    default: 256
seealso:
  - module: mesops.platform.daemon
"""

EXAMPLES = r"""
- name: Put a release on every node before any traffic moves
  mesops.platform.app_release:
    service: catalog
    state: installed
    version: "1.4.0"
    artifact: dist/catalog-1.4.0.tar.gz
    checksum: sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    command: bin/catalog

- name: Run it
  mesops.platform.app_release:
    service: catalog
    version: "1.4.0"
    unit: catalog.service

- name: Leave it again, once, however often this task is repeated
  mesops.platform.app_release:
    service: catalog
    state: rolled_back
    version: "1.4.0"
    unit: catalog.service

- name: Keep three releases and those that are on record
  mesops.platform.app_release:
    service: catalog
    state: pruned
    keep: 3
    protect: ["1.2.0"]
"""

RETURN = r"""
current:
  description: The version that C(current) points to, or would point to in check mode.
  returned: success
  type: str
  sample: 1.4.0
previous:
  description: The version that V(rolled_back) would go to; the current one where only its configuration was another.
  returned: success
  type: str
  sample: 1.3.0
releases:
  description: What lies in C(releases).
  returned: success
  type: list
  elements: dict
  contains:
    version:
      description: Name of the release.
      type: str
    complete:
      description: Whether it carries the mark of a complete release. Only such a release can be activated.
      type: bool
    installed_at:
      description: When it was installed, in UTC.
      type: str
    checksum:
      description: Checksum of the artifact it came from.
      type: str
  sample:
    - version: 1.4.0
      complete: true
      installed_at: "2026-11-23T22:40:00Z"
      checksum: sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: [install 1.4.0, activate 1.4.0, restart catalog.service]
running:
  description: The version that the process of O(unit) was started on, before this run.
  returned: when O(unit) is given and exists
  type: str
  sample: 1.3.0
configuration:
  description: The configurations of the host, by their digests, and never a value of one.
  returned: success
  type: dict
  contains:
    kept:
      description: Whether the host keeps configurations.
      type: bool
    current:
      description: The one in force, or that would be in check mode. Empty when there is none, or none are kept.
      type: str
    previous:
      description: The one that V(rolled_back) would go to.
      type: str
    running:
      description: The one that the process of O(unit) was started with, before this run; empty when that is unknown.
      type: str
    wanted:
      description: The one that O(configuration) is.
      type: str
    added:
      description:
        - Names of the settings that O(configuration) has and the one in force had not before this run, variables of
          the environment, and directives of the unit as V(unit MemoryMax).
      type: list
      elements: str
    removed:
      description: Names of the settings that only the one in force had.
      type: list
      elements: str
    changed:
      description: Names of the settings with another value.
      type: list
      elements: str
  sample:
    kept: true
    current: 3fa2c1d01b2c
    previous: 3fa2c1d01b2c
    running: 3fa2c1d01b2c
    wanted: 0b9d5c7e11aa
    added: []
    removed: []
    changed: [LOG_LEVEL]
manifest:
  description: The content of C(mesops.json) at the root of the release O(version), empty when it has none.
  returned: when O(version) is given
  type: dict
  sample: {"migrations": {"expand": {"command": "bin/catalog migrate", "reversible": true}}}
started:
  description: How the restart of O(unit) went.
  returned: when O(unit) exists and O(state=active) or O(state=rolled_back)
  type: dict
  contains:
    restarted:
      description: Whether it was restarted.
      type: bool
    stop_s:
      description: Seconds that the old process took to stop.
      type: float
    start_s:
      description: Seconds from the start of the new one until O(ready.until) passed.
      type: float
    killed:
      description: Whether the old process did not stop in time and was killed.
      type: bool
    samples:
      description: The last sample of each probe of O(ready), by name, as M(mesops.platform.health_gate) returns them.
      type: dict
gate:
  description: The probe, or the step, that found that the active release does not serve.
  returned: on failure after the activation
  type: str
  sample: ready
fenced:
  description: Whether the failure is that another run, or one of another store, changes this service here.
  returned: on failure, when it is
  type: bool
artifact_needed:
  description: Whether the artifact has to be brought to the host. A playbook never sees it true.
  returned: success
  type: bool
"""

import grp
import os
import pwd
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced
from ansible_collections.mesops.platform.plugins.module_utils._release import archives, configurations, releases, units
from ansible_collections.mesops.platform.plugins.module_utils._release.archives import is_url, without_credentials
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Configuration
from ansible_collections.mesops.platform.plugins.module_utils._release.names import (
    DIGEST,
    check_checksum,
    check_service,
    check_version,
    joined,
    parted,
    version_of,
)

MIB = 1 << 20
LOCK_SECONDS = 300
FETCH_TIMEOUT = 30
ARGUMENTS: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["installed", "active", "rolled_back", "pruned", "prepared", "read"],
        "default": "active",
    },
    "version": {"type": "str"},
    "artifact": {"type": "str"},
    "remote_src": {"type": "bool", "default": False},
    "checksum": {"type": "str"},
    "command": {"type": "str"},
    "initial": {"type": "bool", "default": False},
    "elsewhere": {"type": "dict", "default": {}},
    "silent": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "int", "default": 5},
    "protect": {"type": "list", "elements": "str", "default": []},
    "configuration": {
        "type": "dict",
        "no_log": True,
        "options": {
            "environment": {"type": "str", "default": "", "no_log": True},
            "unit": {"type": "str", "default": ""},
        },
    },
    "configuration_digest": {"type": "str"},
    "unit": {"type": "str"},
    "ready": {
        "type": "dict",
        "options": {
            "until": {"type": "dict", "default": {}},
            "once": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 60.0},
            "prove_stop": {"type": "bool", "default": False},
        },
    },
    "root": {"type": "path", "default": "/opt"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str"},
    "shared_owner": {"type": "str"},
    "max_size_mb": {"type": "int", "default": 2048},
    "reserve_mb": {"type": "int", "default": 256},
    **fencing.ARGUMENTS,
}


def shown(artifact: str) -> str:
    """The artifact's name for a message; a password in a URL stays out of it."""
    return without_credentials(artifact) if is_url(artifact) else os.path.basename(artifact)


def first_word(command: str | None) -> str | None:
    """The program of the start command."""
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Refused(f"command {command!r} cannot be split into words ({error}); correct its quotes") from error
    if not words or not words[0] or words[0].startswith("/"):
        raise Refused(f"command {command!r} has to begin with a path relative to the release, such as bin/start")
    return words[0]


def given_configuration(params: dict[str, Any]) -> Configuration | None:
    """The configuration whose content was given."""
    given = params["configuration"]
    return Configuration.of(given["environment"], given["unit"]) if given is not None else None


def wanted_digest(params: dict[str, Any], store: releases.Store) -> str:
    """The digest of the configuration that is asked for, or nothing."""
    digest, given = params["configuration_digest"] or "", given_configuration(params)
    if digest and not DIGEST.fullmatch(digest):
        raise Refused(f"configuration_digest {digest[:80]!r} is none; take it from the result of this module")
    found = store.shelf.name(given)
    if not digest or digest in (found, *store.shelf.stored()):
        return digest or found
    if given is None:
        return digest
    raise Refused(
        f"configuration {digest} is not kept on this host, and the one that was given is another; put the inventory "
        "back to what it was, or begin again with what it is now"
    )


def request_of(params: dict[str, Any], store: releases.Store) -> releases.Request:
    """The checked request."""
    check_service(params["service"])
    protected = map(version_of, params["protect"])
    for version in (params["version"], *protected):
        if version is not None:
            check_version(version)
    for option, least in (("keep", 1), ("max_size_mb", 1), ("reserve_mb", 0)):
        if params[option] < least:
            raise Refused(f"{option} {params[option]} is too small; give {least} or more")
    return releases.Request(
        state=params["state"],
        version=params["version"],
        checksum=check_checksum(params["checksum"]) if params["checksum"] else None,
        has_artifact=params["artifact"] is not None,
        keep=params["keep"],
        protect=tuple(params["protect"]),
        initial=params["initial"],
        elsewhere={host: str(version) for host, version in params["elsewhere"].items() if version},
        silent=tuple(params["silent"]),
        configuration=wanted_digest(params, store),
        has_configuration=params["configuration"] is not None,
    )


def _id(module: QuietModule, database: Any, field: str, name: str) -> int:
    """The number of a user or group; a dry run may come before it is created."""
    try:
        return int(getattr(database(name), field))
    except KeyError as error:
        if module.check_mode or module.params["state"] == "read":
            return -1
        raise Refused(f"{field[3:]} {name!r} does not exist on this host; create it first") from error


def store_of(module: QuietModule) -> releases.Store:
    """The store that the options describe."""
    params = module.params
    shared = params["shared_owner"]
    return releases.Store(
        root=params["root"],
        service=params["service"],
        uid=_id(module, pwd.getpwnam, "pw_uid", params["owner"]),
        gid=_id(module, grp.getgrnam, "gr_gid", params["group"]) if params["group"] else 0,
        private=params["group"] is not None,
        shared_ids=(_id(module, pwd.getpwnam, "pw_uid", shared), _id(module, pwd.getpwnam, "pw_gid", shared))
        if shared
        else None,
        owner_gid=_id(module, pwd.getpwnam, "pw_gid", params["owner"]),
    )


def fetch(module: QuietModule, url: str) -> str:
    """Bring a URL's content to a temporary file."""
    # Its imports take 20 ms, which every other run is spared.
    from ansible_collections.mesops.platform.plugins.module_utils._core import http_download  # noqa: PLC0415

    limit = module.params["max_size_mb"] * MIB
    try:
        descriptor, path = tempfile.mkstemp(dir=module.tmpdir, prefix="artifact-")
        module.add_cleanup_file(path)
        with os.fdopen(descriptor, "wb") as handle:
            http_download.download(url, handle, limit, FETCH_TIMEOUT)
    except http_download.TooBig as error:
        raise Refused(f"artifact {shown(url)} is bigger than max_size_mb ({limit // MIB} MiB)") from error
    except (OSError, ValueError) as error:
        raise Refused(f"artifact {shown(url)} cannot be fetched: {error}") from error
    return path


def judge(
    module: QuietModule, store: releases.Store, path: str, word: str | None
) -> tuple[archives.Tree, dict[str, Any]]:
    """Check everything that can be checked before the first change; the archive's members, and its manifest."""
    params = module.params
    name, wanted = shown(params["artifact"]), check_checksum(params["checksum"])
    try:
        found = archives.sha256(path)
    except OSError as error:
        raise Refused(f"artifact {path} cannot be read: {error.strerror}") from error
    if found != wanted:
        raise Refused(
            f"artifact {name} has checksum {found}, not {wanted}; "
            "name the right file, or correct the checksum if the file is right"
        )
    try:
        tree = archives.inspect(path, params["max_size_mb"] * MIB, releases.MARKER)
        if word is not None:
            archives.check_command(tree, word)
        told = archives.read_member(path, tree, releases.MANIFEST)
        manifest = {} if told is None else releases.parse_manifest(told, f"its {releases.MANIFEST}")
    except Refused as why:
        raise Refused(f"artifact {name} is refused: {why}") from why
    store.check_room(tree, params["reserve_mb"] * MIB)
    return tree, manifest


def runner_of(module: QuietModule) -> units.Runner:
    """The service's unit on this host."""

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        path = module.get_bin_path(command[0])
        if path is None:
            return 127, "", f"{command[0]} is not there"
        rc, out, err = module.run_command([path, *command[1:]], environ_update={"LC_ALL": "C"})
        return int(rc), str(out), str(err)

    tools = probes.real_tools(run)
    machine = units.Machine(run, lambda probe: probes.take(probe, tools), time.monotonic, time.sleep)
    return units.Runner(machine, str(module.params["unit"]))


def ready_of(params: dict[str, Any]) -> units.Ready:
    """What proves that the release serves, checked."""
    given = params["ready"] or {}
    for kind in ("until", "once"):
        for name, probe in given.get(kind, {}).items():
            try:
                probes.check(probe, f"ready.{kind}.{name}")
            except probes.ProbeError as why:
                raise Refused(str(why).rstrip(".")) from why
    return units.Ready(**given)


def run(module: QuietModule) -> dict[str, Any]:
    """One run: read, plan, judge, apply, restart. The lock is not held while a unit is waited for."""
    params = module.params
    check_service(params["service"])
    word, store = first_word(params["command"]), store_of(module)
    ready_of(params)
    fence = Fence.of(params["service"], params)
    fence.claim(write=not module.check_mode)
    if module.check_mode or params["state"] == "read":
        result, plan = _change(module, word, store)
    else:
        with store.locked(LOCK_SECONDS, time.monotonic, time.sleep):
            # Whoever had the lock may have been the next run.
            fence.check()
            result, plan = _change(module, word, store)
    if plan is not None and params["unit"] and plan.after.current is not None:
        serve(module, params["state"] in ("active", "rolled_back"), store, plan, result, fence=fence)
    return result


def _change(
    module: QuietModule, word: str | None, store: releases.Store
) -> tuple[dict[str, Any], releases.Plan | None]:
    """Change the releases on disk; no plan when the artifact has to be brought first."""
    params = module.params
    request, given = request_of(params, store), given_configuration(params)
    differs = configurations.difference(store.shelf.in_force(), given) if given is not None else None
    plan = releases.make_plan(store.read(), request, store.base, releases.utc_now())
    artifact, tree = params["artifact"], None
    manifest: dict[str, Any] = {}
    if plan.install is not None:
        if not is_url(artifact) and not params["remote_src"]:
            return {"changed": True, "artifact_needed": True}, None
        path = fetch(module, artifact) if is_url(artifact) else artifact
        tree, manifest = judge(module, store, path, word)
        artifact = path
    elif word is not None and request.version is not None and plan.before.find(request.version) is not None:
        store.check_installed_command(request.version, word)
    if not module.check_mode:
        store.apply(plan, artifact, tree, given)
    result: dict[str, Any] = {
        "changed": plan.changed,
        "current": plan.after.current,
        "previous": plan.after.previous,
        "releases": [asdict(one) for one in plan.after.releases],
        "artifact_needed": False,
        "configuration": {
            **_configurations(store, plan, request.configuration),
            **asdict(differs or configurations.Difference()),
        },
        "actions": list(plan.actions),
        "diff": {"before": plan.before.view(), "after": plan.after.view()},
    }
    if params["version"]:
        result["manifest"] = manifest if plan.install is not None else store.manifest(params["version"])
    return result, plan


def _configurations(store: releases.Store, plan: releases.Plan, wanted: str) -> dict[str, Any]:
    """Digests; while none are kept, and so in a dry run before the first, there are none that mean anything later."""
    kept = store.shelf.kept
    return {
        "kept": kept,
        "current": plan.after.configuration if kept else "",
        "previous": parted(plan.after.previous_name or "")[1],
        "running": "",
        "wanted": wanted if kept else "",
    }


def _monotonic(at: float) -> float:
    """A moment in seconds since the epoch on the clock that systemd's times are of."""
    return at - time.time() + time.monotonic()


def _running_configuration(store: releases.Store, unit: units.Unit, plan: releases.Plan) -> str:
    """The configuration that the process of a unit was started with, as far as it can be told."""
    told = configurations.running_configuration(unit.pid) if unit.pid else ""
    changed_at = _monotonic(time.time() if plan.enforce else store.shelf.changed_at())
    return unit.configuration(told, plan.after.configuration, changed_at) if plan.after.kept else ""


def serve(
    module: QuietModule,
    manage: bool,
    store: releases.Store,
    plan: releases.Plan,
    result: dict[str, Any],
    *,
    fence: Fence,
) -> None:
    """Look at the unit; where it is to be managed, let it run the current release and prove that it serves."""
    runner, ready = runner_of(module), ready_of(module.params)
    unit, current = runner.read(), str(plan.after.current)
    if not unit.exists:
        return
    running = releases.running_version(store, unit.pid) if unit.pid else None
    result["running"] = running
    configured = _running_configuration(store, unit, plan)
    result["configuration"]["running"] = configured
    if not manage:
        return
    swapped_at = _monotonic(time.time() if plan.activate else os.lstat(store.current).st_mtime)
    stale = unit.is_stale(running, current, swapped_at)
    stale = stale or (plan.after.kept and configured != plan.after.configuration)
    if stale:
        result["changed"] = True
        result["actions"].append(f"restart {runner.name}")
        result["diff"]["before"]["running"] = joined(running, configured)
        result["diff"]["after"]["running"] = plan.after.name
    if module.check_mode:
        return
    secret = configurations.secrets_of(store.shelf.in_force())
    try:
        started = _start(runner, unit, ready if module.params["ready"] else None, current, stale=stale, fence=fence)
    except units.NotReady as why:
        raise units.NotReady(why.gate, configurations.masked(str(why), secret)) from why
    result["started"] = configurations.masked(asdict(started), secret)


def _start(
    runner: units.Runner,
    unit: units.Unit,
    ready: units.Ready | None,
    current: str,
    *,
    stale: bool,
    fence: Fence,
) -> units.Started:
    """Let the unit run what is current, if it does not yet, and prove what is to be proven."""
    started = units.Started()
    if stale:
        fence.check()
        runner.restart(unit, current, started)
    if ready is not None:
        runner.wait_ready(ready, current, started)
        if ready.prove_stop:
            fence.check()
            runner.prove_stop(ready, current, started)
    return started


def main() -> None:
    """Run, and turn every refusal into one sentence."""
    module = QuietModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "installed", ["version"]), ("state", "active", ["version"])],
        required_by={"artifact": ["checksum"]},
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except Refused as why:
        module.fail_json(msg=str(why))
    except Fenced as why:
        module.fail_json(msg=str(why), fenced=True)
    except units.NotReady as why:
        module.fail_json(msg=str(why), gate=why.gate)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        module.fail_json(msg=f"{module.params['service']}:{where} cannot be changed: {error.strerror or error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
