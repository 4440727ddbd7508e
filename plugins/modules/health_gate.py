#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample probes on a clock until they pass, fail, or time out."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_gate
short_description: Sample probes on a clock until they pass, fail, or time out
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - A gate is data, a probe and what to make of its samples. All gates of the task are sampled from its host, each on
    its own clock, and every sample is shown while the task runs.
  - Verdicts are passed, failed, inconclusive and error. Where several would apply, failed comes before error, error
    before inconclusive, and passed comes last. The task fails unless every gate has passed.
  - What is absent is never green. No data, too few samples and an answer that is no number make a gate inconclusive.
  - The module itself takes one sample of each probe; the action plugin of the same name runs the clock on the
    controller.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.probe_types
attributes:
  check_mode:
    support: full
    details:
      - Takes one sample of each gate and fails on none. Probes only read.
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  gates:
    description: Name of each gate to its settings. One of O(gates) and O(probes) is needed.
    type: dict
    default: {}
    suboptions: {}
  probes:
    description:
      - Name of each probe to its settings, as in a gate's C(probe). One sample of each is taken and returned, without a
        gate around it and without a failure.
    type: dict
    default: {}
notes:
  - "Settings of a gate, times in seconds. C(probe) is required. C(interval) between samples, 5. C(count) of successes
    that are needed, 1. C(initial_delay) before the first sample, 0. C(failure_limit) of failures that are forgiven, 0,
    where -1 forgives all until the timeout. C(consecutive_error_limit) of samples in a row that cannot be taken, 4.
    C(inconclusive_limit), -1. C(for), how long the last successes must have lasted without a break, 0. C(timeout) for
    the whole, 60. C(on_no_data), what a sample without data counts as, V(wait) (nothing), V(inconclusive) or
    V(failed). C(enabled), V(true). Its samples are what came in since the one before."
seealso:
  - module: mesops.platform.rollout
"""

EXAMPLES = r"""
- name: Wait until the service is ready, and see it stay so for ten seconds
  mesops.platform.health_gate:
    gates:
      ready:
        probe: {type: http, url: "http://127.0.0.1:3000/readyz"}
        interval: 1
        failure_limit: -1
        for: 10
        timeout: 60
      version:
        probe: {type: http, url: "http://127.0.0.1:3000/version", json: {version: "1.4.0"}}

- name: Refuse to go on unless the database could survive the loss of its leader
  mesops.platform.health_gate:
    gates:
      replication:
        probe: {type: postgres, endpoints: ["http://pg-1:8008", "http://pg-2:8008"], synchronous: true}

- name: Compare one server with the others for a minute
  mesops.platform.health_gate:
    gates:
      errors:
        probe: {type: haproxy, measure: errors, backend: [catalog], servers: [app-1], baseline: [app-2, app-3]}
        count: 12
        timeout: 120
"""

RETURN = r"""
verdict:
  description: The worst verdict of all gates.
  returned: when O(gates) is given
  type: str
  sample: passed
gates:
  description: A report of each gate with verdict, reason, number of samples per phase, and the last ten measurements.
  returned: when O(gates) is given
  type: list
  elements: dict
  sample: [{name: ready, verdict: passed, reason: "1 of 1 sample succeeded", samples: {success: 1}}]
samples:
  description: One sample of each probe.
  returned: when O(probes) is given
  type: dict
  sample: {ready: {phase: success, text: "http://127.0.0.1:3000/readyz answered 200"}}
"""

import time
from collections.abc import Sequence

from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._probe import balancer, probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import real_tools


def main() -> None:
    """Take one sample of each probe."""
    module = QuietModule(
        argument_spec={"gates": {"type": "dict", "default": {}}, "probes": {"type": "dict", "default": {}}},
        supports_check_mode=True,
    )

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        # A program that is not there is what one probe says, and no reason to lose the others.
        rc, out, err = module.run_command(list(command), environ_update={"LC_ALL": "C"}, handle_exceptions=False)
        return int(rc), str(out), str(err)

    try:
        wanted = {
            str(name): probes.check_alone(probe, f"probes.{name}") for name, probe in module.params["probes"].items()
        }
    except ProbeError as why:
        module.fail_json(msg=str(why))
    tools = real_tools(run, balancer.of_this_host(run, wanted.values(), time.time()))
    samples = {name: probes.take(probe, tools) for name, probe in wanted.items()}
    module.exit_json(changed=False, samples=samples)


if __name__ == "__main__":
    main()
