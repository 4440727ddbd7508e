# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that a HAProxy configuration defines, as far as their state needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONFIG = "/etc/haproxy/haproxy.cfg"
SECTIONS = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "userlist",
    "resolvers",
    "mailers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "fcgi-app",
    "log-forward",
    "crt-store",
    "traces",
]


@dataclass(frozen=True)
class ServerLine:
    """One server as the configuration defines it."""

    backend: str
    name: str
    host: str
    port: str
    checked: bool
    tls: bool
    weight: int | None = None
    """Its configured weight, nothing where its line does not say it."""
    ends_sessions: bool = False
    """Whether its sessions are to end when it goes down: "on-marked-down shutdown-sessions"."""

    @property
    def key(self) -> tuple[str, str]:
        """Backend and server name, by which HAProxy finds the state line."""
        return (self.backend, self.name)


def _by_network(address: str) -> bool:
    return not re.match(r"/|(unix|abns|abnsz|sockpair|fd)@", address)


def _after(word: str, options: list[str]) -> str:
    """Return what follows the last occurrence of a word."""
    return dict(zip(options, options[1:])).get(word, "")


def _weight(options: list[str]) -> int | None:
    given = _after("weight", options)
    return int(given) if given.isdigit() else None


def parse_servers(config: str) -> list[ServerLine]:
    """List the servers that a configuration text defines, but for those on local sockets."""
    servers: list[ServerLine] = []
    section = name = ""
    common: list[str] = []
    default: list[str] = []
    for raw in config.splitlines():
        words = raw.split("#", 1)[0].split() if "'" not in raw and '"' not in raw else raw.split()
        if not words:
            continue
        if words[0] in SECTIONS:
            section, name = words[0], words[1] if len(words) > 1 else ""
            common, default = ([], []) if section == "defaults" else (common, list(common))
        elif words[0] == "default-server":
            (common if section == "defaults" else default).extend(words[1:])
        elif words[0] == "server" and section in {"backend", "listen"} and len(words) > 2 and _by_network(words[2]):
            host, _colon, port = words[2].rpartition(":")
            if not port.isdigit():
                host, port = words[2], "0"
            options = words[3:]
            checked, tls = "check" in options, "ssl" in options
            ends = _after("on-marked-down", default + options) == "shutdown-sessions"
            servers.append(ServerLine(name, words[1], host.strip("[]"), port, checked, tls, _weight(options), ends))
    return servers
