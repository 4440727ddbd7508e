# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an upstream archive to the host, but only when the host does not have the program."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog, upstream

MODULE = "mesops.platform.program"
CACHE = "~/.cache/mesops/artifacts"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module; when it needs the archive, find it, send it and run it again."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Cost: one execution when nothing is to be installed, two and the file otherwise."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        for own in ("archive", "expected"):
            arguments.pop(own, None)
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        if result.get("failed") or not result.pop("archive_needed", False):
            return result
        previous, pinned = result.pop("previous", ""), result.pop("pinned", "")
        machine = result.pop("machine")
        archive = catalog.archive(str(arguments["name"]), str(arguments.get("version") or ""), machine)
        try:
            found = upstream.find(
                archive,
                cache=str(arguments.get("cache") or CACHE),
                mirror=str(arguments.get("mirror") or ""),
                pinned=pinned,
            )
        except upstream.Unavailable as error:
            answer = {"available": False, "reason": str(error), "version": "", "previous": previous}
            if _true(arguments.get("required", True)):
                way_out = "Put it there, or set mesops_artifact_mirror to an address or a directory that has it."
                return {**result, **answer, "changed": False, "failed": True, "msg": f"{error}. {way_out}"}
            return {**result, **answer, "changed": False}
        except (Refused, OSError) as error:
            return {**result, "changed": False, "failed": True, "msg": str(error)}
        if not self._task.check_mode:
            if self._connection._shell.tmpdir is None:
                self._make_tmp_path()
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, archive.file)
            self._transfer_file(str(found.path), remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote))
            arguments["archive"] = remote
        arguments["expected"] = found.checksum
        done = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        if not done.get("failed"):
            done["source"] = found.source
        return {**super().run(tmp, task_vars), **done}


def _true(value: Any) -> bool:
    return str(value).lower() not in ("false", "no", "0", "off")
