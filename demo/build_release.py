#!/usr/bin/env python3
"""Build the self-contained MES release archive for a target's Python. Standard library and pip only.

    python demo/build_release.py --version 1.0.0 --python 3.13 --output demo/dist

Progress goes to standard error, the archive's path to standard output. The same input gives the same bytes, and a
second call with nothing changed does nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "mes"
REQUIREMENTS = PACKAGE / "requirements.txt"
PYTHONS = ("3.11", "3.12", "3.13")
GLIBCS = ("manylinux_2_28", "manylinux2014", "manylinux_2_17", "manylinux_2_5", "manylinux1")
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

START = """\
#!/bin/sh
# Starts the MES of this release: `mes serve` or `mes migrate`. Settings come from the environment.
set -eu
release=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
python=${MES_PYTHON:-/usr/bin/python3}
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none
if [ "$found" != "@PYTHON@" ]; then
    echo "mes: this release was built for Python @PYTHON@ but $python is $found; deploy the release built for it." >&2
    exit 2
fi
# Compiled modules go where systemd gives the service a cache, and never into the release.
if [ -n "${CACHE_DIRECTORY:-}" ]; then
    PYTHONPYCACHEPREFIX=$CACHE_DIRECTORY/pycache/@VERSION@
    export PYTHONPYCACHEPREFIX
else
    PYTHONDONTWRITEBYTECODE=1
    export PYTHONDONTWRITEBYTECODE
fi
PYTHONPATH=$release:$release/lib
PYTHONSAFEPATH=1
PYTHONNOUSERSITE=1
PYTHONUNBUFFERED=1
export PYTHONPATH PYTHONSAFEPATH PYTHONNOUSERSITE PYTHONUNBUFFERED
exec "$python" -m mes "$@"
"""


class BuildError(Exception):
    """The release cannot be built; the message is one sentence."""


def say(text: str) -> None:
    """Report progress."""
    print(f"build_release: {text}", file=sys.stderr, flush=True)


def sources(package: Path) -> dict[str, bytes]:
    """Return the package's files by their path in the release."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        files[f"mes/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return files


