# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of type http: an answer over HTTP with its status, its body and its time.

The one file that is not called as its type: pylint takes a module http for Python's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
from ansible_collections.mesops.platform.plugins.module_utils._probe.http_request import request
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import NODE, ProbeType
from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import (
    FAILURE,
    SUCCESS,
    Sample,
    Tools,
    reason,
    sample,
)

STATUS = 200


def _check(probe: Mapping[str, Any], place: str) -> None:
    keys.statuses(probe.get("status", STATUS), place)


def _describe(probe: Mapping[str, Any]) -> str:
    method = probe.get("method") or ("GET" if probe.get("body") is None else "POST")
    return f"{str(method).upper()} {probe.get('url')}"


def _take(probe: Mapping[str, Any], tools: Tools) -> Sample:
    url = str(probe["url"])
    wanted = keys.statuses(probe.get("status", STATUS), "probe")
    begin = tools.stopwatch()
    try:
        status, body = tools.fetch(request(probe, url), float(probe.get("timeout", 5)))
    except OSError as error:
        return sample(FAILURE, f"{url} gave no answer ({reason(error)})")
    took = (tools.stopwatch() - begin) * 1000
    text = body.decode("utf-8", "replace")
    if not any(low <= status <= high for low, high in wanted):
        return sample(FAILURE, f"{url} answered {status}: {text}")
    wrong = _wrong_body(probe, text)
    if wrong:
        return sample(FAILURE, f"{url}: {wrong}")
    if probe.get("max_ms") is not None and took > float(probe["max_ms"]):
        return sample(FAILURE, f"{url} took {took:.0f} ms, more than {probe['max_ms']:g}")
    return sample(SUCCESS, f"{url} answered {status}")


def _wrong_body(probe: Mapping[str, Any], text: str) -> str:
    """What is wrong with the body of an answer, or nothing."""
    if probe.get("json"):
        try:
            answer = json.loads(text)
        except ValueError:
            return f"the answer is no JSON: {text}"
        for path, wanted in probe["json"].items():
            try:
                found = _lookup(answer, str(path))
            except (LookupError, TypeError, ValueError):
                return f"the answer has no {path}: {text}"
            if _plain(found) != _plain(wanted):
                return f"{path} is {found!r}, not {wanted!r}"
    if probe.get("contains") is not None and str(probe["contains"]) not in text:
        return f"the answer does not contain {str(probe['contains'])!r}: {text}"
    return ""


def _lookup(value: Any, path: str) -> Any:
    """A value in parsed JSON by its dotted path."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _plain(value: Any) -> str:
    """A form in which 5 and "5", true and "true" are the same, as they are in an inventory."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


TYPE = ProbeType(
    name="http",
    place=NODE,
    keys={
        "url": keys.URL,
        "method": (
            scalars.when(lambda value: isinstance(value, str) and value.isalpha(), "an HTTP method such as GET"),
        ),
        "body": (),
        "status": (),
        "json": (scalars.when(lambda value: isinstance(value, Mapping), "a mapping of dotted paths to wanted values"),),
        "contains": keys.SCALAR,
        "max_ms": keys.NOT_NEGATIVE,
        **keys.ACCESS,
    },
    required=("url",),
    documentation=(
        "C(url); C(method), C(headers), C(body), C(status) (200, or C(200-299,304)), C(json) (C({path.to.value: "
        "wanted})), C(contains), C(max_ms), C(timeout) 5, C(username), C(password); redirections are not followed, 302 "
        "is an answer like any other"
    ),
    check=_check,
    describe=_describe,
    take=_take,
)
