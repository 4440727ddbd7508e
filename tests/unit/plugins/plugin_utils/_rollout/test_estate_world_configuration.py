# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations on their way to the hosts: who gets their content, what comes back, and what a rollout makes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import setup, world
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

from _rollout.test_estate_world import RECORD, SERVICE, Site, balancer, server

TEXTS = {"environment": 'PASSWORD="hunter2"\n', "unit": "[Service]\n"}
SEEN = {
    "current": "1",
    "previous": "1",
    "running": "1",
    "configuration": {
        "kept": True,
        "current": "aaaaaaaaaaaa",
        "previous": "000000000000",
        "running": "aaaaaaaaaaaa",
        "wanted": "bbbbbbbbbbbb",
        "added": ["COLOUR"],
        "removed": [],
        "changed": ["PASSWORD"],
    },
}


@pytest.fixture
def site() -> Site:
    found = Site(version="1", configuration_only=True)
    found.world._configurations = {"app-1": TEXTS, "app-2": TEXTS}
    found.reply("app_release", SEEN)
    found.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    return found


def test_what_a_host_runs_has_a_version_and_a_configuration(site: Site) -> None:
    node = site.world.observe().nodes["app-1"]
    assert node == world.Node(
        "1@aaaaaaaaaaaa", "1@000000000000", "1@aaaaaaaaaaaa", wanted="bbbbbbbbbbbb", changes="PASSWORD, new COLOUR"
    )
    assert site.hosts.asked("app_release")["app-1"].arguments["configuration"] == TEXTS
    assert site.world.look_at_nodes()["app-2"] == node


def test_a_host_that_keeps_none_is_known_by_its_version_alone(site: Site) -> None:
    site.reply("app_release", {**SEEN, "configuration": {**SEEN["configuration"], "kept": False}})  # type: ignore[dict-item]
    node = site.world.observe().nodes["app-1"]
    assert node == world.Node("1", "1", "1", changes="PASSWORD, new COLOUR")


def test_the_content_goes_only_to_hosts_that_are_to_have_it(site: Site) -> None:
    site.world.observe()
    site.world.prepare({"app-1": "1@bbbbbbbbbbbb", "app-2": "1@cccccccccccc"})
    asked = {host: call.arguments for host, call in site.hosts.asked("app_release").items()}
    assert asked["app-1"]["configuration"] == TEXTS
    assert "configuration" not in asked["app-2"]
    assert [asked[host]["configuration_digest"] for host in ("app-1", "app-2")] == ["bbbbbbbbbbbb", "cccccccccccc"]
    assert {one["version"] for one in asked.values()} == {"1"}
    site.world.activate({"app-1": "1@bbbbbbbbbbbb", "app-2": "1@aaaaaaaaaaaa"}, save=RECORD)
    asked = {host: call.arguments for host, call in site.hosts.asked("app_release").items()}
    assert all("configuration" not in one for one in asked.values())
    assert [asked[host]["configuration_digest"] for host in ("app-1", "app-2")] == ["bbbbbbbbbbbb", "aaaaaaaaaaaa"]
    assert "hunter2" not in str(RECORD.to_dict())


def test_probes_name_the_version_and_the_old_configuration_is_not_judged_as_the_new_one() -> None:
    probe = {"type": "http", "url": "http://127.0.0.1:$port/version", "json": {"version": "$version"}}
    site = Site(version="1", configuration_only=True, gates={"version": {"stage": "ready", "probe": probe}})
    site.reply("app_release", SEEN)
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    site.world.observe()
    site.world.activate({"app-1": "1@bbbbbbbbbbbb", "app-2": "1@aaaaaaaaaaaa"})
    new, old = (site.hosts.asked("app_release")[host].arguments["ready"]["once"] for host in ("app-1", "app-2"))
    assert new["version"]["json"] == {"version": "1"}
    assert "version" not in old


def test_a_migration_runs_with_the_configuration_that_comes_with_its_version(site: Site) -> None:
    site.reply("app_migration", {"step_state": "done"})
    site.world.observe()
    site.world.migrate("app-1", "1", "expand", Migration("bin/migrate"))
    arguments = site.hosts.asked("app_migration")["app-1"].arguments
    assert (arguments["version"], arguments["configuration_digest"]) == ("1", "bbbbbbbbbbbb")
    site.world.migrate("app-1", "0", "expand", Migration("bin/migrate"))
    arguments = site.hosts.asked("app_migration")["app-1"].arguments
    assert (arguments["version"], "configuration_digest" in arguments) == ("0", False)


# --------------------------------------------------------------------------------------------------- from the inventory


def services(**environment: str) -> dict[str, Any]:
    return {
        "app_services": {"catalog": {"port": 3000, "command": "bin/catalog", "environment": environment}},
        "group_names": ["catalog"],
    }


