# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks do what they say whatever the caller's ansible.cfg says, and whatever else runs on the same hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import estate
import pytest
import yaml

PLAYBOOKS = sorted((estate.ROOT / "playbooks").glob("*.yml"))

HOSTILE = f"""[defaults]
collections_path = {estate.ROOT / "collections"}
strategy = ansible.builtin.free
gathering = explicit
forks = 1
any_errors_fatal = true
hash_behaviour = merge
inject_facts_as_vars = false
stdout_callback = ansible.builtin.minimal
deprecation_warnings = false
[connection]
pipelining = false
"""


def plays() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every play that this project ships, and where it stands."""
    for path in PLAYBOOKS:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            if "hosts" in play:
                yield f"{path.stem}: {play['name']}", play


PLAYS = list(plays())


@pytest.mark.parametrize("play", [play for _place, play in PLAYS], ids=[place for place, _play in PLAYS])
def test_no_play_leaves_to_an_ansible_cfg_what_it_depends_on(play: dict[str, Any]) -> None:
    """`run_once`, `throttle` and one host after the other are not what they say with another strategy."""
    assert play["strategy"] == "ansible.builtin.linear"
    assert isinstance(play["gather_facts"], bool)
    assert isinstance(play["any_errors_fatal"], bool)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An estate whose services share hosts, and an ansible.cfg that differs from ours in all that it can."""
    services = {
        "catalog": {"port": 3000, "command": "bin/catalog", "group": "apps", "rollout": {"min_healthy_time": 5}},
        "pricing": {"port": 3001, "command": "bin/pricing", "group": "apps", "rollout": {"weights": [50, 100]}},
    }
    hosts = {
        "vars": {
            "ansible_connection": "local",
            "app_services": services,
            "haproxy_stats_user": "stats",
            "haproxy_stats_password": "long-enough",
            "haproxy_services": {"catalog": {"hosts": ["app-1", "app-2"], "port": 3000}},
        },
        "children": {"loadbalancers": {"hosts": {"lb-1": {}}}, "apps": {"hosts": {"app-1": {}, "app-2": {}}}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}), encoding="utf-8")
    (tmp_path / "ansible.cfg").write_text(HOSTILE, encoding="utf-8")
    return tmp_path


def play(directory: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook in check mode with the hostile configuration."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "--check"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [*command, str(estate.ROOT / f"playbooks/{name}.yml"), *more],
        cwd=directory,
        env={**environment, "ANSIBLE_CONFIG": str(directory / "ansible.cfg"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def roll_out(directory: Path, **variables: Any) -> str:
    """What a rollout says that is refused."""
    given = {"rollout_service": "catalog", "rollout_version": "1.0", **variables}
    done = play(directory, "rollout", "-e", json.dumps(given))
    assert done.returncode != 0
    return " ".join((done.stdout + done.stderr).split())


def test_a_rollout_runs_once_and_says_one_sentence(hostile: Path) -> None:
    said = roll_out(hostile, rollout_min_healthy_time="soon")
    assert said.count("fatal: ") + said.count("FAILED!") == 1, said
    assert "rollout_min_healthy_time is 'soon'; give a number from 0 to 86400." in said
    assert "free strategy" not in said


@pytest.mark.parametrize(
    ("playbook", "given"),
    [("control", {"rollout_control": "pause"}), ("unlock", {"rollout_note": "the runner is gone"})],
)
def test_a_word_to_a_store_that_nobody_reaches_is_refused(hostile: Path, playbook: str, given: dict[str, str]) -> None:
    """It would be taken for heard, while the rollout goes on."""
    done = play(
        hostile, playbook, "-e", json.dumps({"rollout_service": "catalog", "mesops_loadbalancers": "", **given})
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said
    assert (
        "The inventory has no load balancer and rollout_store names no coordinators, so the store of catalog cannot be "
        "reached; name the hosts that reach it in rollout_store.coordinators."
    ) in said
    assert said.count("FAILED!") == 1, said


def test_the_preflight_of_the_estate_finds_them_too_before_any_host_changes(hostile: Path) -> None:
    (hostile / "group_vars").mkdir()
    (hostile / "group_vars/apps.yml").write_text("rollout_weights: [100]\n", encoding="utf-8")
    done = play(hostile, "site", "--tags", "preflight")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    for host in ("app-1", "app-2"):
        assert (
            f"rollout_weights is a variable of {host}, where it would hold for every service; move it to app_services."
            "catalog.rollout.weights or app_services.pricing.rollout.weights, or give it with -e for one run."
        ) in said


def test_settings_of_a_host_are_refused_wherever_they_are_found(hostile: Path) -> None:
    """One host of the group has it, and not the first one."""
    (hostile / "host_vars").mkdir()
    (hostile / "host_vars/app-2.yml").write_text("rollout_gates: {}\n", encoding="utf-8")
    said = roll_out(hostile)
    assert (
        "rollout_gates is a variable of app-2, where it would hold for every service; move it to app_services.catalog"
        in said
    )
    assert said.count("FAILED!") == 1, said
