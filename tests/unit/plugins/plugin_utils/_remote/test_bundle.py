# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is started without Ansible's wrapper says what the same module says with it."""

from __future__ import annotations

import ast
import hashlib
import http.server
import inspect
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import estate
import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle, stand_in
from http_server import served

ROOT = Path(__file__).parents[5]
MODULES = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")} - {"rollout", "rollout_info"}
CONTROLLER = [*(ROOT / "plugins/plugin_utils/_rollout").glob("*.py"), *(ROOT / "plugins/action").glob("*.py")]
WORDS = [
    node for path in CONTROLLER for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)
]
USED = sorted(MODULES.intersection(str(node.value) for node in WORDS))
"""Modules that the fleet runs: the code that has one names them. Elsewhere daemon is also the name of a user."""


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Fork servers of this test's own. The path of a socket has to be short."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as directory:
        monkeypatch.setattr(bundle, "ROOT_SOCKETS", directory)
        monkeypatch.setattr(bundle, "USER_SOCKETS", f"{directory}/%d")
        os.mkdir(f"{directory}/{os.geteuid()}")
        yield Path(directory) if os.geteuid() == 0 else Path(directory, str(os.geteuid()))


def start(code: bytes) -> subprocess.Popen[bytes]:
    """A program, as the fleet starts it on a host; it is read to its end."""
    running = subprocess.Popen(
        bundle.command(sys.executable).split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdin
    running.stdin.write(code)
    return running


def end(running: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a program has said. A fork server that kept its output open would let this wait in vain."""
    output, errors = running.communicate(timeout=30)
    return bundle.result(running.returncode, output.decode(), errors.decode())


def run(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module as the fleet does, on this machine."""
    return end(start(bundle.program(module, arguments, check)))


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
    code = bundle.program(module, {}, False).replace(
        b"mesops_module.main()", b"print(json.dumps(dict.fromkeys(sys.modules)))"
    )
    loaded = end(start(code))
    assert "mesops_module" in loaded
    assert not {"http.client", "ssl", "urllib.request"} & set(loaded)


def test_a_program_gives_way_to_what_the_host_is_there_for() -> None:
    code = bundle.program("health_gate", {}, False).replace(
        b"mesops_module.main()", b"print(json.dumps({'nice': os.nice(0)}))"
    )
    # The first runs by itself, the second in the fork server.
    for _ in range(2):
        assert end(start(code)) == {"nice": min(19, os.nice(0) + bundle.NICE)}


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


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077], ids=oct)
@pytest.mark.parametrize("runner", ["bundle", "wrapper"])
def test_release_from_an_address_is_installed(tmp_path: Path, umask: int, runner: str) -> None:
    """However the module gets to the host, and whatever the login there takes off the modes of new files."""
    archive = tmp_path / "catalog.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("bin/catalog")
        member.size, member.mode = 2, 0o755
        tar.addfile(member, io.BytesIO(b"#!"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

    root = tmp_path / "opt"
    root.mkdir()
    base = {"service": "catalog", "root": str(root), "state": "active", "version": "1"}
    before = os.umask(umask)
    try:
        with served(Handler) as port:
            source = {"artifact": f"http://127.0.0.1:{port}/catalog.tar.gz", "checksum": f"sha256:{digest}"}
            found = (run if runner == "bundle" else with_wrapper)("app_release", {**base, **source})
    finally:
        os.umask(before)
    assert found["current"] == "1", found
    modes = {
        str(path.relative_to(root)): oct(stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*") if path.is_dir()
    }
    assert modes.pop("catalog/shared") == "0o750"
    assert set(modes.values()) == {"0o755"}


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
    assert bundle.result(1, "", "Error response from daemon: container is not running")["unreachable"]
    assert bundle.result(255, "Permission denied\n", "")["unreachable"]
    assert bundle.result(139, "", "")["msg"] == "exit status 139"


@pytest.mark.parametrize("before", ["", "Welcome to app-1\n", "no newline", "{}\n", "\x1b[1mmotd\x1b[0m\r\n"])
@pytest.mark.parametrize("between", ["", "said by a .pth file\n"])
@pytest.mark.parametrize("after", ["", "bye\n", "logout"])
def test_login_shell_may_talk(before: str, between: str, after: str) -> None:
    said = json.dumps({"changed": False, "text": f"{bundle.MARK}\n{{}}"})
    found = bundle.result(0, f"{before}{bundle.MARK}\n{between}{said}\n{after}", "")
    assert found == {"changed": False, "text": f"{bundle.MARK}\n{{}}"}


@pytest.mark.parametrize("status", [126, 127])
def test_python_that_does_not_start_is_named(status: int) -> None:
    found = bundle.result(status, "", "/bin/sh: 1: /opt/py/bin/python3: not found\n")
    assert found["unreachable"]
    assert "/opt/py/bin/python3: not found" in found["msg"]
    assert "ansible_python_interpreter" in found["msg"]


def test_module_that_crashes_has_failed_with_its_last_words() -> None:
    found = bundle.result(1, f"{bundle.MARK}\n", "Traceback\nMemoryError: no more\n")
    assert found == {"failed": True, "msg": "the module ended without a result: MemoryError: no more"}


def test_old_python_is_named() -> None:
    program = bundle.program("health_gate", {}, False).replace(b"(3, 9)", b"(9, 9)")
    assert "Python 3.9 or newer is needed" in end(start(program))["msg"]


@pytest.mark.parametrize("module", USED)
def test_stand_in_has_all_that_modules_use(module: str) -> None:
    """Attributes and arguments of AnsibleModule, in the module's source."""
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text())
    known = {name for name, _ in inspect.getmembers(stand_in.AnsibleModule)} | {"params", "check_mode"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "module"
    }
    assert used - known == set()
    accepted = set(inspect.signature(stand_in.AnsibleModule.run_command).parameters)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_command":
            assert {word.arg for word in node.keywords} <= accepted


@pytest.mark.parametrize("module", USED)
def test_program_carries_every_relative(module: str) -> None:
    """It runs without this collection: whatever it imports, it brings along."""
    found = run(
        module, {"service": "../x", "backend": ["x"], "version": "1", "step": "expand", "command": "x", "flag": "pause"}
    )
    assert "ModuleNotFoundError" not in str(found)
    assert "without a result" not in str(found.get("msg", ""))


def test_secrets_are_not_readable_in_the_program() -> None:
    program = bundle.program("rollout_lock", {"service": "catalog", "password": "hunter2-hunter2"}, False)
    assert b"hunter2" not in program


# ---------------------------------------------------------------------------------------------------- the fork server

SAY = """
import json, os
from ansible.module_utils.basic import ARGUMENTS
def main():
    print(json.dumps({**ARGUMENTS, "session": os.getsid(0)}))
"""

Program = Callable[..., bytes]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Makes programs of a module given as text; ``altered`` is text of the fork server and what takes its place."""
    read = bundle._read
    names: dict[tuple[str, Any], str] = {}

    def made(source: str = SAY, altered: tuple[str, str] | None = None, **arguments: Any) -> bytes:
        name = names.setdefault((source, altered), uuid.uuid4().hex)

        def reader(kind: str, wanted: str) -> str:
            if wanted == name:
                return f"{source}# {name}\n"
            text = read(kind, wanted)
            if altered and wanted == "fork_server":
                assert altered[0] in text
                return text.replace(*altered)
            return text

        monkeypatch.setattr(bundle, "_read", reader)
        return bundle.program(name, arguments, bool(arguments.get("_check_mode")))

    return made


def without_sources(code: bytes) -> bytes:
    """A program that can only ask the fork server."""
    changed = code.replace(b"SOURCES = unpacked(", b"SOURCES = dict(")
    assert changed != code
    return changed


def test_next_program_is_run_by_the_fork_server(program: Program) -> None:
    assert "without a result" in end(start(without_sources(program())))["msg"]
    first = end(start(program(name="a", only_first=True, _check_mode=True)))
    assert first == {"name": "a", "only_first": True, "_check_mode": True, "session": os.getsid(0)}
    second, third = (end(start(without_sources(program(name=name)))) for name in "bc")
    assert second["session"] == third["session"] != first["session"]
    # Nothing of an earlier request is left.
    del second["session"], third["session"]
    assert (second, third) == ({"name": "b", "_check_mode": False}, {"name": "c", "_check_mode": False})


def test_server_has_a_name_that_says_whose_it_is(program: Program) -> None:
    source = """
import json, os
def main():
    print(json.dumps({"parent": open(f"/proc/{os.getppid()}/comm").read()}))
"""
    end(start(program(source)))
    assert end(start(program(source))) == {"parent": "mesops-lean\n"}


def test_programs_at_once_have_an_answer_each(program: Program) -> None:
    # At first there is no server, and several try to leave one behind.
    for _ in range(2):
        begun = [start(program(number=number, size="x" * 300_000)) for number in range(12)]
        answers = [end(one) for one in begun]
        assert [one["number"] for one in answers] == list(range(12))
        assert {len(one["size"]) for one in answers} == {300_000}


def test_new_sources_are_not_run_by_the_old_server(program: Program) -> None:
    end(start(program()))
    assert end(start(program(SAY.replace("**ARGUMENTS", "'new': 1")))) == {"new": 1, "session": os.getsid(0)}


def test_server_is_the_same_for_every_rollout() -> None:
    """Names in sets come in another order in every process."""
    made = (
        "import sys; from {0} import bundle; sys.stdout.buffer.write(bundle.program('health_gate', dict(a=1), False))"
    )
    command = [sys.executable, "-c", made.format(bundle.__package__)]
    programs = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in "123"
    }
    assert len(programs) == 1


def test_module_that_ends_in_the_server_says_so_as_everywhere(program: Program) -> None:
    source = """
import subprocess
from ansible.module_utils.basic import ARGUMENTS, AnsibleModule
def main():
    how = ARGUMENTS.get("how")
    if how == "raise":
        raise ValueError("no more")
    module = AnsibleModule({})
    if how == "fail":
        module.fail_json(msg="not so")
    module.exit_json(status=subprocess.run(["sh", "-c", "exit 7"]).returncode)
"""
    for _ in range(2):
        # The status of a child of the module's is seen, though the server itself waits for none.
        assert end(start(program(source))) == {"changed": False, "status": 7}
        assert end(start(program(source, how="fail"))) == {"changed": False, "failed": True, "msg": "not so"}
        crashed = end(start(program(source, how="raise")))
        assert crashed == {"failed": True, "msg": "the module ended without a result: ValueError: no more"}


def test_module_that_was_killed_in_the_server_is_not_run_again(program: Program, tmp_path: Path) -> None:
    source = """
import os
from ansible.module_utils.basic import ARGUMENTS
def main():
    if "path" in ARGUMENTS:
        with open(ARGUMENTS["path"], "a") as file:
            file.write("run")
        os.kill(os.getpid(), 9)
    print("{}")
"""
    assert end(start(program(source))) == {}
    found = end(start(program(source, path=str(tmp_path / "runs"))))
    assert found == {"failed": True, "msg": "the module ended without a result: exit status 1"}
    assert (tmp_path / "runs").read_text() == "run"


@pytest.mark.parametrize("broken", ["os._exit(1)", "link.close()"], ids=["ends", "hangs up"])
def test_module_that_was_sent_to_the_server_is_not_run_by_the_program(program: Program, broken: str) -> None:
    altered = (
        "for number, descriptor in enumerate(descriptors, start=1):",
        f"{broken}\n        for number, descriptor in ():",
    )
    end(start(program(altered=altered)))
    found = end(start(program(altered=altered)))
    assert found == {"failed": True, "msg": "the module ended without a result: exit status 1"}


@pytest.mark.parametrize(
    "altered",
    [
        ("link.sendall(GREETING)", "os._exit(1)"),
        ("link.sendall(GREETING)", "signal.sigtimedwait([], 4)"),
        ("gc.freeze()", "os._exit(1)"),
    ],
    ids=["never greets", "takes its time", "ends at once"],
)
def test_without_a_server_that_serves_it_a_program_runs_by_itself(
    program: Program, altered: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "PATIENCE", 0.5)
    for name in "abc":
        found = end(start(program(altered=altered, name=name)))
        assert found == {"name": name, "_check_mode": False, "session": os.getsid(0)}


def test_without_a_place_for_its_socket_there_is_no_server(
    program: Program, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "ROOT_SOCKETS", f"{sockets}/none")
    monkeypatch.setattr(bundle, "USER_SOCKETS", f"{sockets}/none/%d")
    for _ in range(2):
        assert end(start(program()))["session"] == os.getsid(0)


def listening(sockets: Path) -> Path:
    """The socket of the only server."""
    (found,) = [entry for entry in sockets.iterdir() if entry.is_socket()]
    return found


def refused(path: Path) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def test_nobody_else_can_ask_the_server(program: Program, sockets: Path) -> None:
    end(start(program()))
    assert "session" in end(start(without_sources(program())))
    assert stat.S_IMODE(listening(sockets).stat().st_mode) == 0o600


def test_server_that_was_killed_is_succeeded(program: Program, sockets: Path) -> None:
    source = "import json, os\ndef main():\n    print(json.dumps({'parent': os.getppid()}))\n"
    end(start(program(source)))
    killed = end(start(program(source)))["parent"]
    os.kill(killed, signal.SIGKILL)
    estate.wait_for(lambda: refused(listening(sockets)), timeout=30, what="the killed server's socket to be closed")
    assert end(start(program(source)))["parent"] == os.getpid()
    assert end(start(program(source)))["parent"] not in (killed, os.getpid())


def test_server_ends_once_nobody_asks_for_a_while(
    program: Program, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "IDLE", 0.5)
    end(start(program()))
    estate.wait_for(lambda: not list(sockets.glob("mesops-lean-*")), timeout=30, what="the server to end")
    assert "without a result" in end(start(without_sources(program())))["msg"]
