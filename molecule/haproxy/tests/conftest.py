# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test finds: this checkout's code on the balancers, and every server ready and up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ansible.module_utils
import pytest

from .helpers import BALANCERS, STUBS, on_both, program, shell


@pytest.fixture(scope="session", autouse=True)
def _code() -> None:
    """This collection's code, and Ansible's part of a module, on the balancers."""

    def copy(source: Path, balancer: str, target: str) -> None:
        shell(balancer, f"rm -rf {target}; mkdir -p {target}")
        subprocess.run(["docker", "cp", "--quiet", f"{source}/.", f"{balancer}:{target}"], check=True)

    for balancer in BALANCERS:
        collection = "/root/mesops/ansible_collections/mesops/platform/plugins"
        copy(Path(__file__).parents[3] / "plugins", balancer, collection)
        copy(Path(ansible.module_utils.__file__).parent, balancer, "/root/mesops/ansible/module_utils")
        shell(balancer, "touch /root/mesops/ansible/__init__.py")
        subprocess.run(["docker", "exec", balancer, "systemctl", "restart", "agent.service"], check=True)


# Every server ready, with its whole weight, and up where something is checked; the database has no primary.
RESTORE = """
for (backend, name), row in s.parse_state(runtime("show servers state")).items():
    if row["srv_admin_state"] != "0":
        runtime(f"set server {backend}/{name} state ready")
    if row["srv_uweight"] != row["srv_iweight"]:
        runtime(f"set server {backend}/{name} weight 100%")
deadline = time.monotonic() + 60

def down():
    rows = s.parse_state(runtime("show servers state")).items()
    return [key for key, row in rows if key[0] != "database" and row["srv_op_state"] != "2"]

while down():
    if time.monotonic() > deadline:
        sys.exit(f"not up within 60 s: {down()}")
    time.sleep(0.05)
sys.exit(s.main(["save"]))
"""


@pytest.fixture(autouse=True)
def _all_ready() -> None:
    every = [stub for stubs in STUBS.values() for stub in stubs.values()]
    for host in {stub.host for stub in every}:
        units = " ".join(stub.unit for stub in every if stub.host == host)
        shell(host, f"rm -f /run/stub/*; systemctl reset-failed {units}; systemctl start {units}")
    on_both(program, RESTORE)
