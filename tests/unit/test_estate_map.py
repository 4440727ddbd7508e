# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the demo inventory in which every group has another name and every port is another one: the same estate."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import elsewhere
import estate
import pytest
import yaml
from ansible_collections.mesops.platform.plugins.plugin_utils._model.estate import NO_HOST, PARTS

ADDRESSES = {
    "lb-1": "10.203.0.11",
    "lb-2": "10.203.0.12",
    "mes-1": "10.203.0.21",
    "mes-2": "10.203.0.22",
    "pg-1": "10.203.0.31",
    "pg-2": "10.203.0.32",
    "obs-1": "10.203.0.41",
}
RELEASE = {"version": "1.0.0", "artifact": "mes-1.0.0.tar.gz", "checksum": f"sha256:{64 * '0'}"}
LOADBALANCERS, DATABASES, WATCH = ["lb-1", "lb-2"], ["pg-1", "pg-2"], ["obs-1"]
MEMBERS = ["obs-1", "pg-1", "pg-2"]
DEMO = yaml.safe_load((estate.INVENTORY / "hosts.yml").read_text(encoding="utf-8"))


def demo_hosts(group: str) -> list[str]:
    """The hosts of a group of the demo, by their names."""
    if group == "all":
        return sorted(ADDRESSES)
    content = DEMO["all"]["children"].get(group) or {}
    return sorted(
        [*content.get("hosts", ()), *(host for one in content.get("children", ()) for host in demo_hosts(one))]
    )


SHOWN = (
    "__prometheus_targets",
    "prometheus_alertmanagers",
    "prometheus_prober",
    "alloy_loki",
    "alloy_tempo",
    "tempo_remote_write",
    "grafana_datasources",
    "etcd_hosts",
    "__etcd_initial_cluster",
    "postgres_hosts",
    "postgres_etcd_endpoints",
    "__postgres_members",
    "exporter_postgres",
    "exporter_postgres_address",
    "exporter_blackbox",
    "rollout_balancers",
    "rollout_store",
    "__rollout_coordinators",
    "__rollout_patroni",
    "__app_balancers",
)
ROLES = ("alloy", "app", "etcd", "exporter", "grafana", "postgres", "prometheus", "rollout", "tempo")
SHOW = [
    {
        "name": "Show what the roles know of the estate",
        "hosts": "obs-1:pg-2",
        "gather_facts": False,
        # The variables of roles that are imported hold for the whole play, whether they do something or not.
        "roles": [{"role": f"mesops.platform.{role}", "when": False} for role in ROLES],
        "tasks": [
            {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }}={{ __shown | to_json | b64encode }}="}},
        ],
        "vars": {"__shown": {name: f"{{{{ {name} }}}}" for name in SHOWN}},
    }
]


