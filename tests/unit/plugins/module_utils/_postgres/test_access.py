# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._postgres import access
from ansible_collections.mesops.platform.plugins.module_utils._postgres.verifiers import scram_verifier

SALT = b"0123456789abcdef"


def salt(size: int) -> bytes:
    return SALT[:size]


def row(name: str, password: str = "", **changes: Any) -> dict[str, Any]:
    base = {
        "rolname": name,
        "rolsuper": False,
        "rolcreatedb": False,
        "rolcreaterole": False,
        "rolcanlogin": True,
        "rolreplication": False,
        "rolinherit": True,
        "rolbypassrls": False,
        "rolconnlimit": -1,
        "verifier": scram_verifier(password, SALT) if password else "",
        "settings": [],
        "member_of": [],
    }
    return {**base, **changes}


def test_quoting() -> None:
    assert access.literal("it's") == "'it''s'"
    assert access.literal("a\\'b") == " E'a\\\\''b'"
    assert access.identifier('we"ird') == '"we""ird"'
    for bad in ("", "a\0b", "x" * 64):
        with pytest.raises(access.AccessError):
            access.identifier(bad)
    with pytest.raises(access.AccessError):
        access.literal("a\0b")


def test_a_new_role_gets_everything_in_one_statement() -> None:
    user = {"name": "catalog", "password": "s3cret", "flags": ["CREATEDB"], "connection_limit": 5}
    (step,) = access.plan_users([user], [], salt)
    verifier = scram_verifier("s3cret", SALT)
    assert step.sql == f"CREATE ROLE \"catalog\" WITH CREATEDB LOGIN CONNECTION LIMIT 5 PASSWORD '{verifier}';"
    assert step.says == "create role catalog (createdb, login, connection limit 5, password)"
    assert "s3cret" not in step.sql + step.says


def test_a_role_as_wanted_needs_nothing() -> None:
    user = {
        "name": "catalog",
        "password": "s3cret",
        "flags": [],
        "connection_limit": -1,
        "member_of": ["pg_read_all_data"],
        "settings": {"lock_timeout": "5s", "jit": False, "search_path": ["a", "public"]},
    }
    have = row(
        "catalog",
        "s3cret",
        member_of=["pg_read_all_data"],
        settings=["lock_timeout=5s", "jit=off", "search_path=a, public"],
    )
    assert access.plan_users([user], [have], salt) == []


def test_only_what_differs_is_altered() -> None:
    user = {
        "name": "catalog",
        "password": "new",
        "flags": ["NOLOGIN", "NOSUPERUSER"],
        "member_of": ["readers"],
        "settings": {"lock_timeout": "9s", "search_path": ["a", "public"]},
    }
    steps = access.plan_users([user], [row("catalog", "old", settings=["lock_timeout=5s", "jit=off"])], salt)
    assert [step.sql for step in steps] == [
        f"ALTER ROLE \"catalog\" WITH NOLOGIN PASSWORD '{scram_verifier('new', SALT)}';",
        "ALTER ROLE \"catalog\" SET lock_timeout TO '9s';",
        "ALTER ROLE \"catalog\" SET search_path TO 'a', 'public';",
        'GRANT "readers" TO "catalog";',
    ]


SETTINGS = [
    # What is wanted, the statement's value, and what PostgreSQL 15 has made of it.
    ("search_path", "app, public", "'app', 'public'", "search_path=app, public"),
    ("search_path", ["app", "public"], "'app', 'public'", "search_path=app, public"),
    ("search_path", ' App ,"Public"', "'app', 'Public'", 'search_path=app, "Public"'),
    (
        "search_path",
        ["app", "$user", "Public", "user", "a b", 'q"x'],
        "'app', '$user', 'Public', 'user', 'a b', 'q\"x'",
        'search_path=app, "$user", "Public", "user", "a b", "q""x"',
    ),
    ("search_path", '"$user", public', "'$user', 'public'", 'search_path="$user", public'),
    ("search_path", "$user, public", "'$user', 'public'", 'search_path="$user", public'),
    ("Search_Path", "", "''", 'search_path=""'),
    ("search_path", [], "''", 'search_path=""'),
    ("search_path", ["it's", "a\\b"], "'it''s',  E'a\\\\b'", 'search_path="it\'s", "a\\b"'),
    (
        "session_preload_libraries",
        "auto_explain, $libdir/x",
        "'auto_explain', '$libdir/x'",
        'session_preload_libraries=auto_explain, "$libdir/x"',
    ),
    ("datestyle", "ISO, DMY", "'ISO, DMY'", "DateStyle=ISO, DMY"),
    ("DATESTYLE", ["iso", "dmy"], "'iso', 'dmy'", "DateStyle=iso, dmy"),
    ("timezone", "UTC", "'UTC'", "TimeZone=UTC"),
    ("my.App", "x", "'x'", "my.app=x"),
    ("work_mem", "64 MB", "'64 MB'", "work_mem=64 MB"),
]


