# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the roles and databases of a PostgreSQL server. No Ansible in here.

What the server has comes in as plain data, what it needs goes out as SQL statements. A password never appears in a
statement: the server gets a verifier of it, so that no statement log can hold the password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._postgres.verifiers import (
    password_matches,
    scram_verifier,
)

SALT_BYTES = 16
FLAGS = {
    "SUPERUSER": ("rolsuper", True),
    "NOSUPERUSER": ("rolsuper", False),
    "CREATEDB": ("rolcreatedb", True),
    "NOCREATEDB": ("rolcreatedb", False),
    "CREATEROLE": ("rolcreaterole", True),
    "NOCREATEROLE": ("rolcreaterole", False),
    "LOGIN": ("rolcanlogin", True),
    "NOLOGIN": ("rolcanlogin", False),
    "REPLICATION": ("rolreplication", True),
    "NOREPLICATION": ("rolreplication", False),
    "INHERIT": ("rolinherit", True),
    "NOINHERIT": ("rolinherit", False),
    "BYPASSRLS": ("rolbypassrls", True),
    "NOBYPASSRLS": ("rolbypassrls", False),
}
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_NAME_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
"""Settings that PostgreSQL keeps as lists of names, quoted where a name needs it (``GUC_LIST_QUOTE``)."""
_LISTED = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s",]+))\s*(,|\Z)')

READ_ROLES = """SELECT coalesce(json_agg(r), '[]') FROM (
SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolreplication, rolinherit, rolbypassrls,
rolconnlimit, coalesce(rolpassword, '') AS verifier,
ARRAY(SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = a.oid AND setdatabase = 0) AS settings,
ARRAY(SELECT g.rolname FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid WHERE m.member = a.oid) AS member_of
FROM pg_authid a) r;"""
READ_DATABASES = """SELECT coalesce(json_agg(d), '[]') FROM (
SELECT datname, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE NOT datistemplate) d;"""
READ_EXTENSIONS = "SELECT coalesce(json_agg(extname), '[]') FROM pg_extension;"

Row = Mapping[str, Any]


class AccessError(Exception):
    """The wish cannot be granted; the text is one sentence for the user."""


# --- SQL ----------------------------------------------------------------------------------------------------


def literal(value: str) -> str:
    """A SQL string constant."""
    if "\0" in value:
        raise AccessError("A value for PostgreSQL holds a null byte; remove it.")
    quoted = value.replace("'", "''")
    if "\\" in quoted:
        return " E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def identifier(value: str) -> str:
    """A quoted SQL name."""
    if not value or "\0" in value or len(value.encode()) > 63:
        raise AccessError(f"{value!r} is no PostgreSQL name; use 1 to 63 bytes without a null byte.")
    return '"' + value.replace('"', '""') + '"'


# --- plan ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One change: the statement, the database it belongs to, and words for the report that hold no secret."""

    sql: str
    says: str
    database: str = "postgres"


def plan_users(users: Sequence[Row], roles: Sequence[Row], salt: Callable[[int], bytes] = os.urandom) -> list[Step]:
    """Statements that bring the server's ``roles`` to ``users``. Roles that are not named stay as they are."""
    have = {row["rolname"]: row for row in roles}
    steps: list[Step] = []
    for user in users:
        steps.extend(_plan_user(user, have.get(user["name"]), salt))
    for user in users:
        current = have.get(user["name"], {}).get("member_of", [])
        steps.extend(
            Step(f"GRANT {identifier(group)} TO {identifier(user['name'])};", f"grant {group} to {user['name']}")
            for group in user.get("member_of") or []
            if group not in current
        )
    return steps


def _plan_user(user: Row, row: Row | None, salt: Callable[[int], bytes]) -> list[Step]:
    name = user["name"]
    flags = [flag.upper() for flag in user.get("flags") or []]
    unknown = [flag for flag in flags if flag not in FLAGS]
    if unknown:
        raise AccessError(f"{unknown[0]!r} is no flag of a PostgreSQL role; use {', '.join(FLAGS)}.")
    if not any(flag in ("LOGIN", "NOLOGIN") for flag in flags):
        flags.append("LOGIN")
    limit = user.get("connection_limit")
    changes = [flag for flag in flags if row is None or row[FLAGS[flag][0]] is not FLAGS[flag][1]]
    words = [flag.lower() for flag in changes]
    if limit is not None and (row is None or row["rolconnlimit"] != limit):
        changes.append(f"CONNECTION LIMIT {int(limit)}")
        words.append(f"connection limit {int(limit)}")
    password = user.get("password")
    if password and (row is None or not password_matches(password, row["verifier"])):
        changes.append("PASSWORD " + literal(scram_verifier(password, salt(SALT_BYTES))))
        words.append("password")
    steps = []
    if changes or row is None:
        verb = "CREATE" if row is None else "ALTER"
        says = f"{verb.lower()} role {name} ({', '.join(words)})"
        steps.append(Step(f"{verb} ROLE {identifier(name)} WITH {' '.join(changes)};", says))
    return steps + _plan_settings(name, user.get("settings") or {}, (row or {}).get("settings", []))


