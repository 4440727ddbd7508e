# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection as Ansible makes it for a task.

Real modules run through Ansible's own ssh connection; the programs ssh and sudo are scripts that note how they were
called and run the command here.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import fleet as module
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.executor import Executor
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet

ROOT = Path(__file__).parents[5]
LONG = 20.0
"""Seconds after which a test has failed; none takes that long."""
PREPARED = {"service": "catalog", "state": "prepared"}
SSH = """#!/bin/sh
printf '%s\\n' "$@" ---- >> "$(dirname "$0")/asked"
"""
HERE = """for last; do :; done
exec sh -c "$last"
"""
SUDO = """#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
"""


class Site:
    """An inventory, and scripts in place of ssh and sudo; ``silent-ssh`` runs nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, text in (("ssh", SSH + HERE), ("silent-ssh", SSH), ("sudo", SUDO)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)

    def fleet(self, hosts: Mapping[str, Mapping[str, Any]], executor: type[Executor] = Executor, **task: Any) -> Fleet:
        """A fleet as the action plugin of a task makes it."""
        common = {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(self.directory / "ssh"),
            "ansible_control_path_dir": str(self.directory / "cp"),
            "ansible_become_exe": str(self.directory / "sudo"),
            "ansible_pipelining": True,
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(self.directory / "remote"),
        }
        source = self.directory / "hosts.json"
        source.write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(source)])
        variables = VariableManager(loader=loader, inventory=inventory)
        action = SimpleNamespace(
            _templar=Templar(loader=loader, variables={}),
            _task=Task.load({"action": "ansible.builtin.debug", "connection": "ssh", **task}),
            _play_context=PlayContext(),
            _loader=loader,
            _shared_loader_obj=plugin_loader,
        )
        hostvars = HostVars(inventory=inventory, variable_manager=variables, loader=loader)
        found = Fleet(action, {"hostvars": hostvars}, 4)
        found.executor = executor(action, hostvars, os.getppid())
        return found

    def ask(self, fleet: Fleet, host: str = "app-1", check: bool = True, **more: Any) -> Answer:
        """Run a module that only needs a directory."""
        arguments = {**PREPARED, "root": str(self.directory)}
        return fleet.run({"x": Call(host, "app_release", {**arguments, **more}, check=check)})["x"]

    def asked(self, variables: Mapping[str, Any], **task: Any) -> list[str]:
        """How ssh is called for a host."""
        silent = {"ansible_ssh_executable": str(self.directory / "silent-ssh")}
        answer = self.ask(self.fleet({"app-1": {**silent, **variables}}, **task))
        assert answer.unreachable, answer.result
        return self.called()

    def called(self) -> list[str]:
        """How ssh was called the last time."""
        return (self.directory / "asked").read_text().split("----\n")[-2].splitlines()

    @property
    def prepared(self) -> bool:
        """Whether the module has done what it says."""
        return (self.directory / "catalog").exists()


@pytest.fixture(scope="module")
def warm() -> None:
    """Load plugins once, as the process that runs a play has loaded them; children would each load them anew."""
    plugin_loader.connection_loader.get("ssh", PlayContext(), None)
    plugin_loader.become_loader.get("sudo")
    plugin_loader.action_loader.get("ansible.legacy.normal", class_only=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: None) -> Site:
    monkeypatch.setattr(module, "MARGIN", LONG)
    return Site(tmp_path)


def test_a_module_runs_through_the_connection_that_the_hosts_variables_describe(site: Site) -> None:
    variables = {
        "ansible_host": "{{ address }}",
        "address": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "deploy",
    }
    answer = site.ask(site.fleet({"app-1": variables}), check=False)
    assert not answer.failed, answer.reason
    assert answer.result["changed"]
    assert site.prepared
    asked = site.called()
    assert {"Port=2222", 'User="deploy"'} <= set(asked)
    assert asked[-2:] == ["192.0.2.7", f"/bin/sh -c '{sys.executable} -I -S -'"]


def test_variables_of_a_connection_may_name_other_hosts(site: Site) -> None:
    """As they may in every task, where it is the usual way to write a jump host down."""
    jump = "-J {{ hostvars['app-1'].bastion }}-{{ groups['all'] | length }}"
    assert "192.0.2.1-1" in site.asked({"bastion": "192.0.2.1", "ansible_ssh_common_args": jump})


def test_without_an_address_a_host_is_called_by_its_name(site: Site) -> None:
    assert site.asked({})[-2] == "app-1"


@pytest.mark.parametrize(("call_checks", "task_checks"), [(True, False), (False, True)])
def test_in_check_mode_a_module_only_foretells(site: Site, call_checks: bool, task_checks: bool) -> None:
    answer = site.ask(site.fleet({"app-1": {}}, check_mode=task_checks), check=call_checks)
    assert answer.result.get("changed"), answer.reason
    assert not site.prepared


def test_it_becomes_another_user_and_runs_there(site: Site) -> None:
    answer = site.ask(site.fleet({"app-1": {}}, become=True))
    assert answer.result.get("changed"), answer.reason
    assert f"{site.directory}/sudo -H -S -n  -u root /bin/sh" in site.called()[-1]


@pytest.mark.parametrize(
    ("variables", "task", "user"),
    [
        ({}, {}, None),
        ({"ansible_become": False}, {"become": True}, None),
        (
            {"ansible_become": "{{ 'yes' }}", "ansible_become_user": "{{ account }}", "account": "catalog"},
            {},
            "catalog",
        ),
    ],
)
def test_it_becomes_whom_the_play_or_the_host_says(
    site: Site, variables: dict[str, Any], task: dict[str, Any], user: str | None
) -> None:
    command = site.asked(variables, **task)[-1]
    assert (f"{site.directory}/sudo" in command) == (user is not None)
    assert user is None or f" -u {user} " in command


@pytest.mark.parametrize(("interpreter", "told"), [("auto_silent", "python3"), ("{{ python }}", "/opt/python")])
def test_the_interpreter_of_the_host_is_used(site: Site, interpreter: str, told: str) -> None:
    variables = {"ansible_python_interpreter": interpreter, "python": "/opt/python"}
    assert site.asked(variables)[-1] == f"/bin/sh -c '{told} -I -S -'"


@pytest.mark.parametrize(
    ("variables", "unreachable", "reason"),
    [
        ({"ansible_ssh_executable": "/bin/false"}, True, "exit status 1"),
        (
            {"ansible_connection": "carrier_pigeon"},
            False,
            "the connection plugin carrier_pigeon of app-1 was not found",
        ),
        ({"ansible_become": True, "ansible_become_method": "plea"}, False, "the become plugin plea was not found"),
        ({"ansible_host": "{{ nobody_knows }}"}, False, "'nobody_knows' is undefined"),
    ],
)
def test_a_host_without_a_connection_says_why(
    site: Site, variables: dict[str, Any], unreachable: bool, reason: str
) -> None:
    answer = site.ask(site.fleet({"app-1": variables}))
    assert (answer.failed, answer.unreachable) == (True, unreachable)
    assert reason in answer.reason


class InCollection(Executor):
    """The children of a test load the collection as ansible-playbook does; pytest has imported it as plain packages."""

    def execute(self, call: Call, interpreter: str = "") -> dict[str, Any]:
        for name in [name for name in sys.modules if name.split(".")[0] == "ansible_collections"]:
            del sys.modules[name]
        plugin_loader.init_plugin_loader([str(ROOT / "collections")])
        return super().execute(call, interpreter)


def test_without_pipelining_modules_run_the_usual_way_and_the_interpreter_that_was_found_is_kept(site: Site) -> None:
    variables = {
        "ansible_connection": "local",
        "ansible_pipelining": False,
        "ansible_python_interpreter": "auto_silent",
    }
    fleet = site.fleet({"app-1": variables}, InCollection)
    answer = site.ask(fleet)
    assert answer.result.get("changed"), answer.reason
    assert not site.prepared
    assert "_interpreter" not in answer.result
    found = answer.result["ansible_facts"]["discovered_interpreter_python"]
    _handler, known = fleet.executor._handler(Call("app-1", "app_release"), fleet._interpreters["app-1"])
    assert known["ansible_python_interpreter"] == found


def test_a_call_that_needs_its_action_plugin_has_it(site: Site) -> None:
    """It brings the archive from the controller. The module itself does not know what a number in YAML has lost."""
    fleet = site.fleet({"app-1": {}}, InCollection)
    arguments = {**PREPARED, "version": 1.1}
    answer = fleet.run({"x": Call("app-1", "app_release", arguments, action=True)})["x"]
    assert answer.failed
    assert answer.reason.startswith("version 1.1 is a number in YAML")


def test_what_an_action_plugin_brings_runs_without_the_wrapper_and_nothing_stays_behind(site: Site) -> None:
    root = site.directory / "opt"
    root.mkdir()
    archive = site.directory / "catalog-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("bin/catalog"))
    arguments = {
        **PREPARED,
        "root": str(root),
        "state": "installed",
        "version": "1.0",
        "artifact": str(archive),
        "checksum": archives.sha256(str(archive)),
    }
    fleet = site.fleet({"app-1": {"ansible_ssh_transfer_method": "piped"}}, InCollection)
    answer = fleet.run({"x": Call("app-1", "app_release", arguments, action=True)})["x"]
    assert not answer.failed, answer.reason
    assert (root / "catalog/releases/1.0/bin/catalog").is_file()
    programs = [line for line in (site.directory / "asked").read_text().splitlines() if f"'{sys.executable} " in line]
    assert programs == [f"/bin/sh -c '{sys.executable} -I -S -'"] * 2
    assert list((site.directory / "remote").iterdir()) == []
