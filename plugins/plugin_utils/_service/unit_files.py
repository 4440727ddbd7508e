# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd unit and the environment file of a service, as texts. No Ansible in here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNIT = """\
# Ansible managed
[Unit]
Description={name}
After=network-online.target
Wants=network-online.target
ConditionPathExists={home}/current
StartLimitIntervalSec=300
StartLimitBurst=60

[Service]
Type=exec
User={user}
Group={user}
WorkingDirectory={home}/current
Environment=SERVICE_NAME={name} PORT={port}
EnvironmentFile=-{home}/current/.mesops-release
EnvironmentFile={environment_file}
ExecStart={exec_start}
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop_timeout}
Restart=always
RestartSec=2
SyslogIdentifier={name}
{limit_lines}
ReadWritePaths={writable}
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
{sandbox_lines}
[Install]
WantedBy=multi-user.target
"""

OWN_VARIABLES = (
    "PORT",
    "SERVICE_NAME",
    "SERVICE_VERSION",
    "SERVICE_CHECKSUM",
    "SERVICE_INSTALLED_AT",
    "SERVICE_CONFIGURATION",
)
"""Variables that a process gets from elsewhere, so that no service may set them."""
OWN_DIRECTIVES = [
    "Type",
    "User",
    "Group",
    "WorkingDirectory",
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "KillSignal",
    "KillMode",
    "TimeoutStopSec",
    "Restart",
    "RestartSec",
    "MemoryMax",
    "CPUQuota",
    "TasksMax",
    "LimitNOFILE",
    "ReadWritePaths",
    "AmbientCapabilities",
    "CapabilityBoundingSet",
]
"""Directives that the unit has for itself, so that they are no part of a sandbox."""

SANDBOX: dict[str, Any] = {
    "NoNewPrivileges": True,
    "ProtectSystem": "strict",
    "ProtectHome": True,
    "ProtectProc": "invisible",
    "ProtectClock": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "ProtectControlGroups": True,
    "PrivateTmp": True,
    "PrivateDevices": True,
    "LockPersonality": True,
    "RemoveIPC": True,
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "RestrictSUIDSGID": True,
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "UMask": "0027",
}


def unit_text(service: Mapping[str, Any]) -> str:
    """The content of /etc/systemd/system/<service>.service."""
    return _UNIT.format(
        **service,
        limit_lines="".join(f"{line}\n" for line in service["limits"]),
        sandbox_lines="".join(f"{line}\n" for line in service["sandbox"]),
        writable=" ".join([f"{service['home']}/shared", *service["writable_paths"]]),
    )


def sandbox_lines(overrides: dict[str, Any]) -> list[str]:
    """The sandbox as lines of a unit; an override takes the place of the default, and null takes it away."""
    lines = []
    for key, value in sorted({**SANDBOX, **overrides}.items()):
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                lines.append(f"{key}={('yes' if one else 'no') if isinstance(one, bool) else one}")
    return lines


def environment_text(environment: dict[str, Any]) -> str:
    """The text of an environment file as systemd reads it."""
    lines = []
    for key, value in environment.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        escaped = re.sub(r'(["\\$`])', r"\\\1", text)
        lines.append(f'{key}="{escaped}"')
    return "".join(f"{line}\n" for line in lines)
