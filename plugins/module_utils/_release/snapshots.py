# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a service on one host: its releases, its configurations, and which of them are current."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._release.history import previous_of
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import joined, version_of


@dataclass(frozen=True)
class Release:
    """One directory below `releases`."""

    version: str
    complete: bool
    installed_at: str = ""
    checksum: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that is known of a service's releases at one moment."""

    exists: bool = False
    current: str | None = None
    history: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    leftovers: tuple[str, ...] = ()
    kept: bool = False
    """Whether configurations are kept on this host."""
    configuration: str = ""
    """The digest of the active one; empty where there is none."""
    configurations: tuple[str, ...] = ()
    """The digests of those that are kept, the oldest first."""
    exposed: tuple[str, ...] = ()
    """Files of the active one that have a wrong owner or mode."""

    @property
    def name(self) -> str | None:
        """The current release and the active configuration."""
        return joined(self.current, self.configuration if self.kept else "")

    @property
    def previous_name(self) -> str | None:
        """What a roll back goes to."""
        return previous_of(self.history, self.name)

    @property
    def previous(self) -> str | None:
        """The release that a roll back goes to; the current one when only its configuration was another."""
        return version_of(self.previous_name) if self.previous_name else None

    def find(self, version: str | None) -> Release | None:
        """The complete release of that version."""
        return next((one for one in self.releases if one.version == version and one.complete), None)

    def view(self) -> dict[str, Any]:
        """What the diff shows."""
        return {
            "current": self.current,
            "previous": self.previous,
            "releases": [one.version for one in self.releases if one.complete],
            "leftovers": [*self.leftovers, *(one.version for one in self.releases if not one.complete)],
            "configuration": self.configuration if self.kept else "",
            "configurations": list(self.configurations),
        }
