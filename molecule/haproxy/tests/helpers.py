# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the hosts, their HAProxy, requests and load."""

from __future__ import annotations

import functools
import http.client
import inspect
import json
import os
import re
import socket
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
import yaml

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
INVENTORY = SCENARIO / "inventory"
HOSTS = {
    name: values
    for group in yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"].values()
    for name, values in group["hosts"].items()
}
COMMON = yaml.safe_load((INVENTORY / "group_vars/all.yml").read_text(encoding="utf-8"))
BALANCERS = {name: HOSTS[name]["mesops_address"] for name in ("haproxy-lb-13", "haproxy-lb-12")}
PASSWORD = "it's a 'quoted' password"
CONFIG = "/etc/haproxy/haproxy.cfg"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
PENDING = "/run/mesops-haproxy-pending"

# ---------------------------------------------------------------------------------------------- both balancers at once


def on_both(call: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
    """Do the same on both balancers at the same time; what each has returned, when both have ended."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda balancer: call(balancer, *arguments, **options), BALANCERS))


def each_balancer(case: Callable[..., None]) -> Callable[..., None]:
    """Run a case on both balancers at the same time: each has stubs of its own, and most of a case is waiting."""

    @functools.wraps(case)
    def both(**given: Any) -> None:
        failed = [why for why in on_both(attempt, **given) if why]
        assert not failed, "\n".join(failed)

    def attempt(balancer: str, **given: Any) -> str:
        try:
            case(balancer, **given)
        except Exception as error:
            return f"on {balancer}: {error!r}\n{traceback.format_exc()}"
        return ""

    signature = inspect.signature(case)
    rest = [one for name, one in signature.parameters.items() if name != "balancer"]
    both.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return both


# ---------------------------------------------------------------------------------------------------------------- hosts


def on(name: str) -> Any:
    """Return the testinfra host of one container."""
    return testinfra.get_host(f"docker://{name}")


def agent(name: str, **order: str) -> str:
    """Have the agent of a host run something, which must succeed; what it has printed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = socket.create_connection((HOSTS[name]["mesops_address"], COMMON["agent_port"]), timeout=5)
            break
        except OSError:  # It boots.
            assert time.monotonic() < deadline, f"the agent on {name} cannot be reached"
            time.sleep(0.1)
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        connection.settimeout(600)
        lines.write(json.dumps(order) + "\n")
        lines.flush()
        answer = lines.readline()
    assert answer, f"{name} broke off: {order}"
    done = json.loads(answer)
    assert done["status"] == 0, f"{name}: {order}: exit code {done['status']}\n{done['out']}{done['err']}"
    return str(done["out"])


def shell(name: str, command: str) -> str:
    """Run a command on a host; it must succeed."""
    return agent(name, shell=command).rstrip("\r\n")


@dataclass(frozen=True)
class Stub:
    """A process that stands for a service behind one of the balancers."""

    name: str
    host: str
    port: int
    role_port: int

    @property
    def unit(self) -> str:
        """Its systemd unit."""
        return f"stub@{self.name}:{self.port}:{self.role_port}.service"

    def shell(self, command: str) -> None:
        """Run a command on its host."""
        shell(self.host, command)

    def told(self, what: str) -> str:
        """The file that tells it something while it is there: ``unready``, ``primary``."""
        return f"/run/stub/{self.port}.{what}"

    def tell(self, what: str) -> None:
        """Tell it that from now on."""
        self.shell(f"touch {self.told(what)}")

    def as_before(self) -> None:
        """Have it run and be told nothing."""
        self.shell(f"rm -f {self.told('*')}; systemctl reset-failed {self.unit}; systemctl start {self.unit}")

    def executed(self) -> list[str]:
        """Ask it what it has executed."""
        connection = http.client.HTTPConnection(HOSTS[self.host]["mesops_address"], self.port, timeout=60)
        try:
            connection.request("GET", "/executed")
            return list(json.loads(connection.getresponse().read()))
        finally:
            connection.close()


def _stubs(balancer: str) -> dict[str, Stub]:
    ports = COMMON["stub_ports"][balancer]
    places = {"one": ("haproxy-app-1", 1), "two": ("haproxy-app-1", 2), "three": ("haproxy-app-2", 1)}
    return {name: Stub(name, host, ports + number, ports + 1000 + number) for name, (host, number) in places.items()}


STUBS = {balancer: _stubs(balancer) for balancer in BALANCERS}


# What runs on the load balancer, with the file that the role has installed there.
RUNTIME = """
import subprocess, sys, time
sys.path.insert(0, "/usr/local/lib/mesops")
import haproxy_state as s

def until(found, what):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            value = found()
            if value not in (None, False):
                return value
        except OSError:
            pass  # The master begins, or executes itself anew.
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within 60 s")

def ask(command):
    return until(lambda: s.ask(s.MASTER_SOCKET, command), "HAProxy answers")

def worker():
    return until(lambda: s.current_worker(s.parse_processes(ask("show proc"))), "a worker").pid

def runtime(command):
    return ask(f"@!{worker()} {command}")

def reload():
    before = worker()
    subprocess.run(["systemctl", "reload", "haproxy"], check=True)
    until(lambda: worker() != before, "a new worker")
"""


def program(balancer: str, text: str) -> str:
    """Run a few lines of Python on the load balancer."""
    return agent(balancer, python=RUNTIME + text).rstrip()


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


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Poll a condition; fail at the deadline, which bounds and does not measure."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


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
    timeout: float = 60,
) -> Answer:
    """Send one request on its own connection."""
    connection = http.client.HTTPConnection(BALANCERS[balancer], port, timeout=timeout)
    try:
        connection.request(method, path, headers={"Host": host, **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


@contextmanager
def load(balancer: str, clients: int = 4, seconds: float = 600) -> Iterator[Counter[str]]:
    """Send GETs over keep-alive connections from a few threads; count who answered, and every failure."""
    counts: Counter[str] = Counter()
    stop = threading.Event()
    deadline = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(BALANCERS[balancer], 80, timeout=60)
        while not stop.wait(0.01) and time.monotonic() < deadline:
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
            thread.join(60)


def failures(counts: Counter[str]) -> dict[str, int]:
    """Return the failed requests of a load."""
    return {what: number for what, number in counts.items() if what.startswith("failed")}


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the scenario's playbook again."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return subprocess.run(
        ["ansible-playbook", "-i", inventory, str(SCENARIO / "converge.yml"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
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


def through_ansible(balancer: str, backend: str, *flags: str, ok: bool = True, **options: Any) -> dict[str, Any]:
    """Have Ansible run the module on one load balancer; its result, which must be a success unless told otherwise."""
    arguments = {"backend": backend.split(","), **options}
    done = subprocess.run(
        [
            *("ansible", balancer, "--inventory", os.environ["MOLECULE_INVENTORY_FILE"]),
            *("--module-name", "mesops.platform.haproxy_server", "--args", json.dumps(arguments), *flags),
        ],
        capture_output=True,
        text=True,
        timeout=600,
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


def haproxy_server(balancer: str, backend: str, *, ok: bool = True, **options: Any) -> dict[str, Any]:
    """Run the module on one load balancer as Ansible's developers do, without Ansible, which would take two seconds.

    Its result, which must be a success unless told otherwise.
    """
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"backend": backend.split(","), **options}})
    name = "ansible_collections.mesops.platform.plugins.modules.haproxy_server"
    lines = (
        "import runpy, sys\n"
        f"sys.argv[1:] = [{arguments!r}]\n"
        "try:\n"
        f"    runpy.run_module({name!r}, run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
    )
    result: dict[str, Any] = json.loads(agent(balancer, python=lines))
    assert (not result.get("failed", False)) is ok, result.get("msg", result)
    return result


SLOW = 240
"""Seconds; longer than any test needs on a slow machine."""


class Slow:
    """A request in the background that is not answered before it is told to, for ``SLOW`` seconds at most."""

    def __init__(self, balancer: str, host: str = "billing.example.com", method: str = "GET") -> None:
        self.key = os.urandom(8).hex()
        self.status: int | str = "no answer yet"
        self.took = 0.0
        path = f"/slow?seconds={SLOW}&key={self.key}"
        self.thread = threading.Thread(target=self.run, args=(balancer, path, host, method), daemon=True)
        self.thread.start()
        line = f"{method} /slow {self.key}"
        self.stubs = STUBS[balancer].values()
        wait_until(lambda: any(line in stub.executed() for stub in self.stubs), "the slow request has arrived")

    def run(self, *arguments: str) -> None:
        begin = time.monotonic()
        try:
            self.status = request(*arguments, timeout=SLOW + 20).status
        except (OSError, http.client.HTTPException) as error:
            self.status = repr(error)
        self.took = time.monotonic() - begin

    def answer(self) -> None:
        """Have it answered now."""
        for stub in self.stubs:
            stub.tell(f"answer-{self.key}")

    def join(self) -> int | str:
        """Wait for its end and return the status, or what became of it."""
        self.thread.join(60)
        return self.status


@contextmanager
def tunnel(balancer: str, host: str = "billing.example.com") -> Iterator[socket.socket]:
    """Open a connection that has left HTTP, as a WebSocket does; the other end sends everything back."""
    with socket.create_connection((BALANCERS[balancer], 80), timeout=30) as connection:
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
