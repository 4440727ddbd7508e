# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send what where after a reload and after a start, on HAProxy 3.0 (Debian 13) and 2.6 (Debian 12) at once.

MESOPS_TEST=full makes 20 restarts and 20 reboots; otherwise 4 and 1.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from .helpers import (
    BALANCERS,
    STUBS,
    Answer,
    echoes,
    haproxy_server,
    load,
    on_both,
    program,
    request,
    servers,
    shell,
    up,
    wait_until,
)

RESTARTS, REBOOTS = (20, 20) if os.environ.get("MESOPS_TEST") == "full" else (4, 1)


def unready(*names: str) -> None:
    """From now on they fail their health checks, and answer whatever else reaches them with their name."""
    for stubs in STUBS.values():
        for name in names:
            stubs[name].tell("unready")


def seen_down(balancer: str, *names: str) -> None:
    """Wait until the balancer knows it."""

    def down() -> bool:
        found = servers(balancer, "catalog")
        return all(found[name]["srv_op_state"] == "0" for name in names)

    wait_until(down, f"{balancer}: {', '.join(names)} seen down")


class Client:
    """A client that keeps its connection."""

    def __init__(self, balancer: str) -> None:
        self.connection = http.client.HTTPConnection(BALANCERS[balancer], 80, timeout=20)

    def post(self) -> tuple[int, str]:
        """Send one request; its status, and which stub has answered."""
        self.connection.request("POST", "/", b"x", {"Host": "catalog.example.com", "X-Forwarded-For": "192.0.2.9"})
        answer = Answer(self.connection.getresponse())
        if answer.status == 200:
            assert answer.json["headers"]["x-forwarded-for"] == "10.205.0.1"
        return answer.status, answer.json["name"] if answer.status == 200 else answer.text


def test_a_host_that_is_drained_right_after_a_reload_gets_nothing_from_kept_connections() -> None:
    clients = {balancer: [Client(balancer) for _ in range(60)] for balancer in BALANCERS}
    before = [Counter(one.post() for one in clients[balancer]) for balancer in BALANCERS]
    assert all(one[(200, "three")] > 0 for one in before)
    on_both(program, "reload()")
    drained = on_both(haproxy_server, "catalog", server=["three"], state="drain")
    assert all(one["done"] and one["waited_s"] < 10 for one in drained)
    assert all(one["servers"][0]["clients_old_workers"] == 0 for one in drained)
    # A server that dies now is unknown to the old workers too.
    unready("two", "three")
    on_both(seen_down, "two")
    after = [Counter(one.post() for one in clients[balancer]) for balancer in BALANCERS]
    assert after == [{(200, "one"): 60}, {(200, "one"): 60}]


def test_a_reload_that_begins_while_a_server_is_drained_does_not_take_that_back() -> None:
    lines = (
        "import threading\n"
        "for _ in range(6):\n"
        "    reloads = threading.Thread(target=reload)\n"
        "    reloads.start()\n"
        "    for state in ('drain', 'ready', 'drain'):\n"
        "        time.sleep(0.02)\n"
        "        change('one', state)\n"
        "        seen = s.parse_state(runtime('show servers state'))[('catalog', 'one')]['srv_admin_state']\n"
        "        print(state, seen)\n"
        "    reloads.join()\n"
        "    print('at last', s.parse_state(runtime('show servers state'))[('catalog', 'one')]['srv_admin_state'])\n"
    )
    for said in on_both(program, CHANGE + lines):
        assert Counter(said.splitlines()) == {"drain 8": 12, "ready 0": 6, "at last 8": 6}


# A change as the module makes it, without Ansible around it.
CHANGE = """
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import change as servers
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.commands import Tools, file_lock, save
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import Wanted
tools = Tools(ask, time.monotonic, time.sleep, lambda: save(ask, s.CONFIG, s.STATE_FILE),
              lambda: file_lock(s.LOCK, time.monotonic, time.sleep))

def change(server, state):
    assert servers.change(tools, Wanted(("catalog",), (server,), state=state, fresh=False)).done
"""


