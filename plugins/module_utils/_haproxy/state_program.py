# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of a load balancer that keeps HAProxy's server state across reloads and starts.

The haproxy role installs it there as one file with what it imports, where the systemd units call it, so that a plain
"systemctl reload haproxy" keeps drained servers drained as well.
"""

from __future__ import annotations

import os
import sys

from ansible_collections.mesops.platform.plugins.module_utils._core.locks import take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.guard import guard_for_ever
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.master import MASTER_SOCKET, ask, running_state
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_lines import CONFIG
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.server_states import (
    FRESH_MARK,
    LOCK,
    LOCK_TIMEOUT,
    STATE_FILE,
    keep_mark,
    next_state,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.starting import start_state


def _save(config: str, marked: bool) -> None:
    lock = take_lock(LOCK, LOCK_TIMEOUT)
    try:
        text = next_state(config, running_state(lambda command: ask(MASTER_SOCKET, command)))
        write_atomically(STATE_FILE, f"{text}{FRESH_MARK}\n" if marked else keep_mark(text, read_text(STATE_FILE)))
    finally:
        os.close(lock)


def main(arguments: list[str]) -> int:
    """Serve the systemd units: "before-reload", "save" (at stop), "before-start", and "guard", which does not end."""
    action = arguments[0] if arguments else ""
    config_file = os.environ.get("CONFIG", CONFIG)
    if action not in {"before-start", "before-reload", "save", "guard"}:
        sys.stderr.write("usage: haproxy_state.py before-start|before-reload|save|guard\n")
        return 2
    if action == "guard":
        guard_for_ever(config_file)
    config = read_text(config_file)
    try:
        if action == "before-start":
            # Without the lock: whoever has it now waits for the HAProxy that is to start.
            write_atomically(STATE_FILE, start_state(config))
        else:
            _save(config, marked=action == "save")
    except OSError as error:
        sys.stderr.write(f"The server state of HAProxy was not kept ({error}).\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
