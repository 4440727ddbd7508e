# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Galaxy archive: build it, and hold it against what Galaxy, Ansible's own sanity tests and its users expect.

``package.py build`` writes it to ``dist/``; ``contents``, ``importer`` and ``sanity`` are linters, with exit code 1 and
one line per complaint. They look at the archive and not at the checkout, for it is the archive that others get.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SHIPPED = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "changelogs",
    "docs",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
WITHIN = {"changelogs": {"changelog.yaml"}, "inventories": {"example"}}
"""Of these directories only these entries."""
MADE = {"MANIFEST.json", "FILES.json"}
CACHE = ROOT / ".cache" / "sanity"
"""The home of ansible-test: the environments that it makes for its tests outlive a run."""
# Its own one comes from a host that not every plant can reach, and fetches another pip for each of ten environments;
# the one that Python brings installs what the tests need.
GET_PIP = "import ensurepip\nensurepip.bootstrap()\n"
PIP_VERSION = re.compile(r"pip='([0-9.]+)'")


def build(directory: Path) -> Path:
    """Build the archive into a directory; where it is."""
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--force", "--output-path", directory, ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = directory.glob("mesops-platform-*.tar.gz")
    return archive


@contextmanager
def built() -> Iterator[Path]:
    """The archive, in a directory of its own that goes away."""
    with tempfile.TemporaryDirectory() as directory:
        yield build(Path(directory))


def shipped(path: str) -> bool:
    """Whether users need a file of the checkout."""
    top, _slash, rest = path.partition("/")
    return top in SHIPPED and (top not in WITHIN or rest.split("/")[0] in WITHIN[top])


def contents() -> int:
    """The archive holds what users need and nothing else: no test, no demo, nothing outside version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = {path for path in listed if shipped(path)} | MADE
    with built() as archive, tarfile.open(archive) as opened:
        found = {member.name for member in opened if member.isfile()}
    for path in sorted(found - wanted):
        print(f"{path}: in the archive, but nothing that users need; add it to build_ignore in galaxy.yml")
    for path in sorted(wanted - found):
        print(f"{path}: users need it, but build_ignore in galaxy.yml keeps it out of the archive")
    return 1 if found != wanted else 0


def importer() -> int:
    """Galaxy's own importer takes the archive, without an error and without a warning.

    It would run ansible-lint as well: with the profile that the linter of that name has, and six rules fewer.
    """
    with built() as archive:
        done = subprocess.run(
            [BIN / "python", "-m", "galaxy_importer.main", archive.name],
            cwd=archive.parent,
            env={
                **os.environ,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    lines = (done.stdout + done.stderr).splitlines()
    complaints = [line for line in lines if re.match(r"(WARNING|ERROR|CRITICAL)\b", line)]
    print("\n".join(complaints or (lines if done.returncode else [])))
    return 1 if complaints or done.returncode else 0


def sanity() -> int:
    """All sanity tests of ansible-test that need no container, on the archive where ansible-test wants a collection."""
    with built() as archive:
        place = archive.parent / "ansible_collections" / "mesops" / "platform"
        place.mkdir(parents=True)
        with tarfile.open(archive) as opened:
            opened.extractall(place, filter="data")
        _offer_pip()
        # ansible-test asks git what belongs to the collection.
        for words in (("init", "--quiet"), ("add", "--all")):
            subprocess.run(["git", *words], cwd=place, check=True)
        unwanted = {"PYTHONPATH", "ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"}
        return subprocess.run(
            [
                BIN / "ansible-test",
                "sanity",
                "--color",
                "no",
                "--python",
                f"{sys.version_info[0]}.{sys.version_info[1]}",
            ],
            cwd=place,
            env={
                **{name: value for name, value in os.environ.items() if name not in unwanted},
                "HOME": str(CACHE),
                "LC_ALL": "C.UTF-8",
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            },
            check=False,
        ).returncode


def _offer_pip() -> None:
    import ansible_test._internal.python_requirements as requirements  # noqa: PLC0415

    found = PIP_VERSION.search(Path(requirements.__file__).read_text(encoding="utf-8"))
    if found:
        path = CACHE / ".ansible" / "test" / "cache" / f"get_pip_{found[1].replace('.', '_')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GET_PIP, encoding="utf-8")


def release() -> int:
    """Build the archive for others."""
    directory = ROOT / "dist"
    directory.mkdir(exist_ok=True)
    print(build(directory))
    return 0


ACTIONS: dict[str, Callable[[], int]] = {
    "build": release,
    "contents": contents,
    "importer": importer,
    "sanity": sanity,
}


def main(arguments: Sequence[str]) -> int:
    """Do what was asked for."""
    if len(arguments) != 1 or arguments[0] not in ACTIONS:
        print(f"name one of {', '.join(ACTIONS)}", file=sys.stderr)
        return 2
    return ACTIONS[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
