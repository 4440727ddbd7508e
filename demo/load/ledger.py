"""The ledger: one JSON line per order, written the moment its fate is known, so that a killed client loses none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class LedgerError(Exception):
    """The ledger cannot be read; the message is one sentence."""


_encode = json.JSONEncoder(separators=(",", ":")).encode


class LineWriter:
    """Writes lines to a file; each reaches the operating system at once, so that a kill loses none."""

    def __init__(self, path: str | None, mode: str = "ab") -> None:
        # One system call a line and nothing else: this runs for every request.
        self._stream = open(path, mode, buffering=0) if path else None  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            self._stream.close()

    def line(self, text: str) -> None:
        """Write one line, its end included."""
        if self._stream:
            self._stream.write(text.encode())


class LedgerWriter(LineWriter):
    """Appends to a ledger."""

    def write(self, outcome: str, **values: Any) -> None:
        """Write one line: outcome is run, acknowledged or unknown."""
        self.line(_encode({"outcome": outcome, **values}) + "\n")


@dataclass
class Ledger:
    """A ledger read back: keys and the order ids they were acknowledged with."""

    runs: list[str] = field(default_factory=list)
    acknowledged: dict[str, set[int]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)


def parse_ledger(lines: Iterable[str]) -> Ledger:
    """Read a ledger; a last line cut short by a kill is nothing that was acknowledged."""
    ledger = Ledger()
    pending = [line for line in lines if line.strip()]
    for number, line in enumerate(pending, start=1):
        try:
            entry = json.loads(line)
            outcome = entry["outcome"]
            if outcome == "run":
                ledger.runs.append(entry["run"])
            elif outcome == "acknowledged":
                ledger.acknowledged.setdefault(entry["key"], set()).add(entry["order_id"])
            elif outcome == "unknown":
                ledger.unknown.add(entry["key"])
            else:
                raise KeyError(outcome)
        except (ValueError, KeyError, TypeError):
            if number == len(pending) and not line.endswith("\n"):
                break
            raise LedgerError(f"Line {number} of the ledger is not one that the load client writes.") from None
    ledger.unknown -= set(ledger.acknowledged)
    return ledger


def read_ledger(path: str | Path) -> Ledger:
    """Read a ledger file."""
    try:
        with Path(path).open(encoding="utf-8") as stream:
            return parse_ledger(stream)
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read: {error.strerror}.") from None
