# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The world fails at a phase of a rollout, under load; then the same command finishes or reverts.

Each failure of the table strikes at each phase when MESOPS_TEST=full is set, otherwise at those that its row names,
where the real estate does what the unit tests of the engine, which have all combinations, cannot show.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import estate
import pytest
from helpers import BALANCERS, NODES, Command, load, new_version, roll_out, settle, versions

# What a rollout says as it enters a phase.
PHASES = {
    "planned": r"rollout catalog-\S+ begins",
    "prepared": r"roll-app-1, roll-app-2  \S+ is installed",
    "drained": r"roll-app-1  drained",
    "activated": r"roll-app-1  runs ",
    "canary": r"roll-app-1  in service with 10 %",
    "observed": r"roll-app-1  in service with 100 %",
    "second": r"roll-app-2  drained",
    "going back": r"rolling back 1 host,",
}
CONTROL = {
    "errors": {
        "probe": {"type": "haproxy", "measure": "errors", "min_samples": 5},
        "interval": 1,
        "initial_delay": 1,
        "timeout": 4,
    }
}
NUMBERS = {
    **CONTROL,
    "numbers": {
        "probe": {
            "type": "promql",
            "url": "http://10.206.0.31:9090",
            "query": 'up{job="catalog",instance=~"$hosts"}',
            "min": 1,
        },
        "interval": 1,
        "initial_delay": 2,
        "consecutive_error_limit": 2,
    },
}


@contextmanager
def killed(command: Command) -> Iterator[None]:
    """The controller is killed, with all that it has started there."""
    command.kill()
    yield


@contextmanager
def stopped(host: str) -> Iterator[None]:
    """A host loses its power, and gets it back."""
    estate.kill_host(host)
    try:
        yield
    finally:
        estate.start_host(host)


@contextmanager
def without_quorum(_command: Command) -> Iterator[None]:
    """Two of three members of etcd are gone."""
    hosts = ["roll-lb-2", "roll-obs"]
    for host in hosts:
        estate.on(host, "systemctl kill --signal KILL etcd; systemctl stop etcd", check=False)
    try:
        yield
    finally:
        for host in hosts:
            estate.on(host, "systemctl start --no-block etcd")
        estate.wait_for(
            lambda: "true" in estate.get("http://10.206.0.11:2379/health")[1], timeout=60, what="etcd to have a leader"
        )


@contextmanager
def denied(_command: Command) -> Iterator[None]:
    """The second load balancer's socket does not permit what a rollout needs."""
    drop_in = "/etc/systemd/system/haproxy.service.d/zz-test.conf"
    text = '[Service]\\nEnvironment="EXTRAOPTS=-S /run/haproxy-master.sock,level,user"\\n'
    estate.on("roll-lb-2", f"printf '{text}' > {drop_in} && systemctl daemon-reload && systemctl restart haproxy")
    try:
        yield
    finally:
        estate.on("roll-lb-2", f"rm {drop_in} && systemctl daemon-reload && systemctl restart haproxy")


@contextmanager
def no_prometheus(_command: Command) -> Iterator[None]:
    """Nobody measures any more."""
    estate.on("roll-obs", "systemctl kill --signal KILL prometheus; systemctl stop prometheus", check=False)
    try:
        yield
    finally:
        estate.on("roll-obs", "systemctl start prometheus")
        estate.wait_for(
            lambda: estate.get("http://10.206.0.31:9090/-/ready")[0] == 200, timeout=60, what="Prometheus to be ready"
        )


@contextmanager
def full_disk(_command: Command) -> Iterator[None]:
    """The first node's disk fills up."""
    estate.on("roll-app-1", "dd if=/dev/zero of=/opt/catalog/shared/filler bs=1M count=1024", check=False)
    try:
        yield
    finally:
        estate.on("roll-app-1", "rm -f /opt/catalog/shared/filler")


@contextmanager
def small_disk() -> Iterator[None]:
    """The first node's releases are on a disk of 512 MiB meanwhile; an installation leaves 256 MiB of it free."""
    move = "systemctl stop catalog; mount -t tmpfs -o size=512m,mode=755 tmpfs /mnt && cp -a /opt/catalog/. /mnt && "
    estate.on("roll-app-1", move + "mount --bind /mnt /opt/catalog && systemctl start catalog")
    settle()
    try:
        yield
    finally:
        back = "systemctl stop catalog; mkdir -p /var/tmp/back && cp -a /opt/catalog/. /var/tmp/back && "
        back += "umount /opt/catalog && "
        back += "rm -rf /opt/catalog/releases /opt/catalog/current /opt/catalog/.history.json && "
        back += "cp -a /var/tmp/back/. /opt/catalog && "
        estate.on("roll-app-1", back + "umount /mnt && rm -rf /var/tmp/back && systemctl start catalog")


