"""The load client: open-loop load, a ledger of every acknowledged order, and an audit of that ledger.

    python -m demo.load run --target http://10.203.0.11 --target http://10.203.0.12 --rate 200 --orders 10000 ...
    python -m demo.load audit --ledger orders.jsonl --database "host=... dbname=mes ..."

From Python: `run_load(LoadConfig(...))` in this process, `BackgroundLoad(LoadConfig(...))` in a process of its own.
Only running load needs httptools, only the audit needs psycopg; everything else is standard library.
"""

from __future__ import annotations

from .background import BackgroundLoad
from .config import ConfigError, LoadConfig
from .report import Report


def run_load(config: LoadConfig) -> Report:
    """Run the load in this process until it is done."""
    from .client import run_load as run  # noqa: PLC0415

    return run(config)


__all__ = ["BackgroundLoad", "ConfigError", "LoadConfig", "Report", "run_load"]
