"""A second team's service on real hosts: deployed, restarted, killed, rolled back; and all that is refused."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import estate
import pytest

HERE = Path(__file__).resolve().parent.parent
NODES = {"app-13": "10.204.0.21", "app-12": "10.204.0.22"}
NODE = "app-12"
BALANCER = "http://10.204.0.11"
HOST = {"Host": "catalog.example.com"}
GREETING = 'it\'s "$5" \\ `a`\nand %more'
FULL = os.environ.get("MESOPS_TEST") == "full"
EXPOSURE_BOUND = 1.5
"""`systemd-analyze security`: 0 is no exposure at all, 10 is an unrestricted root process."""

Release = Callable[..., dict[str, Any]]


def site(*arguments: str, log: str = "site", check: bool = True) -> estate.Recap:
    command: list[str | Path] = [
        estate.BIN / "ansible-playbook",
        "-i",
        HERE / "inventory",
        "site.yml",
        "--tags",
        "app",
        *arguments,
    ]
    done = estate.step(f"site.yml {' '.join(arguments)}", command, log=estate.BUILD / f"app-{log}.log", check=check)
    return estate.Recap.read(done.stdout, done.returncode)


def app_release(*flags: str, host: str = NODE, **options: Any) -> dict[str, Any]:
    """Run the module once on one host; its result."""
    command: list[str | Path] = [
        estate.BIN / "ansible",
        host,
        "-i",
        HERE / "inventory",
        "-m",
        "mesops.platform.app_release",
    ]
    arguments = json.dumps({"service": "catalog", "command": "bin/catalog", **options})
    os.environ["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "json"
    done = estate.step(
        "app_release", [*command, "-a", arguments, *flags], log=estate.BUILD / "app-release.log", check=False
    )
    found = re.search(r"^\S+ \| ([A-Z!]+) => (\{.*^\})", done.stdout, re.MULTILINE | re.DOTALL)
    assert found, done.stdout
    return {**json.loads(found.group(2)), "failed": found.group(1) == "FAILED!"}


def listing(host: str = NODE) -> str:
    """Every path, owner, mode, size and time where a run could leave something; temporary directories apart."""
    return estate.on(host, "find /opt /etc /srv /usr/local -printf '%p %y %l %m %u:%g %s %T@ %C@\\n' | sort")


def artifact(folder: Path, *members: tarfile.TarInfo, name: str = "catalog.tar.gz") -> dict[str, str]:
    """An archive that holds a good start command and the given members."""
    path = folder / name
    good = tarfile.TarInfo("bin/catalog")
    good.mode = 0o755
    with tarfile.open(path, "w:gz") as out:
        for member in (good, *members):
            content = b"#!/bin/sh\n"
            member.size = len(content) if member.isreg() and not member.size else member.size
            out.addfile(member, io.BytesIO(content.ljust(member.size, b"\n")) if member.isreg() else None)
    return of(path)


def of(path: Path) -> dict[str, str]:
    return {"artifact": str(path), "checksum": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


@pytest.fixture
def good() -> dict[str, str]:
    """The release that the scenario deploys."""
    return of(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "catalog.tar.gz")


@pytest.fixture
def first(good: dict[str, str]) -> Iterator[None]:
    """Leave both nodes on release 1.0.0 with no other release."""
    yield
    for host in NODES:
        app_release(host=host, version="1.0.0", unit="catalog.service")
        app_release(host=host, state="pruned", keep=1)
        estate.on(host, "find /opt/catalog/releases -mindepth 1 -maxdepth 1 ! -name 1.0.0 -exec rm -rf {} +")
        estate.on(host, 'echo \'{"versions": ["1.0.0"]}\' > /opt/catalog/.history.json')


def version(address: str) -> dict[str, Any]:
    status, body, _headers = estate.get(f"http://{address}:3000/version")
    return dict(json.loads(body)) if status == 200 else {}


def answers(wanted: str) -> None:
    """Wait until the node runs a release."""
    estate.wait_for(
        lambda: version(NODES[NODE]).get("version") == wanted, timeout=15, what=f"release {wanted} to answer"
    )


# ------------------------------------------------------------------------------------------------- behind the balancer


def test_both_nodes_serve_behind_the_services_own_host_name() -> None:
    seen = set()
    for _ in range(10):
        status, body, _headers = estate.get(f"{BALANCER}/version", headers=HOST)
        assert status == 200, body
        seen.add(json.loads(body)["host"])
    assert seen == set(NODES)


def test_another_host_name_leads_nowhere() -> None:
    status, _body, _headers = estate.get(f"{BALANCER}/version", headers={"Host": "other.example.com"})
    assert status == 404


@pytest.mark.parametrize("host", NODES)
def test_the_process_sees_its_environment_as_it_was_written(host: str) -> None:
    _status, body, _headers = estate.get(f"http://{NODES[host]}:3000/environment")
    assert json.loads(body)["greeting"] == GREETING
    assert estate.on(host, "stat -c '%a %U:%G' /etc/default/catalog").strip() == "640 root:catalog"


@pytest.mark.parametrize("host", NODES)
def test_the_service_cannot_change_its_own_code(host: str) -> None:
    """Its unit, with a shell in place of the service: what can be written, and by whom."""
    paths = [f"/opt/catalog/{name}" for name in ("current/bin/catalog", "releases/x", "x", "shared/x")]
    tries = "; ".join(f"(echo >> {path}) 2>/dev/null && echo wrote {path}" for path in [*paths, "/etc/x", "/var/lib/x"])
    probe = f"/bin/sh -c '{tries}; id -un; grep -c . /proc/1/environ 2>/dev/null; echo done'"
    unit = estate.on(host, "cat /etc/systemd/system/catalog.service")
    unit = re.sub(r"^ExecStart=.*$", lambda _found: f"ExecStart={probe}", unit, flags=re.MULTILINE)
    unit = unit.replace("Type=exec", "Type=oneshot").replace("Restart=always", "Restart=no")
    estate.on(host, f"cat > /run/systemd/system/probe.service <<'END'\n{unit}\nEND\nsystemctl daemon-reload")
    try:
        estate.on(host, "systemctl start probe && journalctl --sync")
        said = estate.on(host, "journalctl -u probe -o cat -t catalog")
    finally:
        estate.on(host, "rm -f /run/systemd/system/probe.service /opt/catalog/shared/x; systemctl daemon-reload")
    assert said.split("\n")[:3] == ["wrote /opt/catalog/shared/x", "catalog", "done"]


@pytest.mark.parametrize("host", NODES)
def test_the_sandbox_is_as_tight_as_published(host: str) -> None:
    text = estate.on(host, "systemd-analyze security --no-pager catalog.service")
    found = re.search(r"exposure level for catalog.service: ([\d.]+)", text)
    assert found, text
    assert float(found.group(1)) <= EXPOSURE_BOUND


# ------------------------------------------------------------------------------------------------------- site.yml again


class Watch:
    """Ask the balancer, and both nodes, again and again; count what a client would have seen."""

    def __init__(self) -> None:
        self.asked, self.both_down = 0, 0
        self.failed: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            status, body, _headers = estate.get(f"{BALANCER}/products", headers=HOST)
            self.asked += 1
            if status != 200:
                self.failed.append((status, body[:100]))
            down = [
                host
                for host, address in NODES.items()
                if estate.get(f"http://{address}:3000/readyz", timeout=1)[0] != 200
            ]
            self.both_down += len(down) == len(NODES)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(30)


def pids() -> dict[str, int]:
    return {host: version(address)["pid"] for host, address in NODES.items()}


def outage(host: str) -> tuple[int, int]:
    """When systemd saw the service go down and come up at its last restart, in microseconds of the monotonic clock."""
    shown = estate.on(host, "systemctl show catalog -p ActiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic")
    values = dict(line.split("=") for line in shown.splitlines())
    return int(values["ActiveExitTimestampMonotonic"]), int(values["ActiveEnterTimestampMonotonic"])


SECRET = "hunter2-7f3a"


def assert_told_to_nobody(*outputs: str) -> None:
    """The secret is in no output, no journal, no record and no report; only where the process reads it."""
    told = list(outputs)
    for host in (*NODES, "app-lb"):
        told.append(estate.on(host, "journalctl --no-pager -o cat | grep -a -v '^$'"))
        told.append(
            estate.on(host, "cat /opt/catalog/.history.json /var/lib/mesops/rollouts/* 2>/dev/null", check=False)
        )
    assert not [text for text in told if SECRET in text]


class Processes:
    """Look at the command lines of a node, again and again."""

    def __init__(self) -> None:
        self.seen = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.seen += estate.on(NODE, "ps -eo args", check=False)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(30)


def rollout(*arguments: str, log: str, playbook: str = "rollout", check: bool = True) -> estate.Recap:
    command: list[str | Path] = [estate.BIN / "ansible-playbook", "-i", HERE / "inventory", f"playbooks/{playbook}.yml"]
    done = estate.step(
        f"{playbook}.yml {' '.join(arguments)}",
        [*command, "-e", "rollout_service=catalog", *arguments],
        log=estate.BUILD / f"app-{log}.log",
        check=check,
    )
    return estate.Recap.read(done.stdout, done.returncode)


def greetings() -> set[str]:
    """What the nodes say that their processes were started with."""
    pages = [estate.get(f"http://{address}:3000/environment")[1] for address in NODES.values()]
    return {json.loads(page)["greeting"] for page in pages}


def test_a_changed_environment_restarts_one_node_after_the_other() -> None:
    before = pids()
    planned = site("-e", f"catalog_greeting={SECRET}", "--check", "--diff", log="environment-check")
    assert "would roll out the changed configuration of catalog: CATALOG_GREETING" in planned.output
    assert pids() == before
    with Watch() as watch, Processes() as processes:
        recap = site("-e", f"catalog_greeting={SECRET}", "--diff", "-vvv", log="environment")
    assert recap.status == 0
    assert "changed configuration of catalog: CATALOG_GREETING" in recap.output
    assert greetings() == {SECRET}
    assert_told_to_nobody(planned.output, recap.output, processes.seen)
    after = pids()
    assert all(before[host] != after[host] for host in NODES)
    assert watch.asked > 20
    # The second node went down only when the first was up again; containers share the kernel's monotonic clock.
    (down, up), (down_next, up_next) = sorted(outage(host) for host in NODES)
    assert down < up < down_next < up_next
    assert watch.both_down == 0
    assert watch.failed == []
    assert site("-e", f"catalog_greeting={SECRET}", log="again").changed() == {}
    assert rollout(playbook="rollback", log="back").status == 0
    assert greetings() == {GREETING}
    assert site(log="as-before").changed() == {}


def test_a_broken_environment_gets_no_traffic_and_goes_back() -> None:
    before = pids()
    wrong = ("-e", "catalog_broken=true", "-e", f"catalog_greeting={SECRET}")
    with Watch() as watch:
        by_site = site(*wrong, log="broken", check=False)
        by_rollout = rollout(*wrong, "-e", "rollout_config=true", log="broken-rollout", check=False)
    for recap in (by_site, by_rollout):
        assert recap.status != 0
        said = re.sub(r"\s+", " ", recap.output)
        assert "is not ready after 15 s" in said
        assert "settings changed: CATALOG_BROKEN, CATALOG_GREETING" in said
    assert_told_to_nobody(by_site.output, by_rollout.output)
    after = pids()
    assert len([host for host in NODES if before[host] != after[host]]) == 1
    assert watch.both_down == 0
    assert watch.failed == []
    assert greetings() == {GREETING}
    assert all(estate.get(f"http://{address}:3000/readyz")[0] == 200 for address in NODES.values())
    assert site(log="repaired").changed() == {}


@pytest.mark.usefixtures("first")
def test_a_version_brings_the_configuration_and_takes_it_back(good: dict[str, str]) -> None:
    artifact = ("-e", f"rollout_artifact={good['artifact']}", "-e", f"rollout_checksum={good['checksum']}")
    with Watch() as watch:
        asked = ("-e", "rollout_version=1.1.0", "-e", "catalog_greeting=new", "-e", "rollout_min_healthy_time=1")
        assert rollout(*asked, *artifact, log="version-and-configuration").status == 0
        assert greetings() == {"new"}
        assert {version(address)["version"] for address in NODES.values()} == {"1.1.0"}
        assert rollout(playbook="rollback", log="both-back").status == 0
    assert watch.failed == []
    assert greetings() == {GREETING}
    assert {version(address)["version"] for address in NODES.values()} == {"1.0.0"}


def test_a_service_whose_rollout_is_unfinished_is_left_alone() -> None:
    """The lock of somebody else: site.yml says so, fails and touches nothing."""
    before = pids()
    holder = {"user": "deploy", "host": "ci-7", "pid": 1, "what": "rollout of catalog 2"}
    command: list[str | Path] = [estate.BIN / "ansible", "app-lb", "-i", HERE / "inventory"]
    lock = ("-m", "mesops.platform.rollout_lock", "-a")
    arguments = {"service": "catalog", "state": "acquired", "ttl": 600, "holder": holder}
    estate.step("lock", [*command, *lock, json.dumps(arguments)], log=estate.BUILD / "app-lock.log")
    try:
        recap = site("-e", "catalog_greeting=new", log="locked", check=False)
    finally:
        arguments = {"service": "catalog", "state": "broken", "by": "test", "reason": "test"}
        estate.step("unlock", [*command, *lock, json.dumps(arguments)], log=estate.BUILD / "app-lock.log")
    assert recap.status != 0
    assert "Refused, nothing was changed" in re.sub(r"\s+", " ", recap.output)
    assert pids() == before
    assert greetings() == {GREETING}


class Orders:
    """POSTs by several clients that keep their connections, until told to stop; nothing is sent twice."""

    def __init__(self, clients: int) -> None:
        self.sent, self.lost = 0, []  # type: int, list[str]
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        link = http.client.HTTPConnection("10.204.0.11", timeout=30)
        while not self._stop.is_set():
            try:
                link.request("POST", "/orders", b"x" * 200, {**HOST, "Content-Type": "text/plain"})
                answer = link.getresponse()
                answer.read()
                wrong = "" if answer.status == 201 else f"answered {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
                link.close()
            with self._guard:
                self.sent += 1
                self.lost += [wrong] if wrong else []

    def __enter__(self) -> Orders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


def test_restarts_by_site_lose_no_post() -> None:
    restarts, least = (20, 25_000) if FULL else (1, 1000)
    with Orders(20) as orders:
        for number in range(restarts):
            before = pids()
            assert site("-e", f"catalog_greeting={number}", log="posts").status == 0
            assert all(before[host] != pid for host, pid in pids().items())
    assert orders.lost == []
    assert orders.sent >= least
    assert site(log="posts-back").status == 0


@pytest.mark.usefixtures("first")
def test_site_never_changes_the_version_that_runs(good: dict[str, str]) -> None:
    for host in NODES:
        app_release(host=host, version="1.1.0", unit="catalog.service", **good)
    assert site(log="version").changed() == {}
    assert {version(address)["version"] for address in NODES.values()} == {"1.1.0"}


@pytest.mark.usefixtures("first")
def test_a_host_built_anew_never_begins_with_an_older_release_than_the_others_run(good: dict[str, str]) -> None:
    """With and without the others in the play; it gets what they run as soon as the inventory has that."""
    other = next(host for host in NODES if host != NODE)
    app_release(host=other, version="2.0.0", unit="catalog.service", **good)
    estate.on(NODE, "systemctl stop catalog && rm -rf /opt/catalog")
    refusal = f"/opt/catalog has no release yet and would begin with 1.0.0, but {other} runs 2.0.0; let release in the"
    for arguments in (["--limit", NODE], []):
        refused = site(*arguments, log="anew", check=False)
        assert refused.status != 0
        assert refusal in " ".join(refused.output.split())
        assert estate.on(NODE, "systemctl is-active catalog", check=False).strip() == "inactive"
        assert estate.on(other, "readlink /opt/catalog/current").strip().endswith("2.0.0")
    app_release(host=other, version="1.0.0", unit="catalog.service")
    estate.docker("pause", other)
    try:
        refused = site("--limit", NODE, log="anew", check=False)
    finally:
        estate.docker("unpause", other)
    assert f"but {other} may run a newer one and cannot be asked; bring back" in " ".join(refused.output.split())
    assert refused.status != 0
    site("--limit", NODE, log="anew")
    answers("1.0.0")


def test_mistakes_in_the_variables_are_named_before_anything_changes() -> None:
    before = listing()
    wrong = {"app_services": {"../x": {}, "catalog": {"port": 99999, "command": "/usr/bin/node", "prot": 1}}}
    recap = site("-e", json.dumps(wrong), log="mistakes", check=False)
    assert recap.status != 0
    for sentence in ("'../x' is no plain name", "port is 99999", "unknown keys prot", "command is '/usr/bin/node'"):
        assert sentence in re.sub(r"\s+", " ", recap.output)
    assert listing() == before


def test_a_killed_process_comes_back() -> None:
    before = version(NODES[NODE])["pid"]
    estate.on(NODE, "systemctl kill --signal=KILL --kill-whom=main catalog")
    estate.wait_for(
        lambda: version(NODES[NODE]).get("pid") not in (None, before), timeout=20, what="the service to come back"
    )


# ---------------------------------------------------------------------------------------------------------- app_release


@pytest.mark.usefixtures("first")
def test_activate_roll_back_and_prune(good: dict[str, str]) -> None:
    for number in range(1, 5):
        plan = app_release("--check", version=f"1.{number}.0", unit="catalog.service", **good)
        result = app_release(version=f"1.{number}.0", unit="catalog.service", **good)
        assert plan["actions"] == result["actions"]
        assert result["actions"] == [f"install 1.{number}.0", f"activate 1.{number}.0", "restart catalog.service"]
        assert result["previous"] == f"1.{number - 1}.0"
        answers(f"1.{number}.0")
    assert not app_release(version="1.4.0", unit="catalog.service", **good)["changed"]
    back = app_release(state="rolled_back", version="1.4.0", unit="catalog.service")
    assert (back["current"], back["previous"]) == ("1.3.0", "1.2.0")
    assert not app_release(state="rolled_back", version="1.4.0", unit="catalog.service")["changed"]
    answers("1.3.0")
    pruned = app_release(state="pruned", keep=1, protect=["1.0.0"])
    assert [one["version"] for one in pruned["releases"]] == ["1.0.0", "1.2.0", "1.3.0"]
    assert estate.on(NODE, "ls /opt/catalog/releases").split() == ["1.0.0", "1.2.0", "1.3.0"]
    assert not app_release(state="pruned", keep=1, protect=["1.0.0"])["changed"]


@pytest.mark.usefixtures("first")
def test_a_run_killed_between_swap_and_restart_is_healed(good: dict[str, str]) -> None:
    app_release(version="1.1.0", state="installed", **good)
    estate.on(
        NODE, "ln -s releases/1.1.0 /opt/catalog/.swap-current && mv -T /opt/catalog/.swap-current /opt/catalog/current"
    )
    estate.on(NODE, 'echo \'{"versions": ["1.1.0", "1.0.0"]}\' > /opt/catalog/.history.json')
    assert version(NODES[NODE])["version"] == "1.0.0"
    healed = app_release(version="1.1.0", unit="catalog.service")
    assert healed["actions"] == ["restart catalog.service"]
    assert healed["running"] == "1.0.0"
    answers("1.1.0")
    assert not app_release(version="1.1.0", unit="catalog.service")["changed"]


def test_leftovers_of_a_killed_run_are_removed_and_never_a_release() -> None:
    estate.on(NODE, "mkdir -p /opt/catalog/releases/.unpack-9-x/bin /opt/catalog/releases/.remove-8")
    result = app_release(version="1.0.0")
    assert result["actions"] == ["remove leftover releases/.remove-8", "remove leftover releases/.unpack-9-x"]
    assert [one["version"] for one in result["releases"]] == ["1.0.0"]
    assert estate.on(NODE, "ls -A /opt/catalog/releases").split() == ["1.0.0"]


def test_no_unit_no_restart(good: dict[str, str]) -> None:
    result = app_release(service="other", version="1", unit="other.service", **good)
    assert result["actions"][-1] == "activate 1"
    assert "running" not in result
    estate.on(NODE, "rm -r /opt/other")


Build = Callable[[dict[str, str], Path], dict[str, Any]]
"""The options of a case, from the good release's and a folder of its own."""

