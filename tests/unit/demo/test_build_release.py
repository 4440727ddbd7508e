from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from demo import build_release
from demo.mes import faults

HERE = ".".join(str(part) for part in sys.version_info[:2])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace pip by two small files, and compile nothing; return the Pythons it was asked for."""
    asked: list[str] = []

    def install(target: Path, python: str, _machine: str) -> None:
        asked.append(python)
        (target / "pkg").mkdir(parents=True)
        (target / "pkg" / "__init__.py").write_text("", encoding="utf-8")
        (target / "single.py").write_text("x = 1\n", encoding="utf-8")

    monkeypatch.setattr(build_release, "install_libraries", install)
    monkeypatch.setattr(build_release, "last_change", lambda _directory: ("abc", 1_700_000_000))
    monkeypatch.setattr(build_release, "find_compiler", lambda _python: None)
    return asked


def _members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        return {
            info.name: stream.read() for info in opened for stream in [opened.extractfile(info)] if stream is not None
        }


def _note(archive: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(Path(str(archive).replace(".tar.gz", ".json")).read_text(encoding="utf-8"))
    return note


def test_same_input_same_bytes_whatever_the_order_and_the_time() -> None:
    members = {"bin/mes": b"#!/bin/sh\n", "mes/a.py": b"a", "VERSION": b"1\n"}
    archives = []
    for items in (members, dict(reversed(members.items()))):
        stream = io.BytesIO()
        build_release.write_archive(stream, items, {"bin/mes"}, 1_700_000_000)
        archives.append(stream.getvalue())
        time.sleep(1.1 if len(archives) == 1 else 0)  # gzip writes whole seconds
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as archive:
        assert archive.getnames() == ["VERSION", "bin", "bin/mes", "mes", "mes/a.py"]
        assert {(info.uid, info.gid, info.uname, info.mtime) for info in archive} == {(0, 0, "", 1_700_000_000)}
        assert archive.getmember("bin/mes").mode == 0o755


def test_two_builds_in_two_places_are_equal(tmp_path: Path, offline: list[str]) -> None:
    first = build_release.build("1.0.0", "3.13", tmp_path / "a", "x86_64")
    second = build_release.build("1.0.0", "3.13", tmp_path / "b", "x86_64")
    assert first.read_bytes() == second.read_bytes()
    note = json.loads((tmp_path / "a" / "mes-1.0.0-py313.json").read_text(encoding="utf-8"))
    digest = build_release.checksum_of(first)
    assert note["version"] == "1.0.0"
    assert note["artifact"] == str(first)
    assert note["checksum"] == f"sha256:{digest}"
    sums = (tmp_path / "a" / "mes-1.0.0-py313.tar.gz.sha256").read_text(encoding="utf-8")
    assert sums == f"{digest}  mes-1.0.0-py313.tar.gz\n"
    with tarfile.open(first) as archive:
        names = set(archive.getnames())
    assert {"bin/mes", "VERSION", "release.json", "mes/app.py", "lib/pkg/__init__.py", "lib/single.py"} <= names


def test_a_second_call_does_nothing_until_something_changes(tmp_path: Path, offline: list[str]) -> None:
    archive = build_release.build("1.0.0", "3.13", tmp_path, "x86_64")
    written = archive.stat().st_mtime_ns
    build_release.build("1.0.0", "3.13", tmp_path, "x86_64")
    assert archive.stat().st_mtime_ns == written
    build_release.build("1.1.0", "3.13", tmp_path, "x86_64")
    assert offline == ["3.13"]  # the libraries are kept for the next version
    build_release.build("1.0.0", "3.11", tmp_path, "x86_64")
    assert offline == ["3.13", "3.11"]
    archive.write_bytes(archive.read_bytes()[:100])
    build_release.build("1.0.0", "3.13", tmp_path, "x86_64")
    assert archive.stat().st_size > 100


def test_start_script_refuses_another_python(tmp_path: Path, offline: list[str]) -> None:
    archive = build_release.build("1.0.0", "3.13", tmp_path, "x86_64")
    with tarfile.open(archive) as opened:
        script = opened.extractfile("bin/mes")
        assert script is not None
        (tmp_path / "mes").write_bytes(script.read())
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 3.9\n", encoding="utf-8")
    python.chmod(0o755)
    command = ["sh", str(tmp_path / "mes"), "serve"]
    result = subprocess.run(
        command, env={"MES_PYTHON": str(python), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "built for Python 3.13" in result.stderr
    assert "is 3.9" in result.stderr


@pytest.mark.parametrize("version", ["../../etc", "", "a b", "-x", "x" * 65])
def test_versions_that_are_no_plain_name(version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--version={version}", "--python=3.13", f"--output={tmp_path}", "--machine=x86_64"]
    assert build_release.main(arguments) == 1
    assert "is no plain name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _build(output: Path, *arguments: str) -> Path:
    common = ["--version=1.0.0", "--python=3.13", f"--output={output}", "--machine=x86_64"]
    assert build_release.main([*common, *arguments]) == 0
    return output / "mes-1.0.0-py313.tar.gz"


def test_a_healthy_release_carries_an_expand_step_and_no_fault(tmp_path: Path, offline: list[str]) -> None:
    members = _members(_build(tmp_path))
    assert faults.FILE not in members
    assert json.loads(members["mesops.json"]) == {
        "migrations": {"expand": {"command": "bin/mes migrate", "reversible": True, "timeout": 120}}
    }


def test_steps_that_cannot_be_undone(tmp_path: Path, offline: list[str]) -> None:
    steps = json.loads(_members(_build(tmp_path, "--irreversible", "--contract=bin/mes migrate"))["mesops.json"])
    assert steps["migrations"]["expand"]["reversible"] is False
    assert steps["migrations"]["contract"] == {"command": "bin/mes migrate", "reversible": False, "timeout": 120}


def test_faults_are_written_into_the_release_and_change_nothing_else(tmp_path: Path, offline: list[str]) -> None:
    healthy = _members(_build(tmp_path))
    bad = _members(_build(tmp_path, "--fault=errors=0.05", "--fault=ignores-sigterm"))
    written = bad.pop(faults.FILE)
    assert bad == healthy
    (tmp_path / faults.FILE).write_bytes(written)
    assert faults.load(tmp_path) == faults.Faults(errors=0.05, ignores_sigterm=True)


def test_a_variant_replaces_the_release_of_the_same_version_and_back(tmp_path: Path, offline: list[str]) -> None:
    checksums = []
    for arguments in ([], ["--fault=never-ready"], ["--irreversible"], ["--contract=bin/mes migrate"], []):
        archive = _build(tmp_path, *arguments)
        assert _note(archive)["checksum"] == f"sha256:{build_release.checksum_of(archive)}"
        checksums.append(_note(archive)["checksum"])
    assert len(set(checksums)) == 4
    assert checksums[0] == checksums[-1]


@pytest.mark.parametrize("kind", ["truncated", "checksum"])
def test_corrupt_archives(kind: str, tmp_path: Path, offline: list[str]) -> None:
    healthy = _build(tmp_path / "healthy").read_bytes()
    archive = _build(tmp_path / "corrupt", f"--fault=corrupt={kind}")
    data, note = archive.read_bytes(), _note(archive)
    sums = Path(f"{archive}.sha256").read_text(encoding="utf-8")
    assert sums == f"{note['checksum'].removeprefix('sha256:')}  {archive.name}\n"
    matches = note["checksum"] == f"sha256:{build_release.checksum_of(archive)}"
    assert (matches, data) == ((True, healthy[: len(healthy) // 2]) if kind == "truncated" else (False, healthy))
    written = archive.stat().st_mtime_ns
    _build(tmp_path / "corrupt", f"--fault=corrupt={kind}")
    assert archive.stat().st_mtime_ns == written


@pytest.mark.parametrize("fault", ["explodes", "errors=2", "never-ready=1", "corrupt", ""])
def test_bad_faults_build_nothing(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "dist"
    arguments = ["--version=1.0.0", "--python=3.13", f"--output={output}", "--machine=x86_64", f"--fault={fault}"]
    assert build_release.main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not output.exists()


def test_a_missing_target_python_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def version_of(command: str) -> str | None:
        asked.append(command)
        return {sys.executable: "3.12.9", "/usr/bin/python3.11": "3.11.2"}.get(command)

    monkeypatch.setattr(build_release, "version_of", version_of)
    assert build_release.find_compiler("3.12") == (sys.executable, "3.12.9")
    assert build_release.find_compiler("3.11") == ("/usr/bin/python3.11", "3.11.2")
    assert build_release.find_compiler("3.13") is None
    assert build_release.version_of("python3.13") is None


def test_version_of_asks_the_python_itself() -> None:
    found = build_release.version_of(sys.executable)
    assert found == ".".join(str(part) for part in sys.version_info[:3])
    assert build_release.version_of("/nowhere/python3") is None


@pytest.fixture
def compiling(offline: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_release, "find_compiler", lambda _python: (sys.executable, "1.2.3"))


def test_compiled_modules_are_the_same_in_every_build(
    tmp_path: Path, compiling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_release.build("1.0.0", HERE, tmp_path / "a", "x86_64")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    second = build_release.build("1.0.0", HERE, tmp_path / "b", "x86_64")
    assert first.read_bytes() == second.read_bytes()
    modules = {name for name in _members(first) if name.endswith(".py")}
    compiled = {name for name in _members(first) if name.endswith(".pyc")}
    tag = sys.implementation.cache_tag
    assert compiled == {"/__pycache__/".join(name.rsplit("/", 1)).replace(".py", f".{tag}.pyc") for name in modules}


def test_compiled_modules_serve_whatever_the_time_stamps_are(tmp_path: Path, compiling: None) -> None:
    archive = build_release.build("1.0.0", HERE, tmp_path, "x86_64")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "release", filter="data")
    module = tmp_path / "release" / "mes" / "lifecycle.py"
    os.utime(module)
    ask = "import mes.lifecycle as module; print(module.is_legal.__code__.co_filename, module.STATUSES[0])"
    command = [sys.executable, "-S", "-P", "-v", "-c", ask]
    result = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path / "release")}, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{module} INITIATED\n"
    assert f"code object from '{module.parent}/__pycache__/" in result.stderr


def test_another_compiler_makes_another_release(
    tmp_path: Path, compiling: None, monkeypatch: pytest.MonkeyPatch, offline: list[str]
) -> None:
    build_release.build("1.0.0", HERE, tmp_path, "x86_64")
    monkeypatch.setattr(build_release, "find_compiler", lambda _python: None)
    archive = build_release.build("1.0.0", HERE, tmp_path, "x86_64")
    assert not [name for name in _members(archive) if name.endswith(".pyc")]
    assert len(offline) == 2


def test_sources_that_do_not_compile_are_refused(tmp_path: Path) -> None:
    with pytest.raises(build_release.BuildError, match="cannot compile mes"):
        build_release.compiled({"mes/bad.py": b"def\n"}, sys.executable)


@pytest.mark.parametrize("carried", [True, False])
def test_the_start_script_uses_a_cache_only_where_nothing_is_compiled(
    carried: bool, tmp_path: Path, offline: list[str]
) -> None:
    script = tmp_path / "release" / "bin" / "mes"
    script.parent.mkdir(parents=True)
    script.write_bytes(_members(_build(tmp_path / "dist"))["bin/mes"])
    if carried:
        (tmp_path / "release" / "mes" / "__pycache__").mkdir(parents=True)
    python = tmp_path / "python3"
    python.write_text(
        '#!/bin/sh\n[ "$2" = -c ] && echo 3.13 && exit\necho "${PYTHONPYCACHEPREFIX:-none} $*"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    env = {"MES_PYTHON": str(python), "CACHE_DIRECTORY": "/var/cache/mes", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(["sh", str(script), "serve"], env=env, capture_output=True, text=True, check=True)
    assert result.stdout == ("none" if carried else "/var/cache/mes/pycache/1.0.0") + " -m mes serve\n"
