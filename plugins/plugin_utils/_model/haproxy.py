# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate and normalise the haproxy role's variables into what its template prints. No Ansible in here.

Every complaint is one sentence that names the place, the value, the rule and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import bracketed, host_address

CERTIFICATES = "/etc/haproxy/certs"

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
FRONTEND_KEYS = ["mode", "binds", "routes", "service", "redirect_https", "maxconn", "timeouts"]
FRONTEND_TIMEOUTS = ["client", "http_request", "http_keep_alive"]
BIND_KEYS = ["address", "port", "tls"]
BIND_TLS_KEYS = ["certificate", "min_version", "alpn", "strict_sni"]
ROUTE_KEYS = ["host", "path", "service"]
EXTRA_KEYS = ["global", "defaults", "frontends", "services", "sections"]

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
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
RESERVED = {"stats", "unrouted"}

_TIME = scalars.matching(r"0|[0-9]{1,9}(us|ms|s|m|h|d)", "a number with a unit (us, ms, s, m, h, d), such as 30s")
_WORD = scalars.matching(r"[^\s\"'\\#{}$]+", "one word without quotes, '#', '$', braces or backslashes")
_STATUS = scalars.matching(r"[1-5]\d\d([-,][1-5]\d\d)*", "a status such as 200, or a range such as 200-399")
_ROUTED_HOST = scalars.matching(r"(\*\.)?[a-z0-9_.-]+", "a host name without port, or one like *.example.com")
_PATH = scalars.when(lambda value: value.startswith("/"), "a path that begins with /")

Hostvars = Mapping[str, Mapping[str, Any]]


class ModelError(ValueError):
    """The variables are not usable; the text is one sentence for the user."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def mapping(value: Any, place: str, allowed: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a mapping, or refuse: not a mapping, or a key that nobody reads."""
    if not isinstance(value, Mapping):
        raise ModelError(f"{place} must be a mapping, not {value!r}.")
    for key in value:
        if allowed is not None and key not in allowed:
            raise ModelError(f"{place} has the unknown key '{key}'; the allowed keys are {', '.join(sorted(allowed))}.")
    return {str(key): one for key, one in value.items()}


def sequence(value: Any, place: str) -> list[Any]:
    """Return a list, or refuse."""
    if not _is_list(value):
        raise ModelError(f"{place} must be a list, not {value!r}.")
    return list(value)


def one_or_many(value: Any, place: str) -> list[Any]:
    """Return a list from one text or a list of them."""
    return [value] if _is_text(value) else sequence(value, place)


def choice(value: Any, place: str, allowed: Sequence[str]) -> str:
    """Return one of the allowed words, or refuse."""
    return scalars.choice(allowed).of(str(value), place, ModelError)


def number(value: Any, place: str, low: int, high: int) -> int:
    """Return a whole number in a range, or refuse."""
    return scalars.integer(low, high, text=True).of(value, place, ModelError)


def port(value: Any, place: str) -> int:
    """Return a TCP port, or refuse."""
    return scalars.integer(1, 65535, "a TCP port", text=True).of(value, place, ModelError)


def boolean(value: Any, place: str) -> bool:
    """Return a boolean, or refuse."""
    return scalars.BOOLEAN.of(value, place, ModelError)


def time(value: Any, place: str) -> str:
    """Return a time with HAProxy's unit; without one HAProxy would silently take milliseconds."""
    return _TIME.of(str(value), place, ModelError)


def milliseconds(value: str) -> float:
    """Return a checked time in milliseconds."""
    found = re.fullmatch(r"(\d+)([a-z]*)", value)
    return 1000 * int(found.group(1)) * scalars.SECONDS_PER_UNIT[found.group(2) or "ms"] if found else 0


def name(value: Any, place: str) -> str:
    """Return a name that HAProxy and a log query can carry, or refuse."""
    if not _is_text(value) or not NAME.fullmatch(value):
        raise ModelError(
            f"{place} has the name '{value}'; a name starts with a letter and goes on with letters, digits, '_', '.' "
            "and '-', at most 63 characters."
        )
    return str(value)


def word(value: Any, place: str) -> str:
    """Return a text that stays one word in the configuration, or refuse."""
    return _WORD.of(value, place, ModelError)


def quote(value: Any) -> str:
    """Quote a text so that HAProxy takes it as it is."""
    text = str(value)
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ModelError("A text for HAProxy's configuration contains a control character or a line break; remove it.")
    return "'" + text.replace("'", "'\\''") + "'"


