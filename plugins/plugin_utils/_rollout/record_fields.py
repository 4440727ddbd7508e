# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each field of a record, of its hosts and of its migrations may be. Touches nothing, no Ansible in here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.scalars import when
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._release import naming
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import DIGEST, parted
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import check_weights

MAX_HOSTS = 10_000
MAX_RUNS = 100_000
MAX_NUMBER = 1e12
MIGRATION_STATES = ("pending", "running", "done", "failed")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,149}")
_HOST = re.compile(r"[^\s/]{1,253}")


class BadRecord(ValueError):
    """What is wrong with a record: the field, its value and the rule."""


Rule = scalars.Rule[Any]


def _is_version(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(naming.check_version(value))
    except Refused:
        return False


def _is_target(value: Any) -> bool:
    version, digest = parted(value) if isinstance(value, str) else ("", "")
    return _is_version(version) and (value == version or DIGEST.fullmatch(digest) is not None)


def _is_versions(value: Any) -> bool:
    return isinstance(value, str) and all(_is_version(one) for one in value.split("/"))


def _is_checksum(value: Any) -> bool:
    try:
        return value == "" or (isinstance(value, str) and bool(naming.check_checksum(value)))
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
    "id": when(lambda value: isinstance(value, str) and ID.fullmatch(value) is not None, "a plain name"),
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
NEEDED = {
    *("id", "service", "version", "by", "started_at", "kind", "status", "hosts"),
    *("batch", "target"),
    *("command", "reversible", "timeout"),
}
"""Fields without which there is no record, host or migration."""


def check_fields(data: Any, rules: Mapping[str, Rule], place: str) -> None:
    """Raise BadRecord for the first field of a mapping that is missing or breaks its rule."""
    if not isinstance(data, Mapping):
        raise BadRecord(f"{place.rstrip('.')} is {shown(data)}; it must be a mapping")
    for name, rule in rules.items():
        if name in data:
            if not rule.fits(data[name]):
                raise BadRecord(f"{place}{name} is {shown(data[name])}; it must be {rule.wanted}")
        elif name in NEEDED:
            raise BadRecord(f"{place}{name} is missing")


def shown(value: Any) -> str:
    """A value for a sentence: short, on one line and without what a terminal would obey."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
