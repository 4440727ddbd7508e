"""One order, found by its trace in all three places, with real Loki, Tempo and Alloy."""

from __future__ import annotations

import json
import re
import secrets
import urllib.parse
from functools import partial
from typing import Any

import estate
import pytest
import telemetry
import typed

pytestmark = telemetry.needs("loki", "tempo", "alloy")
ARRIVES_WITHIN = 120


@pytest.fixture(scope="module")
def trace() -> str:
    """The trace of one order through a load balancer."""
    found = secrets.token_hex(16)
    telemetry.place_order("journey", traceparent=f"00-{found}-{secrets.token_hex(8)}-01")
    return found


def test_the_trace_has_spans_of_the_service_and_its_sql(trace: str) -> None:
    def spans() -> set[str]:
        status, body, _headers = estate.get(
            f"{telemetry.TEMPO}/api/traces/{trace}", headers={"Accept": "application/json"}
        )
        if status != 200:
            return set()
        batches: list[Any] = json.loads(body)["batches"]
        return {span["name"] for batch in batches for scope in batch["scopeSpans"] for span in scope["spans"]}

    names = estate.wait_for(spans, timeout=ARRIVES_WITHIN, what="the trace in Tempo")
    assert {"POST /orders", "sql create_order"} <= names


def test_the_services_are_drawn_from_the_traces(trace: str) -> None:
    """Tempo's service graph, from which Grafana draws who asks whom."""
    assert trace
    expression = 'traces_service_graph_request_total{client="mes", server="mes"}'
    estate.wait_for(lambda: telemetry.query(expression), timeout=ARRIVES_WITHIN, what=expression)


def test_the_access_line_and_the_services_lines_carry_the_trace(trace: str) -> None:
    for unit, group in (("haproxy.service", "loadbalancers"), ("mes.service", "mes")):
        query = f'{{unit="{unit}"}} | trace_id="{trace}"'
        found = estate.wait_for(partial(telemetry.lines, query), timeout=ARRIVES_WITHIN, what=f"the line of {unit}")
        assert json.loads(found[0][1])["path"] == "/orders"
        assert found[0][0]["instance"] in estate.addresses(group)


def test_the_commands_of_the_page_show_them(trace: str) -> None:
    page = estate.ROOT / "docs/telemetry.md"
    typical = [one.text for one in typed.commands(page) if "curl" in one.text]
    own = [re.sub(r"[0-9a-f]{32}", trace, one).replace("obs-1", estate.addresses("logs")["obs-1"]) for one in typical]
    of_tempo, of_loki = own

    def says(shell: typed.Shell, command: str, words: set[str]) -> bool:
        status, output = shell.type(command)
        return status == 0 and all(word in output for word in words)

    with typed.Shell(estate.ROOT, estate.environment()) as shell:
        for command, words in ((of_tempo, {"sql create_order"}), (of_loki, {"haproxy.service", "mes.service"})):
            seen = partial(says, shell, command, words)
            estate.wait_for(seen, timeout=ARRIVES_WITHIN, what=f"{words} from {command}")


def test_the_request_is_counted_with_an_exemplar(trace: str) -> None:
    def exemplars() -> set[str]:
        expression = urllib.parse.quote(
            '{__name__=~"http_request_duration_seconds_bucket|traces_spanmetrics_latency_bucket"}'
        )
        series = telemetry.ask(f"query_exemplars?query={expression}")
        return {value for one in series for point in one["exemplars"] for value in point["labels"].values()}

    estate.wait_for(lambda: trace in exemplars(), timeout=ARRIVES_WITHIN, what="the exemplar in Prometheus")
