#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a program from its upstream archive, as a distribution package would."""

from __future__ import annotations

DOCUMENTATION = r"""
module: program
short_description: Install a program from its upstream archive
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - For programs that the distribution does not package, such as Loki, Tempo and Alloy. Does what a package would do -
    executables, and a system user to run them - and nothing else.
  - The host never downloads anything. The controller looks for the archive in O(cache), then in O(mirror) or at the
    project's release page, checks its SHA-256, and sends it. A host that has the version already is asked nothing more,
    so that a controller with an empty cache, as in CI, fetches nothing.
  - Versions lie side by side in C(/opt/mesops/programs/<name>/<version>); links in C(/usr/local/bin) lead to the one in
    use and are swapped by rename. The version before stays on disk.
  - Starts and restarts nothing; see M(mesops.platform.daemon).
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  name:
    description: The program, one of those in C(plugins/module_utils/_program/catalog.py), such as V(loki).
    type: str
    required: true
  version:
    description: Its version, without a V(v) in front. When empty, the one that this collection was written for.
    type: str
    default: ""
  checksum:
    description:
      - SHA-256 of the archive, as V(sha256:<64 hex digits>).
      - When empty, the list of checksums that the project publishes with the release counts. It comes from the same
        place as the archive, so it shows that nothing was damaged; a pinned checksum also shows that nothing was
        exchanged.
    type: str
    default: ""
  mirror:
    description:
      - An address or a directory on the controller that holds C(<name>/<version>/<file>) and the release's list of
        checksums beside it. The project's own release page is not asked then.
    type: str
    default: ""
  cache:
    description: Where the controller keeps archives, in the layout of a mirror.
    type: path
    default: ~/.cache/mesops/artifacts
  user:
    description:
      - A system user to create, with a group of the same name and a directory C(/etc/<name>) that only it may read.
    type: str
    default: ""
  required:
    description:
      - Whether it is a failure that nobody has the archive. With V(false), RV(available) is false, RV(reason) says why,
        and nothing is changed. A wrong checksum is always a failure.
    type: bool
    default: true
  archive:
    description: Path of the archive on the host. Set by the action, not by you.
    type: path
  expected:
    description: The checksum that the controller has verified. Set by the action, not by you.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Install Loki
  mesops.platform.program:
    name: loki
    version: 3.7.6
    user: loki

- name: Install Tempo in a plant without internet
  mesops.platform.program:
    name: tempo
    mirror: /srv/artifacts
    user: tempo
"""

RETURN = r"""
available:
  description: Whether the program is on the host, or will be in check mode.
  returned: always
  type: bool
reason:
  description: Why it is not.
  returned: always
  type: str
version:
  description: The version in use.
  returned: always
  type: str
  sample: 3.7.6
previous:
  description: The version that was in use before, empty when there was none.
  returned: always
  type: str
checksum:
  description: SHA-256 of the archive it came from.
  returned: when available
  type: str
source:
  description: Where the controller got the archive from, V(host) when the host had the version already.
  returned: when available
  type: str
"""

import os
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._core import directories
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog, programs


def user_missing(name: str) -> bool:
    """Whether a system user is wanted that is not there."""
    if not name:
        return False
    try:
        pwd.getpwnam(name)
    except KeyError:
        return True
    return False


def main() -> None:
    """Ask for the archive, or install it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
            "checksum": {"type": "str", "default": ""},
            "mirror": {"type": "str", "default": ""},
            "cache": {"type": "path", "default": "~/.cache/mesops/artifacts"},
            "user": {"type": "str", "default": ""},
            "required": {"type": "bool", "default": True},
            "archive": {"type": "path"},
            "expected": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    place = programs.Place()
    try:
        pinned = programs.check_checksum(params["checksum"]) if params["checksum"] else ""
        archive = catalog.archive(params["name"], params["version"], os.uname().machine)
        programs.check_links(place, archive)
        there = programs.installed(place, archive)
        previous = programs.in_use(place, archive) or ""
        have = there is not None and pinned in ("", there)
        if not have and not params["expected"]:
            module.exit_json(
                changed=False, archive_needed=True, machine=os.uname().machine, previous=previous, pinned=pinned
            )
        settings = f"/etc/{archive.name}" if params["user"] else ""
        missing = user_missing(params["user"])
        bare = bool(settings) and not os.path.isdir(settings)
        changed = not have or previous != archive.version or missing or bare
        if changed and not module.check_mode:
            if missing:
                command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
                status, out, err = module.run_command([*command, params["user"]])
                if status != 0:
                    raise Refused(f"user {params['user']} cannot be created: {(err or out).strip()}")
            if bare:
                directories.make(settings, 0o750)
                os.chown(settings, 0, pwd.getpwnam(params["user"]).pw_gid)
            if not have:
                programs.unpack(params["archive"], params["expected"], place, archive)
            programs.use(place, archive)
            programs.prune(place, archive)
    except (Refused, catalog.UnknownProgram, OSError) as error:
        module.fail_json(msg=str(error))
    result = {"available": True, "reason": "", "version": archive.version, "previous": previous}
    result["checksum"] = params["expected"] or there
    if changed:
        views = ({"version": previous, "user": not missing}, {"version": archive.version, "user": True})
        result["diff"] = {"before": views[0], "after": views[1], "before_header": archive.name}
    module.exit_json(changed=changed, source="host", **result)


if __name__ == "__main__":
    main()
