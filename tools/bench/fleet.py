# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a fleet: fifty nodes behind two real HAProxy, our rollout beside a plain play that does the same work."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import estate
import yaml
from bench import shared
from bench.shared import table

from demo import orders
from demo.load import windows

NODES = int(os.environ.get("MESOPS_BENCH_NODES", "50"))
RATE, READS = 40, 0.8
STEADY_S = 30
NETWORK, PREFIX = "mesops-fleet", "10.208.0"
SCENARIO = estate.ROOT / "molecule" / "rollout"
DIRECTORY = estate.BUILD / "bench" / "fleet"
BALANCERS = {f"fleet-lb-{number}": f"{PREFIX}.{10 + number}" for number in (1, 2)}
HOSTS = {f"fleet-{number:02}": f"{PREFIX}.{100 + number}" for number in range(1, NODES + 1)}
FORKS = 10
HEALTHY_S = 1

PLAIN = """
- name: What an experienced user writes today
  hosts: catalog
  serial: 1
  gather_facts: false
  vars:
    release: "/opt/catalog/releases/{{ version }}"
  tasks:
    - name: Make room for the release
      ansible.builtin.file: {path: "{{ release }}", state: directory, mode: "0755"}
    - name: Unpack it
      ansible.builtin.unarchive: {src: "{{ artifact }}", dest: "{{ release }}"}
    - name: Take the node out of traffic, and wait for its sessions
      community.general.haproxy:
        state: disabled
        drain: true
        wait: true
        wait_interval: 1
        wait_retries: 60
        backend: catalog
        host: "{{ inventory_hostname }}"
        socket: /run/haproxy/admin.sock
      delegate_to: "{{ item }}"
      loop: "{{ groups['loadbalancers'] }}"
    - name: Swap the link
      ansible.builtin.file: {src: "{{ release }}", dest: /opt/catalog/current, state: link}
    - name: Restart the service
      ansible.builtin.systemd_service: {name: catalog, state: restarted}
    - name: Wait until it is ready
      ansible.builtin.uri: {url: "http://127.0.0.1:3000/readyz"}
      register: ready
      until: ready.status == 200
      retries: 60
      delay: 1
    - name: Put the node back, and wait until the load balancer sees it up
      community.general.haproxy:
        state: enabled
        wait: true
        wait_interval: 1
        wait_retries: 60
        backend: catalog
        host: "{{ inventory_hostname }}"
        socket: /run/haproxy/admin.sock
      delegate_to: "{{ item }}"
      loop: "{{ groups['loadbalancers'] }}"
    - name: Watch it
      ansible.builtin.pause: {seconds: HEALTHY}
""".replace("HEALTHY", str(HEALTHY_S))


@dataclass(frozen=True)
class Outcome:
    """One way to bring one release to all nodes."""

    title: str
    wall_s: float
    batches: int
    sent: int
    failed: int
    p99_ms: float

    def row(self, steady_ms: float) -> list[object]:
        """A row of the table."""
        per_batch, per_node = self.wall_s / self.batches, self.wall_s / NODES
        ratio = self.p99_ms / steady_ms
        figures = [f"{per_batch:.1f}", f"{per_node:.1f}", self.sent, self.failed, f"{self.p99_ms:.0f}", f"{ratio:.1f}"]
        return [self.title, f"{self.wall_s:.0f}", self.batches, *figures]


def clear() -> None:
    """Remove the fleet, leftovers included."""
    shared.clear(NETWORK, (*BALANCERS, *HOSTS))
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def release(version: str) -> dict[str, str]:
    """Pack a release of the small service."""
    script = SCENARIO / "tests" / "releases.py"
    log = DIRECTORY / "release.log"
    words: list[str | Path] = [estate.BIN / "python", script, version]
    estate.step(f"pack {version}", words, log=log, MOLECULE_EPHEMERAL_DIRECTORY=str(DIRECTORY))
    note: dict[str, str] = json.loads((DIRECTORY / f"catalog-{version}.json").read_text(encoding="utf-8"))
    return note


