# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try every supported ansible-core on every supported Debian, and write docs/matrix.md. Run by ``make matrix``.

``matrix.py`` tries all cells, ``matrix.py 2.19 trixie`` those that are named. A cell is an estate of three bare hosts,
reached over SSH by a user with sudo, and an environment that holds nothing but ansible-core: a dry run, a run, a run
that changes nothing, a rollout, its status. HAProxy, PostgreSQL, Patroni and the hosts' Python come with the Debian.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import estate

PAGE = estate.ROOT / "docs" / "matrix.md"
SCENARIO = "ssh"
INVENTORY = estate.ROOT / "molecule" / SCENARIO / "inventory"
CORES = {"2.19": "~=2.19.0", "2.20": "~=2.20.0", "2.21": "~=2.21.0", "2.22": ">=2.22.0rc1,<2.23"}
"""Controllers, with what pip is asked for; the last one as a release candidate until its release is there."""
SUITES = {
    "bookworm": "Debian 12: Python 3.11, HAProxy 2.6, PostgreSQL 15, Patroni 3.0",
    "trixie": "Debian 13: Python 3.13, HAProxy 3.0, PostgreSQL 17, Patroni 4.0",
}
BALANCER = "http://10.210.0.11"
STEPS = ("check", "site", "again", "rollout", "status")

PROSE = """# What it runs on

`make matrix` tries every cell: three bare hosts, reached over SSH by a user with sudo, and a controller that holds
nothing but that ansible-core. A dry run, a run, a run that changes nothing, a rollout, its status. HAProxy, PostgreSQL,
Patroni and the hosts' Python come with the Debian release. `make matrix CORE=2.19 SUITE=trixie` tries one cell.

{table}

`make test` runs the newest controller of `requirements.txt` on both: the whole estate on Debian 13 (`default` and all
that shares its hosts), a smaller one on Debian 12 (`interrupted`), and both in one estate (`app`, `galaxy`, `haproxy`,
`rollout`).
`PYTHON=python3.11 make test` runs all of it on ansible-core 2.19.
"""
ONE_NODE = {"rollout_min_available": 0}
"""The small estate has one host of the service: a rollout has to be told that it may be away for a moment."""


def controller(core: str) -> tuple[Path, str]:
    """An environment with this ansible-core and nothing else; where its programs are, and its exact version."""
    home = estate.ROOT / ".cache" / "matrix" / core
    if not (home / "bin" / "ansible-playbook").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"ansible-core{CORES[core]}"], check=True)
    shown = subprocess.run([home / "bin" / "ansible", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\[core (\S+?)\]", shown)
    return home / "bin", found[1] if found else core


def cell(programs: Path, core: str, suite: str) -> str:
    """Try one cell; the step that failed, or nothing."""
    estate.clear(SCENARIO)
    for action in ("create", "prepare"):
        estate.molecule(action, SCENARIO, title=f"{suite}: {action}", MESOPS_SUITE=suite)
    python = estate.PYTHON_OF[suite]
    note = json.loads(estate.build_release(suite, "1.0.1").read_text(encoding="utf-8"))
    estate.build_release(suite)
    release = {"rollout_service": "mes", **{f"rollout_{key}": value for key, value in note.items()}}
    base: list[str | Path] = [programs / "ansible-playbook", "-i", INVENTORY, "-u", "deploy"]
    base += ["-e", f"mes_python={python.replace('.', '')}"]
    commands: Mapping[str, list[str | Path]] = {
        "check": [*base, "site.yml", "--check", "--diff"],
        "site": [*base, "site.yml"],
        "again": [*base, "site.yml"],
        "rollout": [*base, "playbooks/rollout.yml", "-e", json.dumps(release), "-e", json.dumps(ONE_NODE)],
        "status": [*base, "playbooks/status.yml"],
    }
    for name in STEPS:
        log = estate.BUILD / "matrix" / f"{core}-{suite}-{name}.log"
        done = estate.step(
            f"core {core}, {suite}: {name}", commands[name], log=log, check=False, PATH=os.environ["PATH"]
        )
        recap = estate.Recap.read(done.stdout, done.returncode)
        if done.returncode or not recap.hosts or (name == "again" and recap.changed()):
            return f"{name} (see {log.relative_to(estate.ROOT)})"
    status, body, _headers = estate.get(f"{BALANCER}/version", headers={"Host": "mes.demo.example"})
    return "" if status == 200 and json.loads(body)["version"] == "1.0.1" else f"answers {status}: {body}"


def page(results: Mapping[tuple[str, str], str]) -> str:
    """The page with these results in the place of older ones."""
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    cells = {
        (core, suite): text.strip()
        for core, row in re.findall(r"^\| (2\.\d+) \|(.+)\|$", old, re.MULTILINE)
        for suite, text in zip(SUITES, row.split("|"), strict=True)
    }
    cells.update(results)
    rows = "\n".join(
        f"| {core} | {' | '.join(cells.get((core, suite), 'not tried') for suite in SUITES)} |" for core in CORES
    )
    head = f"| ansible-core | {' | '.join(SUITES.values())} |\n| --- | {' | '.join('---' for _suite in SUITES)} |"
    return PROSE.format(table=f"{head}\n{rows}")


def main(wanted: Sequence[str]) -> int:
    """Try what is wanted, and put each result on the page as soon as it is there."""
    unknown = [name for name in wanted if name not in {*CORES, *SUITES}]
    if unknown:
        print(f"unknown {unknown[0]!r}: name {', '.join((*CORES, *SUITES))}, or none for all", file=sys.stderr)
        return 2
    failed = 0
    for core in [name for name in CORES if name in wanted] or CORES:
        programs, version = controller(core)
        for suite in [name for name in SUITES if name in wanted] or SUITES:
            trouble = cell(programs, core, suite)
            failed += bool(trouble)
            verdict = f"**fails**: {trouble}" if trouble else "works"
            day = time.strftime("%Y-%m-%d", time.gmtime())
            PAGE.write_text(page({(core, suite): f"{verdict}, {version}, {day}"}), encoding="utf-8")
            print(f"{'FAILED' if trouble else 'ok':>7}  ansible-core {version}, {suite}  {trouble}", flush=True)
            estate.clear(SCENARIO)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
