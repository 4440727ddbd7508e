"""Every query of every dashboard has an answer, as Grafana would ask it."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import estate
import pytest
import telemetry
import yaml
from ansible_collections.mesops.platform.plugins.filter.grafana_dashboard_files import grafana_dashboard_files

from demo import orders

SUBSTITUTES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}
NEEDS = {"loki": r"loki_", "tempo": r"tempo_", "alloy": r"loki_write_"}


def models() -> Iterator[dict[str, Any]]:
    """Every dashboard, as Grafana gets it."""
    files = [
        *sorted((estate.ROOT / "roles/grafana/files/dashboards").glob("*.yml")),
        *(estate.ROOT / "demo/dashboards").glob("*.yml"),
    ]
    boards = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    for file in grafana_dashboard_files(boards, ""):
        yield json.loads(file["content"])


def plain(expression: str) -> str:
    """The expression with every variable standing for everything."""
    for name, value in SUBSTITUTES.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def targets() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Dashboard, panel and query, those of folded rows too."""
    for model in models():
        for shown in model["panels"]:
            for panel in (shown, *shown.get("panels", [])):
                for target in panel.get("targets", []):
                    yield model["uid"], panel["title"], target


ALL = [
    pytest.param(board, panel, target["datasource"]["type"], plain(target["expr"]), id=f"{board}-{panel}-{number}")
    for number, (board, panel, target) in enumerate(targets())
    if "expr" in target
]
VARIABLES = [
    pytest.param(plain(one["definition"]), id=f"{model['uid']}-{one['name']}")
    for model in models()
    for one in model["templating"]["list"]
]
TRACES = [
    pytest.param(plain(target["query"]), id=f"{board}-{panel}")
    for board, panel, target in targets()
    if target.get("queryType") == "traceql"
]


@pytest.fixture(scope="module", autouse=True)
def life() -> Iterator[None]:
    """Orders go all their way and a rollout is run, while the panels are looked at."""
    note = estate.build_release(version="1.0.1")
    numbers = [telemetry.place_order("dashboards") for _ in range(4)]
    for number in numbers:
        for status in ("FILE_UPLOADED", "SUBMITTED"):
            telemetry.post(f"/orders/{number}/transitions", {"to": status})
        telemetry.post(f"/orders/{number}/price", {})
    with orders.load(duration=3600, rate=20, reads=0.3):
        assert estate.roll_out(note).status == 0
        yield
    for number in numbers:
        telemetry.post(f"/orders/{number}/transitions", {"to": "MANUFACTURING_APPROVED"})


@pytest.mark.parametrize(("board", "panel", "source", "expression"), ALL)
def test_a_query_has_an_answer(board: str, panel: str, source: str, expression: str) -> None:
    missing = [name for name in telemetry.MISSING if name == source or re.search(NEEDS.get(name, "$^"), expression)]
    if missing:
        pytest.skip(telemetry.reason(*missing))

    def answer() -> list[object]:
        if source == "prometheus":
            return list(telemetry.query(expression))
        url = f"{telemetry.LOKI}/loki/api/v1/query_range?since=6h&limit=5&query={urllib.parse.quote(expression)}"
        found: list[object] = estate.get_json(url)["data"]["result"]
        return found

    estate.wait_for(answer, timeout=90, what=f"{board}, {panel}: {expression}")


@pytest.mark.parametrize("definition", VARIABLES)
def test_a_variable_offers_something(definition: str) -> None:
    """A dashboard whose variable is empty asks for nothing at all."""
    found = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", definition)
    assert found, definition
    expression = f"count by ({found['label']}) ({found['series']})"

    def offered() -> list[str]:
        return [one["metric"][found["label"]] for one in telemetry.query(expression) if found["label"] in one["metric"]]

    estate.wait_for(offered, timeout=90, what=definition)


@telemetry.needs("tempo")
@pytest.mark.parametrize("expression", TRACES)
def test_a_question_for_traces_is_understood(expression: str) -> None:
    """There need not be a slow request, but Tempo has to take the question."""
    answer = estate.get_json(f"{telemetry.TEMPO}/api/search?limit=5&q={urllib.parse.quote(expression)}")
    assert "traces" in answer


@telemetry.needs("grafana")
def test_grafana_shows_them_and_reaches_what_they_ask() -> None:
    secrets = yaml.safe_load((estate.INVENTORY / "group_vars/all/secrets.yml").read_text(encoding="utf-8"))
    word = base64.b64encode(f"admin:{secrets['grafana_admin_password']}".encode()).decode()

    def grafana(path: str) -> Any:
        status, body, _headers = estate.get(
            f"http://{telemetry.ADDRESS}:3000/api/{path}", headers={"Authorization": f"Basic {word}"}, timeout=30
        )
        assert status == 200, body
        return json.loads(body)

    assert {one["uid"] for one in grafana("search?type=dash-db")} >= {model["uid"] for model in models()}
    for source in ("prometheus", *(name for name in ("loki", "tempo") if name not in telemetry.MISSING)):
        assert grafana(f"datasources/uid/{source}/health")["status"] == "OK", source
