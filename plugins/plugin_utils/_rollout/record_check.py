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
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.scalars import when
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import (
    DIGEST,
    check_checksum,
    check_version,
    parted,
    version_of,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_migrations, check_weights

MAX_SIZE = 16 << 20
"""Characters of a record as JSON."""
MAX_HOSTS = 10_000
MAX_RUNS = 100_000
MAX_NUMBER = 1e12
MIGRATION_STATES = ("pending", "running", "done", "failed")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,149}")
_HOST = re.compile(r"[^\s/]{1,253}")


class BadRecord(ValueError):
    """What is wrong with a record: the field, its value and the rule."""


def read_record(data: Any, service: str) -> Record:
    """The open record of a service; PlanError when it could not have been written by a rollout of it."""
    try:
        check_record(data, service)
        if data["status"] not in state.UNFINISHED:
            raise BadRecord(f"status is {_shown(data['status'])}, which is not that of an open rollout")
        if data.get("ended_at"):
            raise BadRecord(f"ended_at is {_shown(data['ended_at'])}, but its status is that of an open rollout")
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
                raise BadRecord(f"status is {_shown(one['status'])}, which is not that of a rollout that has ended")
        except (BadRecord, ValueError) as why:
            told.append(f"the record {_name(one)} of the past is damaged or forged and does not count: {why}")
        else:
            found.append(one)
    return found, told


def check_record(data: Any, service: str) -> None:
    """Raise BadRecord for the first field that no rollout of the service could have written."""
    if not isinstance(data, Mapping):
        raise BadRecord(f"it is {_shown(data)} and no mapping")
    try:
        size = len(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRecord("it is nothing that JSON holds") from error
    if size > MAX_SIZE:
        raise BadRecord(f"it has {size} characters, and a record has {MAX_SIZE} at most")
    if data.get("schema") != state.SCHEMA:
        raise BadRecord(
            f"schema is {_shown(data.get('schema'))}, but this version of the collection knows {state.SCHEMA}; a "
            "rollout is finished with the version that began it"
        )
    _check_fields(data, RECORD, "")
    if data["service"] != service:
        raise BadRecord(f"service is {_shown(data['service'])}")
    _check_hosts(data)
    _check_migrations(data)


# ------------------------------------------------------------------------------------------------ what a field may be

Rule = scalars.Rule[Any]


def _is_version(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(check_version(value))
    except Refused:
        return False


def _is_target(value: Any) -> bool:
    version, digest = parted(value) if isinstance(value, str) else ("", "")
    return _is_version(version) and (value == version or DIGEST.fullmatch(digest) is not None)


def _is_versions(value: Any) -> bool:
    return isinstance(value, str) and all(_is_version(one) for one in value.split("/"))


def _is_checksum(value: Any) -> bool:
    try:
        return value == "" or (isinstance(value, str) and bool(check_checksum(value)))
    except Refused:
        return False


def is_host(value: Any) -> bool:
    """Whether a value may be the name of a host of an inventory."""
    return isinstance(value, str) and value.isprintable() and _HOST.fullmatch(value) is not None


def _are_hosts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_HOSTS and all(is_host(one) for one in value)


def _is_batches(value: Any) -> bool:
    return isinstance(value, list) and all(_are_hosts(one) for one in value)


def _is_weights(value: Any) -> bool:
    try:
        return value == [] or (isinstance(value, list) and bool(check_weights(value)))
    except PlanError:
        return False


def _maps_hosts(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) <= MAX_HOSTS and all(is_host(one) for one in value)


def _is_kept_out(value: Any) -> bool:
    return _maps_hosts(value) and all(_are_hosts(one) for one in value.values())


def _are_events(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, Mapping) and NUMBER.fits(one.get("at")) and TEXT.fits(one.get("text")) for one in value
    )


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and one[0] in state.NEXT and NUMBER.fits(one[1]) for one in value
    )


