# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a release may be installed: everything that can be checked before the first change. No Ansible in here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.module_utils._release.artifacts import shown
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import check_command
from ansible_collections.mesops.platform.plugins.module_utils._release.manifests import MANIFEST, parse_manifest
from ansible_collections.mesops.platform.plugins.module_utils._release.marks import MARKER
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import check_checksum
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import Tree

MIB = 1 << 20


def judge(path: str, params: Mapping[str, Any], word: str | None, base: str) -> tuple[Tree, dict[str, Any]]:
    """Check an artifact on the host as app_release was told of it; the archive's members, and its manifest."""
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
        tree = archives.inspect(path, params["max_size_mb"] * MIB, MARKER)
        if word is not None:
            check_command(tree, word)
        told = archives.read_member(path, tree, MANIFEST)
        manifest = {} if told is None else parse_manifest(told, f"its {MANIFEST}")
    except Refused as why:
        raise Refused(f"artifact {name} is refused: {why}") from why
    check_room(base, tree, params["reserve_mb"] * MIB)
    return tree, manifest


def check_room(base: str, tree: Tree, reserve: int) -> None:
    """Refuse a release that would leave less than *reserve* bytes on its file system."""
    where = base
    while not os.path.isdir(where):
        where = os.path.dirname(where)
    free = os.statvfs(where)
    have, need = free.f_bavail * free.f_frsize, tree.disk_size + reserve
    if have < need:
        raise Refused(
            f"{where} has {_mib(have)} free, but the release takes {_mib(tree.disk_size)} and {_mib(reserve)} must "
            "stay free; prune old releases or make room"
        )
    if free.f_files and free.f_favail < len(tree.entries) + 2:
        raise Refused(
            f"{where} has {free.f_favail} inodes free, but the release takes {len(tree.entries) + 2}; "
            "prune old releases or make room"
        )


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