HOSTILE = {
    "dots": ("member '../evil' has '..' in its path", member("../evil")),
    "absolute": ("member '/etc/evil' is an absolute path", member("/etc/evil")),
    "symlink-dots": (
        "symlink 'evil' points to '../../../etc/passwd'",
        member("evil", tarfile.SYMTYPE, "../../../etc/passwd"),
    ),
    "symlink-absolute": ("symlink 'evil' points to '/etc/passwd'", member("evil", tarfile.SYMTYPE, "/etc/passwd")),
    "hardlink": ("member '../../etc/passwd' has '..'", member("evil", tarfile.LNKTYPE, "../../etc/passwd")),
    "device": ("member 'evil' is a device, a fifo", member("evil", tarfile.CHRTYPE)),
    "fifo": ("member 'evil' is a device, a fifo", member("evil", tarfile.FIFOTYPE)),
    "setuid": ("member 'evil' carries a setuid", member("evil", mode=0o4755)),
}


def big() -> tarfile.TarInfo:
    info = member("zeros")
    info.size = 2 << 20
    return info


def cut(good: dict[str, str], folder: Path) -> dict[str, str]:
    path = folder / "catalog.tar.gz"
    path.write_bytes(Path(good["artifact"]).read_bytes()[:-400])
    return of(path)


