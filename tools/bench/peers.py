# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the roles for metrics beside prometheus.prometheus: the same programs from the same archives, equal hosts.

MESOPS_PEERS names the directory into which `ansible-galaxy collection install prometheus.prometheus -p` has put it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import estate
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog
from bench import shared
from bench.shared import table

NETWORK, PREFIX = "mesops-peers", "10.209.0"
DIRECTORY = estate.BUILD / "bench" / "peers"
SIDES = {"ours": f"{PREFIX}.11", "theirs": f"{PREFIX}.12"}
HOSTS = {f"peers-{side}": address for side, address in SIDES.items()}
CONNECTION = "community.docker.docker"
ROUNDS = 5
DEADLINE_S = 900
SOURCE = "obs-1"
"""The host of the demo estate that the programs are taken from."""
COMMANDS = {
    "prometheus": {"prometheus": "prometheus", "promtool": "promtool"},
    "alertmanager": {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
    "node_exporter": {"node_exporter": "prometheus-node-exporter"},
}
"""Program -> what is in its archive -> what Debian calls it."""


def installed() -> tuple[Path, str]:
    """Where the peer is, and its version."""
    place = os.environ.get("MESOPS_PEERS", "")
    found = Path(place) / "ansible_collections/prometheus/prometheus"
    if not place or not found.is_dir():
        raise shared.Skipped(
            f"MESOPS_PEERS is {place!r}, in which there is no collection prometheus.prometheus; give a directory that "
            "`ansible-galaxy collection install prometheus.prometheus -p` has filled"
        )
    for name in ("MANIFEST.json", "galaxy.yml"):
        file = found / name
        version = re.search(r'^\s*"?version"?: "?([\d.]+)', file.read_text(), re.MULTILINE) if file.exists() else None
        if version:
            return Path(place), version[1]
    raise shared.Skipped(f"{found} has no version, neither in MANIFEST.json nor in galaxy.yml; install it again")


def pack() -> dict[str, catalog.Archive]:
    """Archives as upstream has them, of the programs in the demo estate."""
    found = {}
    for name, commands in COMMANDS.items():
        said = estate.on(SOURCE, f"{next(iter(commands.values()))} --version 2>&1")
        version = re.search(rf"^{name}, version ([\d.]+)", said, re.MULTILINE)
        assert version, said
        archive = catalog.archive(name, version[1])
        place = DIRECTORY / "archives" / archive.place
        place.mkdir(parents=True)
        with tarfile.open(place / archive.file, "w:gz", compresslevel=1) as sink:
            for command, debian in commands.items():
                estate.docker("cp", "--follow-link", f"{SOURCE}:/usr/bin/{debian}", str(place / command))
                sink.add(place / command, archive.members[command])
                (place / command).unlink()
            if name == "prometheus":
                # Templates of pages that releases before 3.0 came with; the peer puts them in their place.
                for part in ("consoles", "console_libraries"):
                    estate.docker("cp", "--follow-link", f"{SOURCE}:/etc/prometheus/{part}", str(place / part))
                    sink.add(place / part, f"{Path(archive.members['prometheus']).parent}/{part}")
                    shutil.rmtree(place / part)
        checksum = hashlib.sha256((place / archive.file).read_bytes()).hexdigest()
        (place / archive.checksums).write_text(f"{checksum}  {archive.file}\n", encoding="utf-8")
        found[name] = archive
    return found


@contextmanager
def served() -> Iterator[str]:
    """The archives over HTTP, as from a mirror."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_words: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer((f"{PREFIX}.1", 0), partial(Handler, directory=str(DIRECTORY / "archives")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{PREFIX}.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def plays(archives: dict[str, catalog.Archive], mirror: str) -> dict[str, list[dict[str, Any]]]:
    """One play of each side: an exporter, Prometheus that scrapes it, Alertmanager, and each side's own rules."""
    roles = ("node_exporter", "prometheus", "alertmanager")
    theirs: dict[str, Any] = {
        "prometheus_targets": {"node": [{"targets": ["127.0.0.1:9100"]}]},
        "prometheus_alertmanager_config": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}],
        "alertmanager_receivers": [{"name": "nobody"}],
        "alertmanager_route": {"receiver": "nobody"},
    }
    for name, archive in archives.items():
        base = f"{mirror}/{archive.place}"
        theirs |= {
            f"{name}_version": archive.version,
            f"{name}_binary_url": f"{base}/{archive.file}",
            f"{name}_checksums_url": f"{base}/{archive.checksums}",
            f"{name}_local_cache_path": str(DIRECTORY / "cache" / name),
        }
    ours = {
        "mesops_artifact_mirror": mirror,
        "mesops_artifact_cache": str(DIRECTORY / "our-cache"),
        "exporter_node_version": archives["node_exporter"].version,
        **{f"{name}_version": archives[name].version for name in ("prometheus", "alertmanager")},
        **{f"{name}_install_method": "archive" for name in ("exporter", "prometheus", "alertmanager")},
    }
    names = {
        "ours": (ours, [f"mesops.platform.{name.replace('node_', '')}" for name in roles]),
        "theirs": (theirs, [f"prometheus.prometheus.{name}" for name in roles]),
    }
    return {
        side: [{"hosts": f"peers-{side}", "vars": given, "roles": wanted}] for side, (given, wanted) in names.items()
    }


