# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The master's socket, with answers recorded from 2.6.12 and 3.0.11 (Debian)."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import master
from haproxy_samples import PROC_3_0

PROC_2_6_FAILED = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
405             master          2 [failed: 2]   0d00h05m32s     2.6.12-1+deb12u4
# workers
407             worker          2               0d00h05m32s     2.6.12-1+deb12u4
# programs

"""


def test_processes() -> None:
    found = master.parse_processes(PROC_3_0)
    worker = master.current_worker(found)
    assert worker is not None
    assert worker.pid == 313
    assert [(one.kind, one.reloads, one.old) for one in found] == [
        ("master", 3, False),
        ("worker", 0, False),
        ("worker", 1, True),
    ]
    assert [one.reloads for one in master.parse_processes(PROC_2_6_FAILED)] == [2, 2]
    assert master.current_worker([]) is None


def test_the_master_socket_answers_only_after_a_half_close(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _peer = server.accept()
            with connection:
                text = b""
                while part := connection.recv(100):  # Ends only when the other side has said that it is done.
                    text += part
                heard.append(text)
                connection.sendall(b"answer\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert master.ask(path, "show proc", timeout=5) == "answer\n"
        thread.join(5)
    assert heard == [b"show proc\n"]


def test_sessions_of_one_server_are_found_by_whole_words() -> None:
    text = (
        "0x1: proto=tcpv4 src=10.0.0.9:1 fe=edge be=catalog srv=one ts=00\n"
        "0x2: proto=tcpv4 src=10.0.0.9:2 fe=edge be=catalog srv=one-b ts=00\n"
        "0x3: proto=tcpv4 src=10.0.0.9:3 fe=edge be=files srv=one ts=00\n"
        "0x4: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n\n"
    )
    assert master.sessions_of(text, ("catalog", "one")) == ["0x1"]
