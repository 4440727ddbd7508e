# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the hosts, their HAProxy, requests and load."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import testinfra

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
BALANCERS = {"haproxy-lb-13": "10.205.0.11", "haproxy-lb-12": "10.205.0.12"}
STUBS = {
    "one": ("haproxy-app-1", 8001, 9001),
    "two": ("haproxy-app-1", 8002, 9002),
    "three": ("haproxy-app-2", 8001, 9001),
}
PASSWORD = "it's a 'quoted' password"
CONFIG = "/etc/haproxy/haproxy.cfg"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
PENDING = "/run/mesops-haproxy-pending"

each_balancer = pytest.mark.parametrize("balancer", list(BALANCERS))


def on(name: str) -> Any:
    """Return the testinfra host of one container."""
    return testinfra.get_host(f"docker://{name}")


def shell(name: str, command: str) -> str:
    """Run a command on a host; it must succeed."""
    return str(on(name).check_output(f"sh -c {shlex.quote(command)}"))


# What runs on the load balancer, with the file that the role has installed there.
RUNTIME = """
import subprocess, sys, time
sys.path.insert(0, "/usr/local/lib/mesops")
import haproxy_state as s

def ask(command):
    return s.ask(s.MASTER_SOCKET, command)

def worker():
    return s.current_worker(s.parse_processes(ask("show proc"))).pid

def runtime(command):
    return ask(f"@!{worker()} {command}")

def reload():
    before, deadline = worker(), time.monotonic() + 15
    subprocess.run(["systemctl", "reload", "haproxy"], check=True)
    while time.monotonic() < deadline:
        try:
            if worker() != before:
                return
        except (OSError, AttributeError):
            pass  # The master executes itself anew.
        time.sleep(0.05)
    raise SystemExit("no new worker")
"""


def program(balancer: str, text: str) -> str:
    """Run a few lines of Python on the load balancer."""
    return shell(balancer, f"python3 -c {shlex.quote(RUNTIME + text)}")


# Every server ready, with its whole weight and up.
RESTORE = """
for (backend, name), row in s.parse_state(runtime("show servers state")).items():
    if row["srv_admin_state"] != "0":
        runtime(f"set server {backend}/{name} state ready")
    if row["srv_uweight"] != row["srv_iweight"]:
        runtime(f"set server {backend}/{name} weight 100%")
deadline = time.monotonic() + 15

def down():
    rows = s.parse_state(runtime("show servers state")).items()
    return [name for (backend, name), row in rows if backend == "catalog" and row["srv_op_state"] != "2"]

while down():
    if time.monotonic() > deadline:
        sys.exit(f"catalog is not up within 15 s: {down()}")
    time.sleep(0.1)
sys.exit(s.main(["save"]))
"""


def worker(balancer: str) -> int:
    """Return the current worker's process id."""
    return int(program(balancer, "print(worker())"))


def runtime(balancer: str, command: str) -> str:
    """Ask the current worker."""
    return program(balancer, f"print(runtime({command!r}))")


def servers(balancer: str, backend: str) -> dict[str, dict[str, str]]:
    """Return the state of a backend's servers, by name."""
    lines = runtime(balancer, f"show servers state {backend}").splitlines()
    header = next(line for line in lines if line.startswith("# be_id"))[2:].split()
    rows = [dict(zip(header, line.split())) for line in lines if line[:1].isdigit() and len(line.split()) > 20]
    return {row["srv_name"]: row for row in rows}


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Poll a condition; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def up(balancer: str, backend: str, *names: str) -> bool:
    """Whether the servers named, or all of the backend, take traffic."""
    found = servers(balancer, backend)
    return all(found[name]["srv_op_state"] == "2" for name in names or found)


