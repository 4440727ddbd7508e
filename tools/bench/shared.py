# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the bench share: a table, hosts of their own, and a word for what is not available."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import estate

IMAGE = "mesops/debian-trixie:base"
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


class Skipped(Exception):
    """What a part compares with is not available here; the text says what it is, and the way out."""


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def booted(name: str) -> bool:
    """Whether systemd has started all that it starts."""
    return estate.on(name, "systemctl is-system-running", check=False).strip() == "running"


def boot(network: str, prefix: str, hosts: Mapping[str, str]) -> None:
    """Start hosts (name to address) in a network of their own, the first three bytes of whose addresses are given.

    As Molecule does, with its options, but without its half-second for each.
    """
    # Each systemd watches a handful of files; the kernel's default is enough for some twenty of them.
    INOTIFY.write_text(str(max(int(INOTIFY.read_text()), 20 * len(hosts))))
    estate.docker("network", "create", "--subnet", f"{prefix}.0/24", "--gateway", f"{prefix}.1", network)
    tmpfs = ["--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"]
    options = ["--cgroupns=private", "--cap-add=SYS_ADMIN", *tmpfs, "--stop-signal=SIGRTMIN+3", f"--network={network}"]
    for name, address in hosts.items():
        names = [f"--name={name}", f"--hostname={name}", f"--ip={address}"]
        estate.docker("run", "--detach", *names, *options, IMAGE, "/sbin/boot")
    for name in hosts:
        estate.wait_for(partial(booted, name), timeout=180, what=f"{name} to boot")


def clear(network: str, hosts: Iterable[str]) -> None:
    """Remove them, leftovers of a run that was killed included."""
    estate.docker("rm", "--force", "--volumes", *hosts, check=False)
    estate.docker("network", "rm", network, check=False)
