# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs from archives: the catalog's names, checksums, what a host keeps, and what it refuses."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog, programs
from ansible_collections.mesops.platform.plugins.module_utils._release import archives

DIGEST = "0123456789abcdef" * 4


def place(tmp_path: Path) -> programs.Place:
    return programs.Place(str(tmp_path / "programs"), str(tmp_path / "bin"))


def tarball(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return archives.sha256(str(path))


def install(tmp_path: Path, version: str, content: bytes = b"#!/bin/sh\n") -> catalog.Archive:
    archive = catalog.archive("tempo", version)
    packed = tmp_path / f"{version}.tar.gz"
    checksum = tarball(packed, {"LICENSE": b"text", "tempo": content})
    programs.unpack(str(packed), checksum, place(tmp_path), archive)
    programs.use(place(tmp_path), archive)
    return archive


@pytest.mark.parametrize("name", sorted(catalog.PROGRAMS))
def test_every_program_has_a_whole_address(name: str) -> None:
    found = catalog.archive(name, machine="aarch64")
    words = [found.url, found.file, found.checksums, *found.members.values()]
    assert not [word for word in words if "{" in word or "}" in word]
    assert found.url.startswith("https://")
    assert found.version in f"{found.url}/{found.file}"
    assert "arm64" in found.file
    assert name in found.members
    assert found.place == f"{name}/{found.version}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing", "", "x86_64"), "There is no program 'nothing'; known are alertmanager,"),
        (("loki", "", "s390x"), "loki has no archive for the architecture 's390x';"),
        (("loki", "v3.7.6", "x86_64"), "Version 'v3.7.6' of loki is no release's name; give one such as 3."),
        (("loki", "../3.7", "x86_64"), "Version '../3.7' of loki is no release's name;"),
    ],
)
def test_what_the_catalog_refuses(arguments: tuple[str, str, str], sentence: str) -> None:
    with pytest.raises(catalog.UnknownProgram) as caught:
        catalog.archive(*arguments)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{DIGEST}  a.zip\n", f"sha256:{DIGEST}"),
        (f"{DIGEST.upper()} *a.zip\n", f"sha256:{DIGEST}"),
        (f"{DIGEST}  ./a.zip", f"sha256:{DIGEST}"),
        (f"{DIGEST}  b.zip\n{'f' * 64}  a.zip\n", f"sha256:{'f' * 64}"),
        (f"{DIGEST}  a.zip.sig\n", None),
        (f"{DIGEST[:-1]}  a.zip\n", None),
        (f"{DIGEST.upper()}\n", f"sha256:{DIGEST}"),
        (f"{DIGEST}\n{DIGEST}\n", None),
        ("", None),
    ],
)
def test_lists_of_checksums(text: str, found: str | None) -> None:
    assert programs.listed_checksum(text, "a.zip") == found


def test_a_pinned_checksum_has_to_look_like_one() -> None:
    assert programs.check_checksum(f"sha256:{DIGEST.upper()}") == f"sha256:{DIGEST}"
    with pytest.raises(Refused, match=r"is not of the form sha256:<64 hex digits>"):
        programs.check_checksum(DIGEST)


def test_installed_and_in_use(tmp_path: Path) -> None:
    archive = catalog.archive("tempo", "3.0.3")
    assert programs.installed(place(tmp_path), archive) is None
    assert programs.in_use(place(tmp_path), archive) is None
    archive = install(tmp_path, "3.0.3", b"new")
    there = programs.installed(place(tmp_path), archive)
    assert there is not None
    assert there.startswith("sha256:")
    assert programs.in_use(place(tmp_path), archive) == "3.0.3"
    link = Path(place(tmp_path).link("tempo"))
    assert link.read_bytes() == b"new"
    assert os.access(link, os.X_OK)
    assert not (tmp_path / "programs/tempo/3.0.3/LICENSE").exists()
    link.resolve().unlink()
    assert programs.installed(place(tmp_path), archive) is None


def test_a_program_that_is_a_tree_is_kept_whole(tmp_path: Path) -> None:
    """The name of the directory in it is upstream's affair: it has changed from release to release."""
    archive = catalog.archive("grafana", "13.2.3")
    packed = tmp_path / "grafana.tar.gz"
    checksum = tarball(packed, {"grafana-v13/bin/grafana": b"#!/bin/sh\n", "grafana-v13/conf/defaults.ini": b"[a]"})
    programs.unpack(str(packed), checksum, place(tmp_path), archive)
    programs.use(place(tmp_path), archive)
    assert programs.installed(place(tmp_path), archive) is None, "what is not executable is no program"
    home = tmp_path / "programs/grafana/13.2.3"
    (home / "bin/grafana").chmod(0o755)
    assert programs.installed(place(tmp_path), archive) == checksum
    assert programs.in_use(place(tmp_path), archive) == "13.2.3"
    assert (home / "conf/defaults.ini").read_bytes() == b"[a]"
    assert oct((home / "conf").stat().st_mode & 0o777) == "0o755"
    two = tmp_path / "two.tar.gz"
    checksum = tarball(two, {"one/bin/grafana": b"", "other/README": b""})
    with pytest.raises(Refused, match="holds no single directory"):
        programs.unpack(str(two), checksum, place(tmp_path), archive)


def test_the_version_before_stays_and_older_ones_go(tmp_path: Path) -> None:
    for version in ("3.0.1", "3.0.2", "3.0.3"):
        archive = install(tmp_path, version)
    (tmp_path / "programs/tempo/.unpack-left").mkdir()
    assert sorted(programs.prune(place(tmp_path), archive)) == [".unpack-left", "3.0.1"]
    assert sorted(os.listdir(tmp_path / "programs/tempo")) == ["3.0.2", "3.0.3"]
    assert programs.in_use(place(tmp_path), archive) == "3.0.3"
    back = catalog.archive("tempo", "3.0.2")
    programs.use(place(tmp_path), back)
    assert programs.in_use(place(tmp_path), back) == "3.0.2"


def test_an_archive_that_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    archive = catalog.archive("tempo")
    packed = tmp_path / "a.tar.gz"
    tarball(packed, {"tempo": b"x"})
    with pytest.raises(Refused, match=r"arrived with checksum sha256:.*, not sha256:0123"):
        programs.unpack(str(packed), f"sha256:{DIGEST}", place(tmp_path), archive)
    assert not (tmp_path / "programs").exists()


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    archive = catalog.archive("loki")
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as sink:
        sink.writestr("promtail-linux-amd64", b"x")
    checksum = archives.sha256(str(packed))
    with pytest.raises(Refused, match=r"holds no loki-linux-amd64; it is no archive of loki"):
        programs.unpack(str(packed), checksum, place(tmp_path), archive)


def test_a_file_that_is_no_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tempo").write_text("mine")
    with pytest.raises(Refused, match=r"is no link of this collection but a file of its own"):
        programs.check_links(place(tmp_path), catalog.archive("tempo"))
    (tmp_path / "bin/tempo").unlink()
    programs.check_links(place(tmp_path), catalog.archive("tempo"))
