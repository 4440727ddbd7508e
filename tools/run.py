# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole test run: lint, unit tests, every Molecule scenario; one closing line with the counts.

``run.py`` runs everything, ``run.py lint unit haproxy`` only what is named. Logs go to ``build/``. Linters and unit
tests come first, but for three linters that take minutes: where scenarios are wanted too, these run beside them in what
they leave of the processors, and say what they find when they find it.
A linter, and each Molecule action of a scenario (check, converge, idempotence ...), counts as one test; every pytest
case counts as itself.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import estate

Item = TypeVar("Item")
Result = TypeVar("Result")

BIN, ROOT, BUILD = estate.BIN, estate.ROOT, estate.BUILD
FULL = os.environ.get("MESOPS_TEST") == "full"
STEP_DEADLINE = 4 * 3600 if FULL else 2700
ASIDE_DEADLINE = 4 * 3600
"""A command that gives way to all others may have to wait until they have ended."""
FULL_ONLY = ("debian-12", "move-over")
"""Scenarios that run when they are named, or with MESOPS_TEST=full, for what they take."""
AT_ONCE = 2
"""How many linters, and how many chains of scenarios, run side by side. On two processors a third starves clients."""
LONGEST_REASON = 200
"""Characters of a failed test's reason that the closing lines show."""
LONG = (estate.OWNER, "rollout")
"""Scenarios whose chains begin first, for the run ends no sooner than they do."""
WORKFLOWS = (
    ".github/workflows/ci.yml",
    "docs/pipelines/github-actions.yml",
    "docs/pipelines/github-actions-environment.yml",
)
PIPELINES = (".gitlab-ci.yml", "docs/pipelines/gitlab-ci.yml")
LINTERS: dict[str, Sequence[str]] = {
    # The longest begin first.
    "ansible-test sanity": ("python", "tools/package.py", "sanity"),
    "ansible-lint": ("ansible-lint", "--offline", "--profile", "production"),
    "galaxy-importer": ("python", "tools/package.py", "importer"),
    "mypy": ("mypy",),
    "documentation": ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."),
    "ruff": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "yamllint": ("yamllint", "--strict", "."),
    "changelog": ("antsibull-changelog", "lint"),
    "spelling": ("codespell",),
    "github": ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS),
    "gitlab": ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", *PIPELINES),
    # The pipelines call each other by where they lie in a service's repository.
    "actionlint": ("actionlint", "-ignore", "could not read reusable workflow", *WORKFLOWS),
    "archive contents": ("python", "tools/package.py", "contents"),
}
SLOW_LINTERS = ("ansible-test sanity", "ansible-lint", "galaxy-importer")
"""Linters that run aside while scenarios run, which leave a sixth of two processors."""
# Where the kernel groups processes by session, nice weighs only within a session, and this weighs the session itself.
ASIDE = ("sh", "-c", '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 "$@"', "aside")
"""Starts a command that is the first of its session, to give way to all others."""
ELSEWHERE = {"actionlint": "it is in no Python package; install it as its own project says, and it runs here too"}
"""Linters that do not come with requirements.txt, and why."""


@dataclass
class Count:
    """How many tests ended in which way, and the names of those that did not pass."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Take over what was counted elsewhere."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def one(self, name: str, passed: bool) -> bool:
        """Count one test."""
        if passed:
            self.passed += 1
        else:
            self.failed.append(name)
        return passed

    def junit(self, report: Path, suite: str) -> None:
        """Count the cases of a pytest run; a run that left no report or no case has failed."""
        cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.exists() else []
        if not cases:
            self.failed.append(f"{suite}: pytest ran no test")
        for case in cases:
            name = f"{suite}: {case.get('name')}"
            skip = case.find("skipped")
            if skip is not None:
                self.skipped.append(f"{name} ({skip.get('message')})")
            else:
                wrong = next((found for kind in ("failure", "error") if (found := case.find(kind)) is not None), None)
                self.one(name if wrong is None else f"{name} ({why(wrong.text or '')})", wrong is None)


def why(traceback: str) -> str:
    """Where a test has failed, and the first that pytest says of it, each in a line that is not too long."""
    places = re.findall(r"^(\S+:\d+): ", traceback, re.MULTILINE)
    said = re.search(r"^E +(.*)", traceback, re.MULTILINE)
    reason = said[1][:LONGEST_REASON] if said else "no reason known"
    return f"{' < '.join(reversed(places)) or 'no place known'}: {reason}"


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE) -> list[Result]:
    """Work on several items at the same time, beginning in their order; the results in that order."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))