def test_each_host_has_the_configuration_of_its_own_variables() -> None:
    hostvars = {"app-1": services(COLOUR="red"), "app-2": services(COLOUR="blue"), "app-3": {}}
    found = setup.configurations_of(hostvars.__getitem__, "catalog", ["app-1", "app-2", "app-3"])
    assert {host: one["environment"] for host, one in found.items()} == {
        "app-1": 'COLOUR="red"\n',
        "app-2": 'COLOUR="blue"\n',
    }
    assert all("ExecStart=/opt/catalog/current/bin/catalog\n" in one["unit"] for one in found.values())


class Unreadable(dict[str, Any]):
    def __getitem__(self, _key: str) -> Any:
        raise AnsibleError("'vault_password' is undefined")


def test_a_configuration_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(PlanError, match="app_services of app-1 cannot be read: 'vault_password' is undefined"):
        setup.configurations_of(lambda _host: Unreadable(app_services=1), "catalog", ["app-1"])
    with pytest.raises(PlanError, match=r"app_services.catalog.environment sets PORT"):
        setup.configurations_of(lambda _host: services(PORT="1"), "catalog", ["app-1"])


def test_services_may_be_made_of_other_hosts_variables(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        """
        all:
          vars:
            peers: "{{ groups['catalog'] | map('extract', hostvars, 'place') | join(',') }}"
            app_services: {catalog: {port: 3000, command: bin/catalog, environment: {PEERS: "{{ peers }}"}}}
          children:
            catalog:
              hosts:
                app-1: {place: north}
                app-2: {place: south}
        """
    )
    loader = DataLoader()
    hosts = InventoryManager(loader=loader, sources=[str(inventory)])
    manager = VariableManager(loader=loader, inventory=hosts)
    action: Any = SimpleNamespace(_templar=Templar(loader=loader))
    seen = partial(setup.variables_of, action, HostVars(hosts, manager, loader))
    found = setup.configurations_of(seen, "catalog", ["app-1"])
    assert found["app-1"]["environment"] == 'PEERS="north,south"\n'


def node(
    version: str = "1", current: str = "a", running: str | None = None, wanted: str = "a", **more: str
) -> world.Node:
    name = f"{version}@{current}"
    return world.Node(name, None, f"{version}@{running or current}", wanted=wanted, **more)


@pytest.mark.parametrize(
    ("seen", "differs"),
    [
        (node(), None),
        (node(wanted="b", changes="LEVEL"), "LEVEL"),
        (node(running="b"), "nothing but that its process was started before that"),
        (world.Node("1", None, "1", changes="LEVEL"), "LEVEL"),
        # What does not run is started, which needs no rollout; and without a release there is nothing to configure.
        (world.Node("1@a", None, None, wanted="a"), None),
        (world.Node(None, None, None, wanted="a"), None),
        (world.Node(None, None, None, changes="new LEVEL"), None),
    ],
)
def test_which_hosts_need_their_configuration_rolled_out(seen: world.Node, differs: str | None) -> None:
    assert setup.differing({"app-1": seen}) == ({"app-1": differs} if differs else {})


def test_a_configuration_comes_to_the_one_version_that_runs() -> None:
    settings = Site().settings
    found = setup.with_version_that_runs(settings, {"app-1": node(), "app-2": node(wanted="b")})
    assert (found.version, found.configuration_only) == ("1", True)
    for nodes, reason in (
        ({"app-1": node(), "app-2": node("2")}, "its hosts have the versions 1, 2"),
        ({"app-1": node(), "app-2": world.Node()}, "app-2 has no release"),
        ({"app-1": node(), "app-2": world.Node(reason="no route")}, r"app-2 \(no route\) gave no answer"),
    ):
        with pytest.raises(PlanError, match=reason):
            setup.with_version_that_runs(settings, nodes)


def test_site_leaves_out_hosts_that_have_no_release_yet() -> None:
    settings = Site(hosts=("app-1", "app-2", "app-3"), excluded=("app-4",)).settings
    nodes = {"app-1": node(), "app-2": world.Node(), "app-3": world.Node(reason="no route")}
    found = setup.without_empty_hosts(settings, nodes)
    assert (found.hosts, found.excluded) == (("app-1", "app-3"), ("app-4", "app-2"))


def test_site_goes_host_after_host_and_asks_only_whether_they_are_ready() -> None:
    site = Site(batches=("50%",), weights=(10, 100), prove_stop=True, gates={"mine": {"probe": {"type": "haproxy"}}})
    found = setup.without_traffic_gates(site.settings)
    assert (found.batches, found.weights, found.min_healthy_time, found.prove_stop) == ((1,), (100,), 0.0, False)
    assert set(found.gates) == {
        name for name, one in rollout_gates.check_gates({}, SERVICE).items() if one.stage == "ready"
    }
