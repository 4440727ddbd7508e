# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the demo inventory in which every group has another name and every port is another one: the same estate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import estate
import yaml
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import PARTS

SERVICE = "mes"
RENAMED = {
    group: f"group_{number}"
    for number, group in enumerate(sorted({SERVICE, *(one.group for one in PARTS.values() if one.group_variable)}))
}
"""The group of the service included."""
VARIABLES = {
    part.group_variable: RENAMED[part.group]
    for part in sorted(PARTS.values(), key=lambda part: part.group)
    if part.group_variable
}


def moved(part: str, by: int) -> int:
    """Another port for a part."""
    return PARTS[part].port + 10_000 + by


def port_variables(by: int, address: str) -> dict[str, Any]:
    """All ports of a host, in another place."""
    found: dict[str, Any] = {part.port_variable: moved(name, by) for name, part in PARTS.items() if part.port}
    binds = [
        {"address": bind, "port": found["haproxy_stats_bind"] + more}
        for bind, more in (("127.0.0.1", 1000), (address, 0))
    ]
    return {**found, "haproxy_stats_bind": binds}


def renamed(value: Any) -> Any:
    """The hosts of an inventory of which every group has its other name."""
    if not isinstance(value, dict):
        return value
    return {
        key: {RENAMED.get(group, group): renamed(more) for group, more in content.items()}
        if key == "children"
        else renamed(content)
        for key, content in value.items()
    }


def groups(value: Any) -> set[str]:
    """The names of all groups of an inventory."""
    if not isinstance(value, dict):
        return set()
    own = value.get("children")
    return set(own if isinstance(own, dict) else ()).union(*map(groups, value.values()))


def copy(project: Path, hosts: Any, given: Mapping[str, Any], ports: Mapping[int, int] | None = None) -> Path:
    """Write the copy into ``project/inventories/elsewhere``, with the demo's variables of groups.

    ``hosts`` is an inventory with the demo's names of groups; ``given`` are variables of all hosts; ``ports`` are those
    that the demo's own settings of its load balancers name, old to new.
    """
    inventory = project / "inventories/elsewhere"
    for path in (estate.INVENTORY / "group_vars").rglob("*.yml"):
        target = inventory / path.relative_to(estate.INVENTORY)
        target = target.with_stem(RENAMED.get(target.stem, target.stem))
        target.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"groups\['(\w+)'\]", lambda found: f"groups['{RENAMED[found[1]]}']", path.read_text("utf-8"))
        for old, new in (ports or {}).items():
            text = re.sub(rf"\bport: {old}$", f"port: {new}", text, flags=re.MULTILINE)
        target.write_text(text, encoding="utf-8")
    services = inventory / "group_vars/all/main.yml"
    services.write_text(
        services.read_text("utf-8").replace("  mes:\n", f"  mes:\n    group: {RENAMED[SERVICE]}\n", 1), encoding="utf-8"
    )
    # A name that is no group would be refused.
    names = {variable: group for variable, group in VARIABLES.items() if group in groups(renamed(hosts))}
    written = {"hosts.yml": renamed(hosts), "group_vars/all/elsewhere.yml": {**names, **given}}
    for name, content in written.items():
        (inventory / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return inventory
