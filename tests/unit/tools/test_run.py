# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test run ends red and says why, whichever part fails and wherever it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import estate
import pytest
import run

Runs = Callable[..., "tuple[int, list[str]]"]
REPORT = '<testsuite><testcase name="test_one">{}</testcase></testsuite>'
BROKEN = """import pytest

def test_good():
    pass

def helper():
    text = "x" * 500
    assert False, text

@pytest.fixture
def broken():
    raise ValueError("no room")

def test_fixture(broken): pass

def test_long(): helper()
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runs:
    """Run with commands that do nothing but end well, or badly for those that are broken; what was printed."""

    def runs(*arguments: str, broken: str = "") -> tuple[int, list[str]]:
        def command(name: str) -> tuple[str, ...]:
            return ("false",) if name == broken else ("true",)

        def unit(count: run.Count) -> None:
            report = tmp_path / "junit.xml"
            report.write_text(REPORT.format("<failure/>" if broken == "unit" else ""), encoding="utf-8")
            count.junit(report, "unit")

        def scenarios(count: run.Count, wanted: list[str]) -> None:
            count.one("haproxy: verify", run.execute("haproxy: verify", command("haproxy"), tmp_path / "verify.log"))

        monkeypatch.setattr(run, "BIN", Path("/bin"))
        monkeypatch.setattr(run, "BUILD", tmp_path)
        monkeypatch.setattr(run, "LINTERS", {name: command(name) for name in ("ruff", *run.SLOW_LINTERS)})
        monkeypatch.setattr(run, "unit", unit)
        monkeypatch.setattr(run, "scenarios", scenarios)
        status = run.main(arguments)
        return status, capsys.readouterr().out.splitlines()

    return runs


@pytest.mark.parametrize("arguments", [(), ("lint", "unit", "haproxy")])
def test_all_is_run_and_counted(runs: Runs, arguments: tuple[str, ...]) -> None:
    status, said = runs(*arguments)
    assert (status, said[-1]) == (0, f"{3 + len(run.SLOW_LINTERS)} passed, 0 failed, 0 skipped")


@pytest.mark.parametrize("arguments", [(), ("lint", "unit"), ("lint", "unit", "haproxy")])
@pytest.mark.parametrize("broken", ["ruff", *run.SLOW_LINTERS])
def test_broken_linter_is_told_as_it_ends_and_at_the_end(runs: Runs, broken: str, arguments: tuple[str, ...]) -> None:
    status, said = runs(*arguments, broken=broken)
    assert status == 1
    assert [line.split()[0] for line in said if line.endswith(f" s  {broken}")] == ["FAILED"]
    assert f"FAILED   {broken}" in said
    assert ", 1 failed, " in said[-1]


def test_broken_unit_test_is_told(runs: Runs) -> None:
    status, said = runs(broken="unit")
    assert (status, "FAILED   unit: test_one (no place known: no reason known)" in said) == (1, True)


def test_failed_test_is_told_with_its_place_and_its_reason(tmp_path: Path) -> None:
    """Whoever reads a pipeline's last lines, and has no other, learns what was wrong."""
    (tmp_path / "test_it.py").write_text(BROKEN, encoding="utf-8")
    report = tmp_path / "junit.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
        f"--junitxml={report}",
        "test_it.py",
    ]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    count = run.Count()
    count.junit(report, "it")
    long = f"AssertionError: {'x' * 500}"[: run.LONGEST_REASON]
    assert sorted(count.failed) == [
        "it: test_fixture (test_it.py:12: ValueError: no room)",
        f"it: test_long (test_it.py:8 < test_it.py:16: {long})",
    ]
    assert count.passed == 1


def test_linters_that_run_aside_say_so_to_the_kernel(tmp_path: Path) -> None:
    log = tmp_path / "aside.log"
    show = 'nice; cut -d " " -f 6 /proc/$$/stat; echo $$; cat /proc/$$/autogroup 2>/dev/null || true'
    assert run.execute("aside", ["sh", "-c", show], log, aside=True)
    nice, session, process, *group = log.read_text(encoding="utf-8").split()
    assert (nice, session) == ("19", process)
    assert group[-1:] in ([], ["19"])


def test_scenario_that_failed_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []

    def molecule(_count: run.Count, scenario: str, *actions: str) -> bool:
        did.append(f"{scenario}: {' '.join(actions)}")
        return scenario != "leader-loss"

    monkeypatch.setattr(run, "molecule", molecule)
    monkeypatch.setattr(estate, "clear", lambda hosts: did.append(f"clear {hosts}"))
    run.chain(["default", "balancer-loss", "leader-loss", "orders", "releases", "haproxy"])
    whole = " ".join(run.actions("haproxy"))
    assert did == [
        "clear default",
        f"default: {' '.join(run.actions('default'))}",
        "balancer-loss: verify",
        "leader-loss: verify",
        "clear default",
        "default: create",
        "orders: converge verify",
        "releases: verify",
        "clear default",
        "clear haproxy",
        f"haproxy: {whole}",
        "clear haproxy",
    ]
