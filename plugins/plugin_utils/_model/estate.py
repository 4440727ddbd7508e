# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an estate consists of: which hosts run a part of it, and where that part answers. Pure."""

from __future__ import annotations

import ipaddress
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.plugin_utils._model.address import endpoint, host_address

NO_HOST = "all:!all"
"""A pattern of plays. The name of a group that the inventory does not have would be warned of."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Part:
    """A part of the estate. What its role's defaults say of ports is said here too; a test compares them."""

    group: str
    """The group of its hosts, unless the variable names another one."""
    group_variable: str = ""
    port: int = 0
    """Where it listens, unless the variable of a host says otherwise; none where nobody asks it."""
    port_variable: str = ""
    tls_variable: str = ""
    """It speaks TLS on a host where this variable holds something."""
    job: str = ""
    """As what Prometheus scrapes it; empty for what has no metrics there, or is scraped only under conditions."""


PARTS = {
    "app": Part("mesops_apps"),
    "etcd": Part("etcd", "mesops_etcd", 2379, "etcd_client_port", job="etcd"),
    "etcd_peer": Part("etcd", "mesops_etcd", 2380, "etcd_peer_port"),
    "postgres": Part("postgres", "mesops_postgres", 5432, "postgres_port"),
    "patroni": Part("postgres", "mesops_postgres", 8008, "postgres_rest_port", job="patroni"),
    "postgres_exporter": Part("postgres", "mesops_postgres", 9187, "exporter_postgres_port", job="postgres"),
    "haproxy": Part("loadbalancers", "mesops_loadbalancers", 8404, "haproxy_stats_bind", job="haproxy"),
    "prometheus": Part("monitoring", "mesops_monitoring", 9090, "prometheus_port", "prometheus_tls", "prometheus"),
    "alertmanager": Part(
        "monitoring", "mesops_monitoring", 9093, "alertmanager_port", "alertmanager_tls", "alertmanager"
    ),
    "blackbox_exporter": Part("monitoring", "mesops_monitoring", 9115, "exporter_blackbox_port"),
    "loki": Part("logs", "mesops_logs", 3100, "loki_port", "loki_tls", "loki"),
    "tempo": Part("traces", "mesops_traces", 3200, "tempo_port", "tempo_tls", "tempo"),
    "tempo_otlp": Part("traces", "mesops_traces", 4317, "tempo_otlp_grpc_port"),
    "grafana": Part("dashboards", "mesops_dashboards", 3000, "grafana_port", "grafana_tls", "grafana"),
    "node_exporter": Part("all", "", 9100, "exporter_node_port", job="node"),
    "alloy": Part("all", "", 12345, "alloy_port"),
}


@dataclass(frozen=True)
class Listener:
    """Where others reach a part on one host."""

    scheme: str
    address: str
    port: int

    @property
    def endpoint(self) -> str:
        """``host:port``."""
        return endpoint(self.address, self.port)

    @property
    def url(self) -> str:
        """The root of what it serves."""
        return f"{self.scheme}://{self.endpoint}"


@dataclass(frozen=True)
class Estate:
    """The hosts of an inventory, by the parts that they run."""

    groups: Mapping[str, Sequence[str]]
    hostvars: Mapping[str, Mapping[str, Any]]
    named: Callable[[str], Any]
    """The value of the variable that names a group, or None."""
    here: str = ""
    """The host that asks, where it is one."""

    def group(self, part: Part) -> str:
        """The group of the hosts that run a part; empty where the inventory says that none does."""
        named = self.named(part.group_variable) if part.group_variable else None
        if named is None:
            return part.group
        if not isinstance(named, str):
            raise Refused(scalars.refusal(part.group_variable, repr(named), "the name of a group of the inventory"))
        return named

    def pattern(self, part: Part) -> str:
        """What a play takes for its hosts; a name that is wrong goes to Ansible, which warns of it."""
        group = self.group(part)
        return group if group in self.groups or group not in ("", part.group) else NO_HOST

    def hosts(self, part: Part) -> list[str]:
        """The hosts that run a part, in the order of the inventory."""
        group = self.group(part)
        if group not in self.groups and group not in ("", part.group):
            raise Refused(
                f"{part.group_variable} is {group!r}, which is no group of the inventory; add the group, correct the "
                "name, or leave it empty for an estate without."
            )
        return list(self.groups.get(group, []))

    def listener(self, part: Part, host: str) -> Listener:
        """Where a part listens on a host."""
        # Read once: to put the variables of a host together takes long.
        known = self.hostvars[host]
        value = known.get(part.port_variable)
        return Listener(
            "https" if part.tls_variable and known.get(part.tls_variable) else "http",
            host_address(host, {host: known}),
            part.port if value is None else PORT.of(_reachable(value), f"{part.port_variable} of {host}"),
        )


