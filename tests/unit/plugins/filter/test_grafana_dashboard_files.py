# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards in their short form, and what Grafana gets of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.filter import grafana_dashboard_files as dashboards
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[4]
SHIPPED = sorted([*ROOT.glob("roles/grafana/files/dashboards/*.yml"), *ROOT.glob("demo/dashboards/*.yml")])


def panel(**more: Any) -> dict[str, Any]:
    return {"title": "Requests", "description": "Answers per second.", "queries": ["up"], **more}


def board(*panels: dict[str, Any], **more: Any) -> dict[str, Any]:
    rows = [{"title": "Row", "panels": list(panels) or [panel()]}]
    return {"uid": "edge", "title": "Edge", "description": "What it is about.", "rows": rows, **more}


def drawn(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in model["panels"]:
        yield from (one, *one.get("panels", []))


def test_panels_stand_side_by_side_until_the_line_is_full() -> None:
    model = dashboards.model(board(*[panel(width=10, height=5)] * 2, panel(), panel(width=24)))
    places = [tuple(one["gridPos"][key] for key in "xywh") for one in model["panels"]]
    assert places == [(0, 0, 24, 1), (0, 1, 10, 5), (10, 1, 10, 5), (0, 6, 8, 7), (0, 13, 24, 7)]


@given(st.lists(st.tuples(st.integers(1, 24), st.integers(1, 12)), min_size=1, max_size=25), st.booleans())
def test_no_two_panels_overlap_and_each_has_an_id(sizes: list[tuple[int, int]], folded: bool) -> None:
    row = {
        "title": "Row",
        "panels": [panel(width=width, height=height) for width, height in sizes],
        "collapsed": folded,
    }
    model = dashboards.model(board(rows=[row, {"title": "Next", "panels": [panel()]}]))
    ids = [one["id"] for one in drawn(model)]
    assert sorted(ids) == list(range(1, len(sizes) + 4))
    taken = [
        (x, y)
        for one in model["panels"]
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _y in taken) < dashboards.COLUMNS


def test_what_a_panel_shows_reaches_grafana() -> None:
    shown = panel(
        queries=[{"expr": "a", "legend": "{{job}}", "exemplars": True}, "b"],
        unit="s",
        stack=True,
        min=0,
        thresholds={"green": 0, "red": 5},
        values={0: ["down", "red"], 1: "up"},
    )
    found = dashboards.model(board(shown))["panels"][1]
    assert [(one["refId"], one["expr"], one["exemplar"], one["range"]) for one in found["targets"]] == [
        ("A", "a", True, True),
        ("B", "b", False, True),
    ]
    assert found["targets"][0]["legendFormat"] == "{{job}}"
    defaults = found["fieldConfig"]["defaults"]
    assert (defaults["unit"], defaults["min"]) == ("s", 0)
    assert defaults["custom"]["stacking"]["mode"] == "normal"
    assert defaults["thresholds"]["steps"] == [{"color": "green", "value": None}, {"color": "red", "value": 5}]
    assert defaults["mappings"][0]["options"]["0"] == {"text": "down", "index": 0, "color": "red"}
    stat = dashboards.model(board(panel(type="stat")))["panels"][1]["targets"][0]
    assert (stat["instant"], stat["range"]) == (True, False)
    assert dashboards.model(board(panel(type="table")))["panels"][1]["targets"][0]["format"] == "table"


def test_logs_and_traces_are_asked_of_their_own_sources() -> None:
    logs = dashboards.model(board(panel(type="logs", source="loki", queries=['{unit="a"}'])))["panels"][1]
    assert logs["targets"][0]["datasource"] == {"type": "loki", "uid": "loki"}
    graph = dashboards.model(board(panel(type="nodeGraph", source="tempo", queries=[{"kind": "serviceMap"}])))
    assert graph["panels"][1]["targets"][0]["queryType"] == "serviceMap"


def test_an_export_of_grafana_is_taken_as_it_is() -> None:
    export = {"uid": "mine", "title": "Mine", "id": 17, "panels": [{"id": 4}], "anything": 1}
    assert dashboards.model(export) == {**export, "id": None}
    with pytest.raises(AnsibleFilterError, match="Dashboard 'Mine' has no uid; export it with one"):
        dashboards.model({"title": "Mine", "panels": []})


def test_the_same_input_gives_the_same_bytes() -> None:
    first = dashboards.grafana_dashboard_files([board()], "/etc/grafana/dashboards")
    assert first == dashboards.grafana_dashboard_files([board()], "/etc/grafana/dashboards")
    assert [one["path"] for one in first] == ["/etc/grafana/dashboards/edge.json"]
    assert json.loads(first[0]["content"])["title"] == "Edge"


@pytest.mark.parametrize(
    ("given_board", "sentence"),
    [
        ("edge", "Dashboard 'edge' is 'edge'; give a mapping of uid,"),
        (board(row=[]), "Dashboard 'edge' has unknown keys row; known are uid,"),
        ({**board(), "description": ""}, "Dashboard 'edge' has no description; a reader needs it"),
        (board(rows=[{"title": "R"}]), "Dashboard 'edge', row 1, has no panels;"),
        (board(panel(colour="red")), "Dashboard 'edge', row 'Row', panel 1 has unknown keys colour;"),
        (board({"title": "x", "queries": ["up"]}), "panel 1 has no description;"),
        (board(panel(type="pie")), r"panel 1 \(Requests\) has the type 'pie'; known are timeseries,"),
        (board(panel(source="influx")), "has the source 'influx'; known are prometheus,"),
        (board(panel(width=25)), "width is 25; give columns from 1 to 24"),
        (board(panel(width=True)), "width is True;"),
        (board(panel(queries=[{"legend": "x"}])), "query 1, has no expr;"),
        (board(panel(queries="up")), r"panel 1 \(Requests\) has the queries 'up'; give a list\."),
        (board(panel(height="7")), "height is '7'; give lines, at least 1"),
        (board(panel(height=0)), "height is 0;"),
        (board(panel(thresholds=["red"])), r"has the thresholds \['red'\]; give a mapping\."),
        (board(panel(values=["up"])), r"has the values \['up'\]; give a mapping\."),
        (board(rows="Row"), "Dashboard 'edge' has the rows 'Row'; give a list"),
        (board(rows=[{"title": "R", "panels": "up"}]), "Dashboard 'edge', row 1, has the panels 'up'; give a list"),
        (board(variables="host"), "Dashboard 'edge' has the variables 'host'; give a list"),
        ({**board(), "uid": "../edge"}, r"A dashboard has the uid '\.\./edge'; give at most 40 letters"),
        ({"uid": "a" * 41, "panels": []}, "give at most 40 letters, digits, hyphens and underscores"),
        (board(variables=[{"name": "host"}]), "Dashboard 'edge', variable has no query;"),
    ],
)
def test_what_is_refused(given_board: Any, sentence: str) -> None:
    with pytest.raises(AnsibleFilterError, match=sentence):
        dashboards.grafana_dashboard_files([given_board], "/x")


def test_two_of_one_uid_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="Two dashboards have the uid 'edge'; give each one of its own"):
        dashboards.grafana_dashboard_files([board(), board()], "/x")
    with pytest.raises(AnsibleFilterError, match="give a list of dashboards"):
        dashboards.grafana_dashboard_files(board(), "/x")


def test_the_shipped_ones_are_whole() -> None:
    """Each names what it marks and leads on; each panel says what to read from it, and no uid is taken twice."""
    assert len(SHIPPED) == 8
    found = dashboards.grafana_dashboard_files([yaml.safe_load(path.read_text()) for path in SHIPPED], "/x")
    assert len(found) == len(SHIPPED)
    for one in found:
        model = json.loads(one["content"])
        assert model["annotations"]["list"][0]["expr"] == '{unit="mesops-rollout"} | json'
        assert model["links"][0]["tags"] == model["tags"] == ["mesops"]
        sentences = [panel["description"] for panel in drawn(model) if panel["type"] != "row"]
        assert all(len(sentence) > 15 and sentence.rstrip()[-1] == "." for sentence in sentences), sentences
