# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what a systemd unit needs, and wait until it is ready. No Ansible in here.

Everything that touches the machine is passed in as a callable: ``run`` (a command), ``probe`` (one readiness
check), ``clock`` and ``sleep`` (seconds). Times are seconds since the epoch unless a name says otherwise.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import health_check, keys

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
    "StateChangeTimestampMonotonic",
)
RUNNING = ("active", "reloading", "refreshing")
JOURNAL_LINES = 15

Probe = Callable[[], "tuple[bool, str]"]


class DaemonError(Exception):
    """The unit could not be brought to the wanted state; the text is one sentence for the user."""


@dataclass(frozen=True)
class Unit:
    """What systemd says of one unit."""

    name: str
    load_state: str
    active_state: str
    sub_state: str
    enabled: bool
    needs_daemon_reload: bool
    started_at: float
    """When the main process started (seconds since the epoch, 0 when it never did)."""
    changed_at: float
    """When the unit last changed its state, a reload included (seconds since the epoch, 0 when it never did)."""
    fragment: str = ""
    """The unit file that systemd has read."""
    drop_ins: tuple[str, ...] = ()
    """The drop-in files that systemd has read."""

    @property
    def exists(self) -> bool:
        """Whether systemd found a unit file."""
        return self.load_state != "not-found"

    @property
    def running(self) -> bool:
        """Whether the unit is up, a reload in progress included."""
        return self.active_state in RUNNING

    def summary(self) -> dict[str, object]:
        """The part of the state that this project reports and compares."""
        return {"active": self.active_state, "enabled": self.enabled, "exists": self.exists}


def unit_of(name: str, values: Mapping[str, str], boot_time: float) -> Unit:
    """A unit from its properties; ``boot_time`` turns their monotonic microseconds into epoch seconds."""

    def epoch(key: str) -> float:
        microseconds = int(values.get(key) or 0)
        return boot_time + microseconds / 1e6 if microseconds else 0.0

    return Unit(
        name=name,
        load_state=values.get("LoadState", "not-found"),
        active_state=values.get("ActiveState", "inactive"),
        sub_state=values.get("SubState", "dead"),
        enabled=values.get("UnitFileState", "").startswith("enabled"),
        needs_daemon_reload=values.get("NeedDaemonReload") == "yes",
        started_at=epoch("ExecMainStartTimestampMonotonic"),
        changed_at=epoch("StateChangeTimestampMonotonic"),
        fragment=values.get("FragmentPath", ""),
        drop_ins=tuple(values.get("DropInPaths", "").split()),
    )


def unread_files(unit: Unit, paths: Sequence[str], exists: Callable[[str], bool] = os.path.exists) -> list[str]:
    """The unit files among ``paths`` that systemd has not read.

    It does not notice a file that takes precedence over the one it has read and, up to 252, a unit's first drop-in.
    """
    beside = f"/{unit.name}.d/"
    return [
        path
        for path in paths
        if (
            (beside in path and path not in unit.drop_ins) or (path.endswith(f"/{unit.name}") and path != unit.fragment)
        )
        and exists(path)
    ]


def newest_change(
    paths: Sequence[str], stats: Sequence[Callable[[str], os.stat_result]] = (os.stat, os.lstat)
) -> float:
    """When the newest of the files was written, replaced or re-owned (its ctime); missing files do not count.

    Of a link, its own change counts as well as its target's: one that leads back to an older file is a change too.
    """
    newest = 0.0
    for path in paths:
        for stat in stats:
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, stat(path).st_ctime)
    return newest


@dataclass(frozen=True)
class Plan:
    """The commands to run, in order, and the one word that reports them."""

    commands: tuple[tuple[str, ...], ...]
    action: str
    """``none``, ``started``, ``stopped``, ``restarted`` or ``reloaded``."""
    changed: bool


def plan(
    unit: Unit,
    *,
    state: str,
    enabled: bool | None,
    on_change: str,
    changed_at: float,
    reload_at: float = 0.0,
    unread: Sequence[str] = (),
) -> Plan:
    """What to do so that the unit runs (or not) with the files on disk.

    A running unit is stale when one of its files was never read, or changed after its process started (``on_change:
    restart``) or after its last change of state (``on_change: reload``, and ``reload_at`` of the files that never need
    more). Judging by what runs, not by what this run wrote, is what lets an interrupted run converge.
    """
    commands: list[tuple[str, ...]] = []
    changed = False
    if unit.needs_daemon_reload or unread or not unit.exists:
        commands.append(("daemon-reload",))
    if enabled is not None and enabled != unit.enabled:
        commands.append(("enable" if enabled else "disable", unit.name))
        changed = True

    action = "none"
    if state == "stopped":
        if unit.active_state not in ("inactive", "failed"):
            action = "stopped"
    elif not unit.running:
        action = "started"
    elif on_change == "restart" and (changed_at > unit.started_at or unread):
        action = "restarted"
    elif max(changed_at if on_change == "reload" else 0.0, reload_at) > max(unit.changed_at, unit.started_at):
        action = "reloaded"

    verbs = {"stopped": "stop", "started": "start", "restarted": "restart", "reloaded": "reload"}
    if action != "none":
        if action == "started" and unit.active_state == "failed":
            # A unit that hit its start limit refuses to start until the counter is cleared.
            commands.append(("reset-failed", unit.name))
        commands.append((verbs[action], unit.name))
        changed = True
    return Plan(tuple(commands), action, changed)


def wait_ready(
    probe: Probe,
    alive: Callable[[], Unit],
    *,
    timeout: float,
    interval: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> float:
    """Sample the probe until it passes; the seconds it took. A unit that is down for good ends the wait early."""
    begin = clock()
    while True:
        passed, reason = probe()
        if passed:
            return clock() - begin
        unit = alive()
        if unit.active_state in ("failed", "inactive"):
            raise DaemonError(f"{unit.name} stopped ({unit.active_state}) before it was ready: {reason}")
        if clock() - begin >= timeout:
            raise DaemonError(f"{unit.name} is not ready after {timeout:g} s: {reason}")
        sleep(interval)


def http_probe(url: str, statuses: Sequence[Any], timeout: float, host: str = "") -> Probe:
    """A probe that passes when ``url`` answers with one of ``statuses`` (any 2xx when the list is empty).

    A status is a number or a text such as 200-299. ``host`` is the Host header, that of the URL when empty.
    """
    try:
        wanted = keys.statuses(statuses or ["200-299"], "ready")
    except keys.ProbeError as error:
        raise DaemonError(str(error).rstrip(".")) from error
    return partial(health_check.ask, url, host, wanted, timeout)


def tcp_probe(address: str, timeout: float) -> Probe:
    """A probe that passes when ``host:port`` accepts a connection."""
    host, _separator, port = address.rpartition(":")

    def probe() -> tuple[bool, str]:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout).close()
        except OSError as error:
            return False, f"{address} accepts no connection ({error})"
        return True, f"{address} accepts connections"

    return probe
