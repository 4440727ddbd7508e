# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd and its journal say of a unit. No Ansible in here."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run


class Unanswered(Exception):
    """systemd does not say; the text is the command and its reason."""


def show(run: Run, unit: str, properties: Iterable[str]) -> dict[str, str]:
    """Properties of a unit, by name; of one that does not exist ``LoadState`` is ``not-found``. Or Unanswered."""
    rc, out, err = run(["systemctl", "show", "--property", ",".join(properties), "--", unit])
    found = properties_of(out)
    if rc != 0 or not found:
        raise Unanswered(f"systemctl show {unit} failed: {' '.join((err or out).split()) or f'exit status {rc}'}")
    return found


def properties_of(shown: str) -> dict[str, str]:
    """What ``systemctl show`` writes."""
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def journal(run: Run, unit: str, lines: int, invocation: str = "") -> str:
    """The last lines of a unit's journal without their heads, or of one of its starts; empty when there is none."""
    which = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else ["--unit", unit]
    rc, out, _err = run(["journalctl", *which, "--output", "cat", "--no-pager", "--lines", str(lines)])
    return out.strip() if rc == 0 else ""