PORT = scalars.integer(1, 65535, "a TCP port", text=True)
WITHOUT_PORT = ("group", "pattern", "hosts", "addresses")
"""What is known of a part that listens wherever its own settings say."""
OF_PART: Mapping[str, Callable[[Estate, Part], Any]] = {
    "group": lambda estate, part: estate.group(part),
    "pattern": lambda estate, part: estate.pattern(part),
    "port": lambda estate, part: estate.listener(part, estate.here).port if estate.here else part.port,
}
OF_HOSTS: Mapping[str, Callable[[Estate, Part, Sequence[str]], Any]] = {
    "hosts": lambda _estate, _part, hosts: list(hosts),
    "addresses": lambda estate, _part, hosts: [host_address(host, estate.hostvars) for host in by_name(hosts)],
    "endpoints": lambda estate, part, hosts: [estate.listener(part, host).endpoint for host in by_name(hosts)],
    "urls": lambda estate, part, hosts: [estate.listener(part, host).url for host in by_name(hosts)],
    "url": lambda estate, part, hosts: (
        (estate.listener(part, by_name(hosts)[0]) if hosts else Listener("http", LOOPBACK, part.port)).url
    ),
    "ports": lambda estate, part, hosts: {host: estate.listener(part, host).port for host in by_name(hosts)},
}
OF_ESTATE: Mapping[str, Callable[[Estate], Any]] = {
    "jobs": lambda estate: {
        part.job: {"port": OF_HOSTS["ports"](estate, part, estate.hosts(part))} for part in PARTS.values() if part.job
    },
}
FACTS = (*OF_PART, *OF_HOSTS)


class Filled(Mapping[str, Any]):
    """The variables of a host or a play, each filled in when it is read."""

    def __init__(self, variables: Mapping[str, Any], filled: Callable[[Any], Any]) -> None:
        """``filled`` makes a value of a template."""
        self._variables, self._filled = variables, filled

    def __getitem__(self, name: str) -> Any:
        """One of them."""
        return self._filled(self._variables[name])

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._variables)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._variables)


def estate_of(variables: Mapping[str, Any], filled: Callable[[Any], Any]) -> Estate:
    """The estate as the host or the play with these variables knows it."""
    own, here = Filled(variables, filled), str(variables.get("inventory_hostname", ""))
    groups, hostvars = variables.get("groups", {}), variables.get("hostvars", {})

    def named(variable: str) -> Any:
        if here or variable in variables:
            return own.get(variable)
        # A play has no variables of groups. What holds for the whole estate is known to its first host.
        first = next((host for host in groups.get("all", ()) if host in hostvars), None)
        return None if first is None else hostvars[first].get(variable)

    # The host that asks knows more of itself than others do, such as variables of its play.
    return Estate(groups, ChainMap({here: own}, hostvars), named, here)


def fact(estate: Estate, term: str, hosts: Sequence[str] | None = None) -> Any:
    """What is asked for as ``part.fact``, or of the whole estate; ``hosts`` are in the place of the part's group."""
    if term in OF_ESTATE:
        return OF_ESTATE[term](estate)
    name, _dot, wanted = term.partition(".")
    part = PARTS.get(name)
    if part is None:
        raise Refused(f"{term!r} asks about {name!r}, which is no part of an estate; parts are {', '.join(PARTS)}.")
    if wanted not in FACTS:
        raise Refused(f"{term!r} asks for {wanted!r}, which is known of no part; ask for {', '.join(FACTS)}.")
    if not part.port and wanted not in WITHOUT_PORT:
        raise Refused(f"{term!r} asks where {name} listens, which differs; ask for {', '.join(WITHOUT_PORT)}.")
    for host in hosts or ():
        if host not in estate.hostvars:
            raise Refused(f"{term!r} is asked of {host!r}, which the inventory does not have; correct the name.")
    if wanted in OF_PART:
        return OF_PART[wanted](estate, part)
    return OF_HOSTS[wanted](estate, part, estate.hosts(part) if hosts is None else hosts)


def wrong_groups(estate: Estate) -> list[str]:
    """What is wrong with the names that variables give to groups, one sentence for each."""
    found = []
    for part in PARTS.values():
        try:
            estate.hosts(part)
        except Refused as why:
            found.append(str(why))
    return sorted(set(found))


def by_name(hosts: Sequence[str]) -> list[str]:
    """The order of an inventory's hosts depends on how it is given, and is no reason to change what hosts are told."""
    return sorted(hosts, key=str)


def _reachable(value: Any) -> Any:
    """A port as it is given, or that of the first of several binds which other hosts can reach."""
    if not isinstance(value, (list, tuple)):
        return value
    binds = [bind for bind in value if isinstance(bind, Mapping)]
    found = next((bind for bind in binds if not _is_loopback(str(bind.get("address")))), binds[0] if binds else {})
    return found.get("port")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
