# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools and the demo import each other in one direction, and nothing that is there for tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import estate


def modules(path: Path, *below: str) -> dict[str, Path]:
    """Sources by the names by which they are imported, from a directory on PYTHONPATH."""
    found = [one for pattern in below for one in path.glob(pattern)]
    return {".".join(one.relative_to(path).with_suffix("").parts).removesuffix(".__init__"): one for one in found}


SOURCES = {**modules(estate.ROOT / "tools", "**/*.py"), **modules(estate.ROOT, "demo/**/*.py")}
FOR_TESTS = modules(estate.ROOT / "tests", "*.py", "contracts/*.py", "simulations/*.py")


def imported(name: str) -> Iterator[str]:
    """What a source imports, a module of a package by its whole name."""
    path = SOURCES[name]
    packages = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = packages[: len(packages) + 1 - node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            for one in node.names:
                whole = f"{module}.{one.name}"
                yield whole if whole in SOURCES else module


IMPORTED = {name: set(imported(name)) for name in SOURCES}


def test_nothing_imports_itself_by_way_of_others() -> None:
    graph = {name: found & set(SOURCES) for name, found in IMPORTED.items()}
    assert "estate" in graph["demo.orders"]
    assert set(TopologicalSorter(graph).static_order()) == set(SOURCES)


def test_the_test_hosts_know_no_workload() -> None:
    assert [one for one in IMPORTED["estate"] if one.startswith("demo")] == []


def test_what_is_there_for_tests_is_used_by_tests_only() -> None:
    roots = {name.partition(".")[0] for name in FOR_TESTS}
    found = {name: {one for one in some if one.partition(".")[0] in roots} for name, some in IMPORTED.items()}
    assert {name: some for name, some in found.items() if some} == {}
