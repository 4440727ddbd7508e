# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sources a module needs on a host: its imports, theirs, and so on, read from the syntax tree.

A program that is sent to a host finds there Python's own library and nothing else. So an import of anything that the
program does not carry is refused when the program is built, wherever it stands: also within a function that a host
reaches only in a rollout from an address.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PACKAGE = "ansible_collections.mesops.platform.plugins.module_utils"
BASIC = "ansible.module_utils.basic"
"""The only part of Ansible that a module may import: a stand-in takes its place."""
NEWER = frozenset({"tomllib"})
"""Parts of the library that Python 3.9 does not have."""
DYNAMIC = frozenset({"__import__", "import_module"})

Reader = Callable[[str], "str | None"]
"""Source of a module by its full name; None where there is no such module."""


class NotCarried(Exception):
    """A module imports what hosts do not have; the text says which module, what, and the way out."""


@dataclass(frozen=True)
class Import:
    """One name that a source imports."""

    module: str
    """Full name of the module; relative imports are resolved."""
    name: str = ""
    """What is taken from it: a module below it or one of its values; empty for ``import module``."""


def imports(source: str, module: str) -> Iterator[Import]:
    """All that a source imports, at any depth, but for what only type checkers see.

    ``module`` is its full name, from which relative imports are resolved.
    """
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parts, node.module] if node.module else parts)
            yield from (Import(base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in DYNAMIC:
            raise NotCarried(
                f"{module} imports by {_called(node)}(), so that nobody can tell what it needs on a host; write an "
                "import statement."
            )


def closure(name: str, source: str, read: Reader) -> dict[str, str]:
    """The sources below ``PACKAGE`` that a module needs, by full name; ``NotCarried`` when a host lacks one."""
    found: dict[str, str] = {}
    left = [(name, source)]
    while left:
        module, text = left.pop()
        for one in imports(text, module):
            needed = _needed(module, one, read)
            if needed and needed not in found:
                found[needed] = str(read(needed))
                left.append((needed, found[needed]))
    return found


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    children = node.orelse if isinstance(node, ast.If) and _for_type_checkers(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from _walk(child)


def _for_type_checkers(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _called(node: ast.Call) -> str:
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _needed(module: str, one: Import, read: Reader) -> str:
    """The module of this collection that an import needs, nothing where the host has it, or ``NotCarried``."""
    if one.module == BASIC:
        return ""
    if f"{one.module}.".startswith(f"{PACKAGE}."):
        for full in (f"{one.module}.{one.name}", one.module):
            if read(full) is not None:
                return full
        raise NotCarried(f"{module} imports {one.name or one.module} from {one.module}, where no such module is.")
    top = one.module.partition(".")[0]
    if top in NEWER or top not in sys.stdlib_module_names:
        raise NotCarried(
            f"{module} imports {one.module}, which hosts do not have; use Python's own library of 3.9, or what "
            f"{PACKAGE} has."
        )
    return ""