def moved(part: str, host: str) -> int:
    """The port that a part has on a host after the move: another one on each host."""
    return elsewhere.moved(part, 1 + list(ADDRESSES).index(host))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy, at the same place of a project as the demo; nothing is asked of its hosts themselves."""
    root = tmp_path_factory.mktemp("project")
    (root / "demo/dist").mkdir(parents=True)
    for part in ("rules", "dashboards"):
        (root / "demo" / part).symlink_to(estate.ROOT / "demo" / part)
    (root / "demo/dist/mes-1.0.0-py313.json").write_text(json.dumps(RELEASE), encoding="utf-8")
    copied = elsewhere.copy(root, DEMO, {})
    (copied / "host_vars").mkdir()
    for number, (host, address) in enumerate(ADDRESSES.items(), 1):
        known = {**elsewhere.port_variables(number, address), "ansible_connection": "local"}
        (copied / f"host_vars/{host}.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
    (root / "show.yml").write_text(yaml.safe_dump(SHOW), encoding="utf-8")
    return copied


def ansible(copied: Path, playbook: Path, *more: str) -> str:
    """What ansible-playbook says of a run that ends well."""
    done = estate.play(copied, playbook, *more)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def shown(inventory: Path) -> dict[str, dict[str, Any]]:
    """What the roles know on a monitoring host and on a database host."""
    said = "".join(ansible(inventory, inventory.parents[1] / "show.yml").split())
    found = {host: json.loads(base64.b64decode(code)) for host, code in re.findall(r"(obs-1|pg-2)=([\w+/]+=*)=", said)}
    assert sorted(found) == ["obs-1", "pg-2"]
    return found


def at(part: str, *hosts: str) -> list[str]:
    """Where a part listens on some hosts."""
    return [f"{ADDRESSES[host]}:{moved(part, host)}" for host in hosts]


def urls(part: str, *hosts: str, path: str = "") -> list[str]:
    """The same as addresses of HTTP."""
    return [f"http://{address}{path}" for address in at(part, *hosts)]


def test_the_copy_has_nothing_of_the_demos_names_and_ports() -> None:
    assert not set(elsewhere.RENAMED) & set(elsewhere.RENAMED.values())
    assert set(elsewhere.RENAMED) == {part.group for part in PARTS.values() if part.group_variable} | {"mes"}
    for host in ADDRESSES:
        ports = [moved(name, host) for name, part in PARTS.items() if part.port]
        assert len({*ports, *(part.port for part in PARTS.values())}) == 2 * len(ports) + 1


def test_the_table_has_every_job() -> None:
    """By name, for all that is expected below comes from the table."""
    wanted = {
        "node",
        "haproxy",
        "patroni",
        "postgres",
        "etcd",
        "prometheus",
        "alertmanager",
        "loki",
        "tempo",
        "grafana",
    }
    assert {part.job for part in PARTS.values() if part.job} >= wanted


JOBS = {part.job: (name, demo_hosts(part.group)) for name, part in PARTS.items() if part.job and demo_hosts(part.group)}


def test_prometheus_scrapes_everything(shown: dict[str, dict[str, Any]]) -> None:
    found = {
        job["job_name"]: {one["labels"]["instance"]: one["targets"] for one in job["static_configs"]}
        for job in shown["obs-1"]["__prometheus_targets"]
        if job["job_name"] != "check-order"
    }
    asked = {**JOBS, "alloy": ("alloy", list(ADDRESSES))}
    wanted = {name: {host: at(part, host) for host in hosts} for name, (part, hosts) in asked.items()}
    services = {"mes": {host: [f"{ADDRESSES[host]}:8080"] for host in ("mes-1", "mes-2")}}
    assert found == {**wanted, **services}


def test_prometheus_asks_the_prober_and_tells_alertmanager(shown: dict[str, dict[str, Any]]) -> None:
    known = shown["obs-1"]
    (prober,) = at("blackbox_exporter", "obs-1")
    assert known["prometheus_prober"] == prober
    (check,) = [job for job in known["__prometheus_targets"] if job["job_name"] == "check-order"]
    assert check["relabel_configs"][-1]["replacement"] == prober
    assert check["static_configs"][0]["targets"] == [f"http://{ADDRESSES[host]}/orders" for host in LOADBALANCERS]
    assert known["prometheus_alertmanagers"] == at("alertmanager", *WATCH)


@pytest.mark.parametrize("host", ["obs-1", "pg-2"])
def test_logs_and_traces_reach_their_stores(shown: dict[str, dict[str, Any]], host: str) -> None:
    assert shown[host]["alloy_loki"] == urls("loki", *WATCH, path="/loki/api/v1/push")
    assert shown[host]["alloy_tempo"] == at("tempo_otlp", *WATCH)
    assert shown[host]["tempo_remote_write"] == urls("prometheus", *WATCH, path="/api/v1/write")


def test_grafana_asks_all_stores(shown: dict[str, dict[str, Any]]) -> None:
    found = {one["uid"]: [one["url"]] for one in shown["obs-1"]["grafana_datasources"]}
    assert found == {name: urls(name, *WATCH) for name in ("prometheus", "loki", "tempo", "alertmanager")}


@pytest.mark.parametrize("host", ["obs-1", "pg-2"])
def test_the_databases_find_each_other_and_etcd(shown: dict[str, dict[str, Any]], host: str) -> None:
    known = shown[host]
    assert sorted(known["etcd_hosts"]) == MEMBERS
    peers = zip(MEMBERS, urls("etcd_peer", *MEMBERS), strict=True)
    assert known["__etcd_initial_cluster"] == ",".join(f"{name}={url}" for name, url in peers)
    assert known["postgres_hosts"] == DATABASES
    assert known["postgres_etcd_endpoints"] == at("etcd", *MEMBERS)
    assert known["__postgres_members"] == dict(zip(DATABASES, urls("patroni", *DATABASES), strict=True))


def test_each_exporter_is_where_there_is_something_to_measure(shown: dict[str, dict[str, Any]]) -> None:
    found = {host: (known["exporter_postgres"], known["exporter_blackbox"]) for host, known in shown.items()}
    assert found == {"obs-1": (False, True), "pg-2": (True, False)}
    assert shown["pg-2"]["exporter_postgres_address"] == f"127.0.0.1:{moved('postgres', 'pg-2')}"


@pytest.mark.parametrize("host", ["obs-1", "pg-2"])
def test_a_rollout_finds_balancers_coordinators_its_record_and_the_databases(
    shown: dict[str, dict[str, Any]], host: str
) -> None:
    known = shown[host]
    for name in ("rollout_balancers", "__rollout_coordinators", "__app_balancers"):
        assert known[name] == LOADBALANCERS, name
    assert known["rollout_store"]["endpoints"] == urls("etcd", *MEMBERS)
    assert known["__rollout_patroni"] == urls("patroni", *DATABASES)


RUN_ON = {
    **{name: demo_hosts(part.group) for name, part in PARTS.items() if (estate.ROOT / "roles" / name).is_dir()},
    "app": ["mes-1", "mes-2"],
    "exporter": list(ADDRESSES),
}


def test_site_checks_every_role_on_the_hosts_of_the_renamed_groups(inventory: Path) -> None:
    """With the names in `group_vars/all`."""
    said = ansible(inventory, estate.ROOT / "site.yml", "--tags", "preflight")
    assert "WARNING" not in said
    found = {
        play[1]: sorted(set(re.findall(r"^(?:ok|skipping): \[([\w-]+)\]", play[2], re.MULTILINE)))
        for play in re.finditer(r"PLAY \[Check the variables for the role (\w+)\](.*?)(?=\nPLAY )", said, re.DOTALL)
    }
    assert found == {role: sorted(hosts) for role, hosts in RUN_ON.items()}


def listed(said: str) -> Iterator[tuple[str, str]]:
    """Each play of a list, and the pattern of its hosts."""
    yield from re.findall(r"play #\d+ \(.*\): (.*?)\tTAGS.*\n\s+pattern: \['(.*)'\]", said)


def test_site_takes_the_names_from_the_command_line_too(inventory: Path) -> None:
    said = ansible(inventory, estate.ROOT / "site.yml", "--list-hosts", "-e", json.dumps(elsewhere.VARIABLES))
    patterns = dict(listed(said))
    assert patterns["Agree on a leader store"] == elsewhere.RENAMED["etcd"]
    assert patterns["Balance the load"] == elsewhere.RENAMED["loadbalancers"]
    # The group of the services is made while the play runs.
    assert set(patterns.values()) == {*elsewhere.VARIABLES.values(), "all", NO_HOST}


LITERAL = re.compile(
    r"groups(?:\[['\"]|\.)(?!all\b)\w|'\w+' in groups|\bmesops_(?:" + "|".join(elsewhere.RENAMED) + r")\b"
)


@pytest.mark.parametrize("kind", ["roles", "playbooks"])
def test_nobody_but_the_estate_spells_the_name_of_a_group(kind: str) -> None:
    spelt = [
        f"{path.relative_to(estate.ROOT)}: {line.strip()}"
        for path in sorted((estate.ROOT / kind).rglob("*"))
        if path.suffix in (".yml", ".j2", ".conf", ".service")
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.strip().startswith("#") and LITERAL.search(line)
    ]
    assert spelt == []


def test_nobody_but_the_estate_spells_the_port_of_another_part() -> None:
    ports = re.compile(rf":({'|'.join(str(part.port) for part in PARTS.values() if part.port)})\b")
    spelt = [
        f"{path.relative_to(estate.ROOT)}: {line.strip()}"
        for part in ("defaults", "vars", "tasks", "templates")
        for path in sorted(estate.ROOT.glob(f"roles/*/{part}/*"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.strip().startswith("#") and ports.search(line)
    ]
    assert [line for line in spelt if "/tasks/preflight.yml" not in line] == []