@dataclass(frozen=True)
class Run:
    """One run of one side."""

    seconds: float
    tasks: int
    changed: int


def run(side: str, peers: Path, log: str) -> Run:
    """Run its play."""
    environment = {**estate.environment(), "ANSIBLE_COLLECTIONS_PATH": f"{estate.ROOT / 'collections'}:{peers}"}
    command: list[str | Path] = [
        estate.BIN / "ansible-playbook",
        "-i",
        DIRECTORY / f"{side}-hosts.json",
        DIRECTORY / f"{side}.json",
    ]
    begin = time.monotonic()
    done = subprocess.run(
        command,
        cwd=estate.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    seconds = time.monotonic() - begin
    (DIRECTORY / f"{side}-{log}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counters = estate.Recap.read(done.stdout, 0).hosts[f"peers-{side}"]
    return Run(seconds, counters["ok"] + counters["skipped"], counters["changed"])


def serves(side: str) -> bool:
    """Whether Prometheus scrapes the exporter and knows the Alertmanager: what both were asked for."""
    base = f"http://{SIDES[side]}:9090/api/v1"
    up = estate.get_json(f"{base}/query?query=up")["data"]["result"]
    managers = estate.get_json(f"{base}/alertmanagers")["data"]["activeAlertmanagers"]
    return {one["metric"]["job"]: one["value"][1] for one in up}.get("node") == "1" and bool(managers)


def measure() -> str:
    """Measure on two fresh hosts; the programs come from the demo estate, so `make demo` first."""
    peers, version = installed()
    shared.clear(NETWORK, HOSTS)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    archives = pack()
    templates = "/usr/share/prometheus/alertmanager"
    estate.docker("cp", f"{SOURCE}:{templates}", str(DIRECTORY / "templates"))
    try:
        shared.boot(NETWORK, PREFIX, HOSTS)
        for name in HOSTS:
            estate.on(name, f"apt-get -qq update; mkdir -p {templates}")
            # Debian's program has them there, upstream's inside.
            estate.docker("cp", f"{DIRECTORY / 'templates'}/.", f"{name}:{templates}")
        with served() as mirror:
            for side, play in plays(archives, mirror).items():
                (DIRECTORY / f"{side}.json").write_text(json.dumps(play), encoding="utf-8")
                hosts = {f"peers-{side}": {"mesops_address": SIDES[side], "ansible_connection": CONNECTION}}
                inventory = {"all": {"children": {"monitoring": {"hosts": hosts}}}}
                (DIRECTORY / f"{side}-hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
            first = {side: run(side, peers, "first") for side in SIDES}
            for side in SIDES:
                estate.wait_for(partial(serves, side), timeout=120, what=f"{side} to scrape and to alert")
            again: dict[str, list[Run]] = {side: [] for side in SIDES}
            for number in range(ROUNDS):
                for side, runs in again.items():
                    runs.append(run(side, peers, f"again-{number}"))
    finally:
        shared.clear(NETWORK, HOSTS)
    names = {"ours": "mesops.platform", "theirs": f"prometheus.prometheus {version}"}
    rows = []
    for side, title in names.items():
        calm = [one.seconds for one in again[side]]
        figures = [f"{first[side].seconds:.0f}", f"{statistics.median(calm):.1f}"]
        rows.append([title, *figures, again[side][-1].tasks, again[side][-1].changed])
    ratios = sorted(one.seconds / two.seconds for one, two in zip(*again.values(), strict=True))
    what = ", ".join(f"{name} {archive.version}" for name, archive in archives.items())
    return f"""## Metrics beside prometheus.prometheus

Two equal, fresh hosts; the same programs ({what}; Debian's, packed as upstream packs its own) from the same mirror.
Each side installs and configures node_exporter, Prometheus that scrapes it, and Alertmanager, with its own rules;
afterwards both were seen to scrape, and to know their Alertmanager. Tasks are those that ran or were skipped, nothing
to change. No change: median of {ROUNDS} runs, in turns.

{table(["collection", "first run, s", "no change, s", "tasks", "changed"], rows)}

Ratio: first run {first["ours"].seconds / first["theirs"].seconds:.2f}, no change {statistics.median(ratios):.2f}
({ratios[0]:.2f} to {ratios[-1]:.2f}).
"""
