# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What breaks off the course of a rollout: evidence against the release, a person's wish, or trouble without blame."""

from __future__ import annotations


class ReleaseFailure(Exception):
    """Evidence against the release, or a person's wish to abort: go back."""

    def __init__(self, gate: str, evidence: str) -> None:
        super().__init__(f"{gate}: {evidence}")


class Aborted(ReleaseFailure):
    """A person wants the rollout to end."""


class Halt(Exception):
    """Trouble that says nothing about the release: stop where it is safe."""


class Stuck(Halt):
    """Hosts cannot be taken out of traffic now, which holds up no others that go back."""
