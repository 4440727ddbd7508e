# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own test hosts, seen from the controller: create, run a playbook, kill a host, ask who leads.

Shared by the demo, the Molecule scenarios and the benchmarks. All of it runs in this project's virtual environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from ansible_collections.mesops.platform.plugins.module_utils._core import http_direct

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
BUILD = ROOT / "build"
INVENTORY = ROOT / "inventories" / "demo"
MES_VERSION = "1.0.0"
OWNER = "default"
"""The scenario that creates and destroys the hosts which the `shared_state` scenarios use."""
PYTHON_OF = {"trixie": "3.13", "bookworm": "3.11"}

Result = TypeVar("Result")


class EstateError(Exception):
    """A step failed; the text is for a person."""


def environment() -> dict[str, str]:
    """The process environment in which every Ansible and Molecule command of this project runs.

    Output is buffered as it is for a user, whatever the machine that tests has set.
    """
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        # To look for it costs each command another program on each host.
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PY_COLORS": "0",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tools", ROOT / "tests", ROOT / "collections"))),
    }


# ---------------------------------------------------------------------------------------------------------------- steps


def step(
    title: str, command: Sequence[str | Path], *, log: Path, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a long command: its output goes to ``log``; a person sees the title, what it is at, and how long it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    live = sys.stderr.isatty()
    print(f"==> {title}", file=sys.stderr, flush=True)
    lines: list[str] = []
    with log.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sink.write(line)
                sink.flush()
                lines.append(line)
                heading = re.search(r"(PLAY|TASK) \[(.+?)\]", line)
                if heading and (live or heading[1] == "PLAY"):
                    text = f"    {time.monotonic() - begin:5.0f} s  {heading[2]}"
                    print(
                        f"\r\x1b[K{text[:110]}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True
                    )
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        status = process.wait()
    seconds = time.monotonic() - begin
    print(
        f"{chr(13) + chr(27) + '[K' if live else ''}    {'done' if status == 0 else 'FAILED'} in {seconds:.0f} s",
        file=sys.stderr,
    )
    if status != 0 and check:
        sys.stderr.writelines(lines[-40:])
        raise EstateError(f"{title}: failed with exit code {status}. Full output: {log}")
    return subprocess.CompletedProcess(list(map(str, command)), status, "".join(lines), "")


def play(inventory: Path, playbook: Path | str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run ``ansible-playbook`` on any inventory, and see all that it says; how it ended is for the caller to judge."""
    return subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, playbook, *more],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


def playbook(
    *arguments: str | Path, title: str = "ansible-playbook site.yml", log: str = "site", check: bool = True
) -> Recap:
    """Run ``ansible-playbook -i inventories/demo ...`` and read its recap."""
    done = step(
        title,
        [BIN / "ansible-playbook", "-i", INVENTORY, *arguments],
        log=BUILD / f"{log}.log",
        check=check,
    )
    return Recap.read(done.stdout, done.returncode)


@dataclass(frozen=True)
class Recap:
    """What PLAY RECAP said: counters per host."""

    hosts: dict[str, dict[str, int]]
    status: int
    output: str

    @classmethod
    def read(cls, output: str, status: int) -> Recap:
        """Parse the recap lines of an Ansible run."""
        hosts = {}
        for name, counters in re.findall(r"^\s*(\S+)\s+: (ok=\d+.*)$", output, re.MULTILINE):
            hosts[name] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counters)}
        return cls(hosts, status, output)

    def changed(self) -> dict[str, int]:
        """Hosts that changed, with how often."""
        return {name: counters["changed"] for name, counters in self.hosts.items() if counters["changed"]}


def site(
    *arguments: str | Path,
    title: str = "ansible-playbook -i inventories/demo site.yml",
    log: str = "site",
    check: bool = True,
) -> Recap:
    """The customer's command, on the demo inventory."""
    return playbook("site.yml", *arguments, title=title, log=log, check=check)


# ---------------------------------------------------------------------------------------------------------------- hosts


def inventory() -> dict[str, dict[str, str]]:
    """The demo inventory: group -> host -> address."""
    tree = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]

    def members(group: str) -> dict[str, str]:
        own = {host: values["mesops_address"] for host, values in (tree[group].get("hosts") or {}).items()}
        for child in tree[group].get("children") or {}:
            own.update(members(child))
        return own

    return {group: members(group) for group in tree}


def addresses(group: str) -> dict[str, str]:
    """The hosts of a group with their addresses."""
    return inventory()[group]


def docker(*arguments: str, check: bool = True) -> str:
    """Run a docker command and return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    if check and done.returncode != 0:
        raise EstateError(f"docker {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout


def on(host: str, command: str, *, check: bool = True) -> str:
    """Run a shell command on a test host as root."""
    return docker("exec", host, "bash", "-c", command, check=check)


def kill_host(host: str) -> None:
    """Take the power away from a host."""
    docker("kill", "--signal", "KILL", host)


def start_host(host: str) -> None:
    """Boot a host again and wait until its systemd is up."""
    docker("start", host)
    wait_for(
        lambda: on(host, "systemctl is-system-running", check=False).strip() in ("running", "degraded"),
        timeout=120,
        what=f"{host} to boot",
    )


def wait_for(condition: Callable[[], Result], *, timeout: float, what: str, interval: float = 0.25) -> Result:
    """Sample a condition until it is true; its value. The deadline is generous: it bounds, it does not measure.

    A server that does not answer yet (an EstateError) has not met the condition yet.
    """
    deadline = time.monotonic() + timeout
    while True:
        last = ""
        try:
            value = condition()
            if value:
                return value
        except EstateError as error:
            last = f"; at last {error}"
        if time.monotonic() > deadline:
            raise EstateError(f"waited {timeout:g} s in vain for {what}{last}")
        time.sleep(interval)


def get(url: str, *, headers: dict[str, str] | None = None, timeout: float = 5) -> tuple[int, str, dict[str, str]]:
    """One HTTP GET: status (0 when nobody answered), body, headers in lower case."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with http_direct.opener().open(request, timeout=timeout) as reply:
            return reply.status, reply.read().decode(), {key.lower(): value for key, value in reply.headers.items()}
    except urllib.error.HTTPError as error:
        return (
            error.code,
            error.read().decode("utf-8", "replace"),
            {key.lower(): value for key, value in error.headers.items()},
        )
    except OSError as error:
        return 0, str(error), {}


def get_json(url: str) -> dict[str, Any]:
    """The JSON object that a URL answers with; EstateError when it does not."""
    status, body, _headers = get(url)
    if status != 200:
        raise EstateError(f"{url} answered {status}: {body[:200]}")
    found: dict[str, Any] = json.loads(body)
    return found


# ------------------------------------------------------------------------------------------------------------- database


def cluster() -> list[dict[str, Any]]:
    """What Patroni says of its members, from the first database host that answers."""
    for address in addresses("postgres").values():
        status, body, _headers = get(f"http://{address}:8008/cluster", timeout=3)
        if status == 200:
            members: list[dict[str, Any]] = json.loads(body)["members"]
            return members
    return []


def leader() -> str | None:
    """The name of the database host that leads and runs, if one does."""
    names = [
        member["name"]
        for member in cluster()
        if member["role"] in ("leader", "master") and member["state"] == "running"
    ]
    return names[0] if len(names) == 1 else None


def healthy_cluster() -> bool:
    """One leader, every other database host streams, one of them synchronously: a failover loses nothing."""
    members = cluster()
    roles = [member["role"] for member in members if member["state"] in ("streaming", "running")]
    synchronous = "sync_standby" in roles or "quorum_standby" in roles
    return bool(leader()) and synchronous and len(roles) == len(addresses("postgres"))


def conninfo(group_vars: str = "secrets.yml") -> str:
    """How the controller reaches the leader: through both load balancers, as the service does."""
    secrets = yaml.safe_load((INVENTORY / "group_vars" / "all" / group_vars).read_text(encoding="utf-8"))
    balancers = ",".join(addresses("loadbalancers").values())
    return (
        f"host={balancers} port=5000 dbname=mes user=mes password={secrets['mes_database_password']} "
        "connect_timeout=3 target_session_attrs=read-write"
    )


# ------------------------------------------------------------------------------------------------------------- molecule


def molecule(
    action: str, scenario: str = OWNER, *, title: str | None = None, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one Molecule command on a scenario."""
    return step(
        title or f"molecule {action} -s {scenario}",
        [BIN / "molecule", action, "-s", scenario],
        log=BUILD / f"molecule-{scenario}-{action}.log",
        check=check,
        MOLECULE_EPHEMERAL_DIRECTORY=str(scratch(scenario)),
        **variables,
    )


def definition(scenario: str) -> dict[str, Any]:
    """What a scenario's molecule.yml says."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text(encoding="utf-8"))
    return loaded


def scratch(scenario: str) -> Path:
    """Where Molecule keeps what it knows of a scenario; in this checkout, and one place for all that share hosts."""
    return BUILD / "molecule" / (OWNER if definition(scenario).get("shared_state") else scenario)


def clear(scenario: str) -> None:
    """Remove the hosts of a scenario, leftovers of any earlier run included, and what Molecule knew of them.

    `molecule destroy` does the same in half a minute and misses hosts that another checkout made.
    """
    platforms = definition(scenario)["platforms"]
    docker("rm", "--force", "--volumes", *[platform["name"] for platform in platforms], check=False)
    for network in {network["name"] for platform in platforms for network in platform["docker_networks"]}:
        docker("network", "rm", network, check=False)
    shutil.rmtree(scratch(scenario), ignore_errors=True)


def release_command(suite: str, version: str = MES_VERSION) -> list[str | Path]:
    """What builds the reference service for the Python of a Debian release."""
    options = ("--version", version, "--python", PYTHON_OF[suite], "--output", "demo/dist")
    return [BIN / "python", "demo/build_release.py", *options]


def build_release(suite: str = "trixie", version: str = MES_VERSION, arguments: Sequence[str] = ()) -> Path:
    """Build it; the note that names version and archive."""
    tag = PYTHON_OF[suite].replace(".", "")
    step(
        f"Build the reference service {version} for Python {PYTHON_OF[suite]}",
        [*release_command(suite, version), *arguments],
        log=BUILD / "release.log",
    )
    return ROOT / "demo" / "dist" / f"mes-{version}-py{tag}.json"


def roll_out(note: Path, *arguments: str, check: bool = True, **variables: object) -> Recap:
    """The pipeline's command for a release of the reference service."""
    release = {f"rollout_{key}": value for key, value in json.loads(note.read_text(encoding="utf-8")).items()}
    given = {"rollout_service": "mes", **release, **variables}
    return playbook(
        "playbooks/rollout.yml",
        "-e",
        json.dumps(given),
        *arguments,
        title=f"rollout of mes {release['rollout_version']}",
        log=f"rollout-{release['rollout_version']}",
        check=check,
    )


def running_hosts() -> Iterator[str]:
    """The demo hosts that run right now."""
    known = {host for hosts in inventory().values() for host in hosts}
    for name in docker("ps", "--format", "{{.Names}}").split():
        if name in known:
            yield name
