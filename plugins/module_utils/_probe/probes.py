# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of all types: data that says how to take one sample of something. Checked, filled in, taken. No Ansible."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._probe import (
    haproxy,
    http_answer,
    postgres,
    promql,
    readiness,
    systemd,
    tcp,
)
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import SECRET, ProbeError
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import (
    NODE,
    PLACES,
    Aim,
    Comparison,
    ProbeType,
)
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    ERROR,
    Sample,
    Tools,
    reason,
    sample,
)

TYPES: dict[str, ProbeType] = {
    one.TYPE.name: one.TYPE for one in (http_answer, tcp, systemd, haproxy, promql, postgres, readiness)
}
"""Every type. The modules are named here because a host gets what is imported by a statement, and nothing else."""


def given_keys(probe: Mapping[Any, Any]) -> dict[str, Any]:
    """A probe without the keys that are null: those are as good as not written."""
    return {str(key): value for key, value in probe.items() if value is not None}


def check(probe: Any, place: str) -> dict[str, Any]:
    """A probe's description, without its null keys, or ProbeError; ``place`` says where it stands in the inventory."""
    if not isinstance(probe, Mapping):
        raise ProbeError(f"{place} is {probe!r}, which is no mapping; give it a type and that type's keys.")
    given = given_keys(probe)
    kind = TYPES.get(str(given.get("type")))
    if kind is None:
        raise ProbeError(scalars.refusal(f"{place}.type", repr(given.get("type")), f"one of {', '.join(TYPES)}"))
    _check_keys(given, kind, place)
    _check_values(given, kind, place)
    kind.check(given, place)
    return given


def check_alone(probe: Any, place: str) -> dict[str, Any]:
    """As ``check``, for a probe to which no rollout adds the servers in question."""
    given = check(probe, place)
    kind = TYPES[given["type"]]
    for key in kind.alone:
        if not given.get(key):
            needed = " and ".join(kind.alone)
            raise ProbeError(f"{place} has no {key}; a probe of type {kind.name} needs {needed} outside a rollout.")
    return given


def _check_keys(given: Mapping[str, Any], kind: ProbeType, place: str) -> None:
    allowed = ("type", "from", *kind.keys)
    for key in given:
        if key not in allowed:
            raise ProbeError(
                f"{place} has the unknown key '{key}'; a probe of type {given['type']} has {', '.join(allowed)}."
            )
    for key in kind.required:
        if not given.get(key):
            raise ProbeError(f"{place} has no {key}; a probe of type {given['type']} needs {', '.join(kind.required)}.")
    scalars.choice(tuple(PLACES)).of(given.get("from", NODE), f"{place}.from", ProbeError)


def _check_values(given: Mapping[str, Any], kind: ProbeType, place: str) -> None:
    for key, value in given.items():
        for rule in kind.keys.get(key, ()):
            if not rule.fits(value):
                told = "not usable" if key in SECRET else repr(value)
                raise ProbeError(scalars.refusal(f"{place}.{key}", told, rule.wanted))


def fill(value: Any, names: Mapping[str, str], place: str) -> Any:
    """Replace $name and ${name} in every text of a probe; an unknown name is refused, $$ is a dollar sign.

    User and password are left as they are: a dollar sign in them means itself.
    """
    if isinstance(value, str):

        def put(found: re.Match[str]) -> str:
            name = found.group("named") or found.group("braced")
            if found.group("escaped") is not None:
                return "$"
            if name not in names:
                told = "not usable" if ".headers" in place else repr(value)
                what = f"${name} is no known name" if name else "a dollar sign is followed by no name"
                known = ", ".join(f"${one}" for one in sorted(names))
                raise ProbeError(f"{place} is {told}: {what}; known are {known}, and $$ for a dollar sign.")
            return names[name]

        return string.Template.pattern.sub(put, value)
    if isinstance(value, Mapping):
        return {
            key: one if key in ("username", "password") else fill(one, names, f"{place}.{key}")
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [fill(one, names, place) for one in value]
    return value


def place_of(probe: Mapping[str, Any]) -> str:
    """Where a probe is taken: node, balancers or coordinator."""
    return str(probe.get("from") or TYPES[str(probe["type"])].place)


def describe(probe: Mapping[str, Any]) -> str:
    """What a probe looks at."""
    return TYPES[str(probe["type"])].describe(probe)


def comparison(probe: Mapping[str, Any]) -> Comparison | None:
    """How the figures of a probe are judged; None for one whose samples speak for themselves."""
    return TYPES[str(probe["type"])].comparison(probe)


def looks_back(probe: Mapping[str, Any]) -> float:
    """How many seconds a sample of a probe looks back; 0 for one that asks for the present."""
    return TYPES[str(probe["type"])].looks_back(probe)


def aimed(probe: Mapping[str, Any], aim: Aim) -> dict[str, Any]:
    """A probe as a host gets it from a rollout: about its hosts, and about nothing that was seen before."""
    asked = {key: value for key, value in probe.items() if key != "from"}
    return {**asked, **TYPES[str(probe["type"])].aimed(asked, aim)}


def take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    """Take one sample; whatever goes wrong on the way is the sample."""
    try:
        given = given_keys(probe)
        kind = TYPES.get(str(given.get("type")))
        if kind is None:
            return sample(ERROR, f"there is no probe of type {given.get('type')!r}")
        return kind.take(given, tools)
    except OSError as error:
        return sample(ERROR, reason(error))
    except ValueError as error:
        return sample(ERROR, str(error))
    except Exception as error:
        # An answer of a shape that nobody has thought of is no reason to fall over, and no success either.
        return sample(ERROR, f"unexpected answer ({type(error).__name__}: {error})")
