"""Load in a process of its own, for tests that break things meanwhile. Standard library only."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from .config import LoadConfig
from .report import Report
from .windows import RequestLog, parse

_ROOT = Path(__file__).resolve().parent.parent.parent


class BackgroundLoad:
    """Runs the load client as a subprocess.

    with BackgroundLoad(LoadConfig(targets=(...), rate=50, duration=120, retry="safe")) as load:
        ...break something...
        load.wait_for_acknowledged(500)
        since = load.now()
        ...repair it...
    load.report.acknowledged
    windows.p99(load.log().requests, since)
    """

    def __init__(self, config: LoadConfig, python: str = sys.executable, directory: str | None = None) -> None:
        self._scratch = Path(directory or tempfile.mkdtemp(prefix="mes-load-"))
        self.config = replace(
            config,
            ledger=config.ledger or str(self._scratch / "ledger.jsonl"),
            requests=config.requests or str(self._scratch / "requests.txt"),
            report=config.report or str(self._scratch / "report.json"),
        )
        self.ledger = Path(str(self.config.ledger))
        self._log_file = Path(str(self.config.requests))
        self._report_file = Path(str(self.config.report))
        self._errors = self._scratch / "errors.txt"
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier = 0
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report, once the load has ended."""
        if self._report is None:
            raise RuntimeError("the load has not ended yet")
        return self._report

    def start(self, timeout: float = 30.0) -> BackgroundLoad:
        """Start, and return when the first order has been acknowledged (or the first request answered, if all read)."""
        self._earlier = self._count()
        self._report_file.unlink(missing_ok=True)
        self._log_file.unlink(missing_ok=True)
        command = [self._python, "-m", "demo.load", "run", *self.config.to_arguments()]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        try:
            if self.config.reads < 1:
                self.wait_for_acknowledged(1, timeout)
            else:
                self._wait(self._has_answer, timeout, "answered request")
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def pid(self) -> int:
        """The process id of the load client, while it runs."""
        return self._running().pid

    def acknowledged(self) -> int:
        """Return how many orders have been acknowledged so far."""
        return self._count() - self._earlier

    def log(self) -> RequestLog:
        """Return what has become of every request so far; `windows` has the arithmetic."""
        with self._log_file.open(encoding="utf-8") as stream:
            return parse(stream)

    def now(self) -> float:
        """Return the seconds since the run began: the edge of a window."""
        with self._log_file.open(encoding="utf-8") as stream:
            return time.monotonic() - parse([stream.readline()]).monotonic

    def wait_for_acknowledged(self, number: int, timeout: float = 60.0) -> None:
        """Wait until so many orders have been acknowledged in all."""
        self._wait(lambda: self.acknowledged() >= number, timeout, f"{number} acknowledged orders")

    def stop(self, timeout: float = 30.0) -> Report:
        """End the load early and return its report."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self.wait(timeout)

    def wait(self, timeout: float = 600.0) -> Report:
        """Let the load run to its own end and return its report."""
        process = self._running()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the load did not end within {timeout:g} s; {self._said()}") from None
        if code != 0 or not self._report_file.exists():
            raise RuntimeError(f"the load ended with exit code {code}; {self._said()}")
        self._report = Report.from_json(self._report_file.read_text(encoding="utf-8"))
        return self._report

    def kill(self) -> None:
        """End the process without a report; the ledger keeps what was acknowledged."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> BackgroundLoad:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        elif self._report is None:
            self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the load has not been started")
        return self._process

    def _count(self) -> int:
        try:
            return self.ledger.read_bytes().count(b'"outcome":"acknowledged"')
        except FileNotFoundError:
            return 0

    def _has_answer(self) -> bool:
        return self._log_file.exists() and b" ok " in self._log_file.read_bytes()

    def _said(self) -> str:
        text = self._errors.read_text(encoding="utf-8", errors="replace").strip() if self._errors.exists() else ""
        return f"it said: {text[-2000:]}" if text else "it said nothing"

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            code = self._running().poll()
            if code is not None and not condition():
                raise RuntimeError(f"the load ended (exit code {code}) before {what}; {self._said()}")
            if time.monotonic() >= deadline:
                raise TimeoutError(f"no {what} within {timeout:g} s; {self._said()}")
            time.sleep(0.05)
