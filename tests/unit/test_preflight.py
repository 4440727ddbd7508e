# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml says of an inventory before it changes anything: all that is wrong at once, nothing of what is well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import estate
import pytest
import yaml

EXAMPLE = estate.ROOT / "inventories" / "example"
SITE: list[dict[str, Any]] = yaml.safe_load((estate.ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))
PREFLIGHT = yaml.safe_load((estate.ROOT / "playbooks/preflight.yml").read_text(encoding="utf-8"))
CHECKS = [play for play in SITE if "ansible.builtin.import_playbook" in play or play["tags"] == ["always"]]
OF_ROLES = [play for play in CHECKS if "ansible.builtin.import_playbook" in play]
STOP = "Stop before anything changes"


def preflight(inventory: Path) -> estate.Recap:
    """Run only what is checked before a host is touched, with an ansible.cfg that hides no warning."""
    (inventory.parent / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {estate.ROOT / 'collections'}\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            inventory,
            estate.ROOT / "playbooks/site.yml",
            "--tags",
            "preflight",
        ],
        cwd=inventory.parent,
        env={**own, "ANSIBLE_CONFIG": str(inventory.parent / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return estate.Recap.read(done.stdout + done.stderr, done.returncode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example inventory in a directory of its own, where its vault may be filled or not."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    for path in EXAMPLE.rglob("*.yml"):
        target = inventory / path.relative_to(EXAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return inventory


def test_all_missing_secrets_are_told_in_one_run(folder: Path) -> None:
    recap = preflight(folder)
    said = " ".join(recap.output.split())
    assert recap.status != 0
    for name in (
        "postgres_superuser_password",
        "postgres_replication_password",
        "postgres_rest_password",
        "haproxy_stats_password",
        "exporter_postgres_password",
        "grafana_admin_password",
        "grafana_secret_key",
    ):
        assert name in said, name
    secrets = "vault_crm_database_password, vault_mes_database_password, vault_shop_database_password"
    assert f"app_services needs variables that have no value: {secrets}; set them, secrets in a vault." in said
    assert STOP in said
    everybody = "lb-1.example.com, lb-2.example.com, shop-1.example.com"
    assert f"Nothing was changed. What is wrong with the variables of {everybody}" in said
    assert said.count('"msg": "Nothing was changed.') == 1, "told once, and not by every host"
    assert not any(counters["changed"] for counters in recap.hosts.values())


def test_the_example_says_how_to_make_all_secrets(folder: Path) -> None:
    secrets = folder / "group_vars/all/secrets.yml"
    text = secrets.read_text(encoding="utf-8")
    command = re.search(r"^#   (grep .*)$", text, re.MULTILINE)
    assert command
    typed = command[1].replace("inventories/production", str(folder))
    done = subprocess.run(["sh", "-c", typed], capture_output=True, text=True, check=True, timeout=60)
    made = yaml.safe_load(done.stdout)
    assert set(made) == set(re.findall(r"{{ (vault_\w+) }}", text))
    assert all(len(str(value)) == 48 for value in made.values())


def test_misspelt_variables_and_wrong_types_are_told_before_anything_changes(folder: Path) -> None:
    with (folder / "group_vars/loadbalancers.yml").open("a", encoding="utf-8") as sink:
        sink.write("haproxy_timeots: {server: 5m}\nhaproxy_trace_percent: abc\n")
    with (folder / "group_vars/all/main.yml").open("a", encoding="utf-8") as sink:
        sink.write("mesops_logs: lines\n")
    recap = preflight(folder)
    said = " ".join(recap.output.split())
    assert recap.status != 0
    for host in ("lb-1.example.com", "lb-2.example.com"):
        assert f"haproxy_timeots is a variable of {host} that no role knows, but haproxy_timeouts is one" in said
        assert f"haproxy_trace_percent of {host} is 'abc'; give a whole number." in said
    assert "mesops_logs is 'lines', which is no group of the inventory; add the group, correct the name," in said
    # The play of that group has no hosts, and those behind it say what is wrong there.
    assert "grafana_admin_password has 0 characters" in said
    assert "Nothing was changed." in said


def test_components_that_an_inventory_does_not_have_are_not_warned_of(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    hosts = {
        "vars": {
            "app_services": {"hello": {"port": 3000, "command": "bin/hello"}},
            "haproxy_stats_user": "stats",
            "haproxy_stats_password": "long-enough",
            "haproxy_services": {"hello": {"hosts": ["hello-1"], "port": 3000}},
        },
        "children": {"loadbalancers": {"hosts": {"edge-1": {}}}, "hello": {"hosts": {"hello-1": {}}}},
    }
    (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}), encoding="utf-8")
    recap = preflight(inventory)
    assert recap.status == 0, recap.output
    assert "Could not match supplied host pattern" not in recap.output


def test_every_check_comes_before_the_stop_and_everything_else_behind_it() -> None:
    names = [play["name"] for play in SITE]
    assert [play["name"] for play in CHECKS] == names[: len(CHECKS)]
    assert names[len(CHECKS) - 1] == STOP
    assert CHECKS[-1]["any_errors_fatal"]


@pytest.mark.parametrize("play", [CHECKS[1], *PREFLIGHT], ids=lambda play: str(play["name"]))
def test_a_refused_host_goes_on_to_the_next_check(play: dict[str, Any]) -> None:
    assert not play["any_errors_fatal"]
    assert play["tags"] == ["always"]
    for task in play["tasks"]:
        (remember,) = task["rescue"]
        assert remember["ansible.builtin.set_fact"] == {"mesops_refused": True}
        (check,) = task["block"]
        assert "ansible.builtin.assert" in check or check["ansible.builtin.import_role"]["tasks_from"] == "preflight"


def test_every_preflight_of_a_role_is_asked() -> None:
    assert CHECKS[2:-1] == OF_ROLES
    assert {play["ansible.builtin.import_playbook"] for play in OF_ROLES} == {"preflight.yml"}
    asked = [play["vars"]["preflight_role"] for play in OF_ROLES]
    has = {path.parts[-3] for path in estate.ROOT.glob("roles/*/tasks/preflight.yml")}
    assert {*asked, "rollout"} == has
    assert len(asked) == len(has) - 1


def test_each_role_is_checked_where_it_runs() -> None:
    run = {
        task["ansible.builtin.include_role"]["name"].rpartition(".")[2]: (play["hosts"], task.get("when"))
        for play in SITE[len(CHECKS) :]
        for task in play["tasks"]
        if "ansible.builtin.include_role" in task
    }
    checked = {play["vars"]["preflight_role"]: (play["vars"]["preflight_hosts"], play.get("when")) for play in OF_ROLES}
    # What ships logs and traces is checked on every host, whether there is a place to ship them to or not.
    assert checked | {"alloy": run["alloy"]} == run


def test_a_group_that_does_not_exist_is_no_host_pattern() -> None:
    asked = re.compile(r"{{ lookup\('mesops\.platform\.estate', '\w+\.pattern'\) }}")
    for play in SITE:
        hosts = play["vars"]["preflight_hosts"] if play in OF_ROLES else play["hosts"]
        assert hosts == "all" or asked.fullmatch(hosts), hosts