def execute(title: str, command: Sequence[str | Path], log: Path, *, aside: bool = False, **environment: str) -> bool:
    """Run one command with its output in a log; the last lines are shown when it fails."""
    deadline = ASIDE_DEADLINE if aside else STEP_DEADLINE
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with log.open("w", encoding="utf-8") as sink:
        try:
            status = subprocess.run(
                [*(ASIDE if aside else ()), *(str(word) for word in command)],
                start_new_session=aside,
                cwd=ROOT,
                env={**estate.environment(), "COLUMNS": "160", **environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=deadline,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
            sink.write(f"\nended after {deadline} s\n")
    verdict = "ok" if status == 0 else "FAILED"
    print(f"{verdict:>7} {time.monotonic() - begin:6.1f} s  {title}", flush=True)
    if status != 0:
        print("".join(f"        | {line}\n" for line in log.read_text(errors="replace").splitlines()[-60:]), flush=True)
    return status == 0


def lint(names: Sequence[str], *, aside: bool = False) -> Count:
    """Run linters, also when an earlier one complains; those that run aside one after the other."""
    count = Count()

    def passes(name: str) -> bool | None:
        program, *arguments = LINTERS[name]
        found = shutil.which(program) if name in ELSEWHERE else BIN / program
        log = BUILD / f"lint-{name.replace(' ', '-')}.log"
        # ansible-lint prefers a collection of this name that is installed in the user's own directory.
        home = str(BUILD / "ansible-home")
        return execute(name, [found, *arguments], log, aside=aside, ANSIBLE_HOME=home) if found else None

    for name, passed in zip(names, side_by_side(passes, names, 1 if aside else AT_ONCE)):
        if passed is None:
            count.skipped.append(f"lint: {name} ({ELSEWHERE[name]})")
        else:
            count.one(name, passed)
    return count


def unit(count: Count) -> None:
    """Run the unit tests."""
    report = BUILD / "junit-unit.xml"
    report.unlink(missing_ok=True)
    execute("unit", [BIN / "pytest", "-q", "-n", "auto", f"--junitxml={report}"], BUILD / "unit.log")
    count.junit(report, "unit")


def molecule(count: Count, scenario: str, *actions: str) -> bool:
    """Run Molecule actions of one scenario in order, up to the first that fails."""
    for action in actions:
        report = BUILD / f"junit-{scenario}.xml"
        report.unlink(missing_ok=True)
        title = f"{scenario}: {action}"
        passed = execute(
            title,
            [BIN / "molecule", action, "-s", scenario],
            BUILD / f"molecule-{scenario}-{action}.log",
            PYTEST_ADDOPTS=f"--junitxml={report}",
            MOLECULE_EPHEMERAL_DIRECTORY=str(estate.scratch(scenario)),
        )
        if action == "verify":
            count.junit(report, scenario)
        else:
            count.one(title, passed)
        if not passed:
            return False
    return True


def definitions() -> dict[str, dict[str, Any]]:
    """Every scenario with its definition, the owner of the shared hosts first."""
    names = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return {name: estate.definition(name) for name in (estate.OWNER, *names)}


def actions(scenario: str) -> list[str]:
    """What is to be done in a scenario whose hosts were cleared before and are cleared afterwards."""
    return [action for action in estate.definition(scenario)["scenario"]["test_sequence"] if action != "destroy"]


def hosts_of(scenario: str) -> str:
    """The scenario whose hosts this one uses: its own, or the owner's."""
    return estate.OWNER if estate.definition(scenario).get("shared_state") else scenario


def chains(wanted: Sequence[str]) -> list[list[str]]:
    """Scenarios that cannot run at the same time, for their hosts have the same names; the longest chains first."""
    found: dict[str, list[str]] = {}
    for name in sorted(wanted, key=lambda name: hosts_of(name) != estate.OWNER):
        first = estate.definition(hosts_of(name))["platforms"][0]["name"]
        found.setdefault(first, []).append(name)
    return sorted(found.values(), key=lambda names: not set(LONG).intersection(names))


def chain(names: Sequence[str]) -> Count:
    """Run scenarios one after the other; those that share hosts follow each other, on new ones where one has failed."""
    count = Count()
    for hosts, some in itertools.groupby(names, hosts_of):
        as_found = False
        for name in some:
            if not as_found:
                # What a scenario that failed has left would fail those that come after it.
                estate.clear(hosts)
                if "create" not in actions(name):
                    molecule(count, hosts, "create")
            # Each scenario leaves the estate as it found it, unless it failed.
            as_found = molecule(count, name, *[one for one in actions(name) if not (as_found and one == "converge")])
        estate.clear(hosts)
    return count


def hosts_can_be_made() -> bool:
    """Set up what the test hosts are made of."""
    ready = execute("Docker Engine and SSH client", [ROOT / "molecule/hosts/setup"], BUILD / "setup.log")
    for suite in estate.PYTHON_OF if ready else ():
        image: list[str | Path] = [ROOT / "molecule/hosts/image", suite]
        ready = execute(f"base image {suite}", image, BUILD / f"image-{suite}.log") and ready
        tag = estate.PYTHON_OF[suite]
        build = estate.release_command(suite)
        ready = execute(f"reference service for Python {tag}", build, BUILD / f"release-{tag}.log") and ready
    return ready


def scenarios(count: Count, wanted: Sequence[str]) -> None:
    """Run the wanted scenarios, side by side those that have hosts of their own."""
    if count.one("test hosts", hosts_can_be_made()):
        for done in side_by_side(chain, chains(wanted)):
            count.add(done)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for and print the closing line."""
    known = definitions()
    unknown = [name for name in arguments if name not in {"lint", "unit", *known}]
    if unknown:
        print(f"unknown part {unknown[0]!r}: name lint, unit or a scenario ({', '.join(known)})", file=sys.stderr)
        return 2
    begin = time.monotonic()
    unasked = [name for name in known if FULL or name not in FULL_ONLY]
    wanted = [name for name in known if name in arguments] if arguments else unasked
    linters = list(LINTERS) if not arguments or "lint" in arguments else []
    aside = [name for name in linters if wanted and name in SLOW_LINTERS]
    count = lint([name for name in linters if name not in aside])
    if not arguments or "unit" in arguments:
        unit(count)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lint, aside, aside=True)
        if wanted:
            scenarios(count, wanted)
    count.add(slow.result())
    for name in count.skipped:
        print(f"skipped  {name}")
    for name in count.failed:
        print(f"FAILED   {name}")
    minutes, seconds = divmod(int(time.monotonic() - begin), 60)
    print(f"{minutes} min {seconds} s, {os.cpu_count()} cores, logs in build/")
    print(f"{count.passed} passed, {len(count.failed)} failed, {len(count.skipped)} skipped", flush=True)
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
