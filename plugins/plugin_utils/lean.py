# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This collection's modules as one Python program each, sent through a connection and read from standard input.

Ansible's own wrapper imports a good part of Ansible on the host, from an archive and so compiled anew each time: 0.3
CPU seconds before a module begins. A rollout runs many short modules on hosts that serve requests meanwhile. The
program made here carries the same module and those of its relatives that it imports, and starts in a third of that. The
first one on a host leaves a fork server behind (``lean_server``), which the next ones only ask.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mesops.platform.plugins.plugin_utils.lean_server import NAME, PATIENCE

NAMESPACE = "ansible_collections.mesops.platform."
PLUGINS = Path(__file__).resolve().parent.parent
MARK = NAME
"""What the program says first. A host that does not say it has not run it."""
NICE = 10
"""How far a program stands back behind what the host is there for."""
IDLE = 60.0
"""Seconds without a request after which a fork server ends."""
ROOT_SOCKETS, USER_SOCKETS = "/run", "/run/user/%d"
"""Where its socket is, for root and for a user by number. Nobody else may write there; without it no server is."""
_IMPORT = re.compile(
    r"^\s*from " + re.escape(NAMESPACE) + r"plugins\.module_utils(?:\.(\w+))? import (\([^)]*\)|[^\n]*)", re.MULTILINE
)
_PROGRAM = """
import sys
print({mark!r}, flush=True)
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed, this is " + sys.version.split()[0])
import os, _socket
ARGUMENTS = {arguments!r}
def greeted():
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout({patience!r})
    try:
        link.connect(SERVER)
        return link if link.recv(1) else None
    except OSError:
        return None
def run_there(link):
    link.settimeout(None)
    outputs = b"".join(number.to_bytes(4, sys.byteorder) for number in (1, 2))
    sent = link.sendmsg([ARGUMENTS[:1]], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, outputs)])
    link.sendall(ARGUMENTS[sent:])
    link.shutdown(_socket.SHUT_WR)
    return link.recv(1)
PLACE = {root!r} if os.geteuid() == 0 else {user!r} % os.geteuid()
SERVER = "%s/%s-%x-%s" % (PLACE, {mark!r}, sys.hexversion, {key!r})
LINK = greeted()
if LINK:
    try:
        status = run_there(LINK)
    except OSError:
        status = b""
    os._exit(status[0] if status else 1)
import base64, json, site, zlib
from importlib.machinery import ModuleSpec
os.nice({nice})
site.main()
def unpacked(text):
    return json.loads(zlib.decompress(base64.b64decode(text)))
SOURCES = unpacked({sources!r})
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
import mesops_module, mesops_server
def run(arguments):
    basic.ARGUMENTS.update(unpacked(arguments))
    mesops_module.main()
mesops_server.leave_behind(SERVER, {idle!r}, run)
run(ARGUMENTS)
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
def packed_sources(module: str) -> str:
    """A module and all that it needs on a host; made once in a process."""
    sources = {
        "mesops_module": _read("modules", module),
        "ansible.module_utils.basic": _read("plugin_utils", "lean_module"),
        "mesops_server": _read("plugin_utils", "lean_server"),
    }
    left = relatives(sources["mesops_module"])
    while left:
        name = left.pop()
        full = f"{NAMESPACE}plugins.module_utils.{name}"
        if full not in sources:
            sources[full] = _read("module_utils", name)
            left |= relatives(sources[full])
    # Names in a set come in another order in every process, and the next rollout is to find the same fork server.
    return _packed(dict(sorted(sources.items())))


def _packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value, default=str).encode())).decode()


def program(module: str, arguments: Mapping[str, Any], check: bool) -> bytes:
    """The program that runs a module of this collection with its arguments."""
    sources = packed_sources(module)
    values = {
        "mark": MARK,
        "nice": NICE,
        "idle": IDLE,
        "patience": PATIENCE,
        "root": ROOT_SOCKETS,
        "user": USER_SOCKETS,
        "sources": sources,
        "key": hashlib.sha256((_PROGRAM + sources).encode()).hexdigest()[:16],
        "arguments": _packed({**arguments, "_check_mode": check}).encode(),
    }
    return _PROGRAM.format(**values).encode()


def command(interpreter: str) -> str:
    """The command on the host that reads the program: isolated, and what ``site`` does only where it is needed."""
    return f"{interpreter} -I -S -"


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