OTHERS: dict[str, tuple[str, Build]] = {
    "checksum": ("has checksum sha256:", lambda good, folder: {**good, "checksum": "sha256:" + "0" * 64}),
    "kind of checksum": ("is not of the form sha256:", lambda good, folder: {**good, "checksum": "md5:123"}),
    "truncated": ("truncated", cut),
    "version with dots": ("'../../etc' is no plain name", lambda good, folder: {**good, "version": "../../etc"}),
    "hidden version": ("'.hidden' is no plain name", lambda good, folder: {**good, "version": ".hidden"}),
    "service with dots": ("'../x' is no plain name", lambda good, folder: {**good, "service": "../x"}),
    "version is a number": ("2.1 is a number in YAML", lambda good, folder: {**good, "version": 2.10}),
    "no start command": (
        "start command 'bin/missing' is no file",
        lambda good, folder: {**good, "command": "bin/missing -v"},
    ),
    "not executable": (
        "is not executable",
        lambda good, folder: {**artifact(folder, member("doc")), "command": "doc"},
    ),
    "command elsewhere": (
        "give one line of at most 4096 characters that begins with a plain path in the release",
        lambda good, folder: {**good, "command": "/usr/bin/node x"},
    ),
    "no room": ("have to stay free|must stay free", lambda good, folder: {**good, "reserve_mb": 1 << 40}),
    "too large": ("max_size_mb", lambda good, folder: {**artifact(folder, big()), "max_size_mb": 1}),
    "no artifact": (
        "cannot be read on the controller",
        lambda good, folder: {**good, "artifact": str(folder / "none")},
    ),
    "another archive": ("is already installed", lambda good, folder: {**artifact(folder), "version": "1.0.0"}),
    "not installed": ("is not installed", lambda good, folder: {}),
    "nothing before it": (
        "no release to roll back to",
        lambda good, folder: {"state": "rolled_back", "version": None},
    ),
    "keep nothing": ("keep 0 is too small", lambda good, folder: {"state": "pruned", "keep": 0}),
}
REFUSALS = {
    **{
        f"{name}, {mode}": (sentence, mode == "check")
        for name, (sentence, _member) in HOSTILE.items()
        for mode in ("check", "run")
    },
    **{name: (sentence, False) for name, (sentence, _build) in OTHERS.items()},
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the module says of everything that it has to refuse, all of it in one play; nothing on the host changes."""
    good = of(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "catalog.tar.gz")
    folder = tmp_path_factory.mktemp("refusals")
    options: dict[str, dict[str, Any]] = {}
    for name, (_sentence, hostile) in HOSTILE.items():
        built = artifact(folder, hostile, name=f"{name}.tar.gz")
        options.update({f"{name}, {mode}": built for mode in ("check", "run")})
    for number, (name, (_sentence, build)) in enumerate(OTHERS.items()):
        (folder / str(number)).mkdir()
        options[name] = build(good, folder / str(number))
    tasks: list[dict[str, Any]] = []
    for number, (name, own) in enumerate(options.items()):
        wanted = {"service": "catalog", "command": "bin/catalog", "version": "2.0.0", "unit": "catalog.service", **own}
        tasks.append(
            {
                "name": name,
                "mesops.platform.app_release": {key: value for key, value in wanted.items() if value is not None},
                "check_mode": REFUSALS[name][1],
                "ignore_errors": True,
                "register": f"said_{number}",
            }
        )
    results = folder / "results.json"
    said = ", ".join(f"said_{number}" for number in range(len(options)))
    write = {"content": f"{{{{ [{said}] | to_json }}}}", "dest": str(results), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": write, "delegate_to": "localhost"})
    playbook = folder / "refusals.yml"
    playbook.write_text(json.dumps([{"hosts": NODE, "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    before = listing()
    command: list[str | Path] = [estate.BIN / "ansible-playbook", "-i", HERE / "inventory", playbook]
    estate.step("refusals", command, log=estate.BUILD / "app-refusals.log")
    assert listing() == before
    return dict(zip(options, json.loads(results.read_text(encoding="utf-8")), strict=True))


@pytest.mark.parametrize("name", REFUSALS)
def test_hostile_archives_and_mistakes_are_refused_and_change_nothing(
    refusals: dict[str, dict[str, Any]], name: str
) -> None:
    result = refusals[name]
    assert result["failed"]
    assert re.search(REFUSALS[name][0], result["msg"])
    assert "\n" not in result["msg"]


def test_a_disk_without_room_is_seen_before_it_is_full(good: dict[str, str]) -> None:
    estate.on(NODE, "mkdir -p /srv/small && mount -t tmpfs -o size=1m tmpfs /srv/small")
    try:
        before = estate.on(NODE, "find /srv/small -printf '%p %T@\\n'")
        result = app_release(root="/srv/small", version="1", reserve_mb=1, **good)
        assert result["failed"]
        assert "has 1.0 MiB free" in result["msg"]
        assert estate.on(NODE, "find /srv/small -printf '%p %T@\\n'") == before
        assert app_release(root="/srv/small", version="1", reserve_mb=0, **good)["current"] == "1"
    finally:
        estate.on(NODE, "umount /srv/small && rmdir /srv/small")


def test_a_host_fetches_an_artifact_from_a_url(good: dict[str, str]) -> None:
    estate.docker("cp", good["artifact"], f"{NODE}:/srv/catalog.tar.gz")
    estate.on(NODE, "systemd-run --unit=artifacts python3 -m http.server --directory /srv --bind 127.0.0.1 8099")
    try:
        estate.wait_for(
            lambda: "200" in estate.on(NODE, FETCH, check=False), timeout=15, what="the artifact server to answer"
        )
        url = "http://127.0.0.1:8099"
        before = listing()
        missing = app_release(service="other", version="1", **{**good, "artifact": f"{url}/none.tar.gz"})
        assert "cannot be fetched" in missing["msg"]
        wrong = app_release(
            service="other", version="1", artifact=f"{url}/catalog.tar.gz", checksum="sha256:" + "0" * 64
        )
        assert "has checksum" in wrong["msg"]
        assert listing() == before
        result = app_release(service="other", version="1", **{**good, "artifact": f"{url}/catalog.tar.gz"})
        assert result["current"] == "1"
    finally:
        estate.on(NODE, "systemctl stop artifacts; rm -rf /opt/other /srv/catalog.tar.gz")


FETCH = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8099/\").status)'"


def test_a_no_change_run_moves_no_bytes(good: dict[str, str]) -> None:
    """The artifact need not even exist on the controller when the release is installed."""
    result = app_release(version="1.0.0", checksum=good["checksum"], artifact="/nowhere/catalog.tar.gz")
    assert not result["failed"]
    assert not result["changed"]
