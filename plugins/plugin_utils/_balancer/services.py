# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a load balancer: ``haproxy_services``, validated and complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import values
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.values import Hostvars, ModelError
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import bracketed

SERVICE_KEYS = [
    "mode",
    "hosts",
    "servers",
    "port",
    "balance",
    "maxconn",
    "check",
    "slowstart",
    "timeouts",
    "retry",
    "tls",
    "on_marked_down",
]
SERVER_KEYS = ["name", "address", "port", "weight", "backup"]
CHECK_KEYS = [
    "path",
    "method",
    "status",
    "port",
    "interval",
    "fast_interval",
    "down_interval",
    "fall",
    "rise",
    "timeout",
    "host",
]
SERVICE_TIMEOUTS = ["connect", "server", "queue", "check", "tunnel"]
RETRY_KEYS = ["attempts", "methods", "on"]
TLS_TO_SERVER_KEYS = ["verify", "ca_file", "sni"]

BALANCES = ["roundrobin", "static-rr", "leastconn", "first", "source", "uri", "random"]
DYNAMIC = ["roundrobin", "leastconn", "random"]
"""Those that give a server the share of traffic that its weight says while they run."""
# A percentage of it is a whole number; of HAProxy's own default, 1, ten percent would be nothing.
DEFAULT_WEIGHT = 100
# Methods that may be sent twice without doing something twice (RFC 9110, section 9.2.2).
IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]
RETRY_ON = [
    "none",
    "conn-failure",
    "empty-response",
    "junk-response",
    "response-timeout",
    "0rtt-rejected",
    "all-retryable-errors",
    "401",
    "403",
    "404",
    "408",
    "425",
    "500",
    "501",
    "502",
    "503",
    "504",
]
ON_MARKED_DOWN = ["shutdown-sessions"]
_STATUS = scalars.matching(r"[1-5]\d\d([-,][1-5]\d\d)*", "a status such as 200, or a range such as 200-399")


def _shorter(default: str, interval: str) -> str:
    """Return a default interval, or the service's own where that is shorter."""
    return min(default, interval, key=values.milliseconds)


def _asked(given: Mapping[str, Any], app: Mapping[str, Any]) -> dict[str, Any]:
    """A check with what the service behind it says of its readiness, where the check itself says nothing."""
    if not app or given.get("path", "") is None:
        return dict(given)
    said = {**{key: app[key] for key in ("path", "host", "status")}, "timeout": f"{app['within']}s"}
    return {**said, **given}


def _check(value: Any, place: str, mode: str, app: Mapping[str, Any]) -> dict[str, Any] | None:
    if value is False:
        return None
    given = _asked(values.mapping({} if value is True else value, place, CHECK_KEYS), app if mode == "http" else {})
    status = _STATUS.of(str(given.get("status", "200")), f"{place}.status", ModelError)
    path = given.get("path")
    if path is not None:
        values.PATH.of(values.word(path, f"{place}.path"), f"{place}.path", ModelError)
    if path is None and ({"status", "host", "method"} & set(given)):
        raise ModelError(f"{place} has an HTTP setting but no path; add the path, such as /readyz.")
    interval = values.time(given.get("interval", "1s"), f"{place}.interval")
    return {
        "http": path is not None,
        "path": path,
        "method": values.choice(given.get("method", "GET"), f"{place}.method", ["GET", "HEAD", "OPTIONS"]),
        "host": values.word(given["host"], f"{place}.host") if "host" in given else None,
        "status": status,
        "port": values.port(given["port"], f"{place}.port") if "port" in given else None,
        "interval": interval,
        "fast_interval": values.time(given.get("fast_interval", _shorter("200ms", interval)), f"{place}.fast_interval"),
        "down_interval": values.time(given.get("down_interval", _shorter("500ms", interval)), f"{place}.down_interval"),
        "timeout": values.time(given["timeout"], f"{place}.timeout") if "timeout" in given else None,
        "fall": values.number(given.get("fall", 2), f"{place}.fall", 1, 100),
        "rise": values.number(given.get("rise", 2), f"{place}.rise", 1, 100),
    }


def _servers(service: Mapping[str, Any], place: str, hostvars: Hostvars) -> list[dict[str, Any]]:
    if ("hosts" in service) == ("servers" in service):
        raise ModelError(f"{place} needs its members either under 'hosts' or under 'servers', one of them.")
    default_port = values.port(service["port"], f"{place}.port") if "port" in service else None
    members: list[dict[str, Any]] = []
    if "hosts" in service:
        if default_port is None:
            raise ModelError(f"{place} has 'hosts' but no 'port'; add the port on which its members listen.")
        members = [
            {"name": one, "address": values.address_of(one, f"{place}.hosts", hostvars)}
            for one in values.sequence(service["hosts"], f"{place}.hosts")
        ]
    else:
        for index, one in enumerate(values.sequence(service["servers"], f"{place}.servers")):
            given = values.mapping(one, f"{place}.servers[{index}]", SERVER_KEYS)
            for key in ("name", "address"):
                if key not in given:
                    raise ModelError(f"{place}.servers[{index}] has no '{key}'; add it.")
            members.append(given)
    if not members:
        raise ModelError(f"{place} has no members; add hosts, or remove the service.")
    servers: list[dict[str, Any]] = []
    for one in members:
        where = f"{place} server '{one['name']}'"
        if "port" not in one and default_port is None:
            raise ModelError(f"{where} has no port; add one to it or to the service.")
        if any(other["name"] == one["name"] for other in servers):
            raise ModelError(f"{place} has two members named '{one['name']}'; every server needs its own name.")
        servers.append(
            {
                "name": values.name(one["name"], where),
                "address": bracketed(values.word(one["address"], f"{where}: address")),
                "port": values.port(one["port"], f"{where}: port") if "port" in one else default_port,
                "weight": values.number(one.get("weight", DEFAULT_WEIGHT), f"{where}: weight", 0, 256),
                "backup": values.boolean(one.get("backup", False), f"{where}: backup"),
            }
        )
    return servers


