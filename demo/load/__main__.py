"""Command line of the load client and its audit."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .audit import compare, fetch
from .config import RETRY_MODES, ConfigError, LoadConfig
from .ledger import LedgerError, read_ledger


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo.load", description="Open-loop load for the MES, and its audit.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="send orders and reads at a steady rate")
    run.add_argument("--target", action="append", required=True, help="base URL; repeat it for every address")
    run.add_argument("--rate", type=float, default=50.0, help="requests per second, orders and reads together (50)")
    length = run.add_mutually_exclusive_group(required=True)
    length.add_argument("--orders", type=int, help="end after so many orders; reads come on top")
    length.add_argument("--count", type=int, help="end after so many requests")
    length.add_argument("--duration", type=float, help="end after so many seconds")
    run.add_argument("--reads", type=float, default=0.0, help="share of GET requests, 0 to 1 (0)")
    run.add_argument("--retry", choices=RETRY_MODES, default="none", help="what to do on failure (none)")
    run.add_argument("--timeout", type=float, default=5.0, help="seconds for one attempt (5)")
    run.add_argument("--deadline", type=float, default=60.0, help="seconds for all attempts of one request (60)")
    run.add_argument("--max-in-flight", type=int, default=1000, help="requests under way at most (1000)")
    run.add_argument("--polygons", type=int, default=1000, help="polygons of every order (1000)")
    run.add_argument("--host", help="Host header, where the address alone does not choose the service")
    run.add_argument("--ca-file", help="certificates to trust, for https targets")
    run.add_argument("--ledger", help="file that gets one JSON line per order (appended)")
    run.add_argument("--requests", help="file that gets one line per request (overwritten)")
    run.add_argument("--report", help="file that gets the summary as JSON")
    run.add_argument("--fail-on-failure", action="store_true", help="exit code 1 if any request failed")
    audit = commands.add_parser("audit", help="compare a ledger with the database")
    audit.add_argument("--ledger", required=True, help="file written by `run`")
    audit.add_argument(
        "--database", default=os.environ.get("MES_DATABASE_RW"), help="libpq connection string (MES_DATABASE_RW)"
    )
    audit.add_argument("--wait", type=float, default=30.0, help="seconds to wait for a database that is away (30)")
    audit.add_argument("--report", help="file that gets the verdict as JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    from .client import run_load  # noqa: PLC0415

    values = {name: value for name, value in vars(options).items() if name in LoadConfig.__dataclass_fields__}
    report = run_load(LoadConfig(targets=tuple(options.target), **values))
    print(report.table())
    return 1 if options.fail_on_failure and report.failed else 0


def _audit(options: argparse.Namespace) -> int:
    import psycopg  # noqa: PLC0415

    if not options.database:
        raise ConfigError("No database is given; use --database or set MES_DATABASE_RW.")
    ledger = read_ledger(options.ledger)
    try:
        stored = fetch(options.database, ledger.runs, options.wait)
    except psycopg.Error as error:
        print(f"load: the database cannot be read: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    verdict = compare(ledger, stored)
    print(verdict.table())
    if options.report:
        Path(options.report).write_text(verdict.to_json(), encoding="utf-8")
    return 0 if verdict.clean else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 is good, 1 is lost, doubled or failed, 2 is bad input."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options) if options.command == "run" else _audit(options)
    except (ConfigError, LedgerError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
