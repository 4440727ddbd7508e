#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# More than 300 lines, of which some 350 are the documentation of its options and of what it returns.
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
    Configurations are kept in C(/opt/<service>/configurations/<digest>) and activated, in C(/etc/default/<service>)
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
      - The start command. Its first word must be an executable file of the release, as a path relative to it and
        without quotes.
    type: str
  initial:
    description:
      - Installs or activates only on a host that has no current release yet, and otherwise changes nothing, whatever
        O(version) and O(configuration) say. Later ones are then the business of a rollout.
      - With O(state=prepared) the configuration is activated on such a host.
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
        O(configuration_digest), the active one stays.
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
      - How it is verified that the release serves. Sampled on the host itself after O(unit) was restarted, or found
        running.
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
      description: The active one, or that would be in check mode. Empty when there is none, or none are kept.
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
        - Names of the settings that O(configuration) has and the active one had not before this run, variables of
          the environment, and directives of the unit as V(unit MemoryMax).
      type: list
      elements: str
    removed:
      description: Names of the settings that only the active one had.
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

from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._app.deploy import run
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fenced
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import ROOT
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Request
from ansible_collections.mesops.platform.plugins.module_utils._release.units import NotReady, Ready

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
    "keep": {"type": "int", "default": Request.keep},
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
            "timeout": {"type": "float", "default": Ready.timeout},
            "prove_stop": {"type": "bool", "default": False},
        },
    },
    "root": {"type": "path", "default": ROOT},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str"},
    "shared_owner": {"type": "str"},
    "max_size_mb": {"type": "int", "default": 2048},
    "reserve_mb": {"type": "int", "default": 256},
    **fencing.ARGUMENTS,
}


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
    except NotReady as why:
        module.fail_json(msg=str(why), gate=why.gate)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        module.fail_json(msg=f"{module.params['service']}:{where} cannot be changed: {error.strerror or error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
