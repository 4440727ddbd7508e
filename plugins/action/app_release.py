# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an artifact to the host, but only when the host does not have the release."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.module_utils._core.urls import without_credentials
from ansible_collections.mesops.platform.plugins.module_utils._release import archives

MODULE = "mesops.platform.app_release"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module; when it says that the artifact is needed, send it and run it again."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Cost: one execution without bytes moved when nothing is to be installed, two and the file otherwise."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if isinstance(arguments.get("version"), float):
            return _failed(
                result,
                f"version {arguments['version']} is a number in YAML, which loses zeros at its end (1.10 becomes 1.1); "
                "put it in quotes",
            )
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        if result.get("failed") or not result.get("artifact_needed"):
            return result
        try:
            source = self._source(str(arguments["artifact"]))
            found = archives.sha256(source)
        except (AnsibleError, OSError) as error:
            reason = getattr(error, "strerror", None) or "there is no such file"
            shown = without_credentials(str(arguments["artifact"]))
            return _failed(
                result,
                f"artifact {shown} cannot be read on the controller: {reason}; "
                "build it, correct the path, or set remote_src when it lies on the host",
            )
        wanted = str(arguments["checksum"]).lower()
        if found != wanted:
            return _failed(
                result,
                f"artifact {os.path.basename(source)} has checksum {found}, not {wanted}; "
                "name the right file, or correct the checksum if the file is right",
            )
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, os.path.basename(source))
        self._transfer_file(source, remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        arguments.update(artifact=remote, remote_src=True)
        return {
            **super().run(tmp, task_vars),
            **self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars),
        }

    def _source(self, artifact: str) -> str:
        # From where the command was given first: a playbook of an installed collection lies nowhere near the artifacts.
        path = os.path.abspath(os.path.expanduser(artifact))
        return path if os.path.isfile(path) else str(self._find_needle("files", artifact))


def _failed(result: dict[str, Any], message: str) -> dict[str, Any]:
    for key in ("artifact_needed", "invocation"):
        result.pop(key, None)
    return {**result, "changed": False, "failed": True, "msg": message}
