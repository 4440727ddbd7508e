"""Command line: `serve` and `migrate`. Heavy imports stay inside, because price workers import this module too."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="mes", description="MES order service; settings come from the environment.")
    parser.add_argument("command", choices=("serve", "migrate"))
    command = parser.parse_args(arguments).command

    from . import logs, settings  # noqa: PLC0415

    try:
        given = settings.load()
        if command == "migrate":
            return _migrate(given)
        logs.configure(given.log_level, service="mes", node=given.node)
        from .server import serve  # noqa: PLC0415

        return serve(given)
    except settings.SettingsError as error:
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
