# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a release as the pages have them, typed before, while and after one rolls out."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import estate
import typed

PAGES = (
    "README.md",
    "docs/quickstart.ru.md",
    "docs/rollouts.md",
    "docs/tutorials/failed-rollout.md",
    "docs/your-service.md",
    "roles/rollout/README.md",
)


def shown() -> dict[str, set[str]]:
    """Playbook -> the commands that run it, as they stand, but for the inventory and the service."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for command in typed.commands(estate.ROOT / page):
            playbook = re.search(r"mesops\.platform\.(rollout|control|status|rollback)\b", command.text)
            if playbook:
                text = command.text.replace("playbook …", "playbook -i inventories/demo")
                text = text.replace("inventories/production", "inventories/demo")
                found.setdefault(playbook[1], set()).add(text.replace("rollout_service=catalog", "rollout_service=mes"))
    return found


def of_release(command: str, note: Path) -> str:
    """The command for another release than the page's."""
    release = json.loads(note.read_text(encoding="utf-8"))
    for name in ("version", "artifact", "checksum"):
        command, count = re.subn(rf"(?<=rollout_{name}=)\S+", str(release[name]), command)
        assert count == 1, command
    return command


def same(commands: set[str]) -> str:
    """The one command that all pages have."""
    assert len({" ".join(sorted(command.split())) for command in commands}) == 1, commands
    return min(commands)


def version_of(host: str) -> str:
    """What a node says of itself."""
    return str(estate.get_json(f"http://{estate.addresses('mes')[host]}:8080/version")["version"])


def test_a_release_is_rolled_out_held_and_taken_back(shell: typed.Shell) -> None:
    commands = shown()
    pause, resume = (next(one for one in commands["control"] if f"={flag}" in one) for flag in ("pause", "resume"))
    assert commands["control"] == {pause, resume}
    before = {version_of(host) for host in estate.addresses("mes")}
    note = estate.build_release(version=f"1.{int(time.time())}")
    wanted = json.loads(note.read_text(encoding="utf-8"))["version"]
    of_configuration = {command for command in commands["rollout"] if "rollout_config=" in command}
    releases = {of_release(command, note) for command in commands["rollout"] - of_configuration}
    log = estate.BUILD / "release-pages.log"
    shell.type(f"{same(releases)} > {log} 2>&1 &")
    estate.wait_for(lambda: shell.type(pause)[0] == 0, timeout=180, what=f"a rollout that can be held, see {log}")
    estate.wait_for(lambda: "paused" in log.read_text(encoding="utf-8"), timeout=180, what=f"it to hold, see {log}")
    for command in commands["status"]:
        status, output = shell.type(command)
        assert status == 0, output
        assert wanted in output, output
    assert shell.type("kill -0 $!")[0] == 0, log.read_text(encoding="utf-8")[-6000:]
    assert shell.type(resume)[0] == 0
    assert shell.type("wait $!")[0] == 0, log.read_text(encoding="utf-8")[-6000:]
    assert {version_of(host) for host in estate.addresses("mes")} == {wanted}
    status, output = shell.type(same(commands["rollback"]))
    assert status == 0, output[-6000:]
    assert {version_of(host) for host in estate.addresses("mes")} == before
    # There is nothing new to bring.
    status, output = shell.type(same(of_configuration))
    assert status == 0, output[-6000:]
    assert {version_of(host) for host in estate.addresses("mes")} == before
