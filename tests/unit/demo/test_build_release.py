from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from demo import build_release


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace pip by two small files; return the Pythons it was asked for."""
    asked: list[str] = []

    def install(target: Path, python: str, _machine: str) -> None:
        asked.append(python)
        (target / "pkg").mkdir(parents=True)
        (target / "pkg" / "__init__.py").write_text("", encoding="utf-8")
        (target / "single.py").write_text("x = 1\n", encoding="utf-8")

    monkeypatch.setattr(build_release, "install_libraries", install)
    monkeypatch.setattr(build_release, "last_change", lambda _directory: ("abc", 1_700_000_000))
    return asked


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
