# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers leave and enter traffic without a failed request, on HAProxy 3.0 (Debian 13) and 2.6 (Debian 12)."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from .helpers import (
    BALANCERS,
    CONFIG,
    SLOW,
    STUBS,
    Slow,
    changes,
    each_balancer,
    echoes,
    failures,
    haproxy_server,
    load,
    play,
    program,
    request,
    runtime,
    servers,
    shell,
    through_ansible,
    tunnel,
    wait_until,
    worker,
)

BILLING = "haproxy-app-2"
"""The only server of the backend billing; the same process is catalog/three."""
AT_ONCE = 5
"""Seconds. What waits in vain takes a minute; what need not wait looks once, however slow the machine is."""
DROP_IN = "/etc/systemd/system/haproxy.service.d/zz-test.conf"


def admin(balancer: str, backend: str, server: str) -> str:
    """Return what HAProxy itself says of a server's administrative state."""
    return {"0": "ready", "1": "maint", "8": "drain"}[servers(balancer, backend)[server]["srv_admin_state"]]


def reload(balancer: str) -> None:
    """Reload, and wait for the new worker."""
    program(balancer, "reload()")


def crash(balancer: str) -> None:
    """Kill master and workers, and wait until systemd has brought HAProxy back."""
    before = worker(balancer)
    # systemd would count the crashes of the tests together and give up.
    again = "systemctl reset-failed haproxy.service; systemctl start haproxy.service"
    shell(balancer, f"systemctl kill --signal KILL haproxy.service; {again}")

    wait_until(lambda: worker(balancer) != before, "HAProxy is back")


def of(result: dict[str, Any]) -> dict[str, Any]:
    """Return the first of the servers of a result."""
    return dict(result["servers"][0])


# --------------------------------------------------------------------------------------------------------------- drain


def drain_beside(balancer: str, slow: Slow, meanwhile: Callable[[], object]) -> dict[str, Any]:
    """Begin to drain while a slow request is under way, do something, and have the request answered then."""
    with ThreadPoolExecutor() as pool:
        drain = pool.submit(haproxy_server, balancer, "billing", server=[BILLING], state="drain")
        wait_until(lambda: admin(balancer, "billing", BILLING) == "drain", "the drain has begun")
        meanwhile()
        assert (drain.done(), slow.status) == (False, "no answer yet")
        slow.answer()
        return drain.result(timeout=60)


@each_balancer
def test_drain_waits_for_a_slow_request_and_gives_no_new_ones(balancer: str) -> None:
    slow = Slow(balancer)
    result = drain_beside(balancer, slow, partial(time.sleep, 0.5))
    assert (result["changed"], result["done"], of(result)["sessions"], of(result)["admin"]) == (True, True, 0, "drain")
    assert (slow.join(), admin(balancer, "billing", BILLING)) == (200, "drain")
    assert result["waited_s"] > 0.3
    assert request(balancer, host="billing.example.com").status == 503
    again = haproxy_server(balancer, "billing", server=[BILLING], state="drain")
    assert (again["changed"], again["done"]) == (False, True)
    assert again["waited_s"] < AT_ONCE
    ready = haproxy_server(balancer, "billing", server=[BILLING], state="ready")
    assert (ready["changed"], ready["done"], ready["available"]) == (True, True, {"billing": 1})
    assert request(balancer, host="billing.example.com").status == 200


@each_balancer
def test_drain_waits_for_a_request_in_a_worker_from_before_a_reload(balancer: str) -> None:
    slow = Slow(balancer)
    reload(balancer)
    read = haproxy_server(balancer, "billing")
    assert (read["workers"], of(read)["sessions"], of(read)["sessions_old_workers"]) == (2, 0, 1)
    result = drain_beside(balancer, slow, partial(time.sleep, 0.5))
    assert (result["done"], slow.join()) == (True, 200)
    assert result["waited_s"] > 0.3


@each_balancer
def test_drain_outlives_reloads_while_it_waits(balancer: str) -> None:
    def reloads() -> None:
        for _ in range(3):
            reload(balancer)

    slow = Slow(balancer)
    result = drain_beside(balancer, slow, reloads)
    assert slow.join() == 200
    assert (result["done"], admin(balancer, "billing", BILLING)) == (True, "drain")


