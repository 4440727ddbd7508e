# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of the scenario's service: ``python releases.py VERSION [behaviour ...]``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIRECTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def build(version: str, *behaviour: str, migrations: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Pack a release that behaves as told; its version, artifact and checksum."""
    members = {
        "bin/catalog": (HERE.parent / "files/catalog").read_bytes(),
        "behaviour": "".join(f"{word}\n" for word in behaviour).encode(),
        "mesops.json": json.dumps({"migrations": migrations or {}}).encode(),
    }
    path = DIRECTORY / f"catalog-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(info, io.BytesIO(data))
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    release = {"version": version, "artifact": str(path), "checksum": checksum}
    path.with_name(f"catalog-{version}.json").write_text(json.dumps(release))
    return release


if __name__ == "__main__":
    build(sys.argv[1], *sys.argv[2:])
