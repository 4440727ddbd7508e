#!/usr/bin/env python3
"""Build the self-contained MES release archive for a target's Python. Standard library and pip only.

    python demo/build_release.py --version 1.0.0 --python 3.13 --output demo/dist
    python demo/build_release.py --version 1.1.0 --python 3.13 --fault errors=0.05

Progress goes to standard error, the archive's path to standard output. The same input gives the same bytes, and a
second call with nothing changed does nothing. Where this machine has the target's Python the release carries compiled
modules, which halves its start; they are part of the input then.
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
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
if not __package__:
    sys.path.insert(0, str(HERE.parent))  # run as a file

from demo.mes import faults  # noqa: E402

PACKAGE = HERE / "mes"
REQUIREMENTS = PACKAGE / "requirements.txt"
PYTHONS = ("3.11", "3.12", "3.13")
GLIBCS = ("manylinux_2_28", "manylinux2014", "manylinux_2_17", "manylinux_2_5", "manylinux1")
# What nothing reads at run time, and modules that the MES never imports: every file costs time on every host.
NEEDLESS = (".pyi", ".proto")
NEVER_IMPORTED = "/opentelemetry/(semconv/_incubating|sdk/metrics)/"
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

START = """\
#!/bin/sh
# Starts the MES of this release: `mes serve` or `mes migrate`. Settings come from the environment.
set -eu
release=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
python=${MES_PYTHON:-/usr/bin/python3}
found=$("$python" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none
if [ "$found" != "@PYTHON@" ]; then
    echo "mes: this release was built for Python @PYTHON@ but $python is $found; deploy the release built for it." >&2
    exit 2
fi
# The release may carry its compiled modules; otherwise they go where systemd gives the service a cache.
if [ -n "${CACHE_DIRECTORY:-}" ] && [ ! -d "$release/mes/__pycache__" ]; then
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


def version_of(command: str) -> str | None:
    """Return the version of a Python, such as 3.13.5; None if it does not run."""
    ask = [command, "-IS", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
    try:
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def find_compiler(python: str) -> tuple[str, str] | None:
    """Return command and version of a Python that compiles for the target; None if this machine has none."""
    for command in (sys.executable, f"python{python}", f"/usr/bin/python{python}"):
        found = version_of(command)
        if found and found.startswith(f"{python}."):
            return command, found
    return None


def compile_modules(directory: Path, compiler: str, shown: str) -> None:
    """Compile all modules below a directory, each beside its source; `shown` is what tracebacks call the directory.

    Python then takes them without a look at the source, whose time stamp a release does not keep.
    """
    command = [compiler, "-S", "-P", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-x", NEVER_IMPORTED, "-s", str(directory), "-p", shown, str(directory)]
    # Nothing of this machine: what is compiled depends on the source and on the Python only.
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    )
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise BuildError(f"{compiler} cannot compile {shown}: {lines[0] if lines else result.returncode}")


def compiled(files: dict[str, bytes], compiler: str) -> dict[str, bytes]:
    """Return the compiled modules of the package by their path in the release."""
    with tempfile.TemporaryDirectory(prefix="mes-") as scratch:
        package = Path(scratch) / "mes"
        for name, data in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        compile_modules(package, compiler, "mes")
        return {f"mes/{name}": data for name, data in read_tree(package).items() if name.endswith(".pyc")}


def read_tree(root: Path) -> dict[str, bytes]:
    """Return all files below a directory by their path in it."""
    files = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as stream:
                files[os.path.relpath(path, root).replace(os.sep, "/")] = stream.read()
    return files


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
    for path in list(target.rglob("*")):
        if path.name == "__pycache__":
            shutil.rmtree(path)
        elif path.suffix in NEEDLESS:
            path.unlink()


def libraries(cache: Path, python: str, machine: str, compiler: tuple[str, str] | None) -> Path:
    """Return the unpacked libraries, from the last build where the pins and the compiler are the same."""
    terms = (python, machine, GLIBCS, NEEDLESS, NEVER_IMPORTED, compiler and compiler[1])
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + repr(terms).encode()).hexdigest()[:16]
    ready = cache / f".lib-py{python.replace('.', '')}-{machine}-{key}"
    if not ready.is_dir():
        say(f"fetching the libraries for Python {python} on {machine}")
        with tempfile.TemporaryDirectory(dir=cache, prefix=".lib-") as scratch:
            fresh = Path(scratch) / "lib"
            install_libraries(fresh, python, machine)
            if compiler:
                compile_modules(fresh, compiler[0], "lib")
            try:
                os.rename(fresh, ready)
            except OSError:
                if not ready.is_dir():  # otherwise another build was faster, with the same result
                    raise
    return ready


def write_archive(stream: IO[bytes], members: dict[str, bytes], executable: set[str], mtime: int) -> None:
    """Write a tar.gz whose bytes depend on nothing but its contents."""
    directories: set[str] = set()
    for name in members:
        parent = name.rpartition("/")[0]
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]
    entries: list[tuple[str, bytes | None]] = [*((name, None) for name in directories), *members.items()]
    with (
        # Level 4 takes half the time of level 6 and gives three percent more.
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=4, mtime=0) as packed,
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


