"""site.yml killed on its way, again and again, then run to its end: the estate converges whatever was cut.

On Debian 12: it is the only whole estate of `make test` there. Every group has another name than in the demo, and every
port is another one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import elsewhere
import estate
import pytest
import yaml
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import PARTS

HERE = Path(__file__).resolve().parent.parent
PROJECT = estate.BUILD / "interrupted"
INVENTORY = PROJECT / "inventories/elsewhere"
COMMAND = [str(estate.BIN / "ansible-playbook"), "-i", str(INVENTORY)]
DEADLINE = 600
PATIENCE = 60
"""Seconds for which a run that was cut may go on."""
PATRONI, PROMETHEUS = elsewhere.moved("patroni", 0), elsewhere.moved("prometheus", 0)

# What is run, where to cut it, and how: the signal goes out as soon as a line of the output contains the text, when the
# task of that name has just begun. Each one changes something. In the order of a whole run, of which the tags take what
# the cut before has left undone and what is cut next.
CUTS = [
    ("etcd", "TASK [mesops.platform.daemon : Install packages: etcd", signal.SIGKILL),
    ("etcd", "TASK [mesops.platform.etcd : Start the member]", signal.SIGINT),
    ("etcd,postgres", "TASK [mesops.platform.postgres : Configure the member]", signal.SIGKILL),
    ("postgres", "TASK [mesops.platform.postgres : Wait for a leader", signal.SIGKILL),
    ("postgres", "TASK [mesops.platform.postgres : Wait until every member replicates]", signal.SIGINT),
    ("postgres,haproxy", "TASK [mesops.platform.daemon : Install packages: haproxy]", signal.SIGKILL),
    ("haproxy", "TASK [mesops.platform.haproxy : Activate the configuration]", signal.SIGKILL),
    ("haproxy,app", "TASK [mesops.platform.app : Install the first release", signal.SIGINT),
    ("app", "TASK [mesops.platform.app : Start or restart them", signal.SIGKILL),
]


@pytest.fixture(scope="module", autouse=True)
def copied() -> None:
    """Bring the estate elsewhere. Only the load balancers' settings of the demo name ports of others."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    PROJECT.mkdir(parents=True)
    (PROJECT / "demo").symlink_to(estate.ROOT / "demo")
    hosts = yaml.safe_load((HERE / "hosts.yml").read_text(encoding="utf-8"))
    ports = {PARTS[part].port: elsewhere.moved(part, 0) for part in ("postgres", "patroni")}
    elsewhere.copy(PROJECT, hosts, elsewhere.port_variables(0, "{{ mesops_address }}"), ports)


def cut(tags: str, text: str, how: signal.Signals, log: Path) -> bool:
    """Run a part of site.yml until a line holds ``text``, then end it with a signal; whether it was cut."""
    deadline = time.monotonic() + DEADLINE
    with log.open("w") as sink:
        process = subprocess.Popen(
            [*COMMAND, "site.yml", "--tags", tags],
            cwd=estate.ROOT,
            env=estate.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        # Ansible may wait for ever for a worker that died by the same signal; then a person ends it.
        patience = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        was_cut = False
        try:
            for line in process.stdout:
                sink.write(line)
                if not was_cut and text in line:
                    # The whole process group, workers included, as a closed terminal or the OOM killer does.
                    os.killpg(process.pid, how)
                    was_cut = True
                    patience.start()
                assert time.monotonic() < deadline, f"site.yml still runs after {DEADLINE} s"
            process.wait(timeout=60)
        finally:
            patience.cancel()
    return was_cut


@pytest.mark.parametrize(("tags", "text", "how"), CUTS, ids=[f"{how.name} at {text}" for _tags, text, how in CUTS])
def test_cut(tags: str, text: str, how: signal.Signals) -> None:
    log = estate.BUILD / f"interrupted-{CUTS.index((tags, text, how))}.log"
    assert cut(tags, text, how, log), f"site.yml ended before {text!r} was seen; see {log}"


def test_next_run_converges() -> None:
    done = estate.step("site.yml, uninterrupted", [*COMMAND, "site.yml"], log=estate.BUILD / "interrupted-final.log")
    assert not any(host["failed"] or host["unreachable"] for host in estate.Recap.read(done.stdout, 0).hosts.values())


def test_run_after_that_changes_nothing() -> None:
    done = estate.step("site.yml, once more", [*COMMAND, "site.yml"], log=estate.BUILD / "interrupted-again.log")
    assert estate.Recap.read(done.stdout, 0).changed() == {}


def test_estate_serves() -> None:
    assert estate.on("cut-2", "ls /usr/lib/postgresql").split() == ["15"], "this is not Debian 12"
    members = json.loads(estate.get(f"http://10.207.0.12:{PATRONI}/cluster")[1])["members"]
    assert sorted(member["role"] in ("leader", "master") for member in members) == [False, True]
    status, body, _headers = estate.get("http://10.207.0.11/readyz", headers={"Host": "mes.demo.example"})
    assert status == 200, body


TARGETS = {
    "alertmanager": ["cut-3"],
    "etcd": ["cut-1", "cut-2", "cut-3"],
    "haproxy": ["cut-1"],
    "mes": ["cut-1", "cut-2"],
    "node": ["cut-1", "cut-2", "cut-3"],
    "patroni": ["cut-2", "cut-3"],
    "postgres": ["cut-2", "cut-3"],
    "prometheus": ["cut-3"],
}


def test_prometheus_sees_every_daemon() -> None:
    found: dict[str, list[str]] = {}

    def seen() -> bool:
        targets = estate.get_json(f"http://10.207.0.13:{PROMETHEUS}/api/v1/query?query=up")["data"]["result"]
        found.clear()
        for one in targets:
            found.setdefault(one["metric"]["job"], []).append(one["metric"]["instance"])
        return set(TARGETS) <= set(found) and all(one["value"][1] == "1" for one in targets)

    estate.wait_for(seen, timeout=60, what="a scrape of every target")
    assert {job: sorted(found[job]) for job in TARGETS} == TARGETS


def test_a_release_is_rolled_out_and_status_shows_it() -> None:
    note = estate.build_release("bookworm", version="1.1.0")
    release = {f"rollout_{key}": value for key, value in json.loads(note.read_text(encoding="utf-8")).items()}
    # Nobody sends a request, so nothing is to be judged by requests.
    gates: dict[str, Any] = {name: {"enabled": False} for name in ("errors", "answers")}
    endpoints = "{{ query('mesops.platform.estate', 'patroni.urls') }}"
    gates["replication"] = {"probe": {"type": "postgres", "endpoints": endpoints}}
    wishes = {"rollout_weights": [100], "rollout_min_healthy_time": 3, "rollout_gates": gates}
    given = ["-e", json.dumps({"rollout_service": "mes", **release, **wishes})]
    log = estate.BUILD / "interrupted-rollout.log"
    estate.step("rollout of mes 1.1.0", [*COMMAND, "playbooks/rollout.yml", *given], log=log)
    for address in ("10.207.0.11", "10.207.0.12"):
        assert estate.get_json(f"http://{address}:8080/version")["version"] == "1.1.0"
    log = estate.BUILD / "interrupted-status.log"
    shown = estate.step("status", [*COMMAND, "playbooks/status.yml"], log=log).stdout
    assert shown.count("UP, ") == 2, shown
    assert "rollout to 1.1.0: done" in shown, shown