class Answer:
    """An HTTP answer, its body read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        body = response.read()
        self.status = response.status
        self.headers = response.headers
        self.json: Any = json.loads(body) if response.headers.get("Content-Type") == "application/json" else None
        self.text = body.decode("utf-8", "replace")


def request(
    balancer: str,
    path: str = "/",
    host: str = "catalog.example.com",
    method: str = "GET",
    *,
    headers: dict[str, str] | None = None,
    port: int = 80,
    timeout: float = 20,
) -> Answer:
    """Send one request on its own connection."""
    connection = http.client.HTTPConnection(BALANCERS[balancer], port, timeout=timeout)
    try:
        connection.request(method, path, headers={"Host": host, **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


@contextmanager
def load(balancer: str, clients: int = 4, seconds: float = 120) -> Iterator[Counter[str]]:
    """Send GETs over keep-alive connections from a few threads; count who answered, and every failure."""
    counts: Counter[str] = Counter()
    stop = threading.Event()
    deadline = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(BALANCERS[balancer], 80, timeout=20)
        while not stop.wait(0.005) and time.monotonic() < deadline:
            try:
                connection.request("GET", "/", headers={"Host": "catalog.example.com"})
                answer = Answer(connection.getresponse())
                counts[answer.json["name"] if answer.status == 200 else f"failed: {answer.status}"] += 1
            except (OSError, http.client.HTTPException) as error:
                counts[f"failed: {error!r}"] += 1
                connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: sum(counts.values()) > 20, "the load has begun")
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def failures(counts: Counter[str]) -> dict[str, int]:
    """Return the failed requests of a load."""
    return {what: number for what, number in counts.items() if what.startswith("failed")}


def executed(stub: str) -> list[str]:
    """Ask a stub itself what it has executed."""
    host, port, _role = STUBS[stub]
    program = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/executed').read().decode())"
    return list(json.loads(shell(host, f"python3 -c {shlex.quote(program)}")))


def unit(stub: str) -> str:
    """Return the systemd unit of a stub."""
    _host, port, role = STUBS[stub]
    return f"stub@{stub}:{port}:{role}.service"


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the scenario's playbook again."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return subprocess.run(
        ["ansible-playbook", "-i", inventory, str(SCENARIO / "converge.yml"), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
    )


def changes(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the number of changed tasks by host of a run that succeeded."""
    assert result.returncode == 0, result.stdout + result.stderr
    return {host: int(number) for host, number in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", result.stdout, re.M)}


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return all that a run said, without line breaks; Ansible may be told to put failures on either stream."""
    return " ".join((result.stdout + result.stderr).split())


def haproxy_server(balancer: str, backend: str, *flags: str, ok: bool = True, **options: Any) -> dict[str, Any]:
    """Run the module on one load balancer; its result, which must be a success unless told otherwise."""
    arguments = {"backend": backend.split(","), **options}
    done = subprocess.run(
        [
            *("ansible", balancer, "--inventory", os.environ["MOLECULE_INVENTORY_FILE"]),
            *("--module-name", "mesops.platform.haproxy_server", "--args", json.dumps(arguments), *flags),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_DISPLAY_FAILED_STDERR": "0",
        },
    )
    found = re.search(r"^\S+ \| ([A-Z!]+) => (\{.*?^\})", done.stdout, re.MULTILINE | re.DOTALL)
    assert found, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(found.group(2))
    assert (found.group(1) != "FAILED!") is ok, result.get("msg", result)
    return result


SLOW = 120
"""Seconds; longer than any test needs on a slow machine."""


class Slow:
    """A request in the background that is not answered before it is told to, for two minutes at most."""

    def __init__(self, balancer: str, host: str = "billing.example.com", method: str = "GET") -> None:
        self.key = os.urandom(8).hex()
        self.status: int | str = "no answer yet"
        self.took = 0.0
        path = f"/slow?seconds={SLOW}&key={self.key}"
        self.thread = threading.Thread(target=self.run, args=(balancer, path, host, method), daemon=True)
        self.thread.start()
        line = f"{method} /slow {self.key}"
        wait_until(lambda: any(line in executed(stub) for stub in STUBS), "the slow request has arrived")

    def run(self, *arguments: str) -> None:
        begin = time.monotonic()
        try:
            self.status = request(*arguments, timeout=SLOW + 20).status
        except (OSError, http.client.HTTPException) as error:
            self.status = repr(error)
        self.took = time.monotonic() - begin

    def answer(self) -> None:
        """Have it answered now."""
        for stub, (host, _port, _role) in STUBS.items():
            shell(host, f"touch /run/stub/{stub}.answer-{self.key}")

    def join(self) -> int | str:
        """Wait for its end and return the status, or what became of it."""
        self.thread.join(30)
        return self.status


@contextmanager
def tunnel(balancer: str, host: str = "billing.example.com") -> Iterator[socket.socket]:
    """Open a connection that has left HTTP, as a WebSocket does; the other end sends everything back."""
    with socket.create_connection((BALANCERS[balancer], 80), timeout=10) as connection:
        lines = ["GET /upgrade HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: echo", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        head = connection.recv(4096)
        assert b" 101 " in head.splitlines()[0], head
        yield connection


def echoes(connection: socket.socket) -> bool:
    """Whether the tunnel is still open at both ends."""
    try:
        connection.sendall(b"still there?")
        return bool(connection.recv(100))
    except OSError:
        return False
