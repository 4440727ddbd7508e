"""Another team, with nothing but the archive and its tutorial: every file and every command as they stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import estate
import package
import pytest
import typed

TUTORIAL = estate.ROOT / "docs/tutorials/first-service.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, with the archive in it."""
    found = tmp_path_factory.mktemp("work")
    package.build(found)
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A person's own."""
    return typed.stranger(tmp_path_factory.mktemp("home"), estate.BUILD / "galaxy-keys", estate.ROOT)


@pytest.fixture(scope="module")
def shell(folder: Path, environment: dict[str, str]) -> Iterator[typed.Shell]:
    """A person's shell."""
    with typed.Shell(folder, environment) as opened:
        yield opened


def test_the_tutorial_does_what_it_says(folder: Path, shell: typed.Shell) -> None:
    transcript = estate.BUILD / "galaxy-transcript.txt"
    done = list(typed.follow(TUTORIAL, folder, transcript, lambda command: shell.type(command.text)))
    assert len([one for one in done if "mesops.platform.rollout " in one.text]) == 3


def test_the_first_commands_of_the_readme_make_an_inventory(
    folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    pages = (estate.ROOT / page for page in ("README.md", "docs/quickstart.ru.md"))
    blocks = [block for page in pages for block in typed.blocks(page) if "inventories/example" in block.text]
    commands, in_russian = ([one.text for one in block.commands()] for block in blocks)
    assert commands == in_russian
    archive = next(folder.glob("mesops-platform-*.tar.gz"))
    # The next one asks for a password, and those after it need the hosts.
    first = commands[: next(number for number, one in enumerate(commands) if "ansible-vault" in one)]
    own = [command.replace("install mesops.platform", f"install --force {archive}") for command in first]
    assert own != first
    with typed.Shell(tmp_path, environment) as shell:
        for command in ("python3 -m venv .venv", ". .venv/bin/activate", *own):
            status, output = shell.type(command)
            assert status == 0, f"{command}\n{output}"
        status, output = shell.type("ansible-inventory -i inventories/production --list")
        assert status == 0, output
        assert "mesops_address" in output


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
