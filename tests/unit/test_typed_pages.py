# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the pages that need no host are typed as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import estate
import pytest
import typed
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import check_command


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[typed.Shell]:
    with typed.Shell(tmp_path, {**estate.environment(), "LC_ALL": "C.UTF-8"}) as opened:
        yield opened


def commands(page: str, word: str) -> list[str]:
    """The commands of the page's blocks that have a word."""
    found = [block for block in typed.blocks(estate.ROOT / page) if block.language == "console" and word in block.text]
    return [command.text for block in found for command in block.commands()]


def test_a_directory_for_a_plant_without_internet_is_filled_and_verified(tmp_path: Path, shell: typed.Shell) -> None:
    mirror, filled = tmp_path / "mirror", tmp_path / "artifacts"
    files = set()
    for name in catalog.PROGRAMS:
        archive = catalog.archive(name)
        place = mirror / archive.place
        place.mkdir(parents=True)
        (place / archive.file).write_text(name)
        checksum = archives.sha256(str(place / archive.file)).removeprefix("sha256:")
        (place / archive.checksums).write_text(f"{checksum}  {archive.file}\n")
        files.add(f"{archive.place}/{archive.file}")
    fill, prove = (one.replace("/srv/artifacts", str(filled)) for one in commands("docs/telemetry.md", "artifacts"))
    status, output = shell.type(f"{fill} -e artifacts_mirror={mirror}")
    assert status == 0, output
    status, output = shell.type(prove)
    assert status == 0, output
    assert {line.removesuffix(": OK") for line in output.splitlines()} == files
    (filled / min(files)).write_text("something else")
    status, output = shell.type(prove)
    assert status != 0
    assert f"{min(files)}: FAILED" in output


def test_a_release_is_made_as_the_page_says(tmp_path: Path, shell: typed.Shell) -> None:
    for directory in ("bin", "lib"):
        (tmp_path / directory).mkdir()
    program = tmp_path / "bin" / "catalog"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "lib" / "catalog.js").write_text("")
    (pack,) = commands("docs/your-service.md", "tar -czf")
    status, output = shell.type(pack)
    assert status == 0, output
    checksum, name = output.split()
    assert archives.sha256(str(tmp_path / name)) == f"sha256:{checksum}"
    tree = archives.inspect(str(tmp_path / name), 1 << 20, ".mesops")
    check_command(tree, "bin/catalog")