def manifest(irreversible: bool, contract: str | None) -> dict[str, Any]:
    """Return what a rollout reads in the release: the steps that go before and after it.

    The MES's schema only ever grows, so that the older version runs on it as well: there is nothing to take back after
    expand. A contract step removes what an older version needs, and that cannot be taken back.
    """
    steps: dict[str, Any] = {"expand": {"command": "bin/mes migrate", "reversible": not irreversible, "timeout": 120}}
    if contract is not None:
        steps["contract"] = {"command": contract, "reversible": False, "timeout": 120}
    return {"migrations": steps}


def as_json(data: dict[str, Any]) -> bytes:
    """Return JSON for people."""
    return (json.dumps(data, indent=2) + "\n").encode()


def is_current(archive: Path, note: Path, stamp: Path, inputs: str) -> bool:
    """Tell whether the archive on disk is the one these inputs give, and stands where its note says."""
    try:
        written = json.loads(note.read_text(encoding="utf-8"))
        stamped, checksum = stamp.read_text(encoding="utf-8").split()
        return bool(
            stamped == inputs and written["artifact"] == str(archive) and checksum == f"sha256:{checksum_of(archive)}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def build(
    version: str,
    python: str,
    output: Path,
    machine: str,
    *,
    fault: Sequence[str] = (),
    irreversible: bool = False,
    contract: str | None = None,
) -> Path:
    """Build the archive with its checksum and its note, unless they are there already; return its path."""
    corrupt = faults.parse(fault).corrupt
    compiler = find_compiler(python)
    commit, changed = last_change(HERE)
    package = sources(PACKAGE)
    output.mkdir(parents=True, exist_ok=True)
    name = f"mes-{version}-py{python.replace('.', '')}"
    archive, note, stamp = (output / f"{name}.{suffix}" for suffix in ("tar.gz", "json", "inputs"))
    steps = as_json(manifest(irreversible, contract))

    digest = hashlib.sha256()
    for part in (version, python, machine, commit, changed, compiler and compiler[1], *fault):
        digest.update(f"{part}\0".encode())
    builder = {"builder": Path(__file__).read_bytes(), "pins": REQUIREMENTS.read_bytes(), "steps": steps}
    for path, data in {**package, **builder}.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    inputs = digest.hexdigest()
    if is_current(archive, note, stamp, inputs):
        say(f"{archive.name} is up to date")
        return archive

    lib = libraries(output, python, machine, compiler)
    built = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
    start = START.replace("@PYTHON@", python).replace("@VERSION@", version)
    release = {"version": version, "commit": commit, "built": built, "python": python, "machine": machine}
    members = {
        "bin/mes": start.encode(),
        "VERSION": f"{version}\n".encode(),
        "release.json": as_json(release),
        "mesops.json": steps,
        **package,
        **{f"lib/{path}": data for path, data in read_tree(lib).items()},
    }
    if compiler:
        members.update(compiled(package, compiler[0]))
    lasting = [spec for spec in fault if not faults.parse([spec]).corrupt]
    if lasting:
        members[faults.FILE] = as_json({"faults": lasting})
    say(f"packing {len(members)} files")
    with tempfile.NamedTemporaryFile(dir=output, prefix=f".{name}-", delete=False) as stream:
        write_archive(stream, members, {"bin/mes"}, changed)
        if corrupt == "truncated":
            stream.truncate(stream.tell() // 2)
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, archive)
    true_checksum = checksum = checksum_of(archive)
    if corrupt == "checksum":
        checksum = hashlib.sha256(checksum.encode()).hexdigest()
    replace(archive.with_name(f"{archive.name}.sha256"), f"{checksum}  {archive.name}\n".encode())
    replace(note, as_json({"version": version, "artifact": str(archive), "checksum": f"sha256:{checksum}"}))
    replace(stamp, f"{inputs} sha256:{true_checksum}\n".encode())
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
    known = "; ".join(faults.KNOWN.values())
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME[=VALUE]", help=f"build a bad release: {known}"
    )
    parser.add_argument("--irreversible", action="store_true", help="say that the expand step cannot be undone")
    parser.add_argument("--contract", metavar="COMMAND", help="carry a contract step, such as 'bin/mes migrate'")
    options = parser.parse_args(arguments)
    try:
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}", options.version):
            raise BuildError(f"Version {options.version!r} is no plain name; use one such as 1.0.0.")
        archive = build(
            options.version,
            options.python,
            options.output.resolve(),
            MACHINES[options.machine],
            fault=options.fault,
            irreversible=options.irreversible,
            contract=options.contract,
        )
    except (BuildError, faults.FaultError, OSError) as error:
        print(f"build_release: {error}", file=sys.stderr)
        return 1
    print(archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
