# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of AnsibleModule that this collection's modules use, for runs without Ansible's wrapper.

On the host it takes the place of ``ansible.module_utils.basic``. Arguments come from the rollout, in the types that the
module's specification asks for, so nothing is converted here; defaults are filled in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

ARGUMENTS: dict[str, Any] = {}
"""The arguments of this run, set by whoever starts the module; ``_check_mode`` among them."""


def _filled(spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the defaults of their specification, of suboptions too."""
    found = {name: given.get(name, option.get("default")) for name, option in spec.items()}
    for name, option in spec.items():
        if option.get("type") == "dict" and option.get("options") and isinstance(found[name], Mapping):
            found[name] = _filled(option["options"], found[name])
    return found


class AnsibleModule:
    """What a module sees of Ansible."""

    def __init__(self, argument_spec: Mapping[str, Any], supports_check_mode: bool = False, **_rules: Any) -> None:
        arguments = dict(ARGUMENTS)
        self.check_mode = bool(arguments.pop("_check_mode", False))
        self.params = _filled(argument_spec, arguments)
        self._cleanup: list[str] = []
        self._tmpdir = ""

    @property
    def tmpdir(self) -> str:
        """A directory of this run's own."""
        if not self._tmpdir:
            self._tmpdir = tempfile.mkdtemp(prefix="mesops-")
            self._cleanup.append(self._tmpdir)
        return self._tmpdir

    def add_cleanup_file(self, path: str) -> None:
        """Remove a file at the end."""
        self._cleanup.append(path)

    def log(self, msg: Any, log_args: Any = None) -> None:
        """Nothing is written to the system's log."""

    def get_bin_path(self, name: str, required: bool = False) -> str | None:
        """Find a program, also where only root looks for it."""
        places = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
        found = shutil.which(name, path=places)
        if found is None and required:
            self.fail_json(msg=f"Program {name} was not found; install it.")
        return found

    def run_command(
        self,
        arguments: Sequence[str],
        environ_update: Mapping[str, str] | None = None,
        handle_exceptions: bool = True,
    ) -> tuple[int, str, str]:
        """Run a program; one that cannot be run is exit status 127, or OSError where the module handles that."""
        program = self.get_bin_path(arguments[0]) or arguments[0]
        environment = {**os.environ, **(environ_update or {})}
        try:
            done = subprocess.run(
                [program, *arguments[1:]], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
            )
        except OSError as error:
            if not handle_exceptions:
                raise
            return 127, "", str(error)
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def exit_json(self, **result: Any) -> NoReturn:
        """Say what came of it."""
        self._end({"changed": False, **result}, 0)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """Say why nothing came of it."""
        self._end({"changed": False, **result, "failed": True, "msg": msg}, 1)

    def _end(self, result: Mapping[str, Any], status: int) -> NoReturn:
        for path in self._cleanup:
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.exists(path):
                os.unlink(path)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.exit(status)
