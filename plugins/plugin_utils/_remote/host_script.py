# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of ``module_utils`` as one file, for hosts that start it themselves, with no collection beside it.

What it imports from its relatives is written in place of the import. Being one file, it is replaced in one step: who
starts it meanwhile never gets the new program with an old relative.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ansible_collections.mesops.platform.plugins.plugin_utils._remote import imports
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.imports import NotCarried, Reader


def host_script(full: str, read: Reader) -> str:
    """The text of a program, by its full name.

    ``NotCarried`` when a host lacks what it needs, or when the sources do not fit into one file.
    """
    source = read(full)
    if source is None:
        raise NotCarried(f"{full} is no module of this collection; correct the name.")
    imports.closure(full, source, read)
    text = _filled(full, source, read, set())
    left = [one.module for one in imports.imports(text, full) if one.module.startswith(imports.PACKAGE)]
    if left:
        raise NotCarried(f"{full} imports from {left[0]} within a function; do it at the top of the file.")
    _refuse_twice(full, ast.parse(text))
    return text


def _filled(full: str, source: str, read: Reader, known: set[str]) -> str:
    """A source with its relatives in place of the imports."""
    lines = source.splitlines(keepends=True)
    carried = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(imports.PACKAGE):
            carried.append((node, _relative(full, node, read, known)))
    for node, text in reversed(carried):
        lines[node.lineno - 1 : node.end_lineno] = [text]
    return "".join(lines)


def _relative(full: str, node: ast.ImportFrom, read: Reader, known: set[str]) -> str:
    """The text of a relative without its head, empty where it stands already."""
    module = str(node.module)
    source = read(module)
    if source is None or any(one.asname for one in node.names):
        raise NotCarried(
            f"{full} imports {', '.join(one.name for one in node.names)} from {module}; a program of one file takes "
            "functions from modules, under their own names."
        )
    if module in known:
        return ""
    known.add(module)
    text = _filled(module, source, read, known)
    body = [one for one in ast.parse(text).body if not _is_head(one)]
    return "\n" + "".join(text.splitlines(keepends=True)[body[0].lineno - 1 :])


def _is_head(node: ast.stmt) -> bool:
    """Whether it is what may stand at the top of a file only, or means nothing elsewhere."""
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return future or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _refuse_twice(full: str, tree: ast.Module) -> None:
    seen: set[str] = set()
    for name in _defined(tree):
        if name in seen:
            raise NotCarried(f"{full} and its relatives define {name} twice; rename one of the two.")
        seen.add(name)


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
