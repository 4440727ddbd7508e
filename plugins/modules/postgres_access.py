#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge login roles and databases on the PostgreSQL server of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_access
short_description: Converge login roles and databases on the PostgreSQL server of this host
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Creates and alters all roles and databases in one execution. Nothing is ever dropped.
  - Connects with C(psql) over the Unix socket as the operating system user O(os_user), which peer authentication lets
    in. So the superuser's own password converges like any other.
  - Compares a password with the stored SCRAM-SHA-256 verifier, and sends the server a new verifier when it does not
    match. The password itself reaches neither the server's log nor a process list.
requirements:
  - psql on the host
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
options:
  users:
    description: Roles, in order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The role's name.
        type: str
        required: true
      password:
        description: The password. A role without one keeps the password it has, if any.
        type: str
      flags:
        description:
          - Attributes such as V(CREATEDB) or V(NOLOGIN). Attributes that are not named stay as they are.
          - A role may log in unless V(NOLOGIN) is given.
        type: list
        elements: str
        default: []
      connection_limit:
        description: How many connections the role may have, V(-1) for no limit.
        type: int
      member_of:
        description: Roles whose rights it gets, such as V(pg_read_all_data).
        type: list
        elements: str
        default: []
      settings:
        description:
          - Settings for its sessions, such as V(lock_timeout).
          - A list of names, such as that of V(search_path), is a list, or text as in SQL (V(app, public)).
        type: dict
        default: {}
  databases:
    description: Databases, in order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The database's name.
        type: str
        required: true
      owner:
        description: The role that owns it.
        type: str
        required: true
      extensions:
        description: Extensions to create in it.
        type: list
        elements: str
        default: []
  port:
    description: The server's port.
    type: int
    default: 5432
  socket_directory:
    description: Where the server's Unix socket is.
    type: path
    default: /var/run/postgresql
  bin_directory:
    description: Where C(psql) is. Looked for in C(PATH) when not given.
    type: path
  os_user:
    description: The operating system user and superuser role to connect as.
    type: str
    default: postgres
"""

EXAMPLES = r"""
- name: Give the catalog service its database
  mesops.platform.postgres_access:
    users:
      - name: catalog
        password: "{{ vault_catalog_password }}"
        settings:
          lock_timeout: 5s
    databases:
      - name: catalog
        owner: catalog
"""

RETURN = r"""
changes:
  description: What was changed in words, or would be in check mode. Holds no password.
  returned: always
  type: list
  elements: str
  sample: ["create role catalog (login, password)", "create database catalog owned by catalog"]
"""

import json
import os
import pwd
import subprocess
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._postgres import access


def main() -> None:
    """Read the server, plan, apply."""
    module = QuietModule(
        argument_spec={
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "no_log": True},
                    "flags": {"type": "list", "elements": "str", "default": []},
                    "connection_limit": {"type": "int"},
                    "member_of": {"type": "list", "elements": "str", "default": []},
                    "settings": {"type": "dict", "default": {}},
                },
            },
            "databases": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "owner": {"type": "str", "required": True},
                    "extensions": {"type": "list", "elements": "str", "default": []},
                },
            },
            "port": {"type": "int", "default": 5432},
            "socket_directory": {"type": "path", "default": "/var/run/postgresql"},
            "bin_directory": {"type": "path"},
            "os_user": {"type": "str", "default": "postgres"},
        },
        supports_check_mode=True,
    )
    params = module.params
    directories = [params["bin_directory"]] if params["bin_directory"] else []
    psql = [module.get_bin_path("psql", required=True, opt_dirs=directories)]
    psql += ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password", "--set=ON_ERROR_STOP=1"]
    # A refused statement must not be repeated in the error message.
    psql += ["--set=VERBOSITY=terse"]
    psql += [f"--host={params['socket_directory']}", f"--port={params['port']}", f"--username={params['os_user']}"]
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam(params["os_user"])
        except KeyError:
            module.fail_json(msg=f"There is no operating system user {params['os_user']!r}; install PostgreSQL first.")
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def execute(database: str, sql: str) -> str:
        # Not run_command, which cannot become another user.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [*psql, f"--dbname={database}"],
            input=sql,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PGCLIENTENCODING": "UTF8"},
            **identity,
        )
        if done.returncode != 0:
            raise access.AccessError(f"PostgreSQL refused a statement: {done.stderr.strip()}")
        return str(done.stdout)

    def query(database: str, sql: str) -> Any:
        return json.loads(execute(database, sql))

    def apply(database: str, sql: str) -> None:
        # The verifier is no password, yet it has no place in a statement log either.
        quiet = "SET log_statement TO none; SET log_min_duration_statement TO -1; SET log_min_error_statement TO panic;"
        execute(database, f"{quiet}\n{sql}")

    try:
        changes = access.converge(params["users"], params["databases"], query, apply, module.check_mode)
    except access.AccessError as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {"changed": bool(changes), "changes": changes}
    if changes:
        result["diff"] = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
