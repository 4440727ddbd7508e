"""The audit: what the ledger says was acknowledged against what the database has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from .ledger import Ledger


@dataclass(frozen=True)
class StoredOrder:
    """A row of the database: the client wrote its key into the order's reference too."""

    id: int
    key: str
    reference: str | None


@dataclass
class Audit:
    """The verdict. Lists name up to 20 keys each; counts are complete."""

    acknowledged: int = 0
    exactly_once: int = 0
    lost: int = 0
    doubled: int = 0
    mismatched: int = 0
    unknown: int = 0
    unknown_stored: int = 0
    unknown_not_stored: int = 0
    unrecorded_stored: int = 0
    lost_keys: list[str] = field(default_factory=list)
    doubled_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every acknowledged order is stored exactly once, and no order twice."""
        return not (self.lost or self.doubled or self.mismatched)

    def to_json(self) -> str:
        """Return the audit as JSON."""
        return json.dumps({**asdict(self), "clean": self.clean}, indent=2) + "\n"

    def table(self) -> str:
        """Return the audit for people."""
        lines = [
            f"acknowledged {self.acknowledged}: stored exactly once {self.exactly_once}, lost {self.lost}, "
            f"doubled {self.doubled}, stored under another id {self.mismatched}",
            f"unknown      {self.unknown}: stored {self.unknown_stored}, not stored {self.unknown_not_stored}",
        ]
        if self.unrecorded_stored:
            lines.append(f"unrecorded   {self.unrecorded_stored} stored without a ledger line (the client was killed)")
        for name, keys in (
            ("lost", self.lost_keys),
            ("doubled", self.doubled_keys),
            ("other id", self.mismatched_keys),
        ):
            if keys:
                lines.append(f"{name + ':':<12} {', '.join(keys)}")
        return "\n".join(lines)


def compare(ledger: Ledger, stored: Iterable[StoredOrder]) -> Audit:
    """Compare, by key and by id."""
    ids: dict[str, set[int]] = {}
    for order in stored:
        ids.setdefault(order.key, set()).add(order.id)
        if order.reference is not None:
            ids.setdefault(order.reference, set()).add(order.id)
    audit = Audit(acknowledged=len(ledger.acknowledged), unknown=len(ledger.unknown))
    lost, mismatched = [], []
    for key, acknowledged in ledger.acknowledged.items():
        found = ids.get(key, set())
        if not found:
            lost.append(key)
        elif len(found) == 1:
            if found == acknowledged:
                audit.exactly_once += 1
            else:
                mismatched.append(key)
    doubled = [key for key, found in ids.items() if len(found) > 1]
    audit.unknown_stored = sum(key in ids for key in ledger.unknown)
    audit.unknown_not_stored = audit.unknown - audit.unknown_stored
    audit.unrecorded_stored = sum(key not in ledger.acknowledged and key not in ledger.unknown for key in ids)
    audit.lost, audit.doubled, audit.mismatched = len(lost), len(doubled), len(mismatched)
    audit.lost_keys, audit.doubled_keys, audit.mismatched_keys = lost[:20], doubled[:20], mismatched[:20]
    return audit


def fetch(conninfo: str, runs: Sequence[str], wait: float) -> list[StoredOrder]:
    """Read what is stored of these runs; a database that is away is waited for."""
    import psycopg  # noqa: PLC0415

    patterns = [f"{run}-%" for run in runs]
    deadline = time.monotonic() + wait
    while True:
        try:
            with psycopg.connect(conninfo, connect_timeout=3, autocommit=True) as connection:
                rows = connection.execute(
                    "SELECT id, idempotency_key, reference FROM mes.orders"
                    " WHERE idempotency_key LIKE ANY(%s) OR reference LIKE ANY(%s)",
                    (patterns, patterns),
                ).fetchall()
            return [StoredOrder(*row) for row in rows]
        except psycopg.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)
