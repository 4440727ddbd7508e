# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate and normalise the haproxy role's variables into what its template prints. No Ansible in here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import values
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.frontends import (
    FRONTEND_TIMEOUTS,
    complete_frontend,
    refuse_double_binds,
    stats_binds,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.services import (
    SERVICE_TIMEOUTS,
    complete_service,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.values import Hostvars, ModelError
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import bracketed

EXTRA_KEYS = ["global", "defaults", "frontends", "services", "sections"]


def _extra(value: Any, services: Mapping[str, Any], frontends: Mapping[str, Any]) -> dict[str, Any]:
    given = values.mapping(value, "haproxy_extra", EXTRA_KEYS)
    extra: dict[str, Any] = {key: str(given.get(key, "")) for key in ("global", "defaults", "sections")}
    for key, known in (("services", services), ("frontends", frontends)):
        extra[key] = values.mapping(given.get(key, {}), f"haproxy_extra.{key}", list(known))
    return extra


def _handover(
    services: Mapping[str, Any], frontends: Mapping[str, Any], extra: Mapping[str, Any], timeouts: Mapping[str, str]
) -> dict[str, dict[str, str]] | None:
    """Timeouts between a worker that a reload has left behind and the current one, which has those of the service.

    Nothing where raw text has its own routes, which the current worker could not follow, or another chroot, where it
    would not be found.
    """
    raw = [extra["global"], extra["defaults"], extra["sections"], *extra["frontends"].values()]
    if any(re.search(r"^\s*(use_backend|default_backend|chroot)\b", str(text), re.MULTILINE) for text in raw):
        return None

    def longest(of: Mapping[str, Any], key: str) -> str:
        own = [str(one["timeouts"].get(key, "0")) for one in of.values() if one["mode"] == "http"]
        return max([timeouts[key], *own], key=values.milliseconds)

    backend = {key: longest(services, key) for key in ("server", "tunnel")}
    return {"frontend": {"client": longest(frontends, "client")}, "backend": backend}


def _check_hard_stop(hard_stop: Any, services: Mapping[str, Any], timeouts: Mapping[str, str]) -> None:
    limit = values.time(hard_stop, "haproxy_hard_stop_after")
    for one in services.values():
        longest = one["timeouts"].get("server", timeouts["server"])
        if values.milliseconds(longest) > values.milliseconds(limit):
            what = "longest requests" if one["mode"] == "http" else "sessions"
            raise ModelError(
                f"haproxy_hard_stop_after is {limit}, shorter than the server timeout {longest} of "
                f"haproxy_services.{one['name']}, so a reload would kill its {what}; raise it to {longest} or more."
            )


def build(services: Any, frontends: Any, extra: Any, hostvars: Hostvars, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return services, frontends, handover, stats binds, peers, extra texts and files; refuse what cannot work.

    ``settings`` has the role's other variables without their prefix: hard_stop_after, timeouts, peers, peers_port,
    stats_bind, stats_user, stats_password, trusted_proxies, maxconn, and apps, what the services behind say of
    themselves, as the filter app_backends gives it.
    """
    wanted = [*SERVICE_TIMEOUTS, *FRONTEND_TIMEOUTS]
    timeouts = values.times(settings["timeouts"], "haproxy_timeouts", wanted)
    missing = [one for one in wanted if one not in timeouts]
    if missing:
        raise ModelError(f"haproxy_timeouts lacks {', '.join(missing)}; take the defaults and change what you need.")
    apps = values.mapping(settings.get("apps", {}), "haproxy_apps")
    backends = {
        key: complete_service(key, one, hostvars, timeouts, apps.get(key, {}))
        for key, one in values.mapping(services, "haproxy_services").items()
    }
    fronts: dict[str, dict[str, Any]] = {}
    files: list[dict[str, str]] = []
    for key, one in values.mapping(frontends, "haproxy_frontends").items():
        fronts[key], more = complete_frontend(key, one, backends, timeouts)
        files += more
    stats = stats_binds(settings["stats_bind"])
    refuse_double_binds(list(fronts.values()), stats)
    _check_hard_stop(settings["hard_stop_after"], backends, timeouts)
    values.number(settings["maxconn"], "haproxy_maxconn", 1, 10_000_000)
    peers = [
        {
            "name": values.name(one, "haproxy_peers"),
            "address": bracketed(values.address_of(one, "haproxy_peers", hostvars)),
        }
        for one in values.sequence(settings["peers"], "haproxy_peers")
    ]
    values.port(settings["peers_port"], "haproxy_peers_port")
    texts = _extra(extra, backends, fronts)
    proxies = values.sequence(settings["trusted_proxies"], "haproxy_trusted_proxies")
    return {
        "services": list(backends.values()),
        "frontends": list(fronts.values()),
        "stats": {
            "binds": stats,
            "user": values.quote(settings["stats_user"]),
            "password": values.quote(settings["stats_password"]),
        },
        "timeouts": timeouts,
        "peers": peers,
        "trusted_proxies": [values.word(one, "haproxy_trusted_proxies") for one in proxies],
        "extra": texts,
        "handover": _handover(backends, fronts, texts, timeouts),
        "files": files,
    }
