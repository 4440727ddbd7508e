# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd unit of a service, from what ``services`` completes."""

from __future__ import annotations

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


def unit_text(service: Mapping[str, Any]) -> str:
    """The content of /etc/systemd/system/<service>.service."""
    return _UNIT.format(
        **service,
        limit_lines="".join(f"{line}\n" for line in service["limits"]),
        sandbox_lines="".join(f"{line}\n" for line in service["sandbox"]),
        writable=" ".join([f"{service['home']}/shared", *service["writable_paths"]]),
    )