# ------------------------------------------------------------------------------------------------------------- starts


def only_three_serves(balancer: str, begin: Callable[[str], None], times: int) -> Counter[str]:
    """Make a balancer start again and again under load, with one of its servers drained and another one unhealthy."""
    haproxy_server(balancer, "catalog", server=["one"], state="drain")
    seen_down(balancer, "two")
    with load(balancer, seconds=60 * times) as counts:
        wait_until(lambda: counts["three"] > 50, "there is load")
        counts.clear()
        for _ in range(times):
            begin(balancer)
            done = counts["three"]
            wait_until(lambda: counts["three"] > done + 20, "it serves again")  # noqa: B023
    return counts


def refused(what: str) -> bool:
    """Whether a client saw that nobody listens or that its connection has ended, which it may try elsewhere."""
    return what.startswith("failed: ") and not what[8:].isdigit()


def restart(balancer: str) -> None:
    shell(balancer, "systemctl reset-failed haproxy; systemctl restart haproxy")


def reboot(balancer: str) -> None:
    subprocess.run(["docker", "restart", "--time", "60", balancer], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize(("begin", "times"), [(restart, RESTARTS), (reboot, REBOOTS)])
def test_a_balancer_that_comes_back_answers_no_503_and_sends_nothing_to_a_dead_or_drained_server(
    begin: Callable[[str], None], times: int
) -> None:
    unready("two")
    for counts in on_both(only_three_serves, begin, times):
        assert {what: number for what, number in counts.items() if not refused(what)} == {"three": counts["three"]}


def test_a_balancer_that_knows_nothing_asks_before_it_accepts_a_connection() -> None:
    unready("two")
    forgotten = "systemctl stop haproxy; rm -f /var/lib/haproxy/server-state; systemctl start haproxy"
    on_both(lambda balancer: shell(balancer, forgotten))
    for balancer in BALANCERS:
        answers = Counter(request(balancer).json["name"] for _ in range(30))
        assert set(answers) == {"one", "three"}


def test_a_balancer_whose_services_are_all_down_says_so_soon() -> None:
    for stubs in STUBS.values():
        for stub in stubs.values():
            stub.shell(f"systemctl stop {stub.unit}")
    on_both(seen_down, "one", "two", "three")
    on_both(lambda balancer: shell(balancer, "systemctl stop haproxy; sleep 4; systemctl start haproxy"))
    assert [request(balancer).status for balancer in BALANCERS] == [503, 503]


# ------------------------------------------------------------------------------------------------- tcp after a reload


@contextmanager
def database(balancer: str) -> Iterator[socket.socket]:
    """Open a session with the database that is the primary; it echoes."""
    with socket.create_connection((BALANCERS[balancer], 5000), timeout=30) as connection:
        connection.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert b" 101 " in connection.recv(4096).splitlines()[0]
        yield connection


def test_sessions_of_old_workers_end_with_the_server_and_others_live_on() -> None:
    primaries = {balancer: stubs["three"] for balancer, stubs in STUBS.items()}
    for balancer, primary in primaries.items():
        primary.tell("primary")
        wait_until(partial(up, balancer, "database", primary.host), f"{balancer}: the primary is up")
    with ExitStack() as stack:
        sessions = {one: [stack.enter_context(database(one)) for _ in range(2)] for one in BALANCERS}
        on_both(program, "reload()")
        sessions = {one: [*kept, stack.enter_context(database(one))] for one, kept in sessions.items()}
        on_both(program, "reload()")
        time.sleep(2)
        assert all(echoes(one) for kept in sessions.values() for one in kept)
        for primary in primaries.values():
            primary.as_before()
        for balancer, kept in sessions.items():
            wait_until(lambda: not any(echoes(one) for one in kept), f"{balancer}: all have ended")  # noqa: B023
