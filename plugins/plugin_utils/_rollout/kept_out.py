# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers somebody else has taken out of traffic: they are deployed to and not put back. No Ansible in here."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import History, left_behind_at
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Server, Snapshot


def kept_out(settings: Settings, snapshot: Snapshot, history: History) -> dict[str, list[str]]:
    """Servers that somebody else has taken out of traffic: they are deployed to and left as they are."""
    kept = {
        name: [
            host
            for host, server in found.items()
            if host in settings.hosts and server.admin != "ready" and not left_behind_at(host, name, history)
        ]
        for name, found in snapshot.servers.items()
    }
    return {name: hosts for name, hosts in kept.items() if hosts}


def kept_by_others(record: Record, settings: Settings, snapshot: Snapshot, history: History) -> dict[str, list[str]]:
    """Servers that are out of traffic and were not taken out by the unfinished rollout."""

    def others(name: str, host: str, server: Server) -> bool:
        if server.admin == "ready" or host not in settings.hosts:
            return False
        mine = record.hosts.get(host) or record.left.get(host)
        if mine is None:
            return not left_behind_at(host, name, history)
        theirs = host in record.kept_out.get(name, ()) or name in (*mine.kept_at, *mine.let_in_at)
        theirs = theirs or name not in record.asked
        return theirs or not mine.taken_out

    kept = {
        name: [host for host, server in found.items() if others(name, host, server)]
        for name, found in snapshot.servers.items()
    }
    return {name: hosts for name, hosts in kept.items() if hosts}
