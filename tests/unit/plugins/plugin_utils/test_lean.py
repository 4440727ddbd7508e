# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is started without Ansible's wrapper says what the same module says with it."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils import lean, lean_module

ROOT = Path(__file__).parents[4]
USED = [
    "app_migration",
    "app_release",
    "haproxy_server",
    "health_gate",
    "rollout_control",
    "rollout_lock",
    "rollout_record",
]


def run(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module as the fleet does, on this machine."""
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=lean.program(module, arguments, check),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return lean.result(done.returncode, done.stdout.decode(), done.stderr.decode())


def with_wrapper(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module as any task does, on this machine."""
    command = [
        str(Path(sys.executable).parent / "ansible"),
        "localhost",
        "-c",
        "local",
        "-m",
        f"mesops.platform.{module}",
    ]
    command += ["-a", json.dumps(arguments), *(["--check"] if check else [])]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.rindex(" => {") + 4 :])
    failed = {"failed": True} if " | FAILED! => {" in done.stdout else {}
    return failed | {
        one: value for one, value in found.items() if one not in ("ansible_facts", "invocation", "exception")
    }


@pytest.mark.parametrize("module", ["haproxy_server", "health_gate"])
def test_what_a_load_balancer_runs_again_and_again_loads_no_http_client(module: str) -> None:
    code = lean.program(module, {}, False).replace(b"mesops_module.main()", b"print(json.dumps(sorted(sys.modules)))")
    done = subprocess.run([sys.executable, "-I", "-"], input=code, capture_output=True, check=True, timeout=60)
    loaded = json.loads(done.stdout.decode().partition("\n")[2])
    assert "mesops_module" in loaded
    assert not {"http.client", "ssl", "urllib.request"} & set(loaded)


def test_a_program_stands_back_behind_what_the_host_is_there_for() -> None:
    code = lean.program("health_gate", {}, False).replace(
        b"import mesops_module\nmesops_module.main()", b"print(json.dumps({'nice': os.nice(0)}))"
    )
    done = subprocess.run([sys.executable, "-I", "-"], input=code, capture_output=True, check=False, timeout=60)
    found = lean.result(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert found == {"nice": min(19, os.nice(0) + lean.NICE)}


def same(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    found, reference = run(module, arguments, check), with_wrapper(module, arguments, check)
    reference.setdefault("changed", False)
    # Without --diff Ansible takes it out of what it shows.
    assert {key: value for key, value in found.items() if key != "diff"} == reference
    return found


def test_release_is_installed_and_looked_at_alike(tmp_path: Path) -> None:
    base = {"service": "catalog", "root": str(tmp_path)}
    found = same("app_release", {**base, "state": "prepared"}, check=True)
    assert found["changed"]
    assert same("app_release", {**base, "state": "installed", "version": "1"})["failed"]
    assert run("app_release", {**base, "state": "prepared"})["changed"]
    assert not same("app_release", {**base, "state": "prepared"})["changed"]


def test_record_is_written_by_one_and_read_by_the_other(tmp_path: Path) -> None:
    base = {"service": "catalog", "directory": str(tmp_path)}
    holder = {"user": "deploy", "host": "ci-7", "what": "rollout of catalog 1"}
    opened = run("rollout_record", {**base, "state": "opened", "holder": holder})
    record = {
        "id": "catalog-1",
        "service": "catalog",
        "version": "1",
        "status": "running",
        "started_at": 1.0,
        "ended_at": 0,
    }
    assert run("rollout_record", {**base, "state": "written", "token": opened["token"], "record": record})["changed"]
    seen = with_wrapper("rollout_record", {**base, "state": "read"})
    assert seen["open_record"]["id"] == "catalog-1"
    assert run("rollout_record", base)["open_record"] == seen["open_record"]
    refused = run("rollout_lock", {**base, "state": "acquired", "holder": holder, "patient": False})
    assert refused["locked"]
    assert "catalog is locked by deploy@ci-7" in refused["msg"]


def test_probes_are_taken_alike() -> None:
    probes = {
        "closed": {"type": "tcp", "address": "127.0.0.1:1"},
        "odd": {"type": "http", "url": "http://127.0.0.1:1/"},
    }
    found = same("health_gate", {"probes": probes})
    assert {one["phase"] for one in found["samples"].values()} == {"failure"}


def test_balancer_that_is_not_there_is_named_alike(tmp_path: Path) -> None:
    arguments = {"backend": ["catalog"], "master_socket": str(tmp_path / "none.sock")}
    assert same("haproxy_server", arguments)["failed"]


def test_host_that_did_not_run_it_is_unreachable() -> None:
    assert lean.result(1, "", "Error response from daemon: container is not running")["unreachable"]
    assert lean.result(255, "Permission denied\n", "")["unreachable"]
    assert lean.result(127, "", "")["msg"] == "exit status 127"


def test_module_that_crashes_has_failed_with_its_last_words() -> None:
    found = lean.result(1, f"{lean.MARK}\n", "Traceback\nMemoryError: no more\n")
    assert found == {"failed": True, "msg": "the module ended without a result: MemoryError: no more"}


def test_old_python_is_named() -> None:
    program = lean.program("health_gate", {}, False).replace(b"(3, 9)", b"(9, 9)")
    done = subprocess.run([sys.executable, "-I", "-"], input=program, capture_output=True, check=False, timeout=30)
    assert (
        "Python 3.9 or newer is needed"
        in lean.result(done.returncode, done.stdout.decode(), done.stderr.decode())["msg"]
    )


@pytest.mark.parametrize("module", USED)
def test_stand_in_has_all_that_modules_use(module: str) -> None:
    """Attributes and arguments of AnsibleModule, in the module's source."""
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text())
    known = {name for name, _ in inspect.getmembers(lean_module.AnsibleModule)} | {"params", "check_mode"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "module"
    }
    assert used - known == set()
    accepted = set(inspect.signature(lean_module.AnsibleModule.run_command).parameters)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_command":
            assert {word.arg for word in node.keywords} <= accepted


@pytest.mark.parametrize("module", USED)
def test_program_carries_every_relative(module: str) -> None:
    """It runs without this collection: whatever it imports, it brings along."""
    source = (ROOT / f"plugins/modules/{module}.py").read_text()
    assert lean.relatives(source)
    found = run(
        module, {"service": "../x", "backend": ["x"], "version": "1", "step": "expand", "command": "x", "flag": "pause"}
    )
    assert "ModuleNotFoundError" not in str(found)
    assert "without a result" not in str(found.get("msg", ""))


def test_secrets_are_not_readable_in_the_program() -> None:
    program = lean.program("rollout_lock", {"service": "catalog", "password": "hunter2-hunter2"}, False)
    assert b"hunter2" not in program
