# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What releases and configurations are called. No Ansible in here.

What a host runs is called ``<version>@<digest>``, or ``<version>`` where configurations are not kept yet. Whoever
compares such names compares both; ``@`` is in no version.
"""

from __future__ import annotations

import re

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused

ROOT = "/opt"
"""Where each service has a directory of its name."""
MAX_VERSION = 100
MARK = "@"
DIGITS = 12
"""Of a configuration's digest."""

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
DIGEST = re.compile(rf"[0-9a-f]{{{DIGITS}}}")


def check_version(version: str) -> str:
    """A version becomes a directory name, so it has to be a plain one."""
    if not VERSION.fullmatch(version) or len(version) > MAX_VERSION:
        raise Refused(
            f"version {version[:200]!r} is no plain name; use 1 to {MAX_VERSION} letters, digits and any of '._+~-', "
            "beginning with a letter or a digit"
        )
    return version


def check_checksum(checksum: str) -> str:
    """Only SHA-256, written out, so that a release is pinned to its content."""
    if not CHECKSUM.fullmatch(checksum.lower()):
        raise Refused(f"checksum {checksum[:200]!r} is not of the form sha256:<64 hex digits>; take it from the build")
    return checksum.lower()


def joined(version: str | None, digest: str | None) -> str | None:
    """What a host runs, as one name; nothing where there is no release."""
    return f"{version}{MARK}{digest}" if version and digest else version


def parted(name: str) -> tuple[str, str]:
    """Version and digest of such a name; the digest is empty where it has none."""
    version, _mark, digest = name.partition(MARK)
    return version, digest


def version_of(name: str) -> str:
    """The version in such a name."""
    return parted(name)[0]


def plainly(*names: str | None) -> list[str | None]:
    """Such names for a person: versions alone where all of them have the same configuration."""
    digests = {parted(name)[1] for name in names if name}
    return [version_of(name) if name and len(digests) == 1 else name for name in names]


def fits(target: str, name: str) -> bool:
    """Whether a host with that name runs the target; one without a configuration leaves open which it is."""
    return target == name or (MARK not in target and target == version_of(name))
