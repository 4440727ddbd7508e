# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This collection's modules as one Python program each, sent through a connection and read from standard input.

Ansible's own wrapper imports a good part of Ansible on the host, from an archive and so compiled anew each time: 0.3
CPU seconds before a module begins. A rollout runs many short modules on hosts that serve requests meanwhile. The
program made here carries the same module and those of its relatives that it imports, and starts in a third of that. The
first one on a host leaves a fork server behind (``fork_server``), which the next ones only ask.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mesops.platform.plugins.plugin_utils._remote import imports
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fork_server import NAME, PATIENCE

PLUGINS = Path(__file__).resolve().parents[2]
MARK = NAME
"""What the program says first. A host that does not say it has not run it."""
NICE = 10
"""How far a program gives way to what the host is there for."""
IDLE = 60.0
"""Seconds without a request after which a fork server ends."""
ROOT_SOCKETS, USER_SOCKETS = "/run", "/run/user/%d"
"""Where its socket is, for root and for a user by number. Nobody else may write there; without it no server is."""
_PROGRAM = """
import sys
print({mark!r}, flush=True)
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed, this is %s; set ansible_python_interpreter" % sys.version.split()[0])
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


def read_relative(full: str) -> str | None:
    """The source of a module in ``module_utils``, or in a package of it."""
    package, _dot, name = full.rpartition(".")
    inside = package.removeprefix(imports.PACKAGE).replace(".", "/")
    try:
        return _read(f"module_utils{inside}", name)
    except FileNotFoundError:
        return None


@functools.cache
def packed_sources(module: str) -> str:
    """A module and all that it needs on a host; made once in a process. ``NotCarried`` when a host lacks some of it."""
    sources = {
        "mesops_module": _read("modules", module),
        imports.BASIC: _read("plugin_utils/_remote", "stand_in"),
        "mesops_server": _read("plugin_utils/_remote", "fork_server"),
    }
    for source in list(sources.values()):
        sources.update(imports.closure(f"modules/{module}.py", source, read_relative))
    # The next rollout is to find the same fork server, in whatever order the imports stand.
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
    """What the program has said; a host that did not run it counts as unreachable.

    A login shell, a message of the day or a ``.pth`` file may say something before, between and after.
    """
    started = re.search(f"{MARK}\r?\n", output)
    if started is None:
        return {"unreachable": True, "msg": _not_started(status, " ".join((errors or output).split()))}
    for line in reversed(output[started.end() :].splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    last = (errors or output[started.end() :]).strip().splitlines()[-1:] or [f"exit status {status}"]
    return {"failed": True, "msg": f"the module ended without a result: {last[0]}"}


def _not_started(status: int, said: str) -> str:
    """Why the program did not begin."""
    if status in (126, 127):
        return f"its Python did not start ({said or status}); set ansible_python_interpreter to one that does"
    return said or f"exit status {status}"