def address_of(host: Any, place: str, hostvars: Hostvars) -> str:
    """Return the address by which other hosts reach an inventory host."""
    if host not in hostvars:
        raise ModelError(
            f"{place} names the host '{host}', which is not in the inventory; add it there, or describe the member "
            "under 'servers' with its address."
        )
    return word(host_address(host, hostvars), f"{place}: address of '{host}'")


def _times(value: Any, place: str, allowed: Sequence[str]) -> dict[str, str]:
    return {key: time(one, f"{place}.{key}") for key, one in mapping(value, place, allowed).items()}


def _shorter(default: str, interval: str) -> str:
    """Return a default interval, or the service's own where that is shorter."""
    return min(default, interval, key=milliseconds)


def _asked(given: Mapping[str, Any], app: Mapping[str, Any]) -> dict[str, Any]:
    """A check with what the service behind it says of its readiness, where the check itself says nothing."""
    if not app or given.get("path", "") is None:
        return dict(given)
    said = {**{key: app[key] for key in ("path", "host", "status")}, "timeout": f"{app['within']}s"}
    return {**said, **given}


def _check(value: Any, place: str, mode: str, app: Mapping[str, Any]) -> dict[str, Any] | None:
    if value is False:
        return None
    given = _asked(mapping({} if value is True else value, place, CHECK_KEYS), app if mode == "http" else {})
    status = _STATUS.of(str(given.get("status", "200")), f"{place}.status", ModelError)
    path = given.get("path")
    if path is not None:
        _PATH.of(word(path, f"{place}.path"), f"{place}.path", ModelError)
    if path is None and ({"status", "host", "method"} & set(given)):
        raise ModelError(f"{place} has an HTTP setting but no path; add the path, such as /readyz.")
    interval = time(given.get("interval", "1s"), f"{place}.interval")
    return {
        "http": path is not None,
        "path": path,
        "method": choice(given.get("method", "GET"), f"{place}.method", ["GET", "HEAD", "OPTIONS"]),
        "host": word(given["host"], f"{place}.host") if "host" in given else None,
        "status": status,
        "port": port(given["port"], f"{place}.port") if "port" in given else None,
        "interval": interval,
        "fast_interval": time(given.get("fast_interval", _shorter("200ms", interval)), f"{place}.fast_interval"),
        "down_interval": time(given.get("down_interval", _shorter("500ms", interval)), f"{place}.down_interval"),
        "timeout": time(given["timeout"], f"{place}.timeout") if "timeout" in given else None,
        "fall": number(given.get("fall", 2), f"{place}.fall", 1, 100),
        "rise": number(given.get("rise", 2), f"{place}.rise", 1, 100),
        "tcp_service": mode == "tcp",
    }


def _servers(service: Mapping[str, Any], place: str, hostvars: Hostvars) -> list[dict[str, Any]]:
    if ("hosts" in service) == ("servers" in service):
        raise ModelError(f"{place} needs its members either under 'hosts' or under 'servers', one of them.")
    default_port = port(service["port"], f"{place}.port") if "port" in service else None
    members: list[dict[str, Any]] = []
    if "hosts" in service:
        if default_port is None:
            raise ModelError(f"{place} has 'hosts' but no 'port'; add the port on which its members listen.")
        members = [
            {"name": one, "address": address_of(one, f"{place}.hosts", hostvars)}
            for one in sequence(service["hosts"], f"{place}.hosts")
        ]
    else:
        for index, one in enumerate(sequence(service["servers"], f"{place}.servers")):
            given = mapping(one, f"{place}.servers[{index}]", SERVER_KEYS)
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
                "name": name(one["name"], where),
                "address": bracketed(word(one["address"], f"{where}: address")),
                "port": port(one["port"], f"{where}: port") if "port" in one else default_port,
                "weight": number(one.get("weight", DEFAULT_WEIGHT), f"{where}: weight", 0, 256),
                "backup": boolean(one.get("backup", False), f"{where}: backup"),
            }
        )
    return servers


