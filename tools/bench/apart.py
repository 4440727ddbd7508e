# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what belongs to no host away from the hosts, as far as one machine can.

Where the platform is used, the controller and the clients have machines of their own. Here they share the processor
with every host, and left alone the kernel gives all hosts together, one control group, as much of it as the session of
one Ansible command; the load client then waits up to half a second for its turn, and measures that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import estate
from bench.shared import Skipped

REAL_TIME = 10
MOUNT = Path("/sys/fs/cgroup")


def reached_by_ssh() -> Path:
    """Let the controller into the hosts as people do, past Docker Engine; the inventory that says so, to be read last.

    Docker Engine belongs to no host either. What it does for each command is work that hosts elsewhere do not see.
    """
    name = "bench"
    estate.step(
        "Let the controller in by SSH",
        [estate.BIN / "ansible-playbook", "-i", estate.INVENTORY, "molecule/ssh/prepare.yml"],
        log=estate.BUILD / name / "ssh.log",
        MOLECULE_PROJECT_DIRECTORY=str(estate.ROOT),
        MOLECULE_SCENARIO_NAME=name,
    )
    keys = estate.BUILD / f"{name}-keys"
    options = {
        "ansible_connection": "ssh",
        "ansible_user": "deploy",
        "ansible_host": "{{ mesops_address }}",
        "ansible_ssh_private_key_file": str(keys / "id"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={keys / 'known_hosts'} -o StrictHostKeyChecking=yes",
    }
    inventory = estate.BUILD / name / "ssh.json"
    inventory.write_text(json.dumps({"all": {"vars": options}}), encoding="utf-8")
    return inventory


@contextmanager
def machines_of_their_own(client: int) -> Iterator[None]:
    """The client (its process id) runs at once; this process and what it starts only where no host wants the processor.

    Skipped where the kernel does not let us.
    """
    root = MOUNT / "cpu" if (MOUNT / "cpu").is_dir() else MOUNT
    idle, home = root / "mesops-bench", root / _own_group().lstrip("/")
    with ExitStack() as undo:
        try:
            idle.mkdir(exist_ok=True)
            undo.callback(idle.rmdir)
            (idle / "cpu.idle").write_text("1")
            _schedule(client, os.SCHED_FIFO, REAL_TIME)
            undo.callback(_schedule, client, os.SCHED_OTHER, 0)
            undo.callback(_leave, idle, home)
            _move(os.getpid(), idle)
        except OSError as why:
            raise Skipped(f"control groups below {root} cannot be set ({why!r}): it takes root and Linux 5.15") from why
        yield


def _leave(idle: Path, home: Path) -> None:
    """Put this process back, and what it has started and not ended."""
    for process in map(int, (idle / "cgroup.procs").read_text().split()):
        _move(process, home)


def _schedule(client: int, policy: int, priority: int) -> None:
    for thread in map(int, os.listdir(f"/proc/{client}/task")):
        os.sched_setscheduler(thread, policy, os.sched_param(priority))


def _own_group() -> str:
    """The control group that decides about this process's share of the processor, such as ``/docker/1e1ff4``."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    own = {controllers: path for _number, controllers, path in lines}
    return own.get("cpu", own.get("cpu,cpuacct", own.get("", "/")))


def _move(process: int, group: Path) -> None:
    with suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(process))