def inventory() -> Path:
    """The small estate's variables, with fifty nodes and files as its store."""
    directory = DIRECTORY / "inventory"
    shutil.copytree(SCENARIO / "inventory" / "group_vars", directory / "group_vars")

    def group(hosts: dict[str, str]) -> dict[str, Any]:
        return {"hosts": {name: {"mesops_address": address} for name, address in hosts.items()}}

    empty: dict[str, Any] = {"hosts": {}}
    groups = {"loadbalancers": group(BALANCERS), "catalog": group(HOSTS)}
    tree = {
        "all": {
            "vars": {"ansible_connection": "community.docker.docker", "rollout_backend": "file"},
            "children": {**groups, "postgres": empty, "monitoring": empty, "etcd": empty},
        }
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return directory


def play(title: str, *arguments: str | Path, log: Path) -> None:
    """Run a playbook on the fleet."""
    command: list[str | Path] = [estate.BIN / "ansible-playbook", "-i", DIRECTORY / "inventory", *arguments]
    estate.step(title, command, log=log, MOLECULE_EPHEMERAL_DIRECTORY=str(DIRECTORY), ANSIBLE_FORKS=str(FORKS))


def run(title: str, batches: int, *arguments: str | Path) -> Outcome:
    """Bring out one release under load."""
    targets = tuple(f"http://{address}" for address in BALANCERS.values())
    with orders.load_on(targets, rate=RATE, reads=READS, count=10_000_000) as load:
        begin = time.monotonic()
        log = DIRECTORY.parent / f"fleet-{title.split(',', maxsplit=1)[0].replace(' ', '-').replace('`', '')}.log"
        play(title, *arguments, log=log)
        wall = time.monotonic() - begin
        load.stop()
    requests = load.log().requests
    return Outcome(title, wall, batches, load.report.sent, load.report.failed, windows.p99(requests))


def rolled_out(title: str, batches: int, version: str, **variables: Any) -> Outcome:
    """Bring out one release with ours."""
    asked = {f"rollout_{key}": value for key, value in release(version).items()}
    given = json.dumps({"rollout_service": "catalog", **asked, **variables})
    return run(title, batches, "playbooks/rollout.yml", "-e", given)


def measure() -> str:
    """The same release, four times: plainly, ours one by one, ours in batches, ours with all that it has."""
    clear()
    DIRECTORY.mkdir(parents=True)
    shared.boot(NETWORK, PREFIX, {**BALANCERS, **HOSTS})
    release("1")
    inventory()
    play("site.yml for the fleet", "site.yml", log=DIRECTORY.parent / "fleet-site.log")
    targets = tuple(f"http://{address}" for address in BALANCERS.values())
    with orders.load_on(targets, rate=RATE, reads=READS, count=10_000_000) as load:
        time.sleep(STEADY_S)
        load.stop()
    steady = windows.p99(load.log().requests)
    plain = DIRECTORY / "plain.yml"
    plain.write_text(PLAIN, encoding="utf-8")
    archive = release("2")
    variables = json.dumps({"version": archive["version"], "artifact": archive["artifact"]})
    bare = {
        "rollout_weights": [100],
        "rollout_min_healthy_time": HEALTHY_S,
        "rollout_gates": {"errors": {"enabled": False}},
    }
    ten = -(-(NODES - 1) // max(1, NODES // 10)) + 1
    outcomes = [
        run("plain play, `serial: 1`", NODES, plain, "-e", variables),
        rolled_out("rollout, the same work, one by one", NODES, "3", rollout_batches=[1], **bare),
        rolled_out("rollout in batches, the same work, 1 then 10 %", ten, "4", rollout_batches=[1, "10%"], **bare),
        rolled_out("rollout with canary, error gate and 3 s healthy, 1 then 25 %", 6, "5"),
    ]
    clear()
    head = ["", "wall s", "batches", "s per batch", "s per node", "requests", "failed", "p99 ms", "p99 / steady"]
    return f"""## {NODES} nodes behind two HAProxy

{NODES} hosts with systemd and a small HTTP service, {RATE} requests per second without a pause. The plain play is what
an experienced user writes with `community.general.haproxy`: unpack, disable and drain at both load balancers, link,
restart, wait for readiness, enable and wait, {HEALTHY_S} s of watching. Steady p99 is {steady:.0f} ms, of the
{STEADY_S} s before; latency counts from the scheduled start of each request. Forks: {FORKS}.

{table(head, [outcome.row(steady) for outcome in outcomes])}

The plain play has no gate, no record, no way back and no lock.
"""
