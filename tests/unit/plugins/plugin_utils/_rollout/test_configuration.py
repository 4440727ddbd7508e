# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says of a service's configuration, and which hosts and which version it is rolled out to."""

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
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import configuration
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError

from _rollout.test_estate_world import SERVICE, Site


def services(**environment: str) -> dict[str, Any]:
    return {
        "app_services": {"catalog": {"port": 3000, "command": "bin/catalog", "environment": environment}},
        "group_names": ["catalog"],
    }


def test_each_host_has_the_configuration_of_its_own_variables() -> None:
    hostvars = {"app-1": services(COLOUR="red"), "app-2": services(COLOUR="blue"), "app-3": {}}
    found = configuration.configurations_of(hostvars.__getitem__, "catalog", ["app-1", "app-2", "app-3"])
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
        configuration.configurations_of(lambda _host: Unreadable(app_services=1), "catalog", ["app-1"])
    with pytest.raises(PlanError, match=r"app_services.catalog.environment sets PORT"):
        configuration.configurations_of(lambda _host: services(PORT="1"), "catalog", ["app-1"])


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
    seen = partial(configuration.variables_of, action, HostVars(hosts, manager, loader))
    found = configuration.configurations_of(seen, "catalog", ["app-1"])
    assert found["app-1"]["environment"] == 'PEERS="north,south"\n'


def node(version: str = "1", current: str = "a", running: str | None = None, wanted: str = "a", **more: str) -> Node:
    name = f"{version}@{current}"
    return Node(name, None, f"{version}@{running or current}", wanted=wanted, **more)


@pytest.mark.parametrize(
    ("seen", "differs"),
    [
        (node(), None),
        (node(wanted="b", changes="LEVEL"), "LEVEL"),
        (node(running="b"), "nothing but that its process was started before that"),
        (Node("1", None, "1", changes="LEVEL"), "LEVEL"),
        # What does not run is started, which needs no rollout; and without a release there is nothing to configure.
        (Node("1@a", None, None, wanted="a"), None),
        (Node(None, None, None, wanted="a"), None),
        (Node(None, None, None, changes="new LEVEL"), None),
    ],
)
def test_which_hosts_need_their_configuration_rolled_out(seen: Node, differs: str | None) -> None:
    assert configuration.differing({"app-1": seen}) == ({"app-1": differs} if differs else {})


def test_a_configuration_comes_to_the_one_version_that_runs() -> None:
    settings = Site().settings
    found = configuration.with_version_that_runs(settings, {"app-1": node(), "app-2": node(wanted="b")})
    assert (found.version, found.configuration_only) == ("1", True)
    for nodes, reason in (
        ({"app-1": node(), "app-2": node("2")}, "its hosts have the versions 1, 2"),
        ({"app-1": node(), "app-2": Node()}, "app-2 has no release"),
        ({"app-1": node(), "app-2": Node(reason="no route")}, r"app-2 \(no route\) gave no answer"),
    ):
        with pytest.raises(PlanError, match=reason):
            configuration.with_version_that_runs(settings, nodes)


def test_site_excludes_hosts_that_have_no_release_yet() -> None:
    settings = Site(hosts=("app-1", "app-2", "app-3"), excluded=("app-4",)).settings
    nodes = {"app-1": node(), "app-2": Node(), "app-3": Node(reason="no route")}
    found = configuration.without_empty_hosts(settings, nodes)
    assert (found.hosts, found.excluded) == (("app-1", "app-3"), ("app-4", "app-2"))


def test_site_goes_host_after_host_and_asks_only_whether_they_are_ready() -> None:
    site = Site(batches=("50%",), weights=(10, 100), prove_stop=True, gates={"mine": {"probe": {"type": "haproxy"}}})
    found = configuration.without_traffic_gates(site.settings)
    assert (found.batches, found.weights, found.min_healthy_time, found.prove_stop) == ((1,), (100,), 0.0, False)
    assert set(found.gates) == {
        name for name, one in rollout_gates.check_gates({}, SERVICE).items() if one.stage == "ready"
    }
