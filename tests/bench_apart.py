# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what belongs to no host away from the hosts, as far as one machine can.

Where the platform is used, the coordinator and the clients have machines of their own. Here they share the processor
with every host, and left alone the kernel gives all hosts together, one control group, as much of it as the session of
one Ansible command; the load client then waits up to half a second for its turn, and measures that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import estate
from bench_shared import LeftOut

ENGINE = ("dockerd", "containerd")
"""What carries a command into a host, as a network does elsewhere."""
REAL_TIME = 10
MOUNT = Path("/sys/fs/cgroup")
WEIGHTS = {"cpu.shares": 262144, "cpu.weight": 10000}
"""The greatest weight of a control group, by the name that its version has for it."""


@contextmanager
def machines_of_their_own(client: int, host: str) -> Iterator[None]:
    """The client (its process id) runs at once; this process and Docker Engine only where no host wants the processor.

    ``host`` is any of the hosts. LeftOut where the kernel does not let us.
    """
    root = MOUNT / "cpu" if (MOUNT / "cpu").is_dir() else MOUNT
    idle = root / "mesops-bench"
    inside = int(estate.docker("inspect", "--format", "{{.State.Pid}}", host))
    homes = {process: root / _group(process).lstrip("/") for process in (os.getpid(), *_engine())}
    with ExitStack() as undo:
        try:
            weight = next(file for name in WEIGHTS if (file := root / _group(inside).split("/")[1] / name).exists())
            idle.mkdir(exist_ok=True)
            undo.callback(idle.rmdir)
            (idle / "cpu.idle").write_text("1")
            undo.callback(weight.write_text, weight.read_text())
            weight.write_text(str(WEIGHTS[weight.name]))
            _schedule(client, os.SCHED_FIFO, REAL_TIME)
            undo.callback(_schedule, client, os.SCHED_OTHER, 0)
            undo.callback(_leave, idle, homes, root)
            for process in homes:
                _move(process, idle)
        except (StopIteration, OSError) as why:
            raise LeftOut(
                f"control groups below {root} cannot be set ({why!r}): it takes root, Linux 5.15 and Docker Engine here"
            ) from why
        yield


def _leave(idle: Path, homes: Mapping[int, Path], root: Path) -> None:
    """Put everybody back, and what they have started and not ended."""
    for process in map(int, (idle / "cgroup.procs").read_text().split()):
        _move(process, homes.get(process, root))


def _schedule(client: int, policy: int, priority: int) -> None:
    for thread in map(int, os.listdir(f"/proc/{client}/task")):
        os.sched_setscheduler(thread, policy, os.sched_param(priority))


def _group(process: int) -> str:
    """The control group of a process that decides about its share of the processor, such as ``/docker/1e1ff4``."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{process}/cgroup").read_text(encoding="utf-8").splitlines()]
    own = {controllers: path for _number, controllers, path in lines}
    return own.get("cpu", own.get("cpu,cpuacct", own.get("", "/")))


def _engine() -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # one that has ended meanwhile
            if (process / "comm").read_text(encoding="utf-8").strip() in ENGINE:
                yield int(process.name)


def _move(process: int, group: Path) -> None:
    with suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(process))
