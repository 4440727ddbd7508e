# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""health_gate in a real playbook against a real HTTP server; and its clock, with a clock that can be moved."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import estate
import pytest
import yaml
from ansible_collections.mesops.platform.plugins.action import health_gate
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate
from traffic_model import Model

BALANCER = {"type": "haproxy", "backend": ["catalog"], "servers": ["app-1"]}
EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Handler(http.server.BaseHTTPRequestHandler):
    """/ok is well, /later the third time, /told once somebody said so, /bad never is; /prometheus has no data."""

    seen: list[str]
    told: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.seen.append(path)
        good = path == "/ok" or (path == "/later" and self.seen.count("/later") >= 3)
        good = good or (path == "/told" and self.told.is_set())
        body = b"ready" if good else b"starting"
        if path == "/prometheus/api/v1/query":
            good, body = True, json.dumps(EMPTY).encode()
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    handler = type("Fresh", (Handler,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Played:
    """What came of a playbook: the result of each task by name, and its output."""

    results: dict[str, dict[str, Any]]
    output: str


def play(
    directory: Path,
    tasks: Mapping[str, Mapping[str, Any]],
    *arguments: str,
    seen: Callable[[str], object] = lambda _line: None,
) -> Played:
    """Run tasks on this machine, each whatever became of the others; ``seen`` is told each line as it comes."""
    written = directory / "results.json"
    steps: list[dict[str, Any]] = []
    for number, (name, options) in enumerate(tasks.items()):
        task = {"name": name, "mesops.platform.health_gate": options, "register": f"result_{number}"}
        steps.append({**task, "ignore_errors": True, "no_log": name.startswith("secret")})
    content = {name: f"{{{{ result_{number} }}}}" for number, name in enumerate(tasks)}
    keep = {"content": "{{ results | to_json }}", "dest": str(written)}
    steps.append({"name": "Keep the results", "ansible.builtin.copy": keep, "vars": {"results": content}})
    steps[-1]["check_mode"] = False
    hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}
    playbook = directory / "play.yml"
    playbook.write_text(yaml.safe_dump([{"name": "Gates", **hosts}], sort_keys=False))
    with subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", playbook, *arguments],
        cwd=estate.ROOT,
        env={**estate.environment(), "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        limit = threading.Timer(120, running.kill)
        limit.start()
        assert running.stdout
        lines = []
        for line in running.stdout:
            lines.append(line)
            seen(line)
        limit.cancel()
    assert running.returncode == 0, "".join(lines)
    return Played(json.loads(written.read_text()), "".join(lines))


def get(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "http", "url": url, **more}


@pytest.fixture(scope="module")
def played(url: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    ok, bad = get(f"{url}/ok"), get(f"{url}/bad")
    gone = {"type": "promql", "url": f"http://127.0.0.1:{closed_port()}", "query": "up", "min": 1}
    silent = {**gone, "url": f"{url}/prometheus"}
    tasks: dict[str, dict[str, Any]] = {
        # Names of gates mean nothing, also where they are those of a result's keys.
        "passing": {
            "gates": {
                "ready": {"probe": ok, "interval": 0.2, "for": 0.5, "timeout": 20},
                "msg": {"probe": ok},
                "failed": {"probe": bad, "enabled": False},
            }
        },
        "later": {
            "gates": {
                "ready": {"probe": get(f"{url}/later"), "interval": 0.1, "failure_limit": -1, "timeout": 20},
                "port": {"probe": {"type": "tcp", "address": url.removeprefix("http://")}, "count": 2, "interval": 0.1},
            }
        },
        "told": {
            "gates": {"ready": {"probe": get(f"{url}/told"), "interval": 0.2, "failure_limit": -1, "timeout": 20}}
        },
        "failing": {"gates": {"ready": {"probe": bad}, "version": {"probe": ok}}},
        "timeout": {
            "gates": {
                "ready": {"probe": bad, "interval": 0.2, "failure_limit": -1, "timeout": 0.7},
                "orders": {"probe": silent, "interval": 0.2, "timeout": 0.7},
            }
        },
        "error": {
            "gates": {
                "orders": {"probe": gone, "interval": 0.1, "consecutive_error_limit": 1},
                "stock": {"probe": silent, "on_no_data": "inconclusive", "inconclusive_limit": 0},
            }
        },
        "secret": {"gates": {"hidden": {"probe": ok}}},
        "probes": {"probes": {"good": ok, "bad": {**bad, "timeout": 2}, "balancer": BALANCER}},
        "bad probe": {"probes": {"good": ok, "x": {"type": "icmp"}}},
        "nothing": {"gates": {}},
        "unknown key": {"gates": {"ready": {"probe": ok, "retries": 5}}},
    }

    def seen(line: str) -> None:
        if "/told answered 503" in line:
            Handler.told.set()

    return play(tmp_path_factory.mktemp("gates"), tasks, seen=seen)


def verdicts(result: Mapping[str, Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in result["gates"]}


def test_gate_that_passes(played: Played) -> None:
    result = played.results["passing"]
    assert (result["failed"], result["changed"], result["verdict"]) == (False, False, "passed")
    assert verdicts(result) == {"ready": "passed", "msg": "passed"}
    report = result["gates"][0]
    assert report["samples"]["success"] >= 2
    assert 0.5 <= report["ended"] - report["started"] < 20
    assert [one["phase"] for one in report["measurements"]] == ["success"] * report["samples"]["success"]


def test_every_sample_is_shown_while_it_waits(played: Played) -> None:
    shown = [line for line in played.output.splitlines() if line.endswith("/ok answered 200") and "ready" in line]
    assert len(shown) == played.results["passing"]["gates"][0]["samples"]["success"]
    assert " s  ready 1 ok" in shown[0] or " s  ready 1/1 ok" in shown[0]


def test_samples_are_shown_at_once_also_in_a_pipe(played: Played) -> None:
    # The gate passes only once its first sample has been read here.
    assert verdicts(played.results["told"]) == {"ready": "passed"}


def test_gates_have_clocks_of_their_own(played: Played) -> None:
    result = played.results["later"]
    assert (result["failed"], verdicts(result)) == (False, {"ready": "passed", "port": "passed"})
    assert result["gates"][0]["samples"]["failure"] == 2
    assert result["gates"][1]["samples"] == {
        "success": 2,
        **dict.fromkeys(("failure", "inconclusive", "error", "no_data", "hold"), 0),
    }


def test_gate_that_fails(played: Played) -> None:
    result = played.results["failing"]
    assert (result["failed"], result["verdict"]) == (True, "failed")
    assert verdicts(result) == {"ready": "failed", "version": "passed"}
    assert result["msg"].startswith("ready failed: 1 of 1 sample failed and failure_limit is 0: http://127.0.0.1:")
    assert result["msg"].endswith("/bad answered 503: starting")


def test_timeout(played: Played) -> None:
    result = played.results["timeout"]
    assert (result["failed"], result["verdict"]) == (True, "failed")
    # What has no data is not green either.
    assert verdicts(result) == {"ready": "failed", "orders": "inconclusive"}
    assert "ready failed: it did not pass within 0.7 s: 0 of " in result["msg"]
    assert "; orders inconclusive: it did not pass within 0.7 s: 0 of " in result["msg"]


def test_what_cannot_be_asked_is_an_error(played: Played) -> None:
    result = played.results["error"]
    assert (result["failed"], result["verdict"]) == (True, "error")
    assert verdicts(result) == {"orders": "error", "stock": "inconclusive"}
    assert result["msg"].startswith(
        "orders error: 2 samples in a row could not be taken and consecutive_error_limit is 1"
    )


def test_no_log_shows_no_sample(played: Played) -> None:
    assert "hidden" not in played.output


def test_samples_of_probes(played: Played) -> None:
    result = played.results["probes"]
    assert not result["failed"]
    assert {name: one["phase"] for name, one in result["samples"].items()} == {
        "good": "success",
        "bad": "failure",
        # There is no HAProxy here.
        "balancer": "error",
    }


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (
            "bad probe",
            "probes.x.type is 'icmp'; give one of http, tcp, systemd, haproxy,",
        ),
        ("nothing", "health_gate needs either gates or probes; give one of them."),
        ("unknown key", "gates.ready has the unknown key 'retries'; a gate has stage, probe, interval,"),
    ],
)
def test_what_is_refused_fails_the_task(played: Played, task: str, sentence: str) -> None:
    result = played.results[task]
    assert result["failed"]
    assert result["msg"].startswith(sentence)


def test_check_mode_takes_one_sample_of_each_gate_and_fails_on_none(url: str, tmp_path: Path) -> None:
    gates = {
        "good": {"probe": get(f"{url}/ok"), "count": 5, "initial_delay": 30, "timeout": 600},
        "bad": {"probe": get(f"{url}/bad")},
    }
    played = play(tmp_path, {"dry": {"gates": gates}, "wrong": {"gates": {"x": {}}}}, "--check")
    result = played.results["dry"]
    assert (result["failed"], result["changed"], result["verdict"]) == (False, False, "failed")
    assert [(gate["name"], sum(gate["samples"].values())) for gate in result["gates"]] == [("good", 1), ("bad", 1)]
    assert played.results["wrong"]["failed"]


# --------------------------------------------------------------------------------------------------- what is refused

OK = {"type": "http", "url": "http://127.0.0.1/ok"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "health_gate needs either gates or probes; give one of them."),
        ({"gates": {"x": {"probe": OK}}, "probes": {"x": OK}}, "health_gate needs either gates or probes; give one of"),
        ({"gate": {"x": {"probe": OK}}}, "health_gate has no option gate; it has gates and probes."),
        ({"gates": "ready"}, "gates is 'ready'; give a mapping of names to gates."),
        ({"probes": ["x"]}, "probes is ['x']; give a mapping of names to probes."),
        ({"gates": {"ready": "http"}}, "gates.ready is no mapping; give it at least a probe."),
        (
            {"gates": {"x": {"probe": {"type": "http", "url": "localhost"}}}},
            "gates.x.probe.url is 'localhost'; give an address",
        ),
        (
            {"gates": {"x": {"probe": {**BALANCER, "measure": "errors", "alpha": 0.9}}}},
            "gates.x.probe: alpha is 0.9; it must be above 0 and at most 0.5, 0.01 is usual.",
        ),
        (
            {"gates": {"x": {"probe": {"type": "haproxy", "backend": ["catalog"]}}}},
            "gates.x.probe has no servers; a probe of type haproxy needs backend and servers outside a rollout.",
        ),
    ],
)
def test_refusals(options: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as why:
        health_gate.check_gates(health_gate.check_options(options)["gates"])
    assert str(why.value).startswith(sentence)
    assert str(why.value).endswith(".")


# --------------------------------------------------------------------------------------- with a clock that can be moved


@dataclass
class Machine:
    """A clock, and what the module answers in each round."""

    rounds: list[Any]
    now: float = 0.0
    taken: list[tuple[float, list[str]]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now += seconds

    def take(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        self.taken.append((round(self.now, 2), list(wanted)))
        answer = self.rounds[min(len(self.taken), len(self.rounds)) - 1]
        return dict.fromkeys(wanted, answer)


def watch(
    monkeypatch: pytest.MonkeyPatch, gates: Mapping[str, Any], rounds: Sequence[Any]
) -> tuple[list[Gate], Machine]:
    machine = Machine(list(rounds))
    monkeypatch.setattr(health_gate, "time", machine)
    action = health_gate.ActionModule.__new__(health_gate.ActionModule)
    action._task = SimpleNamespace(check_mode=False, no_log=True)
    monkeypatch.setattr(action, "_take", machine.take)
    return action._watch(health_gate.check_gates(gates)), machine


def test_disabled_gates_object_to_nothing() -> None:
    assert health_gate.check_gates({"ready": {"probe": OK, "enabled": False}}) == []


SUCCESS = {"phase": "success", "text": "well"}


def test_samples_are_taken_when_they_are_due_and_together_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = get("http://x")
    gates = {
        "fast": {"probe": probe, "interval": 2, "count": 4},
        "slow": {"probe": probe, "interval": 4, "count": 2, "initial_delay": 4},
    }
    _gates, machine = watch(monkeypatch, gates, [SUCCESS])
    assert machine.taken == [(0, ["fast"]), (2, ["fast"]), (4, ["fast", "slow"]), (6, ["fast"]), (8, ["slow"])]


def counted(requests: int, bad: int) -> dict[str, Any]:
    balancer = Model()
    balancer.send("app-1", "5xx", bad)
    balancer.send("app-1", "good", requests - bad)
    return {"phase": "raw", "text": "counters", "data": {"traffic": balancer.look()}}


@pytest.mark.parametrize("silent", [[], [{"phase": "error", "text": "no answer"}]])
def test_what_was_counted_before_the_gate_began_does_not_count(
    monkeypatch: pytest.MonkeyPatch, silent: list[Any]
) -> None:
    gates = {"errors": {"probe": {**BALANCER, "measure": "errors"}, "count": 1}}
    # Half of all requests have failed since the load balancer was started, but none of the last thousand.
    rounds = [*silent, counted(1000, 500), counted(2000, 500)]
    (gate,), machine = watch(monkeypatch, gates, rounds)
    verdict = gate.verdict(machine.now)
    assert verdict is not None
    assert verdict.value == "passed"
    assert gate.report()["measurements"][-1]["evidence"]["total"] == 1000
    assert len(machine.taken) == len(rounds)


def test_failures_since_the_gate_began_do_count(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = {"errors": {"probe": {**BALANCER, "measure": "errors"}, "count": 1}}
    (gate,), machine = watch(monkeypatch, gates, [counted(100_000, 0), counted(100_100, 30)])
    verdict = gate.verdict(machine.now)
    assert verdict is not None
    assert verdict.value == "failed"
    assert "30 of 100 requests failed" in gate.reason


def test_probes_reach_the_module_as_they_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    probe = {**BALANCER, "measure": "latency", "seconds": 30, "max_ms": 100}
    null = {"alpha": None, "baseline": None}

    def take(_self: Machine, wanted: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(dict(wanted["slow"]))
        return {"slow": {"phase": "raw", "text": "1 request", "data": {"ms": {"app-1": [5.0] * 600}, "until": 7.0}}}

    monkeypatch.setattr(Machine, "take", take)
    (gate,), _machine = watch(monkeypatch, {"slow": {"probe": {**probe, **null}}}, [])
    assert seen == [probe]
    assert gate.report()["verdict"] == "passed"