def _plan_settings(name: str, wanted: Row, stored: Sequence[str]) -> list[Step]:
    """Statements for a role's settings that differ; ``stored`` has "key=value", as PostgreSQL spells them."""
    current = {key.lower(): value for key, value in (entry.split("=", 1) for entry in stored)}
    steps = []
    for key, value in wanted.items():
        if not _SETTING.match(key):
            raise AccessError(f"{key!r} is no PostgreSQL setting; use a name such as lock_timeout.")
        listed = key.lower() in _NAME_LISTS
        if isinstance(value, list):
            items = [_setting(item) for item in value] or [""]
        else:
            items = _names(key, _setting(value)) if listed else [_setting(value)]
        text = ", ".join(items)
        found = current.get(key.lower())
        if found is None or (_listed(found) != items if listed else found != text):
            sql = f"ALTER ROLE {identifier(name)} SET {key} TO {', '.join(literal(item) for item in items)};"
            steps.append(Step(sql, f"{name}: {key} = {text}"))
    return steps


def _names(key: str, text: str) -> list[str]:
    """The names that a user has written as text."""
    found = _listed(text)
    if found is None:
        raise AccessError(f'{key} is {text!r}, which is no list of names; write app, public or "$user", public.')
    return found


def _listed(text: str) -> list[str] | None:
    """The names in a list such as ``"$user", public``; as in SQL, a name without quotes is in lower case.

    None when it is no such list. An empty text is the empty name, as PostgreSQL has it.
    """
    found, at = [], 0
    while text.strip():
        match = _LISTED.match(text, at)
        if not match:
            return None
        quoted, bare, end = match.groups()
        found.append(quoted.replace('""', '"') if bare is None else bare.lower())
        at = match.end()
        if not end:
            break
    return found or [""]


def _setting(value: object) -> str:
    """A setting's value as PostgreSQL spells it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def plan_databases(databases: Sequence[Row], current: Sequence[Row]) -> list[Step]:
    """Statements for missing databases and for other owners. Databases that are not named stay as they are."""
    have = {row["datname"]: row["owner"] for row in current}
    steps = []
    for database in databases:
        name, owner = database["name"], database["owner"]
        if name not in have:
            steps.append(
                Step(
                    f"CREATE DATABASE {identifier(name)} OWNER {identifier(owner)};",
                    f"create database {name} owned by {owner}",
                )
            )
        elif have[name] != owner:
            steps.append(
                Step(f"ALTER DATABASE {identifier(name)} OWNER TO {identifier(owner)};", f"give {name} to {owner}")
            )
    return steps


def plan_extensions(database: Row, current: Sequence[str]) -> list[Step]:
    """Statements for the extensions that a database lacks."""
    return [
        Step(
            f"CREATE EXTENSION {identifier(name)};", f"create extension {name} in {database['name']}", database["name"]
        )
        for name in database.get("extensions") or []
        if name not in current
    ]


# --- the module's flow --------------------------------------------------------------------------------------

Query = Callable[[str, str], Any]
"""``query(database, sql)``: the JSON that one statement gives."""
Execute = Callable[[str, str], None]
"""``execute(database, sql)``: one statement for its effect."""


def converge(users: Sequence[Row], databases: Sequence[Row], query: Query, execute: Execute, check: bool) -> list[str]:
    """Bring users, then databases, then extensions to what is wanted; the changes in words."""
    done: list[str] = []

    def run(steps: Sequence[Step]) -> None:
        for step in steps:
            if not check:
                execute(step.database, step.sql)
            done.append(step.says)

    run(plan_users(users, query("postgres", READ_ROLES)))
    current = query("postgres", READ_DATABASES) if databases else []
    present = {row["datname"] for row in current}
    run(plan_databases(databases, current))
    for database in databases:
        if database.get("extensions"):
            known = database["name"] in present or not check
            run(plan_extensions(database, query(database["name"], READ_EXTENSIONS) if known else []))
    return done