NUMBER: Rule = when(scalars.number(0, MAX_NUMBER).fits, "a finite number that is not negative")
COUNT: Rule = when(scalars.integer(0, int(MAX_NUMBER)).fits, "a whole number that is not negative")
TEXT: Rule = scalars.TEXT
FLAG: Rule = scalars.BOOLEAN
HOSTS: Rule = when(_are_hosts, "a list of plain host names")
MAPPINGS: Rule = when(
    lambda value: isinstance(value, list) and all(isinstance(one, Mapping) for one in value),
    "a list of mappings",
)
RECORD: dict[str, Rule] = {
    "id": when(lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None, "a plain name"),
    "service": TEXT,
    "version": when(_is_versions, "a version"),
    "by": TEXT,
    "started_at": NUMBER,
    "kind": scalars.choice(("rollout", "rollback")),
    "status": scalars.choice((*state.UNFINISHED, *state.FINISHED)),
    "direction": scalars.choice((state.FORWARD, state.BACK)),
    "reason": TEXT,
    "condemned": FLAG,
    "advice": TEXT,
    "checksum": when(_is_checksum, "a checksum, sha256:<64 hex digits>"),
    "artifact": TEXT,
    "updated_at": NUMBER,
    "ended_at": NUMBER,
    "resumed": when(lambda value: COUNT.fits(value) and value <= MAX_RUNS, f"a whole number up to {MAX_RUNS}"),
    "batches": when(_is_batches, "a list of lists of plain host names"),
    "weights": when(_is_weights, "rising percentages that end in 100"),
    "balancers": HOSTS,
    "asked": HOSTS,
    "hosts": when(_maps_hosts, "a mapping of plain host names"),
    "left": when(_maps_hosts, "a mapping of plain host names"),
    "kept_out": when(_is_kept_out, "a mapping of load balancers to host names"),
    "excluded": HOSTS,
    "migrations": when(lambda value: isinstance(value, Mapping), "a mapping"),
    "gates": MAPPINGS,
    "evidence": when(lambda value: isinstance(value, Mapping), "a mapping"),
    "configuration_only": FLAG,
    "events": when(_are_events, "a list of times and texts"),
    "schema": COUNT,
}
"""For each field of a record."""
HOST: dict[str, Rule] = {
    "batch": COUNT,
    "target": when(_is_target, "a version, or one with @ and the digest of a configuration"),
    "previous": when(lambda value: value is None or _is_target(value), "a version, or one with @ and a digest"),
    "left_out": FLAG,
    "phase": scalars.choice(tuple(state.NEXT)),
    "history": when(_is_history, "a list of phases and times"),
    "drain_s": NUMBER,
    "sessions": COUNT,
    "killed": COUNT,
    "stop_s": NUMBER,
    "start_s": NUMBER,
    "observed_s": NUMBER,
    "turn_s": NUMBER,
    "note": TEXT,
    "down_at": HOSTS,
    "kept_at": HOSTS,
    "let_in_at": HOSTS,
    "way_closed": TEXT,
    "changes": TEXT,
}
"""For each field of a host of a record."""
MIGRATION: dict[str, Rule] = {
    "command": TEXT,
    "reversible": FLAG,
    "timeout": NUMBER,
    "state": scalars.choice(tuple(MIGRATION_STATES)),
    "host": when(lambda value: value == "" or is_host(value), "a plain host name"),
    "output": TEXT,
}
"""For each field of a migration; ``check_migrations`` has the last word on what it runs."""
NEEDED = {"id", "service", "version", "by", "started_at", "kind", "status", "hosts", "batch", "target", "command"}
"""Fields without which there is no record, host or migration."""


def _check_fields(data: Any, rules: Mapping[str, Rule], place: str) -> None:
    if not isinstance(data, Mapping):
        raise BadRecord(f"{place.rstrip('.')} is {_shown(data)}; it must be a mapping")
    for name, rule in rules.items():
        if name in data:
            if not rule.fits(data[name]):
                raise BadRecord(f"{place}{name} is {_shown(data[name])}; it must be {rule.wanted}")
        elif name in NEEDED:
            raise BadRecord(f"{place}{name} is missing")


# --------------------------------------------------------------------------------------------- what goes with what


def _check_hosts(data: Mapping[str, Any]) -> None:
    versions = data["version"].split("/")
    if data["kind"] == "rollout" and len(versions) != 1:
        raise BadRecord(f"version is {_shown(data['version'])}; it must be a version")
    for field in ("hosts", "left"):
        for name, one in data.get(field, {}).items():
            place = f"{field}.{name}."
            _check_fields(one, HOST, place)
            if version_of(one["target"]) not in versions:
                raise BadRecord(f"{place}target is {_shown(one['target'])}, but the version is {data['version']}")
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
        _check_fields(step, MIGRATION, f"migrations.{name}.")
        host = step.get("host", "")
        if host and host not in data["hosts"] and host not in data.get("left", {}):
            raise BadRecord(f"migrations.{name}.host is {_shown(host)}, which is no host of the record")
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
    return name if isinstance(name, str) and _ID.fullmatch(name) else "without a plain id"


def _shown(value: Any) -> str:
    """A value for a sentence: short, on one line and without what a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
