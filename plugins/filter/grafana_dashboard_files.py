# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn dashboards in the short form of this collection into the files that Grafana reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.module_utils._core import scalars

DOCUMENTATION = r"""
name: grafana_dashboard_files
short_description: Turn dashboards in a short form into the files that Grafana reads
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - The short form says what a panel shows, and nothing about where it stands or how Grafana draws it, so that a change
    can be read in review. Panels of a row stand from left to right and break into a new line where the 24 columns end.
  - Every dashboard marks rollouts (from the log lines of the unit C(mesops-rollout)) and leads to the others.
  - A dashboard as Grafana exports it (it has C(panels)) is taken as it is.
positional: _input, directory
options:
  _input:
    description:
      - A list of dashboards, each with C(uid), C(title), C(description) and C(rows), and where wanted C(variables),
        C(time) (how far back, V(now-1h)) and C(refresh).
      - A variable has C(name), C(label), and C(query), as C(label_values(metric, label\)) of Prometheus.
      - A row has C(title) and C(panels), and C(collapsed) where it is seldom wanted.
      - A panel has C(title), C(description) and C(queries), and where they differ from the defaults C(type)
        (V(timeseries)), C(source) (V(prometheus), V(loki) or V(tempo)), C(unit), C(width) (of 24, default 8), C(height)
        (default 7), C(min), C(max), C(stack), C(decimals), C(thresholds) (colour to the value where it begins, the
        first from anywhere), and C(values) (value to a text, or to a list of text and colour).
      - A query is an expression, or a mapping of C(expr), C(legend), C(exemplars) (bool) and C(kind) (Tempo's query
        type).
    type: list
    elements: dict
    required: true
  directory:
    description: Where the files will lie on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Show what would be written
  ansible.builtin.debug:
    msg: "{{ dashboards | mesops.platform.grafana_dashboard_files('/etc/grafana/dashboards') }}"
  vars:
    dashboards: ["{{ lookup('ansible.builtin.file', 'edge.yml') | from_yaml }}"]
"""

RETURN = r"""
_value:
  description: Files with C(path) and C(content), in the order of the input.
  type: list
  elements: dict
"""

COLUMNS = 24
SCHEMA_VERSION = 39
DASHBOARD = ("uid", "title", "description", "variables", "time", "refresh", "rows")
VARIABLE = ("name", "label", "query")
ROW = ("title", "panels", "collapsed")
PANEL = (
    *("title", "description", "queries", "type", "source", "unit", "width", "height", "min", "max", "stack"),
    *("decimals", "thresholds", "values"),
)
QUERY = ("expr", "legend", "exemplars", "kind")
SOURCES = {"prometheus": "prometheus", "loki": "loki", "tempo": "tempo"}
"""What a panel calls a source: the type of the plugin, which is also the uid that the role grafana gives it."""
INSTANT = ("stat", "gauge", "bargauge", "table")
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What Grafana takes as a uid; it becomes the file's name as well."""

