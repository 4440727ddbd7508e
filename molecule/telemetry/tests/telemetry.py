"""What the tests of the telemetry share: questions to Prometheus, Alertmanager, Loki and Tempo, and a receiver."""

from __future__ import annotations

import json
import secrets
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import estate
import pytest

OBS = "obs-1"
ADDRESS = estate.addresses("monitoring")[OBS]
PROMETHEUS, ALERTMANAGER = f"http://{ADDRESS}:9090", f"http://{ADDRESS}:9093"
LOKI, TEMPO = f"http://{ADDRESS}:3100", f"http://{ADDRESS}:3200"
GATEWAY = f"{ADDRESS.rsplit('.', 1)[0]}.1"
CACHE = Path("~/.cache/mesops/artifacts").expanduser()
ARCHIVES = ("loki", "tempo", "alloy", "grafana")
MISSING = [name for name in ARCHIVES if not any((CACHE / name).glob("*/[!.]*"))]
ELSEWHERE = {"CpuSaturated", "ErrorBudgetBurnsSlowly", "ErrorBudgetBurnsSteadily", "FailoverHappened"}
"""Alerts about what these tests did not do: all hosts share one machine with the load of the whole test run, and other
scenarios on the same hosts break things of which the estate speaks for hours."""


def reason(*names: str) -> str:
    """Why these cannot be tested here."""
    return f"skipped: {', '.join(names)} not available here (no archive in {CACHE}, no way to its origin)"


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test, and say so, where one of these was skipped."""
    missing = [name for name in names if name in MISSING]
    return pytest.mark.skipif(bool(missing), reason=reason(*missing))


def ready() -> bool:
    """Whether all servers that are here say that they work; one that was just started does not at once."""
    servers = {"prometheus": f"{PROMETHEUS}/-/ready", "alertmanager": f"{ALERTMANAGER}/-/ready"}
    servers |= {"loki": f"{LOKI}/ready", "tempo": f"{TEMPO}/ready"}
    return all(estate.get(url)[0] == 200 for name, url in servers.items() if name not in MISSING)


def ask(path: str) -> Any:
    """What Prometheus' API answers with."""
    answer = estate.get_json(f"{PROMETHEUS}/api/v1/{path}")
    assert answer["status"] == "success", answer
    return answer["data"]


def query(expression: str) -> list[dict[str, Any]]:
    """The vector that an expression has right now."""
    found: list[dict[str, Any]] = ask(f"query?query={urllib.parse.quote(expression)}")["result"]
    return found


def lines(expression: str) -> list[tuple[dict[str, str], str]]:
    """Labels and text of the log lines of the last hour that an expression finds; none while Loki does not answer."""
    url = f"{LOKI}/loki/api/v1/query_range?since=1h&limit=5000&query={urllib.parse.quote(expression)}"
    status, body, _headers = estate.get(url)
    if status != 200:
        return []
    return [
        (stream["stream"], line) for stream in json.loads(body)["data"]["result"] for _time, line in stream["values"]
    ]


def firing() -> set[str]:
    """The names of the alerts that fire right now."""
    found = {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"}
    return found - ELSEWHERE


def playbook(*arguments: str, check: bool = True, **variables: Any) -> estate.Recap:
    """Run site.yml with other variables for a part of the telemetry.

    A run that is limited to some tags has not tried the archives, so it is told which were skipped.
    """
    given = {"mesops_skipped": {name: reason(name) for name in MISSING}, **variables}
    return estate.site("--diff", *arguments, "-e", json.dumps(given), log="telemetry-site", check=check)


def post(path: str, body: dict[str, object], **headers: str) -> dict[str, object]:
    """One POST through the first load balancer; what it answers."""
    address = next(iter(estate.addresses("loadbalancers").values()))
    request = urllib.request.Request(
        f"http://{address}{path}",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        },
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: dict[str, object] = json.loads(reply.read())
        return answer


def place_order(customer: str, **headers: str) -> int:
    """Send one order; its number."""
    given = {"Idempotency_Key": secrets.token_hex(8), **headers}
    return int(str(post("/orders", {"customer": customer, "model": "m", "polygons": 10}, **given)["id"]))


@dataclass
class Recorder:
    """A receiver of notifications that remembers them: (receiver, alert name, instance or service, status)."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)

    def names(self, receiver: str, status: str) -> set[str]:
        """The alerts that one receiver was told of in a status."""
        return {
            alert["labels"]["alertname"]
            for note in list(self.got)
            if note["receiver"] == receiver
            for alert in note["alerts"]
            if alert["status"] == status
        } - ELSEWHERE

    def url(self) -> str:
        """Where a host of the estate reaches it."""
        return f"http://{GATEWAY}:{self.port}/"


@contextmanager
def recorder() -> Iterator[Recorder]:
    """Listen on the gateway of the estate's network."""
    found = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer((GATEWAY, 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
