# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frontends of a load balancer: ``haproxy_frontends`` and the statistics, validated and complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import values
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.values import ModelError
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import bracketed

CERTIFICATES = "/etc/haproxy/certs"

FRONTEND_KEYS = ["mode", "binds", "routes", "service", "redirect_https", "maxconn", "timeouts"]
FRONTEND_TIMEOUTS = ["client", "http_request", "http_keep_alive"]
BIND_KEYS = ["address", "port", "tls"]
BIND_TLS_KEYS = ["certificate", "min_version", "alpn", "strict_sni"]
ROUTE_KEYS = ["host", "path", "service"]
_ROUTED_HOST = scalars.matching(r"(\*\.)?[a-z0-9_.-]+", "a host name without port, or one like *.example.com")


def _certificates(value: Any, place: str, stem: str) -> tuple[list[str], list[dict[str, str]]]:
    paths: list[str] = []
    files: list[dict[str, str]] = []
    for index, one in enumerate(values.one_or_many(value, place)):
        if not isinstance(one, str) or not one.strip():
            raise ModelError(f"{place} is empty; give a PEM text with certificate and key, or the path of such a file.")
        if "-----BEGIN" not in one:
            if not values.word(one, place).startswith("/"):
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
    given = values.mapping(value, place, BIND_KEYS)
    if "port" not in given:
        raise ModelError(f"{place} has no port; add it.")
    bind: dict[str, Any] = {
        "address": bracketed(values.word(given.get("address", "*"), f"{place}.address")),
        "port": values.port(given["port"], f"{place}.port"),
        "tls": None,
    }
    if "tls" not in given:
        return bind, []
    tls = values.mapping(given["tls"], f"{place}.tls", BIND_TLS_KEYS)
    if "certificate" not in tls:
        raise ModelError(f"{place}.tls has no certificate; give a PEM text or the path of a file on the load balancer.")
    paths, files = _certificates(tls["certificate"], f"{place}.tls.certificate", stem)
    versions = ["TLSv1.2", "TLSv1.3"]
    alpn = values.sequence(tls.get("alpn", ["h2", "http/1.1"] if mode == "http" else []), f"{place}.tls.alpn")
    bind["tls"] = {
        "certificates": paths,
        "min_version": values.choice(tls.get("min_version", "TLSv1.2"), f"{place}.tls.min_version", versions),
        "alpn": [values.word(one, f"{place}.tls.alpn") for one in alpn],
        "strict_sni": values.boolean(tls.get("strict_sni", False), f"{place}.tls.strict_sni"),
    }
    return bind, files


def _route(value: Any, place: str, services: Mapping[str, Any]) -> dict[str, Any]:
    given = values.mapping(value, place, ROUTE_KEYS)
    if "service" not in given:
        raise ModelError(f"{place} has no service; name the one that it leads to.")
    hosts = [
        values.word(one, f"{place}.host").lower() for one in values.one_or_many(given.get("host", []), f"{place}.host")
    ]
    for host in hosts:
        _ROUTED_HOST.of(host, f"{place}.host", ModelError)
    paths = [values.word(one, f"{place}.path") for one in values.one_or_many(given.get("path", []), f"{place}.path")]
    for path in paths:
        values.PATH.of(path, f"{place}.path", ModelError)
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
    listed = (
        values.sequence(given["routes"], f"{place}.routes") if "routes" in given else [{"service": given["service"]}]
    )
    routes = [_route(one, f"{place}.routes[{index}]", services) for index, one in enumerate(listed)]
    for index, one in enumerate(routes[:-1]):
        if not (one["hosts"] or one["host_ends"] or one["paths"]):
            raise ModelError(
                f"{place}.routes[{index}] matches everything, so the routes after it are never reached; "
                "move it to the end."
            )
    return routes


def complete_frontend(
    key: str, value: Any, services: Mapping[str, Any], timeouts: Mapping[str, str]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return a frontend with everything that it needs, and the certificates that are written for it; or refuse."""
    place = f"haproxy_frontends.{key}"
    given = values.mapping(value, place, FRONTEND_KEYS)
    mode = values.choice(given.get("mode", "http"), f"{place}.mode", ["http", "tcp"])
    binds: list[dict[str, Any]] = []
    files: list[dict[str, str]] = []
    for index, one in enumerate(values.sequence(given.get("binds", []), f"{place}.binds")):
        bind, more = _bind(one, f"{place}.binds[{index}]", f"{key}-{index}", mode)
        binds.append(bind)
        files += more
    if not binds:
        raise ModelError(f"{place} has no binds; add an address and a port to listen on.")
    own = values.times(given.get("timeouts", {}), f"{place}.timeouts", FRONTEND_TIMEOUTS)
    routes = _routes(given, place, mode, services)
    if mode == "tcp":
        own.setdefault("client", services[given["service"]]["timeouts"].get("server", timeouts["tunnel"]))
    tls_ports = [one["port"] for one in binds if one["tls"]]
    redirect = values.boolean(given.get("redirect_https", False), f"{place}.redirect_https")
    frontend = {
        "name": values.unreserved(values.name(key, place), place),
        "mode": mode,
        "binds": binds,
        "maxconn": values.number(given["maxconn"], f"{place}.maxconn", 1, 10_000_000) if "maxconn" in given else None,
        "timeouts": own,
        "service": str(given["service"]) if mode == "tcp" else None,
        "routes": routes,
        "redirect_https_port": (tls_ports or [443])[0] if redirect else None,
    }
    return frontend, files


def refuse_double_binds(frontends: Sequence[Mapping[str, Any]], stats: Sequence[Mapping[str, Any]]) -> None:
    """Refuse two that want the same port."""
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


def stats_binds(value: Any) -> list[dict[str, Any]]:
    """Return where the statistics are served, each place once; or refuse."""
    binds: list[dict[str, Any]] = []
    for index, one in enumerate(values.sequence(value, "haproxy_stats_bind")):
        place = f"haproxy_stats_bind[{index}]"
        bind, _files = _bind(values.mapping(one, place, ["address", "port"]), place, "", "http")
        if bind not in binds:
            binds.append(bind)
    return binds
