# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No archive, however it is made, leads out of its release."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release import archives, trees
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import check_command
from hypothesis import given, settings
from hypothesis import strategies as st

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
LIMIT = 1 << 20
MARKER = ".mark"

TYPES = {
    trees.DIRECTORY: tarfile.DIRTYPE,
    trees.FILE: tarfile.REGTYPE,
    trees.SYMLINK: tarfile.SYMTYPE,
    trees.HARDLINK: tarfile.LNKTYPE,
}


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> str:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return str(path)


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o755, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, target
    return info


def unpacked(path: str, into: Path) -> Path:
    tree = archives.inspect(path, LIMIT, MARKER)
    into.mkdir()
    archives.unpack(path, tree, str(into))
    archives.own(tree, str(into), os.getuid(), os.getgid(), private=False)
    return into


SHORT = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3).map("/".join)
TARGET = st.lists(st.sampled_from(["..", ".", "a", "b", "c", "d"]), min_size=1, max_size=5).map("/".join)
ENTRIES = st.lists(
    st.one_of(
        st.builds(trees.Entry, SHORT, st.just(trees.FILE), st.integers(0, 40), st.sampled_from([0o644, 0o755])),
        st.builds(trees.Entry, SHORT, st.just(trees.DIRECTORY)),
        st.builds(trees.Entry, SHORT, st.just(trees.SYMLINK), target=TARGET),
        st.builds(trees.Entry, SHORT, st.just(trees.SYMLINK), target=TARGET),
        st.builds(trees.Entry, SHORT, st.just(trees.HARDLINK), target=SHORT),
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda entry: entry.name,
)


@settings(max_examples=3000, deadline=None)
@given(ENTRIES)
def test_what_is_accepted_unpacks_and_leads_nowhere_else(entries: list[trees.Entry]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        root = Path(scratch).resolve()
        packed = tar_of(
            root / "x.tar",
            *((member(one.name, TYPES[one.kind], one.mode, one.target), b"x" * one.size) for one in entries),
            mode="w",
        )
        try:
            release = unpacked(packed, root / "release")
        except Refused:
            return
        assert sorted(os.listdir(root)) == ["release", "x.tar"]
        for folder, folders, files in os.walk(release):
            for name in folders + files:
                real = os.path.realpath(os.path.join(folder, name))
                assert real == str(release) or real.startswith(f"{release}/")


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([("x", tarfile.SYMTYPE, "../y")], "leaves the release"),
        ([("x", tarfile.SYMTYPE, "/etc/passwd")], "absolute"),
        ([("a/d", tarfile.SYMTYPE, ".."), ("e", tarfile.SYMTYPE, "a/d/../x")], "leaves the release"),
        ([("x", tarfile.SYMTYPE, "y"), ("y", tarfile.SYMTYPE, "x")], "circle"),
        ([("x", tarfile.LNKTYPE, "../../etc/passwd")], "'..' in its path"),
        ([("x", tarfile.LNKTYPE, "nowhere")], "no file of this archive"),
        ([("x", tarfile.SYMTYPE, "y"), ("x/z", tarfile.REGTYPE, "")], "no directory"),
        ([("x", tarfile.CHRTYPE, "")], "device"),
        ([("x", tarfile.BLKTYPE, "")], "device"),
        ([("x", tarfile.FIFOTYPE, "")], "fifo"),
        ([("x", tarfile.REGTYPE, ""), ("./x", tarfile.REGTYPE, "")], "twice"),
        ([(f"{MARKER}", tarfile.REGTYPE, "")], "marks a complete release"),
        ([(f"{MARKER}/x", tarfile.REGTYPE, "")], "marks a complete release"),
        ([("./", tarfile.DIRTYPE, "")], "empty"),
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, entries: list[tuple[str, bytes, str]], sentence: str) -> None:
    members = [(member(name, kind, target=target), b"") for name, kind, target in entries]
    with pytest.raises(Refused, match=sentence):
        archives.inspect(tar_of(tmp_path / "x.tgz", *members), LIMIT, MARKER)


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_setuid_file_is_refused(tmp_path: Path, mode: int) -> None:
    packed = tar_of(tmp_path / "x.tgz", (member("bin/su", mode=mode), b"x"))
    with pytest.raises(Refused, match="setuid"):
        archives.inspect(packed, LIMIT, MARKER)


def test_a_declared_bomb_is_refused_without_being_read(tmp_path: Path) -> None:
    info = member("huge")
    info.size = 1 << 50
    path = tmp_path / "bomb.tar"
    path.write_bytes(info.tobuf() + b"\0" * 1024)
    with pytest.raises(Refused, match="max_size_mb"):
        archives.inspect(str(path), LIMIT, MARKER)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("zeros", b"\0" * (LIMIT + 1))
    assert path.stat().st_size < 10000
    with pytest.raises(Refused, match="max_size_mb"):
        archives.inspect(str(path), LIMIT, MARKER)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_cut_of_a_tar_is_refused(tmp_path: Path, mode: str) -> None:
    """A cut inside the padding behind the end mark of a plain tar loses nothing, and is the only one that may pass."""
    content = [(member(f"f{number}"), os.urandom(700)) for number in range(3)]
    whole = Path(tar_of(tmp_path / "x", *content, mode=mode)).read_bytes()
    assert len(archives.inspect(str(tmp_path / "x"), LIMIT, MARKER).entries) == 3
    end = 3 * (512 + 1024) + 512 if mode == "w" else len(whole)
    step = 97 if mode == "w" else 13
    for length in [*range(0, end, step), end - 1]:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(Refused):
            archives.inspect(str(tmp_path / "cut"), LIMIT, MARKER)


def test_a_damaged_zip_leaves_nothing_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("bin/run", b"A" * 500)
    path.write_bytes(path.read_bytes().replace(b"A" * 500, b"A" * 499 + b"B"))
    with pytest.raises(Refused, match="damaged"):
        unpacked(str(path), tmp_path / "release")


def test_a_zip_keeps_modes_and_links(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        run = zipfile.ZipInfo("bin/run")
        run.external_attr = 0o100755 << 16
        out.writestr(run, "#!/bin/sh\n")
        link = zipfile.ZipInfo("start")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "bin/run")
        out.writestr("data/", "")
        out.writestr(zipfile.ZipInfo("data/x"), "x")
    tree = archives.inspect(str(path), LIMIT, MARKER)
    check_command(tree, "start")
    release = unpacked(str(path), tmp_path / "release")
    assert (release / "start").resolve() == release / "bin" / "run"
    assert (release / "bin" / "run").stat().st_mode & 0o7777 == 0o755
    assert (release / "data" / "x").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize(("kind", "sentence"), [(0o120777, "leaves the release"), (0o060666, "device")])
def test_a_hostile_zip_is_refused(tmp_path: Path, kind: int, sentence: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("x")
        info.external_attr = kind << 16
        out.writestr(info, "../../etc")
    with pytest.raises(Refused, match=sentence):
        archives.inspect(str(path), LIMIT, MARKER)


def test_ownership_and_modes_do_not_come_from_the_archive(tmp_path: Path) -> None:
    info = member("run", mode=0o777)
    info.uid = info.gid = 12345
    release = unpacked(
        tar_of(tmp_path / "x.tgz", (info, b"x"), (member("d", tarfile.DIRTYPE, 0o2777), b"")), tmp_path / "r"
    )
    assert (release / "run").stat().st_mode & 0o7777 == 0o755
    assert (release / "d").stat().st_mode & 0o7777 == 0o755
    assert (release / "run").stat().st_uid == os.getuid()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no", b"\x1f\x8b\x08 no"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused, match="neither a tar archive nor a zip"):
        archives.inspect(str(tmp_path / "x"), LIMIT, MARKER)
