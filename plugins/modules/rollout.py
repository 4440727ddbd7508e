#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: Roll a release out host by host behind health gates, or back
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Brings all hosts of a service to a version, in batches. Each batch is drained at every load balancer, activated,
    gated directly, put back with a share of its weight, judged by what its traffic shows, given its whole weight and
    observed.
  - Evidence against the release rolls back every host that this rollout has touched, newest first. Trouble of the
    platform halts the rollout where it stands, and the same task goes on from there.
  - Everything is written to a store before it is done. A run that was killed is resumed by the next one.
  - An action plugin. It runs once, for one host of the play, and reaches load balancers and the service's hosts by
    itself, with their own connection variables. The role M(mesops.platform.rollout) is the usual way to use it.
extends_documentation_fragment:
  - mesops.platform.attributes
attributes:
  check_mode:
    support: full
    details:
      - Shows the plan and samples the gates once, and changes nothing anywhere, the record included.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(released) brings the service to O(version), together with the configuration that the inventory has for it.
        V(reverted) brings it back from an unfinished rollout, or from the last one that was done.
      - V(configured) is what C(site.yml) does for a service in traffic whose configuration has changed. It rolls it out
        with the version that runs, one host after the other, with the gates of the stage V(ready) alone, and does
        nothing where nothing has changed.
    type: str
    choices: [released, reverted, configured]
    default: released
  app:
    description:
      - The service, as the filter P(mesops.platform.app_service_plan#filter) completes it. Its key C(rollout) says how
        it is rolled out. The options O(backends), O(batches), O(min_available), O(weights), O(min_healthy_time),
        O(drain), O(gates), O(prove_stop), O(migrations) and O(pause_timeout) of this module take the place of the keys
        of the same name, for this run. The README of the role C(mesops.platform.app) has their defaults.
    type: dict
    required: true
  hosts:
    description: All hosts of the service, in the order in which they are rolled.
    type: list
    elements: str
    required: true
  exclude:
    description: Hosts that are excluded and keep the version that they have, such as one that is being repaired.
    type: list
    elements: str
    default: []
  balancers:
    description: All load balancers of the service.
    type: list
    elements: str
    required: true
  backends:
    description: The HAProxy backends that the hosts are servers of. The service's name when not given.
    type: list
    elements: str
  version:
    description: The version to release.
    type: str
  configuration:
    description:
      - Whether only the configuration is rolled out, with the version that runs, instead of O(version). The plugin
        reads it from the variable C(app_services) of each host, since options of a task are shown by some callbacks.
    type: bool
    default: false
  artifact:
    description:
      - The release archive, a path on the controller or a URL that the hosts fetch. Not needed where the version is
        installed already.
    type: str
  checksum:
    description: Checksum of O(artifact), written V(sha256:<64 hex digits>).
    type: str
  batches:
    description: Sizes of the batches, numbers or percentages of all hosts. The last one repeats.
    type: list
    elements: raw
  min_available:
    description:
      - Servers that have to stay available at every load balancer, a number or a percentage of all hosts (rounded up).
        A plan that would leave fewer is refused, and so is each drain.
    type: raw
  weights:
    description:
      - Shares of its weight, in percent, that a batch gets one after the other. The last one is 100.
    type: list
    elements: int
  min_healthy_time:
    description:
      - Seconds for which a batch is observed with its whole weight before the next one begins.
    type: float
  drain:
    description:
      - How a host is taken out of traffic. C(deadline) for its sessions and C(on_timeout) for those that outlive it,
        V(fail) (put it back and halt), V(kill) or V(wait).
      - Sessions on a release that was judged bad get C(condemned) and are then shut down.
    type: dict
  gates:
    description:
      - Name of each gate to its settings, as M(mesops.platform.health_gate) describes them, and C(stage), V(ready)
        (before a host gets traffic) or V(traffic) (the default), C(on_inconclusive), V(rollback), V(pause) or
        V(continue), C(on_error), V(rollback) or V(continue), and C(both), whether hosts that go back wait for it too.
      - C(ready), C(running), C(errors), C(answers) and C(up) are always there, unless a gate of that name changes them.
      - In texts of a probe, C($service), C($version), C($port), C($host), C($address), C($hosts) and C($baseline)
        (names joined by V(|)) are filled in. C($$) is a dollar sign.
    type: dict
  prove_stop:
    description: Whether the first batch also has to prove that the new process stops when it is told to.
    type: bool
  migrations:
    description:
      - Steps C(expand) and C(contract) with C(command), C(reversible) and C(timeout), instead of those in the release's
        C(mesops.json).
    type: dict
  store:
    description:
      - Where the record is kept. C(backend) is V(file), with C(directory) on the first load balancer, or V(etcd), with
        C(endpoints). C(coordinators) names the hosts that reach it. All other keys are options of
        M(mesops.platform.rollout_record).
      - Hosts remember the store, and a run by another one is refused. C(adopt) is the id of the store that is given up.
    type: dict
    default: {}
  lock_ttl:
    description: Seconds after which the lock of a rollout that gives no sign of life is free.
    type: float
    default: 45
  pause_timeout:
    description: Seconds after which a paused rollout halts.
    type: float
  report:
    description: Path on the controller for the record as JSON.
    type: path
notes:
  - With C(--limit) the service's other hosts are still part of the rollout.
seealso:
  - module: mesops.platform.haproxy_server
  - module: mesops.platform.app_release
  - module: mesops.platform.health_gate
  - module: mesops.platform.rollout_record
"""

EXAMPLES = r"""
- name: Roll out
  mesops.platform.rollout:
    app: "{{ (app_services | mesops.platform.app_service_plan(['catalog'])).services | first }}"
    hosts: "{{ groups['catalog'] }}"
    balancers: "{{ query('mesops.platform.estate', 'haproxy.hosts') }}"
    version: "1.4.0"
    min_healthy_time: 60
    artifact: dist/catalog-1.4.0.tar.gz
    checksum: sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
  run_once: true
  become: true
"""

RETURN = r"""
rollout:
  description: What became of it.
  returned: when there is a record
  type: dict
  contains:
    id:
      description: Name of the rollout, by which the store knows its record.
      type: str
      sample: catalog-20261125T160102Z-3f2a
    status:
      description: V(done), V(rolled_back), V(failed), V(frozen), V(halted), V(rolling_back), or V(planned) in check
        mode.
      type: str
      sample: done
    version:
      description: The version that it was about.
      type: str
      sample: 1.4.0
    reason:
      description: Why it did not go forward, empty when it did.
      type: str
      sample: ""
    advice:
      description: How to go on.
      type: str
      sample: ""
    hosts:
      description: Phase of each host.
      type: dict
      sample: {app-1: done, app-2: done}
    seconds:
      description: How long it took, all its runs together.
      type: float
      sample: 74.2
"""