@each_balancer
def test_a_server_that_is_down_drains_at_once(balancer: str) -> None:
    two = STUBS[balancer]["two"]
    two.shell(f"systemctl stop {two.unit}")
    wait_until(lambda: servers(balancer, "catalog")["two"]["srv_op_state"] == "0", "two is seen down")
    result = haproxy_server(balancer, "catalog,files", server=["two"], state="drain")
    assert (result["done"], result["changed"], of(result)["status"], of(result)["up"]) == (True, True, "DOWN", False)
    assert result["waited_s"] < AT_ONCE
    assert (admin(balancer, "catalog", "two"), admin(balancer, "files", "two")) == ("drain", "drain")


@each_balancer
def test_a_second_run_under_traffic_changes_nothing(balancer: str) -> None:
    with load(balancer) as counts:
        first = haproxy_server(balancer, "catalog", server=["one"], state="drain", weight="50%")
        counts.clear()
        second = haproxy_server(balancer, "catalog", server=["one"], state="drain", weight="50%")
        ready = haproxy_server(balancer, "catalog", server=["two"], state="ready", weight="100%")
    assert (first["changed"], second["changed"], ready["changed"]) == (True, False, False)
    assert (counts["one"], failures(counts)) == (0, {})


# ---------------------------------------------------------------------------------------------------------- complaints


@each_balancer
def test_what_does_not_exist_is_named(balancer: str) -> None:
    before = runtime(balancer, "show servers state catalog")
    message = through_ansible(balancer, "catalog", server=["four"], state="drain", ok=False)["msg"]
    assert message == "Backend 'catalog' has no server 'four'; it has one, two, three."
    message = haproxy_server(balancer, "catlog", server=["one"], state="drain", ok=False)["msg"]
    assert "no backend 'catlog' with servers; it has catalog, files, billing, refusing, fragile, database." in message
    keep = [line.split()[5:9] for line in before.splitlines()]
    assert [line.split()[5:9] for line in runtime(balancer, "show servers state catalog").splitlines()] == keep


