# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of ``module_utils`` and ``plugin_utils``: who may import whom, and where their tests are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLUGINS, TESTS = ROOT / "plugins", ROOT / "tests/unit/plugins"
KINDS = ("module_utils", "plugin_utils")
SOURCES = sorted(path for kind in KINDS for path in (PLUGINS / kind).rglob("*.py"))
COLLECTION = "ansible_collections.mesops.platform.plugins."


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Kind and package of all that a source imports from this collection."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else names
        for name in names:
            if name.startswith(COLLECTION):
                kind, package = (*name.removeprefix(COLLECTION).split("."), "")[:2]
                yield kind, package


def test_every_source_is_in_a_package_that_says_that_it_is_private() -> None:
    """A package has no file of its own name: a bundle for hosts would not carry what is in it."""
    inside = re.compile(r"(module|plugin)_utils/_[a-z]+/(?!__init__)[a-z_]+\.py")
    assert [str(path) for path in SOURCES if not inside.fullmatch(str(path.relative_to(PLUGINS)))] == []


def test_what_hosts_get_imports_nothing_of_the_controller() -> None:
    hosts = [path for path in SOURCES if path.is_relative_to(PLUGINS / "module_utils")]
    wrong = {path.name: kind for path in hosts for kind, _package in imported(path) if kind != "module_utils"}
    assert wrong == {}


def test_packages_import_each_other_in_one_direction_and_the_kernel_imports_none() -> None:
    graph: dict[str, set[str]] = {path.parent.name: set() for path in SOURCES}
    for path in SOURCES:
        own = path.parent.name
        for kind, package in imported(path):
            if kind in KINDS and package != own:
                graph[own].add(package)
    assert graph["_core"] == set()
    assert graph["_record"] == {"_core"}, "a record can be kept of anything that is rolled out"
    assert set(TopologicalSorter(graph).static_order()) == set(graph)


KERNELS_OWN = ("fcntl", "os.replace", "systemctl show", "class Refused", "seconds of a unit of time")


def words(node: ast.List | ast.Tuple) -> list[object]:
    return [getattr(one, "value", None) for one in node.elts]


def kernels_own(path: Path) -> Iterator[str]:
    """What a source has of that which is in one place for all."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == "Refused":
            yield "class Refused"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {one.name for one in node.names} | {getattr(node, "module", "")}
            yield from names & {"fcntl"}
        elif isinstance(node, ast.Attribute) and node.attr == "replace" and getattr(node.value, "id", "") == "os":
            yield "os.replace"
        elif isinstance(node, (ast.List, ast.Tuple)) and words(node)[:2] == ["systemctl", "show"]:
            yield "systemctl show"
        elif isinstance(node, ast.Dict) and {"ms", "h"} <= {getattr(key, "value", None) for key in node.keys}:
            yield "seconds of a unit of time"


def test_what_the_kernel_does_is_done_nowhere_else() -> None:
    """Locks, files that are replaced in one step, asking systemd, refusing, and reading times."""
    places: dict[str, set[str]] = {fact: set() for fact in KERNELS_OWN}
    for path in PLUGINS.rglob("*.py"):
        for fact in kernels_own(path):
            places[fact].add("_core" if path.parent.name == "_core" else str(path.relative_to(PLUGINS)))
    assert places == {fact: {"_core"} for fact in KERNELS_OWN}


def test_every_package_has_its_tests_in_the_same_place() -> None:
    packages = {path.parent.relative_to(PLUGINS) for path in SOURCES}
    tests = {path.parent.relative_to(TESTS) for kind in KINDS for path in (TESTS / kind).rglob("test_*.py")}
    assert tests == packages