Failure = Callable[[Command], Any]
FAILURES: dict[str, tuple[Failure, list[str]]] = {
    "controller killed": (killed, ["canary", "going back"]),
    "node stopped": (lambda _command: stopped("roll-app-1"), ["activated"]),
    "coordinator and load balancer stopped": (lambda _command: stopped("roll-lb-1"), ["drained"]),
    "other load balancer stopped": (lambda _command: stopped("roll-lb-2"), []),
    "etcd without quorum": (without_quorum, ["drained"]),
    "socket denies permission": (denied, []),
    "Prometheus gone": (no_prometheus, []),
    "disk of the node full": (full_disk, ["prepared"]),
}
FULL = os.environ.get("MESOPS_TEST") == "full"
TABLE = [(name, phase) for name, (_, some) in FAILURES.items() for phase in PHASES if FULL or phase in some]


@pytest.mark.parametrize(("name", "phase"), TABLE, ids=[f"{name}, {phase}" for name, phase in TABLE])
def test_failure_at_a_phase(name: str, phase: str) -> None:
    strike, _some = FAILURES[name]
    bad = phase == "going back"
    release = new_version(*(["errors 3"] if bad else []))
    variables: dict[str, Any] = {"rollout_gates": NUMBERS if name == "Prometheus gone" else CONTROL}
    if bad:
        # HAProxy's weighted round robin may leave a server that comes back without requests for some seconds.
        variables["rollout_min_healthy_time"] = 20
    before = versions()
    with small_disk() if name == "disk of the node full" else _nothing(), load(retry="safe", deadline=90.0):
        command = roll_out(release, **variables)
        command.wait_for(PHASES[phase])
        with strike(command):
            if name != "controller killed":
                first = command.end()
                # Who is left to serve does so meanwhile.
                assert any(versions()[host] in (before[host], release["version"]) for host in NODES)
            else:
                first = -9
        again = roll_out(release, **variables)
        status = again.end()
        if status != 0 and "ROLLED BACK" in again.said and not bad:
            # It went back to the end; the next run is a new one.
            again = roll_out(release, **variables)
            status = again.end()
        assert first == 0 or "PLAY RECAP" in command.said or name == "controller killed", command.said
        if bad:
            assert status != 0, again.said
            assert versions() == before
        else:
            assert status == 0, again.said
            assert set(versions().values()) == {release["version"]}
        settle()
    status_screen = Command("status")
    assert status_screen.end() == 0
    assert "lock         free" in status_screen.said
    assert "unfinished" not in status_screen.said


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_lock_of_a_dead_holder_runs_out() -> None:
    """A holder on another machine cannot be seen to be dead; its lease ends."""
    options = "backend=etcd endpoints=http://10.206.0.11:2379 service=catalog"
    holder = "{'user': 'deploy', 'host': 'far-away', 'what': 'rollout of catalog 9'}"
    estate.step(
        "take the lock",
        [
            estate.BIN / "ansible",
            "-i",
            f"{os.environ['MOLECULE_SCENARIO_DIRECTORY']}/inventory",
            "roll-lb-1",
            "-m",
            "mesops.platform.rollout_lock",
            "-a",
            f'{options} state=acquired ttl=15 holder="{holder}"',
        ],
        log=estate.BUILD / "rollout/lock.log",
    )
    begin = time.monotonic()
    command = roll_out(new_version())
    assert command.end() == 0, command.said
    assert time.monotonic() - begin > 5, "the lock of somebody else did not hold"
    settle()


@pytest.fixture
def other_store() -> Iterator[None]:
    """Afterwards nobody remembers the store in files."""
    yield
    for host in (*BALANCERS, *NODES):
        estate.on(host, "rm -rf /var/lib/mesops/fences /var/lib/mesops/rollouts")


@pytest.mark.usefixtures("other_store")
def test_another_store_is_refused_until_a_person_adopts_it_and_files_do_as_well() -> None:
    """The store in files, killed and resumed."""
    release = new_version()
    refused = roll_out(release, rollout_backend="file")
    assert refused.end() != 0, refused.said
    given_up = re.search(r"adopt: (\S+) in rollout_store", " ".join(refused.said.split()))
    assert given_up, refused.said
    chosen = {"rollout_backend": "file", "rollout_adopt": given_up[1]}
    with load():
        command = roll_out(release, **chosen)
        command.wait_for(PHASES["canary"])
        command.kill()
        again = roll_out(release, **chosen)
        assert again.end() == 0, again.said
    assert estate.on("roll-lb-1", "ls /var/lib/mesops/rollouts/catalog").split()
    assert set(versions().values()) == {release["version"]}
    settle()
