# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what the tests send: a shell command or lines of Python, each in a process of its own. One JSON line each way.

A test asks a host dozens of times, and each ``docker exec`` would cost a quarter of a second of processor time.
Serves the test host alone. Started as ``agent.py port address-of-the-test-host``.
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import Any

# The collection and Ansible's part of a module, as the tests have copied them; and what the role installs.
sys.path[:0] = ["/root/mesops", "/usr/local/lib/mesops"]
with suppress(ImportError):
    import ansible.module_utils.basic  # noqa: F401  # Read once, and not again for every run of a module.


def run(order: dict[str, str]) -> int | None:
    """The exit code of a shell command, or of lines of Python."""
    if "shell" in order:
        return subprocess.run(["sh", "-c", order["shell"]], stdin=subprocess.DEVNULL, check=False).returncode
    try:
        exec(compile(order["python"], "<test>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


class Order(socketserver.StreamRequestHandler):
    """One order; the process is forked for it."""

    def handle(self) -> None:
        order = json.loads(self.rfile.readline())
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            status = run(order)
            sys.stdout.flush()
            sys.stderr.flush()
            said: dict[str, Any] = {"status": status or 0}
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                said[name] = file.read().decode("utf-8", "replace")
        self.wfile.write(json.dumps(said).encode() + b"\n")


class Agent(socketserver.ForkingTCPServer):
    """Accepts orders from the test host only."""

    allow_reuse_address = True
    request_queue_size = 64

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        return bool(client_address[0] == sys.argv[2])


if __name__ == "__main__":
    Agent(("", int(sys.argv[1])), Order).serve_forever()
