# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This collection's modules as one Python program each, sent through a connection and read from standard input.

Ansible's own wrapper imports a good part of Ansible on the host, from an archive and so compiled anew each time: 0.3
CPU seconds before a module begins. A rollout runs many short modules on hosts that serve requests meanwhile. The
program made here carries the same module and those of its relatives that it imports, and starts in a third of that.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMESPACE = "ansible_collections.mesops.platform."
PLUGINS = Path(__file__).resolve().parent.parent
MARK = "mesops-lean"
"""What the program says first. A host that does not say it has not run it."""
NICE = 10
"""How far a program stands back behind what the host is there for."""
_IMPORT = re.compile(
    r"^\s*from " + re.escape(NAMESPACE) + r"plugins\.module_utils(?:\.(\w+))? import (\([^)]*\)|[^\n]*)", re.MULTILINE
)
_PROGRAM = """
import sys
print({mark!r}, flush=True)
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed, this is " + sys.version.split()[0])
import base64, json, os, zlib
os.nice({nice})
from importlib.machinery import ModuleSpec
SOURCES = json.loads(zlib.decompress(base64.b64decode({sources!r})))
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        package = any(one.startswith(name + ".") for one in SOURCES)
        if name in SOURCES or package:
            return ModuleSpec(name, Finder, is_package=package)
    @staticmethod
    def create_module(spec):
        return None
    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES.get(module.__name__, ""), module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Finder)
import ansible.module_utils.basic as basic
basic.ARGUMENTS.update(json.loads(zlib.decompress(base64.b64decode({arguments!r}))))
import mesops_module
mesops_module.main()
"""


def _read(kind: str, name: str) -> str:
    return (PLUGINS / kind / f"{name}.py").read_text(encoding="utf-8")


def relatives(source: str) -> set[str]:
    """The modules of this collection's ``module_utils`` that a source imports."""
    found = set()
    for module, names in _IMPORT.findall(source):
        if module:
            found.add(module)
        else:
            words = (re.sub(r"#.*", "", one).split(" as ")[0].strip() for one in names.strip("()").split(","))
            found.update(word for word in words if word)
    return found


@functools.cache
def _packed_sources(module: str) -> str:
    sources = {
        "mesops_module": _read("modules", module),
        "ansible.module_utils.basic": _read("plugin_utils", "lean_module"),
    }
    left = relatives(sources["mesops_module"])
    while left:
        name = left.pop()
        full = f"{NAMESPACE}plugins.module_utils.{name}"
        if full not in sources:
            sources[full] = _read("module_utils", name)
            left |= relatives(sources[full])
    return _packed(sources)


def _packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value, default=str).encode())).decode()


def program(module: str, arguments: Mapping[str, Any], check: bool) -> bytes:
    """The program that runs a module of this collection with its arguments."""
    values = {**arguments, "_check_mode": check}
    return _PROGRAM.format(mark=MARK, nice=NICE, sources=_packed_sources(module), arguments=_packed(values)).encode()


def result(status: int, output: str, errors: str) -> dict[str, Any]:
    """What the program has said; a host that did not run it counts as unreachable."""
    first, _newline, rest = output.partition("\n")
    if first.strip() != MARK:
        reason = " ".join((errors or output).split()) or f"exit status {status}"
        return {"unreachable": True, "msg": reason}
    try:
        found: dict[str, Any] = json.loads(rest)
    except ValueError:
        last = (errors or rest).strip().splitlines()[-1:] or [f"exit status {status}"]
        return {"failed": True, "msg": f"the module ended without a result: {last[0]}"}
    return found
