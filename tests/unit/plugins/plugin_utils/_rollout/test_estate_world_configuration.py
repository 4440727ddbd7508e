# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations on their way to the hosts: who gets their content, what comes back, and what a rollout makes of it."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node

from _rollout.test_estate_world import RECORD, Site, balancer, server

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
    assert node == Node(
        "1@aaaaaaaaaaaa", "1@000000000000", "1@aaaaaaaaaaaa", wanted="bbbbbbbbbbbb", changes="PASSWORD, new COLOUR"
    )
    assert site.hosts.asked("app_release")["app-1"].arguments["configuration"] == TEXTS
    assert site.world.look_at_nodes()["app-2"] == node


def test_a_host_that_keeps_none_is_known_by_its_version_alone(site: Site) -> None:
    site.reply("app_release", {**SEEN, "configuration": {**SEEN["configuration"], "kept": False}})  # type: ignore[dict-item]
    node = site.world.observe().nodes["app-1"]
    assert node == Node("1", "1", "1", changes="PASSWORD, new COLOUR")


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
    site.world.migrate("app-1", "1", "expand", Migration("bin/migrate", True, 300))
    arguments = site.hosts.asked("app_migration")["app-1"].arguments
    assert (arguments["version"], arguments["configuration_digest"]) == ("1", "bbbbbbbbbbbb")
    site.world.migrate("app-1", "0", "expand", Migration("bin/migrate", True, 300))
    arguments = site.hosts.asked("app_migration")["app-1"].arguments
    assert (arguments["version"], "configuration_digest" in arguments) == ("0", False)
