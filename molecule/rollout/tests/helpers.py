# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the user's commands on the small estate, watch what they say, and see what became of it."""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import estate
import releases
from ansible_collections.mesops.platform.plugins.module_utils._record import etcd
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd_store import EtcdStore
from ansible_collections.mesops.platform.plugins.module_utils._record.store_keys import StoreKeys

from demo import orders
from demo.load.background import BackgroundLoad
from demo.load.ledger import read_ledger

HERE = Path(__file__).resolve().parent.parent
BALANCERS = {"roll-lb-1": "10.206.0.11", "roll-lb-2": "10.206.0.12"}
NODES = {"roll-app-1": "10.206.0.21", "roll-app-2": "10.206.0.22"}
ENDPOINTS = ("http://10.206.0.11:2379", "http://10.206.0.12:2379", "http://10.206.0.31:2379")
DEADLINE = 240
RATE = 30
_numbers = itertools.count(int(time.time()))
LIE = "0.0.1"
"""The version that a release answers which lies about its own."""
_bad = {LIE}


def new_version(*behaviour: str, **more: Any) -> dict[str, str]:
    """A release that nobody has seen before."""
    release = releases.build(f"2.{next(_numbers)}", *behaviour, **more)
    if behaviour:
        _bad.add(release["version"])
    return release


def bad_in_service() -> bool:
    """Whether a node runs a bad release that a failed test has left."""
    return not _bad.isdisjoint(versions().values())


