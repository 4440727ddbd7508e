"""Command line: `serve` and `migrate`. Heavy imports stay inside, because price workers import this module too."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="mes", description="MES order service; settings come from the environment.")
    parser.add_argument("command", choices=("serve", "migrate"))
    command = parser.parse_args(arguments).command

    from . import faults, logs, settings  # noqa: PLC0415

    try:
        wrong = faults.load(Path(__file__).resolve().parent.parent)
        if wrong.never_starts if command == "serve" else wrong.expand_fails:
            print(f"mes: `mes {command}` of this release fails on purpose", file=sys.stderr)
            return 1
        given = settings.load()
        if command == "migrate":
            return _migrate(given)
        logs.configure(given.log_level, service="mes", node=given.node)
        # Nothing of what these imports make is ever garbage: looking for it would cost a tenth of the start.
        gc.disable()
        from .server import serve  # noqa: PLC0415

        gc.freeze()
        gc.enable()
        return serve(given, wrong)
    except (faults.FaultError, settings.SettingsError) as error:
        print(f"mes: {error}", file=sys.stderr)
        return 2


def _migrate(given: object) -> int:
    import asyncio  # noqa: PLC0415

    import psycopg  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415

    from . import schema  # noqa: PLC0415
    from .database import complete_conninfo, first_line  # noqa: PLC0415
    from .settings import Settings  # noqa: PLC0415

    assert isinstance(given, Settings)
    conninfo = complete_conninfo(given.database_rw, "MES_DATABASE_RW", "rw")

    async def run() -> int:
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True, row_factory=dict_row) as conn:
            return await schema.migrate(conn)

    try:
        steps = asyncio.run(run())
    except (psycopg.Error, OSError) as error:
        print(f"mes: the database cannot be migrated: {first_line(error)}", file=sys.stderr)
        return 1
    print(f"mes: schema is up to date, {steps} steps applied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