def last_change(directory: Path) -> tuple[str, int]:
    """Return commit and time of the last change to the sources; fixed values where there is no git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(directory), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        paths = ("--", "mes", "build_release.py")
        commit, seconds = git("log", "-1", "--format=%H %ct", *paths).split()
        dirty = "-dirty" if git("status", "--porcelain", *paths) else ""
        return commit + dirty, int(seconds)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return "unknown", 0


def install_libraries(target: Path, python: str, machine: str) -> None:
    """Unpack the pinned wheels for the target's Python, whatever Python this is."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", str(target), "--python-version", python, "--implementation", "cp"]
    command += [f"--platform={glibc}_{machine}" for glibc in GLIBCS]
    command += ["--only-binary=:all:", "--requirement", str(REQUIREMENTS)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {result.returncode}"
        raise BuildError(f"pip cannot fetch the libraries for Python {python}: {reason}")
    # Leftovers that name this machine's interpreter and paths, or the moment of the installation.
    shutil.rmtree(target / "bin", ignore_errors=True)
    for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
        for leftover in target.glob(f"*.dist-info/{name}"):
            leftover.unlink()
    for cache in list(target.rglob("__pycache__")):
        shutil.rmtree(cache)


def libraries(cache: Path, python: str, machine: str) -> Path:
    """Return the unpacked libraries, from the last build where the pins are the same."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + f"{python} {machine} {GLIBCS}".encode()).hexdigest()[:16]
    ready = cache / f".lib-py{python.replace('.', '')}-{machine}-{key}"
    if not ready.is_dir():
        say(f"fetching the libraries for Python {python} on {machine}")
        with tempfile.TemporaryDirectory(dir=cache, prefix=".lib-") as scratch:
            fresh = Path(scratch) / "lib"
            install_libraries(fresh, python, machine)
            try:
                os.rename(fresh, ready)
            except OSError:
                if not ready.is_dir():  # otherwise another build was faster, with the same result
                    raise
    return ready


def write_archive(stream: IO[bytes], members: dict[str, bytes], executable: set[str], mtime: int) -> None:
    """Write a tar.gz whose bytes depend on nothing but its contents."""
    directories = {parent.as_posix() for name in members for parent in Path(name).parents} - {"."}
    entries: list[tuple[str, bytes | None]] = [*((name, None) for name in directories), *members.items()]
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, data in sorted(entries, key=lambda entry: entry[0]):
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            if data is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o755
                archive.addfile(info)
            else:
                info.size = len(data)
                info.mode = 0o755 if name in executable else 0o644
                archive.addfile(info, io.BytesIO(data))


def checksum_of(path: Path) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def replace(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def is_current(archive: Path, note: Path, stamp: Path, inputs: str) -> bool:
    """Tell whether the archive on disk is the one these inputs give, and stands where its note says."""
    try:
        written = json.loads(note.read_text(encoding="utf-8"))
        return bool(
            stamp.read_text(encoding="utf-8") == inputs
            and written["artifact"] == str(archive)
            and written["checksum"] == f"sha256:{checksum_of(archive)}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def build(version: str, python: str, output: Path, machine: str) -> Path:
    """Build the archive with its checksum and its note, unless they are there already; return its path."""
    commit, changed = last_change(HERE)
    package = sources(PACKAGE)
    output.mkdir(parents=True, exist_ok=True)
    name = f"mes-{version}-py{python.replace('.', '')}"
    archive, note, stamp = (output / f"{name}.{suffix}" for suffix in ("tar.gz", "json", "inputs"))

    digest = hashlib.sha256()
    for part in (version, python, machine, commit, str(changed)):
        digest.update(f"{part}\0".encode())
    for path, data in {**package, "builder": Path(__file__).read_bytes(), "pins": REQUIREMENTS.read_bytes()}.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    inputs = digest.hexdigest()
    if is_current(archive, note, stamp, inputs):
        say(f"{archive.name} is up to date")
        return archive

    lib = libraries(output, python, machine)
    built = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
    start = START.replace("@PYTHON@", python).replace("@VERSION@", version)
    release = {"version": version, "commit": commit, "built": built, "python": python, "machine": machine}
    members = {
        "bin/mes": start.encode(),
        "VERSION": f"{version}\n".encode(),
        "release.json": (json.dumps(release, indent=2) + "\n").encode(),
        **package,
    }
    for file in sorted(lib.rglob("*")):
        if file.is_file():
            members[f"lib/{file.relative_to(lib).as_posix()}"] = file.read_bytes()
    say(f"packing {len(members)} files")
    with tempfile.NamedTemporaryFile(dir=output, prefix=f".{name}-", delete=False) as stream:
        write_archive(stream, members, {"bin/mes"}, changed)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, archive)
    checksum = checksum_of(archive)
    replace(archive.with_name(f"{archive.name}.sha256"), f"{checksum}  {archive.name}\n".encode())
    summary = {"version": version, "artifact": str(archive), "checksum": f"sha256:{checksum}"}
    replace(note, (json.dumps(summary, indent=2) + "\n").encode())
    replace(stamp, inputs.encode())
    say(f"{archive.name} {archive.stat().st_size / 1e6:.1f} MB sha256:{checksum}")
    return archive


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(description="Build the MES release archive.")
    parser.add_argument("--version", required=True, help="version to write into the release, such as 1.0.0")
    parser.add_argument("--python", required=True, choices=PYTHONS, help="Python of the target hosts")
    parser.add_argument("--output", type=Path, default=HERE / "dist", help="directory for the archive (demo/dist)")
    parser.add_argument(
        "--machine", default=platform.machine().lower(), choices=sorted(MACHINES), help="processor of the target hosts"
    )
    options = parser.parse_args(arguments)
    try:
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}", options.version):
            raise BuildError(f"Version {options.version!r} is no plain name; use one such as 1.0.0.")
        archive = build(options.version, options.python, options.output.resolve(), MACHINES[options.machine])
    except (BuildError, OSError) as error:
        print(f"build_release: {error}", file=sys.stderr)
        return 1
    print(archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