@pytest.mark.parametrize(("key", "value", "sent", "stored"), SETTINGS)
def test_a_setting_is_set_once_however_it_is_written(key: str, value: object, sent: str, stored: str) -> None:
    user = {"name": "app", "settings": {key: value}}
    (step,) = access.plan_users([user], [row("app", "old")], salt)
    assert step.sql == f'ALTER ROLE "app" SET {key} TO {sent};'
    assert access.plan_users([user], [row("app", "old", settings=[stored])], salt) == []


def test_what_the_server_has_is_replaced_and_never_refused() -> None:
    user = {"name": "app", "settings": {"search_path": "app"}}
    (step,) = access.plan_users([user], [row("app", "old", settings=['search_path=what is, "this'])], salt)
    assert step.sql == "ALTER ROLE \"app\" SET search_path TO 'app';"


@pytest.mark.parametrize("text", ["a b", "app,", ", app", '"app', 'a"b"', "a,,b"])
def test_what_is_no_list_of_names_is_refused(text: str) -> None:
    with pytest.raises(access.AccessError, match=r"search_path is .* no list of names; write app, public"):
        access.plan_users([{"name": "a", "settings": {"search_path": text}}], [], salt)


def test_a_role_without_a_password_keeps_its_own() -> None:
    assert access.plan_users([{"name": "catalog", "password": None}], [row("catalog", "old")], salt) == []


def test_bad_flags_and_settings_are_named() -> None:
    with pytest.raises(access.AccessError, match=r"'ADMIN' is no flag"):
        access.plan_users([{"name": "a", "flags": ["ADMIN"]}], [], salt)
    with pytest.raises(access.AccessError, match=r"'x; DROP' is no PostgreSQL setting"):
        access.plan_users([{"name": "a", "settings": {"x; DROP": 1}}], [], salt)


def test_databases_are_made_or_change_hands() -> None:
    wanted = [{"name": "new", "owner": "a"}, {"name": "old", "owner": "a"}, {"name": "same", "owner": "a"}]
    current = [{"datname": "old", "owner": "b"}, {"datname": "same", "owner": "a"}, {"datname": "other", "owner": "c"}]
    assert [step.sql for step in access.plan_databases(wanted, current)] == [
        'CREATE DATABASE "new" OWNER "a";',
        'ALTER DATABASE "old" OWNER TO "a";',
    ]


class Server:
    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []

    def query(self, database: str, sql: str) -> Any:
        if sql == access.READ_EXTENSIONS:
            assert database == "old", "a database that does not exist cannot be asked"
            return ["plpgsql"]
        return [row("a", "pw")] if sql == access.READ_ROLES else [{"datname": "old", "owner": "a"}]

    def execute(self, database: str, sql: str) -> None:
        self.ran.append((database, sql))


def test_check_mode_plans_and_runs_nothing() -> None:
    server = Server()
    databases = [
        {"name": "old", "owner": "a", "extensions": ["plpgsql", "hstore"]},
        {"name": "new", "owner": "a", "extensions": ["hstore"]},
    ]
    changes = access.converge([{"name": "a", "password": "pw"}], databases, server.query, server.execute, check=True)
    assert changes == [
        "create database new owned by a",
        "create extension hstore in old",
        "create extension hstore in new",
    ]
    assert server.ran == []


def test_extensions_go_into_their_database() -> None:
    server = Server()
    databases = [{"name": "old", "owner": "a", "extensions": ["hstore"]}]
    access.converge([], databases, server.query, server.execute, check=False)
    assert server.ran == [("old", 'CREATE EXTENSION "hstore";')]