_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {"reduceOptions": _LAST, "colorMode": "value", "graphMode": "none", "textMode": "auto"},
    "gauge": {"reduceOptions": _LAST, "showThresholdMarkers": True},
    "bargauge": {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic"},
    "table": {"showHeader": True},
    "state-timeline": {"legend": _LEGEND, "mergeValues": True, "showValue": "auto", "tooltip": {"mode": "single"}},
    "logs": {"showTime": True, "wrapLogMessage": True, "sortOrder": "Descending", "enableLogDetails": True},
    "nodeGraph": {},
}
_LINES = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
_LINKS = [
    {"type": "dashboards", "title": "Dashboards", "tags": ["mesops"], "asDropdown": True, "includeVars": False,
     "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}
]  # fmt: skip
_ROLLOUTS = {
    "name": "Rollouts",
    "datasource": {"type": "loki", "uid": SOURCES["loki"]},
    "enable": True,
    "iconColor": "purple",
    "expr": '{unit="mesops-rollout"} | json',
    "titleFormat": "{{kind}} {{rollout_id}} {{status}}",
    "textFormat": "{{service}} {{version}} {{reason}}",
    "tagKeys": "service,status",
}


def _refuse(where: str, found: Any, keys: Sequence[str], required: Sequence[str]) -> None:
    """Refuse what is no mapping of known keys with the required ones among them."""
    if not isinstance(found, Mapping):
        raise AnsibleFilterError(f"{where} is {found!r}; give a mapping of {', '.join(keys)}.")
    unknown = sorted(str(key) for key in found if key not in keys)
    if unknown:
        raise AnsibleFilterError(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(keys)}.")
    for key in required:
        if not found.get(key):
            raise AnsibleFilterError(f"{where} has no {key}; a reader needs it, so give it one.")


def _kinds(where: str, found: Mapping[str, Any], kind: str, *keys: str) -> None:
    """Refuse what would be taken apart into letters, or fail far from its cause."""
    for key in keys:
        value = found.get(key)
        if value is not None and not isinstance(value, (list, tuple) if kind == "list" else Mapping):
            raise AnsibleFilterError(f"{where} has the {key} {value!r}; give a {kind}.")


def _target(where: str, query: Any, source: str, kind: str, index: int) -> dict[str, Any]:
    if isinstance(query, str):
        query = {"expr": query}
    _refuse(where, query, QUERY, ("expr",) if source != "tempo" else ())
    found: dict[str, Any] = {"refId": chr(ord("A") + index), "datasource": {"type": source, "uid": SOURCES[source]}}
    if source == "tempo":
        return {**found, "queryType": query.get("kind", "traceql"), "query": query.get("expr", ""), "limit": 20}
    found |= {"expr": query["expr"], "legendFormat": query.get("legend", "__auto")}
    if source == "loki":
        return {**found, "queryType": "range"}
    instant = kind in INSTANT
    found |= {"instant": instant, "range": not instant, "exemplar": bool(query.get("exemplars", False))}
    return {**found, "format": "table"} if kind == "table" else found


def _defaults(panel: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """How values are written and coloured."""
    found: dict[str, Any] = {"unit": panel.get("unit", "short"), "color": {"mode": "palette-classic"}}
    found |= {key: panel[key] for key in ("min", "max", "decimals") if key in panel}
    if kind == "timeseries":
        found["custom"] = {**_LINES, "stacking": {"mode": "normal" if panel.get("stack") else "none"}}
    if panel.get("thresholds"):
        found["color"] = {"mode": "thresholds"}
        steps = [{"color": color, "value": value} for color, value in panel["thresholds"].items()]
        found["thresholds"] = {"mode": "absolute", "steps": [{**steps[0], "value": None}, *steps[1:]]}
    options: dict[str, Any] = {}
    for index, (value, shown) in enumerate((panel.get("values") or {}).items()):
        text, *color = [shown] if isinstance(shown, str) else shown
        options[str(value)] = {"text": text, "index": index, **({"color": color[0]} if color else {})}
    if options:
        found["mappings"] = [{"type": "value", "options": options}]
    return found


def _panel(where: str, panel: Any) -> dict[str, Any]:
    _refuse(where, panel, PANEL, ("title", "description", "queries"))
    where = f"{where} ({panel['title']})"
    _kinds(where, panel, "list", "queries")
    _kinds(where, panel, "mapping", "thresholds", "values")
    kind, source = panel.get("type", "timeseries"), panel.get("source", "prometheus")
    for key, value, known in (("type", kind, _OPTIONS), ("source", source, SOURCES)):
        if value not in known:
            raise AnsibleFilterError(f"{where} has the {key} {value!r}; known are {', '.join(known)}.")
    width = scalars.integer(1, COLUMNS, "columns").of(panel.get("width", 8), f"{where}: width", AnsibleFilterError)
    height = scalars.integer(1, what="lines").of(panel.get("height", 7), f"{where}: height", AnsibleFilterError)
    found: dict[str, Any] = {
        "title": panel["title"],
        "description": panel["description"],
        "type": kind,
        "datasource": {"type": source, "uid": SOURCES[source]},
        "gridPos": {"w": width, "h": height},
        "targets": [
            _target(f"{where}, query {index + 1},", query, source, kind, index)
            for index, query in enumerate(panel["queries"])
        ],
        "fieldConfig": {"defaults": _defaults(panel, kind), "overrides": []},
        "options": _OPTIONS[kind],
    }
    if kind == "table":
        # Each query gives a column; the labels that they share give the rows.
        found["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True, "job": True}}},
        ]
    return found


def _place(panels: Sequence[dict[str, Any]], top: int) -> int:
    """Give panels their places from left to right; the first free line below them."""
    left = height = 0
    for panel in panels:
        grid = panel["gridPos"]
        if left + grid["w"] > COLUMNS:
            top, left, height = top + height, 0, 0
        grid.update(x=left, y=top)
        left, height = left + grid["w"], max(height, grid["h"])
    return top + height


def _variable(where: str, variable: Any) -> dict[str, Any]:
    _refuse(where, variable, VARIABLE, ("name", "query"))
    return {
        "name": variable["name"],
        "label": variable.get("label", variable["name"]),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": SOURCES["prometheus"]},
        "query": {"query": variable["query"], "refId": variable["name"]},
        "definition": variable["query"],
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def model(dashboard: Any) -> dict[str, Any]:
    """What Grafana reads of one dashboard: its classic JSON model."""
    if isinstance(dashboard, Mapping) and "panels" in dashboard:
        if not dashboard.get("uid"):
            raise AnsibleFilterError(f"Dashboard {dashboard.get('title')!r} has no uid; export it with one.")
        return {**dashboard, "id": None}
    name = dashboard.get("uid", dashboard.get("title")) if isinstance(dashboard, Mapping) else dashboard
    where = f"Dashboard {name!r}"
    _refuse(where, dashboard, DASHBOARD, ("uid", "title", "description", "rows"))
    _kinds(where, dashboard, "list", "rows", "variables")
    panels: list[dict[str, Any]] = []
    top = 0
    for number, row in enumerate(dashboard["rows"], 1):
        _refuse(f"{where}, row {number},", row, ROW, ("title", "panels"))
        _kinds(f"{where}, row {number},", row, "list", "panels")
        inside = [
            _panel(f"{where}, row {row['title']!r}, panel {index}", panel)
            for index, panel in enumerate(row["panels"], 1)
        ]
        folded = bool(row.get("collapsed", False))
        heading = {"title": row["title"], "type": "row", "collapsed": folded, "panels": inside if folded else []}
        panels.append({**heading, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        below = _place(inside, top + 1)
        panels += [] if folded else inside
        top = top + 1 if folded else below
    for number, one in enumerate([one for shown in panels for one in (shown, *shown.get("panels", []))], 1):
        one["id"] = number
    return {
        "id": None,
        "uid": dashboard["uid"],
        "title": dashboard["title"],
        "description": dashboard["description"],
        "tags": ["mesops"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": dashboard.get("refresh", "30s"),
        "time": {"from": dashboard.get("time", "now-1h"), "to": "now"},
        "timezone": "browser",
        "links": _LINKS,
        "annotations": {"list": [_ROLLOUTS]},
        "templating": {"list": [_variable(f"{where}, variable", one) for one in dashboard.get("variables") or []]},
        "panels": panels,
    }


def grafana_dashboard_files(dashboards: Any, directory: str) -> list[dict[str, str]]:
    """One file for each dashboard, with the same bytes for the same input."""
    if not isinstance(dashboards, (list, tuple)):
        raise AnsibleFilterError(f"grafana_dashboard_files was given {dashboards!r}; give a list of dashboards.")
    files: dict[str, dict[str, str]] = {}
    for found in map(model, dashboards):
        uid = str(found["uid"])
        if not UID.fullmatch(uid):
            raise AnsibleFilterError(
                f"A dashboard has the uid {uid!r}; give at most 40 letters, digits, hyphens and underscores."
            )
        if uid in files:
            raise AnsibleFilterError(f"Two dashboards have the uid {uid!r}; give each one of its own.")
        files[uid] = {"path": f"{directory}/{uid}.json", "content": json.dumps(found, indent=1, sort_keys=True) + "\n"}
    return list(files.values())


class FilterModule:
    """Ansible's door to the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"grafana_dashboard_files": grafana_dashboard_files}
