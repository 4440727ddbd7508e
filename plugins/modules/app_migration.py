#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a migration that a release carries."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_migration
short_description: Run a migration that a release carries
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Runs a command of an installed release that need not be active, as a systemd unit of its own with the user,
    environment, limits and sandbox of the service.
  - A step that is already under way is joined, not started twice. So a controller that dies while it runs does no
    harm.
  - Each call that finds no such unit runs the step. It has to be safe to run again, as migrations that keep a ledger
    do.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.rollout_fence
attributes:
  check_mode:
    support: full
    details:
      - Begins nothing, and reports with RV(step_state=running) or V(idle) whether the step runs now.
  diff_mode:
    support: none
  idempotent:
    support: none
  platform:
    support: full
    platforms: posix
options:
  service:
    description: Name of the service, as in C(app_services).
    type: str
    required: true
  version:
    description: The release that carries the step. It has to be installed.
    type: str
    required: true
  step:
    description: Which step it is.
    type: str
    choices: [expand, contract]
    required: true
  command:
    description:
      - What to run. Its first word is an executable file of the release, as a path relative to it and without quotes.
    type: str
    required: true
  timeout:
    description: Seconds after which systemd ends the step, from 1 to 86400.
    type: float
    default: 300
  wait:
    description: Seconds to wait for its end. A step that goes on after them is reported as RV(step_state=running).
    type: float
    default: 300
  unit:
    description: The service's unit. C(<service>.service) when not given.
    type: str
  configuration_digest:
    description:
      - The configuration with whose environment and sandbox the step runs, as M(mesops.platform.app_release) has it in
        RV(mesops.platform.app_release#module:configuration). It has to be kept on the host. The active one when not
        given.
    type: str
  root:
    description: The directory of all services.
    type: path
    default: /opt
seealso:
  - module: mesops.platform.app_release
"""

EXAMPLES = r"""
- name: Let the new release prepare the database before any host runs it
  mesops.platform.app_migration:
    service: catalog
    version: "1.4.0"
    step: expand
    command: bin/catalog migrate
  run_once: true
"""

RETURN = r"""
step_state:
  description:
    - Where the step stands, V(running) or V(done), and V(running) or V(idle) in check mode.
    - A module that fails says V(failed) when the step did, and V(refused) when it cannot be run. One that fails without
      a word about it does not know, so the step may still run.
  returned: when it is known
  type: str
  sample: done
fenced:
  description: Whether the failure is that another run, or one of another store, changes this service here.
  returned: on failure, when it is
  type: bool
output:
  description: The last 20 lines that it wrote.
  returned: when it has ended
  type: str
  sample: "schema is up to date, 1 step applied"
"""

import time
from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced
from ansible_collections.mesops.platform.plugins.module_utils._release import migration
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import check_version


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "step": {"type": "str", "choices": ["expand", "contract"], "required": True},
            "command": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": migration.TIMEOUT},
            "wait": {"type": "float", "default": migration.TIMEOUT},
            "unit": {"type": "str"},
            "configuration_digest": {"type": "str"},
            "root": {"type": "path", "default": migration.Step.root},
            **fencing.ARGUMENTS,
        },
        supports_check_mode=True,
    )
    params = module.params

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        rc, out, err = module.run_command(list(command), environ_update={"LC_ALL": "C"})
        return int(rc), str(out), str(err)

    try:
        step = migration.Step(
            service=check_service(params["service"]),
            unit=params["unit"] or f"{params['service']}.service",
            version=check_version(params["version"]),
            name=params["step"],
            command=params["command"],
            timeout=params["timeout"],
            root=params["root"],
            configuration=params["configuration_digest"] or "",
        )
        migration.check(step, params["wait"])
        fence = Fence.of(step.service, params)
        fence.claim(write=not module.check_mode)
        runner = migration.Runner(step, run, time.monotonic, time.sleep, fence.check)
        if module.check_mode:
            module.exit_json(changed=True, step_state=runner.look(params["wait"]).state)
        result = runner.carry_out(params["wait"])
    except Fenced as why:
        module.fail_json(msg=str(why), fenced=True)
    except migration.Silent as why:
        module.fail_json(msg=f"{why}.")
    except Refused as why:
        module.fail_json(msg=f"{why}.", step_state="refused")
    except OSError as error:
        module.fail_json(
            msg=f"{params['step']} of {params['service']} cannot be started: {error}.", step_state="refused"
        )
    if result.state == "failed":
        module.fail_json(msg=result.reason, output=result.output, step_state="failed")
    module.exit_json(changed=True, step_state=result.state, output=result.output)


if __name__ == "__main__":
    main()
