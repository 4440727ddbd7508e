"""Every query of every dashboard has an answer, as Grafana would ask it."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator

import estate
import pytest
import telemetry
import yaml
from ansible_collections.mesops.platform.plugins.filter.grafana_dashboard_files import grafana_dashboard_files

SUBSTITUTES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}
NEEDS = {"loki": r"loki_", "tempo": r"tempo_", "alloy": r"loki_write_"}


def queries() -> Iterator[tuple[str, str, str, str]]:
    """Dashboard, panel, source and expression of every query, variables standing for everything."""
    files = [
        *sorted((estate.ROOT / "roles/grafana/files/dashboards").glob("*.yml")),
        *(estate.ROOT / "demo/dashboards").glob("*.yml"),
    ]
    boards = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    for file in grafana_dashboard_files(boards, ""):
        model = json.loads(file["content"])
        for panel in model["panels"]:
            for target in panel.get("targets", []):
                if "expr" in target:
                    expression = target["expr"]
                    for name, value in SUBSTITUTES.items():
                        expression = expression.replace(name, value)
                    expression = re.sub(r"\$\w+", ".*", expression)
                    yield model["uid"], panel["title"], target["datasource"]["type"], expression


ALL = [pytest.param(*one, id=f"{one[0]}-{one[1]}-{number}") for number, one in enumerate(queries())]


@pytest.fixture(scope="module", autouse=True)
def life() -> Iterator[None]:
    """Orders go all their way and a rollout is run, while the panels are looked at."""
    note = estate.build_release(version="1.0.1")
    numbers = [telemetry.place_order("dashboards") for _ in range(4)]
    for number in numbers:
        for status in ("FILE_UPLOADED", "SUBMITTED"):
            telemetry.post(f"/orders/{number}/transitions", {"to": status})
        telemetry.post(f"/orders/{number}/price", {})
    with estate.load(duration=3600, rate=20, reads=0.3):
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
