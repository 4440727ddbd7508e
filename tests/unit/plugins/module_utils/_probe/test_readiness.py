# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role, gate and load balancer give the same answer to the question whether a service is ready."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import estate
import jinja2
import pytest
from ansible_collections.mesops.platform.plugins.filter.app_backends import app_backends
from ansible_collections.mesops.platform.plugins.module_utils._daemon import units
from ansible_collections.mesops.platform.plugins.module_utils._probe import health_check, probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import real_tools
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import model
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.frontends import FRONTEND_TIMEOUTS
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.services import SERVICE_TIMEOUTS
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates, service_settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
WAITS_S = 10.0
"""How long HAProxy's checks are waited for at the most; it takes two seconds, those of the slow answer."""


@dataclass(frozen=True)
class Case:
    """What a service says when it is asked, how it wants to be asked, and whether it is ready then."""

    ready: bool
    says: tuple[bytes | float, ...]
    """Bytes, and pauses in seconds."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    wants_host: bytes = b""
    """The Host that it answers to; to others it says 421."""


def answer(status: str, *more: str, body: str = "ok", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *more, "", body]
    return "\r\n".join(lines).encode()


OK = answer("200 OK")
NAMED = {"readiness_host": "www.example.com:8443"}
CASES = {
    "200": Case(True, (OK,)),
    "204": Case(True, (b"HTTP/1.1 204 No Content\r\n\r\n",)),
    "299": Case(True, (answer("299 Odd"),)),
    "HTTP/1.0": Case(True, (b"HTTP/1.0 200 OK\r\n\r\nok",)),
    "no reason": Case(True, (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",)),
    "bare line feeds": Case(True, (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",)),
    "302": Case(False, (answer("302 Found", "Location: /elsewhere"),)),
    "302, wanted": Case(True, (answer("302 Found", "Location: /elsewhere"),), {"readiness_status": "200-399"}),
    "401": Case(False, (answer("401 Unauthorized", "WWW-Authenticate: Basic"),)),
    "401, wanted": Case(
        True, (answer("401 Unauthorized", "WWW-Authenticate: Basic"),), {"readiness_status": [200, 401]}
    ),
    "200, not wanted": Case(False, (OK,), {"readiness_status": 204}),
    "503": Case(False, (answer("503 Service Unavailable", body="warming up"),)),
    "cut body": Case(True, (answer("200 OK", length=100),)),
    "cut body of a 503": Case(False, (answer("503 Service Unavailable", length=100),)),
    "cut head": Case(False, (b"HTTP/1.1 200 OK\r\nContent-Le",)),
    "late body": Case(True, (answer("200 OK", body="", length=2), 6.0, b"ok")),
    "nothing": Case(False, ()),
    "no HTTP": Case(False, (b"SSH-2.0-OpenSSH_9.2\r\n\r\n",)),
    "HTTP/2": Case(False, (b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",)),
    "a header that is none": Case(False, (answer("200 OK", "no header"),)),
    "two lengths": Case(False, (answer("200 OK", "Content-Length: 7"),)),
    "a length that is none": Case(False, (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",)),
    "100 first": Case(False, (b"HTTP/1.1 100 Continue\r\n\r\n", OK)),
    "slow": Case(False, (6.0, OK)),
    "trickling": Case(False, (b"HTTP/1.1 200 OK\r\n", 1.2, b"X-One: 1\r\n", 1.2, b"X-Two: 2\r\n", 1.2, b"\r\n")),
    "its host": Case(True, (OK,), NAMED, b"www.example.com:8443"),
    "another host": Case(False, (OK,), {}, b"www.example.com:8443"),
    "its host by default": Case(True, (OK,), {}, b"localhost"),
}


@contextmanager
def served(case: Case) -> Iterator[int]:
    """The port of a server that says what the case says, to everybody who asks for /readyz?deep=1."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def talk(link: socket.socket) -> None:
            # Whoever has heard enough hangs up.
            with link, suppress(OSError):
                link.settimeout(5)
                asked = b""
                while b"\r\n\r\n" not in asked and (part := link.recv(4096)):
                    asked += part
                lines = asked.lower().split(b"\r\n")
                wrong = case.wants_host and b"host: " + case.wants_host not in lines
                says = (answer("421 Misdirected Request"),) if wrong else case.says
                if not asked.startswith(b"GET /readyz?deep=1 HTTP/1.1\r\n"):
                    says = (answer("404 Not Found"),)
                for one in says:
                    if isinstance(one, bytes):
                        link.sendall(one)
                    else:
                        over.wait(one)

        def accept() -> None:
            while not over.is_set():
                try:
                    link, _address = listener.accept()
                except OSError:
                    continue
                threading.Thread(target=talk, args=(link,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def services(port: int, case: Case) -> dict[str, Any]:
    given = {"port": port, "command": "bin/x", "readiness_path": "/readyz?deep=1", "readiness_within": 2}
    return {"catalog": {**given, **case.settings}}


def by_role(found: Mapping[str, Any]) -> tuple[bool, str]:
    """As the role app asks, through the module daemon."""
    ready = found["ready"]
    return units.http_probe(ready["url"], ready["status"], ready["within"], ready["host"])()


def by_gate(found: Mapping[str, Any]) -> tuple[bool, str]:
    """As the gate `ready` of a rollout asks."""
    gate = rollout_gates.check_gates({}, service_settings.service_of(found))["ready"]
    sample = probes.take(probes.fill(gate.probe, {}, "gate"), real_tools(lambda _command: (1, "", "")))
    assert sample["phase"] in ("success", "failure")
    return sample["phase"] == "success", sample["text"]


def test_role_and_gate_agree() -> None:
    def both(case: Case) -> tuple[tuple[bool, str], tuple[bool, str]]:
        with served(case) as port:
            (found,) = app_service_plan(services(port, case), ["catalog"])["services"]
            return by_role(found), by_gate(found)

    with ThreadPoolExecutor(len(CASES)) as pool:
        said = dict(zip(CASES, pool.map(both, CASES.values())))
    wrong = {name: one for name, one in said.items() if {one[0][0], one[1][0]} != {CASES[name].ready}}
    assert wrong == {}
    assert said["503"][0][1].endswith("/readyz?deep=1 answered 503: warming up")
    assert "ended in the head of its answer" in said["cut head"][1][1]
    assert "what it says is no HTTP: b'SSH-2.0" in said["no HTTP"][0][1]


def backend_lines(services_given: Mapping[str, Any], port: int) -> str:
    """What the role haproxy writes into the backend of a service."""
    settings = {
        "timeouts": dict.fromkeys([*SERVICE_TIMEOUTS, *FRONTEND_TIMEOUTS], "2s"),
        **{"hard_stop_after": "1h", "peers": [], "peers_port": 1, "stats_bind": [], "stats_user": "a"},
        **{"stats_password": "b", "trusted_proxies": [], "maxconn": 100, "apps": app_backends(dict(services_given))},
    }
    server = {"name": "app-1", "address": "127.0.0.1", "port": port}
    given = {"catalog": {"servers": [server], "check": {"interval": "100ms", "fall": 1, "rise": 1}}}
    found = model.build(given, {}, {}, {}, settings)
    source = (estate.ROOT / "roles/haproxy/templates/haproxy.cfg.j2").read_text(encoding="utf-8")
    header, _, body = source.partition("\n")
    assert header == "#jinja2: lstrip_blocks: True, trim_blocks: True"
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(body)
    return str(template.render(__haproxy_model=found).partition("\nbackend catalog\n")[2])


def backend_of(name: str) -> str:
    return "case-" + "".join(letter if letter.isalnum() else "-" for letter in name)


def statuses(path: Path) -> dict[str, str]:
    """What HAProxy has found of each backend's server by its own checks, where it has made one."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(path))
        link.sendall(b"show stat -1 4 -1\n")
        said = b""
        while part := link.recv(65536):
            said += part
    header, *rows = said.decode().lstrip("# ").splitlines()
    table = [dict(zip(header.split(","), row.split(","))) for row in rows if row]
    return {
        row["pxname"]: row["status"]
        for row in table
        if row["check_status"] not in ("", "INI") and row["check_duration"]
    }


@pytest.mark.skipif(HAPROXY is None, reason="no HAProxy on this machine; what it would say is what the table says")
def test_haproxy_agrees(tmp_path: Path) -> None:
    with ExitStack() as stack:
        parts = [
            f"global\n    stats socket {tmp_path}/s level admin\ndefaults\n    mode http\n    timeout connect 2s\n"
        ]
        parts.append("    timeout client 2s\n    timeout server 2s\n    timeout check 2s\n")
        for name, case in CASES.items():
            port = stack.enter_context(served(case))
            parts.append(f"backend {backend_of(name)}\n{backend_lines(services(port, case), port)}\n")
        (tmp_path / "haproxy.cfg").write_text("".join(parts), encoding="utf-8")
        command = [str(HAPROXY), "-db", "-f", str(tmp_path / "haproxy.cfg")]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        stack.callback(process.kill)
        expected = {backend_of(name): "UP" if case.ready else "DOWN" for name, case in CASES.items()}
        found: dict[str, str] = {}
        end = time.monotonic() + WAITS_S
        while found != expected and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
            if (tmp_path / "s").exists():
                found = statuses(tmp_path / "s")
    assert found == expected


def test_a_url_without_a_path_is_asked_for_its_root_by_its_own_name() -> None:
    case = Case(True, (OK,))
    with served(case) as port:
        assert health_check.ask(f"http://127.0.0.1:{port}/readyz?deep=1", "", [(200, 200)], 5)[0]
        passed, said = health_check.ask(f"http://127.0.0.1:{port}", "", [(404, 404)], 5)
    assert (passed, said) == (True, f"http://127.0.0.1:{port} answered 404")


def test_nobody_there_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        passed, said = health_check.ask(f"http://127.0.0.1:{unused.getsockname()[1]}/", "", [(200, 200)], 5)
    assert not passed
    assert "gave no answer" in said


def test_an_endless_head_ends() -> None:
    with served(Case(False, (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000,))) as port:
        passed, said = health_check.ask(f"http://127.0.0.1:{port}/readyz?deep=1", "", [(200, 200)], 5)
    assert not passed
    assert "endless head" in said