@each_balancer
def test_a_socket_without_the_right_fails_with_haproxys_words(balancer: str) -> None:
    options = '[Service]\\nEnvironment="EXTRAOPTS=-S /run/haproxy-master.sock,level,user"\\n'
    shell(balancer, f"printf '{options}' > {DROP_IN}; systemctl daemon-reload; systemctl restart haproxy")
    try:
        result = haproxy_server(balancer, "catalog", server=["one"], state="drain", ok=False)
        assert (admin(balancer, "catalog", "one"), result.get("changed", False)) == ("ready", False)
        read = haproxy_server(balancer, "catalog")
    finally:
        shell(balancer, f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart haproxy")
    assert "HAProxy refuses 'set server catalog/one state drain': Permission denied" in result["msg"]
    assert result["msg"].endswith("nothing was changed.")
    assert len(read["servers"]) == 3


@each_balancer
def test_a_weight_that_the_algorithm_does_not_know_fails_with_haproxys_words(balancer: str) -> None:
    shell(balancer, f"cp --preserve {CONFIG} /root/kept.cfg")
    shell(balancer, f"sed -i '/^backend files/,/^backend/s/balance roundrobin/balance static-rr/' {CONFIG}")
    reload(balancer)
    try:
        # The first of the two is taken back.
        result = haproxy_server(balancer, "catalog,files", server=["two"], weight="10%", state="drain", ok=False)
        assert [servers(balancer, one)["two"]["srv_uweight"] for one in ("catalog", "files")] == ["100", "100"]
        assert [admin(balancer, one, "two") for one in ("catalog", "files")] == ["ready", "ready"]
    finally:
        shell(balancer, f"cp --preserve /root/kept.cfg {CONFIG}")
        reload(balancer)
    assert "static LB algorithm and only accepts weights '0%' and '100%'; nothing was changed." in result["msg"]


@each_balancer
def test_the_capacity_guard(balancer: str) -> None:
    STUBS[balancer]["three"].tell("unready")
    wait_until(lambda: servers(balancer, "catalog")["three"]["srv_op_state"] == "0", "three is seen down")
    message = haproxy_server(balancer, "catalog", server=["one"], state="drain", min_available=2, ok=False)["msg"]
    assert "would leave 1 of 3 servers of backend 'catalog' up and ready, but min_available is 2" in message
    assert "lower it (for one rollout with -e rollout_min_available)" in message
    assert admin(balancer, "catalog", "one") == "ready"
    assert haproxy_server(balancer, "catalog", server=["one"], state="drain", min_available=1)["done"]


@each_balancer
def test_check_mode_predicts_and_changes_nothing(balancer: str) -> None:
    options: dict[str, Any] = {"server": ["one", "two"], "state": "drain", "weight": "10%"}
    before = [line.split()[5:9] for line in runtime(balancer, "show servers state catalog").splitlines()]
    predicted = through_ansible(balancer, "catalog", "--check", "--diff", **options)
    assert [line.split()[5:9] for line in runtime(balancer, "show servers state catalog").splitlines()] == before
    done = through_ansible(balancer, "catalog", "--diff", **options)
    for key in ("changed", "before", "after"):
        assert predicted[key] == done[key]
    assert done["after"]["catalog/two"] == {"admin": "drain", "weight": 10}


# --------------------------------------------------------------------------------------------------------------- ready


@each_balancer
@pytest.mark.parametrize("begin", ["drain", "maint"])
def test_a_dead_server_never_gets_in_and_a_healthy_one_without_a_failed_request(balancer: str, begin: str) -> None:
    three = STUBS[balancer]["three"]
    with load(balancer) as counts:
        haproxy_server(balancer, "catalog", server=["three"], state=begin)
        three.tell("unready")
        counts.clear()
        # It answers everything but its health checks, so a request that reaches it shows up by its name.
        result = haproxy_server(balancer, "catalog", server=["three"], state="ready", wait=3, ok=False)
        assert "catalog/three is DOWN" in result["msg"]
        assert of(result)["admin"] == "drain"
        # And after that it answers nothing, so a request that reaches it fails.
        for command in ("true", f"systemctl stop {three.unit}"):
            three.shell(command)
            haproxy_server(balancer, "catalog", server=["three"], state="maint")
            result = haproxy_server(balancer, "catalog", server=["three"], state="ready", wait=0)
            assert (result["done"], of(result)["admin"]) == (False, "ready")
            time.sleep(0.5)
        assert (counts["three"], failures(counts)) == (0, {})
        haproxy_server(balancer, "catalog", server=["three"], state=begin)
        three.as_before()
        result = haproxy_server(balancer, "catalog", server=["three"], state="ready", weight="10%")
        assert (result["done"], of(result)["status"], of(result)["weight"]) == (True, "UP", 10)
        wait_until(lambda: counts["three"] > 0, "three takes traffic")
    assert failures(counts) == {}


@each_balancer
def test_a_server_without_checks_is_ready_at_once(balancer: str) -> None:
    haproxy_server(balancer, "fragile", server=["one"], state="maint")
    result = haproxy_server(balancer, "fragile", server=["one"], state="ready")
    assert (result["done"], of(result)["checked"], of(result)["status"]) == (True, False, "no check")
    assert result["waited_s"] < AT_ONCE
    assert request(balancer, host="fragile.example.com").status == 200


@each_balancer
def test_weight_shifts_traffic(balancer: str) -> None:
    def share(counts: Counter[str]) -> float:
        counts.clear()
        wait_until(lambda: sum(counts.values()) > 400, "there is traffic")
        return counts["one"] / sum(counts.values())

    with load(balancer) as counts:
        assert of(haproxy_server(balancer, "catalog", server=["one"], weight="10%"))["weight"] == 10
        assert 0 < share(counts) < 0.1
        assert of(haproxy_server(balancer, "catalog", server=["one"], weight="100%"))["weight"] == 100
        assert 0.25 < share(counts) < 0.42
        haproxy_server(balancer, "catalog", server=["one"], weight="0")
        # What was under way when the weight changed is answered after it.
        share(counts)
        assert share(counts) == 0
    assert failures(counts) == {}


# ------------------------------------------------------------------------------------------------------------- timeouts


@each_balancer
def test_timeout_with_a_long_request(balancer: str) -> None:
    slow = Slow(balancer, method="POST")
    options: dict[str, Any] = {"server": [BILLING], "state": "drain", "wait": 0.5}
    result = haproxy_server(balancer, "billing", on_timeout="report", **options)
    assert (result["done"], result["changed"], of(result)["sessions"], of(result)["admin"]) == (False, True, 1, "drain")
    haproxy_server(balancer, "billing", server=[BILLING], state="ready")
    result = haproxy_server(balancer, "billing", on_timeout="revert", ok=False, **options)
    assert "still has 1 session," in result["msg"]
    assert "What was there before is back." in result["msg"]
    assert (admin(balancer, "billing", BILLING), result["changed"]) == ("ready", False)
    assert request(balancer, host="billing.example.com").status == 200
    result = haproxy_server(balancer, "billing", ok=False, **options)
    assert "It is left as it is." in result["msg"]
    assert (admin(balancer, "billing", BILLING), slow.status) == ("drain", "no answer yet")
    result = haproxy_server(balancer, "billing", on_timeout="kill", **options)
    assert (result["done"], result["killed"], of(result)["sessions"]) == (True, {f"billing/{BILLING}": 1}, 0)
    # 2.6 answers 502, 3.0 closes the connection.
    assert slow.join() != 200
    assert slow.took < SLOW


@each_balancer
def test_timeout_with_connections_that_have_left_http(balancer: str) -> None:
    with tunnel(balancer) as before, tunnel(balancer) as also_before:
        reload(balancer)
        with tunnel(balancer) as after:
            options: dict[str, Any] = {"server": [BILLING], "state": "drain", "wait": 0.5}
            result = haproxy_server(balancer, "billing", on_timeout="report", **options)
            seen = (result["done"], of(result)["sessions"], of(result)["sessions_old_workers"], result["workers"])
            assert seen == (False, 1, 2, 2)
            assert all(echoes(one) for one in (before, also_before, after))
            result = haproxy_server(balancer, "billing", on_timeout="kill", **options)
            seen = (result["done"], of(result)["sessions"], of(result)["sessions_old_workers"], result["killed"])
            assert seen == (True, 0, 0, {f"billing/{BILLING}": 3})
            assert not any(echoes(one) for one in (before, also_before, after))


# ----------------------------------------------------------------------------------------------------- what is not lost


@each_balancer
def test_drain_and_weight_survive_a_crash(balancer: str) -> None:
    haproxy_server(balancer, "catalog", server=["one"], state="drain", weight="10%")
    crash(balancer)
    assert (admin(balancer, "catalog", "one"), servers(balancer, "catalog")["one"]["srv_uweight"]) == ("drain", "10")
    haproxy_server(balancer, "catalog", server=["one"], state="ready", weight="100%")
    crash(balancer)
    assert (admin(balancer, "catalog", "one"), servers(balancer, "catalog")["one"]["srv_uweight"]) == ("ready", "100")


@each_balancer
def test_two_at_the_same_time_keep_the_state_of_both(balancer: str) -> None:
    wanted = {"catalog": "one", "files": "two"}
    for state in ("drain", "ready"):
        with ThreadPoolExecutor() as pool:
            for backend, name in wanted.items():
                pool.submit(haproxy_server, balancer, backend, server=[name], state=state)
        crash(balancer)
        found = {backend: admin(balancer, backend, name) for backend, name in wanted.items()}
        assert found == dict.fromkeys(wanted, state)


def test_a_runtime_weight_survives_a_change_of_the_configured_one() -> None:
    for balancer in BALANCERS:
        # As it was before servers had a weight of 100.
        shell(balancer, f"sed -i 's/ weight 100 / /' {CONFIG}")
        reload(balancer)
        assert runtime(balancer, "get weight catalog/one").startswith("1 (initial 1)")
        runtime(balancer, "set server catalog/one weight 0")
        runtime(balancer, "set server catalog/two weight 2")
    assert set(changes(play()).values()) == {1}
    for balancer in BALANCERS:
        reload(balancer)
        weights = {name: row["srv_uweight"] for name, row in servers(balancer, "catalog").items()}
        assert weights == {"one": "0", "two": "200", "three": "100"}


@each_balancer
def test_single_requests_are_read_from_the_journal(balancer: str) -> None:
    begin = float(shell(balancer, "date +%s.%N"))
    request(balancer, "/slow?seconds=0.5", "billing.example.com")
    haproxy_server(balancer, "billing", server=[BILLING], state="maint")
    request(balancer, "/", "billing.example.com", "POST")
    end = float(shell(balancer, "date +%s.%N"))
    text = (
        "import json\n"
        "from ansible_collections.mesops.platform.plugins.module_utils._haproxy import access_log as r\n"
        "def run(command):\n"
        "    done = subprocess.run(command, capture_output=True, text=True)\n"
        "    return done.returncode, done.stdout, done.stderr\n"
        f"seconds = time.time() - {begin}\n"
        "found = r.AccessLog(run, time.time(), seconds).requests('billing', seconds)\n"
        "print(json.dumps([vars(one) for one in found]))"
    )
    # The journal has a line a moment after its request was answered.
    found: list[dict[str, Any]] = []

    def both_told() -> bool:
        found[:] = json.loads(program(balancer, text))
        return len(found) == 2

    wait_until(both_told, "both requests are in the journal")
    slow, refused = found
    assert (slow["server"], slow["status"], slow["method"], slow["termination"]) == (BILLING, 200, "GET", "----")
    assert 500 <= slow["ms"] <= 1000 * (end - begin)
    assert begin <= slow["at"] <= end
    assert (refused["server"], refused["status"], refused["method"]) == ("<NOSRV>", 503, "POST")
