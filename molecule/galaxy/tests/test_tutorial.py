"""Another team, with nothing but the archive and its tutorial: every file and every command as they stand there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import estate
import package
import pytest
import typed

TUTORIAL = estate.ROOT / "docs/tutorials/first-service.md"
KEYS = estate.BUILD / "galaxy-keys"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, with the archive in it."""
    found = tmp_path_factory.mktemp("work")
    package.build(found)
    return found


@pytest.fixture(scope="module")
def shell(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[typed.Shell]:
    """A person's shell, who has no Ansible home yet, nothing of this checkout, and SSH keys."""
    python = tmp_path_factory.mktemp("bin")
    (python / "python3").symlink_to(
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    )
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
    }
    elsewhere = [part for part in own["PATH"].split(os.pathsep) if not Path(part).is_relative_to(estate.ROOT)]
    opened = typed.Shell(
        folder,
        {
            **own,
            "PATH": os.pathsep.join([str(python), *elsewhere]),
            "HOME": str(tmp_path_factory.mktemp("home")),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "160",
            "ANSIBLE_PRIVATE_KEY_FILE": str(KEYS / "id"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={KEYS / 'known_hosts'} -o StrictHostKeyChecking=yes",
        },
    )
    yield opened
    opened.close()


def test_the_tutorial_does_what_it_says(folder: Path, shell: typed.Shell) -> None:
    transcript = estate.BUILD / "galaxy-transcript.txt"
    with transcript.open("w", encoding="utf-8") as sink:
        for block in typed.blocks(TUTORIAL):
            if block.path:
                target = folder / block.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
                continue
            assert block.language == "console", f"a block that is neither a file nor typed:\n{block.text}"
            for command in block.commands():
                status, output = shell.type(command.text)
                sink.write(f"$ {command.text}\n{output}")
                sink.flush()
                assert status == 0, f"{command.text}\n{output[-6000:]}"
                assert command.missing(output) == [], f"{command.text}\n{output[-6000:]}"
    assert "rollout_version=1.2.0" in transcript.read_text(encoding="utf-8")


def test_every_plugin_and_role_explains_itself_where_it_is_installed(folder: Path, shell: typed.Shell) -> None:
    assert folder
    for kind, path in (("module", "plugins/modules"), ("filter", "plugins/filter"), ("role", "roles")):
        names = sorted(one.stem for one in (estate.ROOT / path).iterdir() if one.stem[0].isalpha())
        status, output = shell.type(
            f"ansible-doc --json -t {kind} {' '.join(f'mesops.platform.{name}' for name in names)}"
        )
        assert status == 0, output
        found = json.loads(output[output.index("{") :])
        assert sorted(found) == [f"mesops.platform.{name}" for name in names]
        assert [name for name, one in found.items() if "error" in one] == []