def _retry(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, Mapping) and True in value:
        value = {"on" if key is True else key: one for key, one in value.items()}  # YAML reads a bare "on" as true.
    given = mapping(value, place, RETRY_KEYS)
    methods = [str(one) for one in sequence(given.get("methods", ["GET", "HEAD"]), f"{place}.methods")]
    for method in methods:
        if method not in IDEMPOTENT:
            raise ModelError(
                f"{place}.methods has '{method}', which would execute a request twice; only {', '.join(IDEMPOTENT)} "
                "may be sent again."
            )
    causes = sequence(given.get("on", ["conn-failure", "empty-response"]), f"{place}.on")
    return {
        "attempts": number(given.get("attempts", 3), f"{place}.attempts", 0, 20),
        "methods": methods,
        "on": [choice(one, f"{place}.on", RETRY_ON) for one in causes] or ["none"],
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


def _service(
    key: str, value: Any, hostvars: Hostvars, timeouts: Mapping[str, str], app: Mapping[str, Any]
) -> dict[str, Any]:
    place = f"haproxy_services.{key}"
    if isinstance(value, Mapping) and "drain" in value:
        raise ModelError(
            f"{place}.drain is about rollouts of the service; move it to app_services.{key}.rollout.drain."
        )
    given = mapping(value, place, SERVICE_KEYS)
    mode = choice(given.get("mode", "http"), f"{place}.mode", ["http", "tcp"])
    own = _times(given.get("timeouts", {}), f"{place}.timeouts", SERVICE_TIMEOUTS)
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
        tls = mapping(given["tls"], f"{place}.tls", TLS_TO_SERVER_KEYS)
        tls = {
            "verify": choice(tls.get("verify", "required"), f"{place}.tls.verify", ["required", "none"]),
            "ca_file": word(tls.get("ca_file", "@system-ca"), f"{place}.tls.ca_file"),
            "sni": word(tls["sni"], f"{place}.tls.sni") if "sni" in tls else None,
        }
    down = given.get("on_marked_down")
    service = {
        "name": _reserved(name(key, place), place),
        "mode": mode,
        "balance": choice(given.get("balance", "roundrobin"), f"{place}.balance", BALANCES),
        "maxconn": number(given["maxconn"], f"{place}.maxconn", 1, 1_000_000) if "maxconn" in given else None,
        "check": check,
        "slowstart": time(given.get("slowstart", "10s" if mode == "http" else "0"), f"{place}.slowstart"),
        "timeouts": own,
        "retry": _retry(given.get("retry", {}), f"{place}.retry") if mode == "http" else None,
        "tls": tls,
        "on_marked_down": choice(down, f"{place}.on_marked_down", ON_MARKED_DOWN) if down is not None else None,
        "servers": _servers(given, place, hostvars),
    }
    if app:
        _refuse_unserved_shares(service, app)
    return service


def _reserved(value: str, place: str) -> str:
    if value in RESERVED:
        raise ModelError(f"{place} has a name that the role itself uses; choose another one.")
    return value


def _certificates(value: Any, place: str, stem: str) -> tuple[list[str], list[dict[str, str]]]:
    paths: list[str] = []
    files: list[dict[str, str]] = []
    for index, one in enumerate(one_or_many(value, place)):
        if not _is_text(one) or not one.strip():
            raise ModelError(f"{place} is empty; give a PEM text with certificate and key, or the path of such a file.")
        if "-----BEGIN" not in one:
            if not word(one, place).startswith("/"):
                raise ModelError(f"{place} is neither a PEM text nor an absolute path on the load balancer.")
            paths.append(one)
            continue
        for part in ("CERTIFICATE-----", "PRIVATE KEY-----"):
            if part not in one:
                raise ModelError(
                    f"{place} has no {part.rstrip('-').lower()}; put the certificate, its chain and its private key "
                    "into one PEM text."
                )
        paths.append(f"{CERTIFICATES}/{stem}-{index}.pem")
        files.append({"path": paths[-1], "content": one.strip() + "\n", "mode": "0600"})
    if not paths:
        raise ModelError(f"{place} is empty; give a PEM text with certificate and key, or the path of such a file.")
    return paths, files


def _bind(value: Any, place: str, stem: str, mode: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    given = mapping(value, place, BIND_KEYS)
    if "port" not in given:
        raise ModelError(f"{place} has no port; add it.")
    bind: dict[str, Any] = {
        "address": bracketed(word(given.get("address", "*"), f"{place}.address")),
        "port": port(given["port"], f"{place}.port"),
        "tls": None,
    }
    if "tls" not in given:
        return bind, []
    tls = mapping(given["tls"], f"{place}.tls", BIND_TLS_KEYS)
    if "certificate" not in tls:
        raise ModelError(f"{place}.tls has no certificate; give a PEM text or the path of a file on the load balancer.")
    paths, files = _certificates(tls["certificate"], f"{place}.tls.certificate", stem)
    versions = ["TLSv1.2", "TLSv1.3"]
    alpn = sequence(tls.get("alpn", ["h2", "http/1.1"] if mode == "http" else []), f"{place}.tls.alpn")
    bind["tls"] = {
        "certificates": paths,
        "min_version": choice(tls.get("min_version", "TLSv1.2"), f"{place}.tls.min_version", versions),
        "alpn": [word(one, f"{place}.tls.alpn") for one in alpn],
        "strict_sni": boolean(tls.get("strict_sni", False), f"{place}.tls.strict_sni"),
    }
    return bind, files


def _route(value: Any, place: str, services: Mapping[str, Any]) -> dict[str, Any]:
    given = mapping(value, place, ROUTE_KEYS)
    if "service" not in given:
        raise ModelError(f"{place} has no service; name the one that it leads to.")
    hosts = [word(one, f"{place}.host").lower() for one in one_or_many(given.get("host", []), f"{place}.host")]
    for host in hosts:
        _ROUTED_HOST.of(host, f"{place}.host", ModelError)
    paths = [word(one, f"{place}.path") for one in one_or_many(given.get("path", []), f"{place}.path")]
    for path in paths:
        _PATH.of(path, f"{place}.path", ModelError)
    return {
        "hosts": [one for one in hosts if not one.startswith("*.")],
        "host_ends": [one[1:] for one in hosts if one.startswith("*.")],
        "paths": [] if "/" in paths else [one.rstrip("/") for one in paths],
        "service": _service_name(given["service"], f"{place}.service", "http", services),
    }


def _service_name(value: Any, place: str, mode: str, services: Mapping[str, Any]) -> str:
    if value not in services:
        known = ", ".join(services) or "none"
        raise ModelError(f"{place} names the service '{value}', which haproxy_services does not have (it has {known}).")
    if services[value]["mode"] != mode:
        raise ModelError(
            f"{place} names the service '{value}' of mode {services[value]['mode']}, but the frontend has mode {mode}; "
            "the two must be the same."
        )
    return str(value)


def _routes(given: Mapping[str, Any], place: str, mode: str, services: Mapping[str, Any]) -> list[dict[str, Any]]:
    if mode == "tcp":
        if "routes" in given or "redirect_https" in given:
            raise ModelError(f"{place} is a tcp frontend, which has a 'service' and no routes or redirects.")
        if "service" not in given:
            raise ModelError(f"{place} has no service; name the one that it leads to.")
        _service_name(given["service"], f"{place}.service", "tcp", services)
        return []
    if ("routes" in given) == ("service" in given):
        raise ModelError(f"{place} needs either 'routes' or one 'service', one of them.")
    listed = sequence(given["routes"], f"{place}.routes") if "routes" in given else [{"service": given["service"]}]
    routes = [_route(one, f"{place}.routes[{index}]", services) for index, one in enumerate(listed)]
    for index, one in enumerate(routes[:-1]):
        if not (one["hosts"] or one["host_ends"] or one["paths"]):
            raise ModelError(
                f"{place}.routes[{index}] matches everything, so the routes after it are never reached; "
                "move it to the end."
            )
    return routes


def _frontend(
    key: str, value: Any, services: Mapping[str, Any], timeouts: Mapping[str, str]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    place = f"haproxy_frontends.{key}"
    given = mapping(value, place, FRONTEND_KEYS)
    mode = choice(given.get("mode", "http"), f"{place}.mode", ["http", "tcp"])
    binds: list[dict[str, Any]] = []
    files: list[dict[str, str]] = []
    for index, one in enumerate(sequence(given.get("binds", []), f"{place}.binds")):
        bind, more = _bind(one, f"{place}.binds[{index}]", f"{key}-{index}", mode)
        binds.append(bind)
        files += more
    if not binds:
        raise ModelError(f"{place} has no binds; add an address and a port to listen on.")
    own = _times(given.get("timeouts", {}), f"{place}.timeouts", FRONTEND_TIMEOUTS)
    routes = _routes(given, place, mode, services)
    if mode == "tcp":
        own.setdefault("client", services[given["service"]]["timeouts"].get("server", timeouts["tunnel"]))
    tls_ports = [one["port"] for one in binds if one["tls"]]
    redirect = boolean(given.get("redirect_https", False), f"{place}.redirect_https")
    frontend = {
        "name": _reserved(name(key, place), place),
        "mode": mode,
        "binds": binds,
        "maxconn": number(given["maxconn"], f"{place}.maxconn", 1, 10_000_000) if "maxconn" in given else None,
        "timeouts": own,
        "service": str(given["service"]) if mode == "tcp" else None,
        "routes": routes,
        "redirect_https_port": (tls_ports or [443])[0] if redirect else None,
    }
    return frontend, files


def _refuse_double_binds(frontends: Sequence[Mapping[str, Any]], stats: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[tuple[str, int], str] = {}
    places = [(one, f"haproxy_frontends.{frontend['name']}") for frontend in frontends for one in frontend["binds"]]
    for bind, place in places + [(one, "haproxy_stats_bind") for one in stats]:
        address = "*" if bind["address"] in {"*", "0.0.0.0", "[::]"} else bind["address"]
        for other, owner in seen.items():
            if other[1] == bind["port"] and (address == other[0] or "*" in (address, other[0])):
                raise ModelError(
                    f"{place} binds {bind['address']}:{bind['port']}, which {owner} binds too; give one of them "
                    "another address or port."
                )
        seen[(address, bind["port"])] = place


def _stats_binds(value: Any) -> list[dict[str, Any]]:
    binds: list[dict[str, Any]] = []
    for index, one in enumerate(sequence(value, "haproxy_stats_bind")):
        place = f"haproxy_stats_bind[{index}]"
        bind, _files = _bind(mapping(one, place, ["address", "port"]), place, "", "http")
        if bind not in binds:
            binds.append(bind)
    return binds


def _extra(value: Any, services: Mapping[str, Any], frontends: Mapping[str, Any]) -> dict[str, Any]:
    given = mapping(value, "haproxy_extra", EXTRA_KEYS)
    extra: dict[str, Any] = {key: str(given.get(key, "")) for key in ("global", "defaults", "sections")}
    for key, known in (("services", services), ("frontends", frontends)):
        extra[key] = mapping(given.get(key, {}), f"haproxy_extra.{key}", list(known))
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
        return max([timeouts[key], *own], key=milliseconds)

    backend = {key: longest(services, key) for key in ("server", "tunnel")}
    return {"frontend": {"client": longest(frontends, "client")}, "backend": backend}


def _check_hard_stop(hard_stop: Any, services: Mapping[str, Any], timeouts: Mapping[str, str]) -> None:
    limit = time(hard_stop, "haproxy_hard_stop_after")
    for one in services.values():
        longest = one["timeouts"].get("server", timeouts["server"])
        if milliseconds(longest) > milliseconds(limit):
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
    timeouts = _times(settings["timeouts"], "haproxy_timeouts", wanted)
    missing = [one for one in wanted if one not in timeouts]
    if missing:
        raise ModelError(f"haproxy_timeouts lacks {', '.join(missing)}; take the defaults and change what you need.")
    apps = mapping(settings.get("apps", {}), "haproxy_apps")
    backends = {
        key: _service(key, one, hostvars, timeouts, apps.get(key, {}))
        for key, one in mapping(services, "haproxy_services").items()
    }
    fronts: dict[str, dict[str, Any]] = {}
    files: list[dict[str, str]] = []
    for key, one in mapping(frontends, "haproxy_frontends").items():
        fronts[key], more = _frontend(key, one, backends, timeouts)
        files += more
    stats = _stats_binds(settings["stats_bind"])
    _refuse_double_binds(list(fronts.values()), stats)
    _check_hard_stop(settings["hard_stop_after"], backends, timeouts)
    number(settings["maxconn"], "haproxy_maxconn", 1, 10_000_000)
    peers = [
        {"name": name(one, "haproxy_peers"), "address": bracketed(address_of(one, "haproxy_peers", hostvars))}
        for one in sequence(settings["peers"], "haproxy_peers")
    ]
    port(settings["peers_port"], "haproxy_peers_port")
    texts = _extra(extra, backends, fronts)
    proxies = sequence(settings["trusted_proxies"], "haproxy_trusted_proxies")
    return {
        "services": list(backends.values()),
        "frontends": list(fronts.values()),
        "stats": {
            "binds": stats,
            "user": quote(settings["stats_user"]),
            "password": quote(settings["stats_password"]),
        },
        "timeouts": timeouts,
        "peers": peers,
        "trusted_proxies": [word(one, "haproxy_trusted_proxies") for one in proxies],
        "extra": texts,
        "handover": _handover(backends, fronts, texts, timeouts),
        "files": files,
    }