def _retry(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, Mapping) and True in value:
        value = {"on" if key is True else key: one for key, one in value.items()}  # YAML reads a bare "on" as true.
    given = values.mapping(value, place, RETRY_KEYS)
    methods = [str(one) for one in values.sequence(given.get("methods", ["GET", "HEAD"]), f"{place}.methods")]
    for method in methods:
        if method not in IDEMPOTENT:
            raise ModelError(
                f"{place}.methods has '{method}', which would execute a request twice; only {', '.join(IDEMPOTENT)} "
                "may be sent again."
            )
    causes = values.sequence(given.get("on", ["conn-failure", "empty-response"]), f"{place}.on")
    return {
        "attempts": values.number(given.get("attempts", 3), f"{place}.attempts", 0, 20),
        "methods": methods,
        "on": [values.choice(one, f"{place}.on", RETRY_ON) for one in causes] or ["none"],
    }


def _refuse_unserved_shares(service: Mapping[str, Any], app: Mapping[str, Any]) -> None:
    """Refuse a service that is rolled out with shares of traffic that HAProxy cannot give its servers."""
    place, wanted = f"haproxy_services.{service['name']}", f"app_services.{app['service']}.rollout.weights"
    if service["balance"] not in DYNAMIC and min(app["weights"]) < 100:
        raise ModelError(
            f"{place}.balance is {service['balance']}, which knows no shares of a server's traffic, but {wanted} is "
            f"{app['weights']}; balance by {', '.join(DYNAMIC)}, or set the weights to [100]."
        )
    least = min(app["weights"])
    for server in service["servers"]:
        if least < 100 and server["weight"] * least < 100:
            raise ModelError(
                f"{place} server '{server['name']}' has the weight {server['weight']}, of which {least} % would be 0, "
                f"but {wanted} is {app['weights']}; give it a larger one, such as {DEFAULT_WEIGHT}, or set the weights "
                "to [100]."
            )


def complete_service(
    key: str, value: Any, hostvars: Hostvars, timeouts: Mapping[str, str], app: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a service with everything that it needs, or refuse."""
    place = f"haproxy_services.{key}"
    if isinstance(value, Mapping) and "drain" in value:
        raise ModelError(
            f"{place}.drain is about rollouts of the service; move it to app_services.{key}.rollout.drain."
        )
    given = values.mapping(value, place, SERVICE_KEYS)
    mode = values.choice(given.get("mode", "http"), f"{place}.mode", ["http", "tcp"])
    own = values.times(given.get("timeouts", {}), f"{place}.timeouts", SERVICE_TIMEOUTS)
    if mode == "tcp":
        own.setdefault("server", timeouts["tunnel"])
    check = _check(given.get("check", {}), f"{place}.check", mode, app)
    if check and check["timeout"]:
        own["check"] = check["timeout"]
    if mode == "http" and "on_marked_down" in given:
        raise ModelError(
            f"{place}.on_marked_down is for tcp services only: over HTTP it kills requests that a draining server "
            "would still finish; remove it."
        )
    if mode == "tcp" and "retry" in given:
        raise ModelError(f"{place}.retry is for http services only; over tcp only the connection is tried again.")
    tls = None
    if "tls" in given:
        tls = values.mapping(given["tls"], f"{place}.tls", TLS_TO_SERVER_KEYS)
        tls = {
            "verify": values.choice(tls.get("verify", "required"), f"{place}.tls.verify", ["required", "none"]),
            "ca_file": values.word(tls.get("ca_file", "@system-ca"), f"{place}.tls.ca_file"),
            "sni": values.word(tls["sni"], f"{place}.tls.sni") if "sni" in tls else None,
        }
    down = given.get("on_marked_down")
    service = {
        "name": values.unreserved(values.name(key, place), place),
        "mode": mode,
        "balance": values.choice(given.get("balance", "roundrobin"), f"{place}.balance", BALANCES),
        "maxconn": values.number(given["maxconn"], f"{place}.maxconn", 1, 1_000_000) if "maxconn" in given else None,
        "check": check,
        "slowstart": values.time(given.get("slowstart", "10s" if mode == "http" else "0"), f"{place}.slowstart"),
        "timeouts": own,
        "retry": _retry(given.get("retry", {}), f"{place}.retry") if mode == "http" else None,
        "tls": tls,
        "on_marked_down": values.choice(down, f"{place}.on_marked_down", ON_MARKED_DOWN) if down is not None else None,
        "servers": _servers(given, place, hostvars),
    }
    if app:
        _refuse_unserved_shares(service, app)
    return service
