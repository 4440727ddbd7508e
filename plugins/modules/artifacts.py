#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a directory with upstream archives, each verified."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Fill a directory with upstream archives, for a plant without internet
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Fetches, on the host that it runs on, the archives of the programs that come from their projects, verifies each one,
    and writes C(artifacts.lock), which C(sha256sum --check) understands.
  - The directory can then be carried into the plant, and named by C(mesops_artifact_mirror) there.
  - What is in the directory already is verified again and not fetched.
  - C(playbooks/artifacts.yml) does this with one command.
extends_documentation_fragment:
  - mesops.platform.attributes
attributes:
  check_mode:
    support: partial
    details:
      - Does nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  directory:
    description: The directory to fill.
    type: path
    required: true
  programs:
    description: What to fetch. When empty, all that this collection knows.
    type: list
    elements: str
    default: []
  versions:
    description: A program to its version, where it is not the one that this collection was written for.
    type: dict
    default: {}
  architectures:
    description: Kinds of machine, as C(uname -m) names them.
    type: list
    elements: str
    default: [x86_64]
  mirror:
    description: Where to fetch from, in place of the projects.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Fill a directory on a connected machine
  mesops.platform.artifacts:
    directory: /srv/artifacts
    architectures: [x86_64, aarch64]
  delegate_to: localhost
"""

RETURN = r"""
files:
  description: What is in the directory, relative to it.
  returned: always
  type: list
  elements: str
  sample: [loki/3.7.6/loki-linux-amd64.zip]
missing:
  description: One sentence for each archive that could not be fetched.
  returned: always
  type: list
  elements: str
lock:
  description: The file with the checksums.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.quantity import quantity
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog, upstream


def main() -> None:
    """Try everything before a failure is reported."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "programs": {"type": "list", "elements": "str", "default": []},
            "versions": {"type": "dict", "default": {}},
            "architectures": {"type": "list", "elements": "str", "default": ["x86_64"]},
            "mirror": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=False, files=[], missing=[], lock="")
    found, missing = [], []
    for name in given["programs"] or sorted(catalog.PROGRAMS):
        for machine in given["architectures"]:
            try:
                archive = catalog.archive(name, str(given["versions"].get(name, "")), machine)
                one = upstream.find(archive, cache=given["directory"], mirror=given["mirror"])
                found.append((archive, one))
            except (Refused, upstream.Unavailable, catalog.UnknownProgram, OSError) as error:
                missing.append(str(error))
    result = {
        "changed": any(one.source != "cache" for _archive, one in found),
        "files": [f"{archive.place}/{archive.file}" for archive, _one in found],
        "missing": missing,
        "lock": upstream.write_lock(given["directory"], found) if found else "",
    }
    if missing:
        module.fail_json(
            msg=f"{quantity(len(missing), 'archive')} could not be fetched: {'; '.join(missing)}.", **result
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