class Command:
    """A playbook of the collection, under way; its lines are read as they come."""

    under_way: ClassVar[list[Command]] = []

    def __init__(self, playbook: str, *arguments: str, **variables: Any) -> None:
        log = estate.BUILD / "rollout"
        log.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=log, prefix=f"{playbook}-", suffix=".log")
        self.log = Path(name)
        self._sink = os.fdopen(handle, "w")
        command = [str(estate.BIN / "ansible-playbook"), "-i", str(HERE / "inventory"), f"playbooks/{playbook}.yml"]
        command += ["-e", json.dumps({"rollout_service": "catalog", **variables}), *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=estate.ROOT,
            env={**estate.environment(), "MOLECULE_EPHEMERAL_DIRECTORY": str(releases.DIRECTORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        Command.under_way.append(self)
        self.lines: list[str] = []
        self._moments: list[float] = []
        self._queue: queue.Queue[tuple[float, str] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._sink.write(line)
            self._sink.flush()
            self._queue.put((time.monotonic(), line))
        self._queue.put(None)

    def _next(self, deadline: float) -> str | None:
        """The next line; nothing when the command has ended."""
        came = self._queue.get(timeout=max(0.1, deadline - time.monotonic()))
        if came is None:
            return None
        self._moments.append(came[0])
        self.lines.append(came[1])
        return came[1]

    def moment(self, pattern: str) -> float:
        """When the first line came that matches, by this machine's monotonic clock."""
        return next(at for at, line in zip(self._moments, self.lines) if re.search(pattern, line))

    def wait_for(self, pattern: str) -> str:
        """The first line to come that matches; the command must not end before."""
        deadline = time.monotonic() + DEADLINE
        while True:
            line = self._next(deadline)
            assert line is not None, f"it ended before it said {pattern!r}:\n{self.said}"
            if re.search(pattern, line):
                return line

    def end(self, timeout: float = DEADLINE) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + timeout
        try:
            while self._next(deadline) is not None:
                continue
            return self.process.wait(timeout=30)
        except (queue.Empty, subprocess.TimeoutExpired):
            self.kill()
            raise AssertionError(f"it did not end within {timeout:g} s:\n{self.said}") from None

    def kill(self) -> None:
        """What the OOM killer does, to the controller and to all that it has started."""
        for pid in sorted(_family(self.process.pid), reverse=True):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(timeout=30)

    @classmethod
    def end_all(cls) -> None:
        """Kill what a test that failed has left running."""
        while cls.under_way:
            command = cls.under_way.pop()
            if command.process.poll() is None:
                command.kill()

    @property
    def said(self) -> str:
        """All of its output so far."""
        return "".join(self.lines)


def _family(pid: int) -> set[int]:
    """A process and all its descendants, sessions of their own included."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, left = {pid}, [pid]
    while left:
        for child in parents.get(left.pop(), []):
            found.add(child)
            left.append(child)
    return found


def roll_out(release: Mapping[str, str], **variables: Any) -> Command:
    """Start the user's command."""
    asked = {f"rollout_{key}": value for key, value in release.items()}
    return Command("rollout", **asked, **variables)


def stats(balancer: str) -> dict[str, dict[str, str]]:
    """What a load balancer says of the service's servers, by name."""
    text = estate.on(
        balancer,
        "python3 -c \"import sys; sys.path.insert(0, '/usr/local/lib/mesops'); import haproxy_state as s; "
        "a = lambda c: s.ask(s.MASTER_SOCKET, c); w = s.current_worker(s.parse_processes(a('show proc'))); "
        "print(a(f'@!{w.pid} show stat'))\"",
    )
    header, *rows = [line.split(",") for line in text.lstrip("# ").splitlines() if "," in line]
    found = [dict(zip(header, row)) for row in rows]
    return {row["svname"]: row for row in found if row["pxname"] == "catalog" and row["svname"] in NODES}


def sent_files() -> dict[str, str]:
    """What Ansible has brought to each node and not removed; a command that was killed cannot."""
    return {host: estate.on(host, "find /root/.ansible/tmp -type f", check=False) for host in NODES}


def versions() -> dict[str, str]:
    """What each node answers to the question for its version."""
    found = {}
    for host, address in NODES.items():
        status, body, _headers = estate.get(f"http://{address}:3000/version")
        found[host] = json.loads(body)["version"] if status == 200 else f"no answer ({status})"
    return found


def out_of_service() -> list[str]:
    """Every node that does not take its whole share of traffic, at each load balancer, and why."""
    found = []
    for balancer in BALANCERS:
        servers = stats(balancer)
        seen = {host: f"{row['status']} with {row['weight']} %" for host, row in servers.items()}
        found += [
            f"{host} is {seen.get(host, 'no server')} at {balancer}"
            for host in NODES
            if seen.get(host) != "UP with 100 %"
        ]
    return found


def in_service() -> bool:
    """Whether every node takes its whole share of traffic at every load balancer."""
    return not out_of_service()


def unfinished() -> str:
    """The rollout that the store has as unfinished, if any."""
    gateway = etcd.Gateway(list(ENDPOINTS), etcd.opener())
    record = EtcdStore(StoreKeys("catalog", gateway)).read(0, 0).open_record
    return str(record["id"]) if record else ""


def settle() -> None:
    """Wait until every node is in service; health checks and the slow start take a moment."""
    try:
        estate.wait_for(in_service, timeout=60, what="every node to be in service at every load balancer")
    except estate.EstateError as error:
        raise AssertionError("; ".join(out_of_service())) from error


@contextmanager
def load(**options: Any) -> Iterator[BackgroundLoad]:
    """Orders and reads through both load balancers; afterwards every acknowledged order is looked for."""
    targets = tuple(f"http://{address}" for address in BALANCERS.values())
    with orders.load_on(**{"targets": targets, "rate": RATE, "reads": 0.5, "duration": 900, **options}) as run:
        run.wait_for_acknowledged(20)
        yield run
        run.stop()
    stored = [line for host in NODES for line in estate.on(host, "cat /opt/catalog/shared/orders").splitlines()]
    ledger = read_ledger(run.ledger)
    lost = [key for key in ledger.acknowledged if key not in stored]
    assert lost == [], f"{len(lost)} acknowledged orders are stored nowhere: {lost[:5]}"
    doubled = [key for key in ledger.acknowledged if stored.count(key) > 1]
    assert doubled == [] or options.get("retry") == "safe", f"orders were executed twice: {doubled[:5]}"
