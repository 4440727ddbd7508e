# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a record that a store has brought back may be gone on with. Touches nothing, no Ansible in here.

A record decides what runs where. Whoever can write to the store could write one, and a disk can damage one, so it is
checked like what a user types, field by field, before anything is made of it. It names versions, hosts, phases and
migrations; users, units, addresses and backends are of the inventory alone. Texts are shown and never acted on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.record_fields import (
    HOST,
    ID,
    MIGRATION,
    RECORD,
    BadRecord,
    check_fields,
    shown,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_migrations

MAX_SIZE = 16 << 20
"""Characters of a record as JSON."""


def read_record(data: Any, service: str) -> Record:
    """The open record of a service; PlanError when it could not have been written by a rollout of it."""
    try:
        check_record(data, service)
        if data["status"] not in state.UNFINISHED:
            raise BadRecord(f"status is {shown(data['status'])}, which is not that of an open rollout")
        if data.get("ended_at"):
            raise BadRecord(f"ended_at is {shown(data['ended_at'])}, but its status is that of an open rollout")
        return Record.from_dict(data)
    except (BadRecord, ValueError) as why:
        raise PlanError(
            f"The open record {_name(data)} of {service} is damaged or forged: {why}; find out who writes to the "
            f"store, and when no rollout of {service} runs, take its mark open out of the store (docs/rollouts.md, A "
            "record that is refused)."
        ) from why


def usable(history: Iterable[Any], service: str) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The records of the past that may be gone by, and a sentence for each that may not."""
    found, told = [], []
    for one in history:
        try:
            check_record(one, service)
            if one["status"] not in state.FINISHED:
                raise BadRecord(f"status is {shown(one['status'])}, which is not that of a rollout that has ended")
        except (BadRecord, ValueError) as why:
            told.append(f"the record {_name(one)} of the past is damaged or forged and does not count: {why}")
        else:
            found.append(one)
    return found, told


def check_record(data: Any, service: str) -> None:
    """Raise BadRecord for the first field that no rollout of the service could have written."""
    if not isinstance(data, Mapping):
        raise BadRecord(f"it is {shown(data)} and no mapping")
    try:
        size = len(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRecord("it is nothing that JSON holds") from error
    if size > MAX_SIZE:
        raise BadRecord(f"it has {size} characters, and a record has {MAX_SIZE} at most")
    if data.get("schema") != state.SCHEMA:
        raise BadRecord(
            f"schema is {shown(data.get('schema'))}, but this version of the collection knows {state.SCHEMA}; a "
            "rollout is finished with the version that began it"
        )
    check_fields(data, RECORD, "")
    if data["service"] != service:
        raise BadRecord(f"service is {shown(data['service'])}")
    _check_hosts(data)
    _check_migrations(data)


def _check_hosts(data: Mapping[str, Any]) -> None:
    versions = data["version"].split("/")
    if data["kind"] == "rollout" and len(versions) != 1:
        raise BadRecord(f"version is {shown(data['version'])}; it must be a version")
    for field in ("hosts", "left"):
        for name, one in data.get(field, {}).items():
            place = f"{field}.{name}."
            check_fields(one, HOST, place)
            if version_of(one["target"]) not in versions:
                raise BadRecord(f"{place}target is {shown(one['target'])}, but the version is {data['version']}")
            _check_phases(one, place)
    _check_batches(data.get("batches", []), data["hosts"])


def _check_phases(host: Mapping[str, Any], place: str) -> None:
    phases = [state.PENDING, *(phase for phase, _at in host.get("history", []))]
    for before, after in zip(phases, phases[1:]):
        if after != before and after not in state.NEXT[before]:
            raise BadRecord(f"{place}history goes from {before} to {after}, which no rollout does")
    phase = host.get("phase", state.PENDING)
    if phase != phases[-1]:
        raise BadRecord(f"{place}phase is {phase}, but its history ends with {phases[-1]}")


def _check_batches(batches: Sequence[Sequence[str]], hosts: Mapping[str, Any]) -> None:
    seen = [name for batch in batches for name in batch]
    if sorted(seen) != sorted(hosts):
        raise BadRecord(f"batches name {', '.join(seen)[:200]}, but hosts are {', '.join(hosts)[:200]}")
    for number, batch in enumerate(batches):
        for name in batch:
            if hosts[name]["batch"] != number:
                raise BadRecord(f"hosts.{name}.batch is {hosts[name]['batch']}, but it is in batch {number}")


def _check_migrations(data: Mapping[str, Any]) -> None:
    steps = data.get("migrations", {})
    for name, step in steps.items():
        check_fields(step, MIGRATION, f"migrations.{name}.")
        host = step.get("host", "")
        if host and host not in data["hosts"] and host not in data.get("left", {}):
            raise BadRecord(f"migrations.{name}.host is {shown(host)}, which is no host of the record")
    typed = {
        name: {key: step[key] for key in ("command", "reversible", "timeout") if key in step}
        for name, step in steps.items()
    }
    try:
        check_migrations(typed, "migrations")
    except PlanError as why:
        raise BadRecord(str(why).rstrip(".")) from why


def _name(data: Any) -> str:
    name = data.get("id") if isinstance(data, Mapping) else None
    return name if isinstance(name, str) and ID.fullmatch(name) else "without a plain id"
