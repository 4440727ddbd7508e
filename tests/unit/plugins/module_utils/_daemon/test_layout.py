# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a daemon are as wanted or as they were, whatever its checker says and whenever the run ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core import files
from ansible_collections.mesops.platform.plugins.module_utils._daemon import layout
from hypothesis import given, settings
from hypothesis import strategies as st

Wanted = Union[layout.Directory, layout.File]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


class Checker:
    """A product's checker: it refuses a text with "bad" in it."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        candidate = Path(command[-1])
        assert stat.S_IMODE(candidate.stat().st_mode) == 0o600
        if "bad" in candidate.read_text():
            return 1, "", f"{candidate}: line 1: bad\n"
        return 0, "", ""


@pytest.fixture
def checker() -> Checker:
    return Checker()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def make(
    wanted: Sequence[Wanted],
    checker: Checker,
    scratch: Path,
    check_mode: bool = False,
) -> layout.Made:
    return layout.make(
        [one for one in wanted if isinstance(one, layout.Directory)],
        [one for one in wanted if isinstance(one, layout.File)],
        run=checker,
        scratch=str(scratch),
        check_mode=check_mode,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_and_files_are_made_and_a_second_run_changes_nothing(
    tmp_path: Path, checker: Checker, scratch: Path
) -> None:
    directory, file = tmp_path / "etc/one/two", tmp_path / "etc/one/two/file.yml"
    wanted: list[Wanted] = [
        layout.Directory(str(directory)),
        layout.File(str(file), "a: 1\n", check="check %s"),
    ]
    made = make(wanted, checker, scratch)
    assert made.paths == [str(directory), str(file)]
    assert (file.read_text(), mode(file), mode(directory), mode(tmp_path / "etc")) == ("a: 1\n", 0o640, 0o750, 0o750)
    assert checker.asked == [["check", str(scratch / "file.yml")]]
    assert list(scratch.iterdir()) == []
    assert make(wanted, checker, scratch) == layout.Made()
    assert len(checker.asked) == 1


def test_file_of_which_only_the_mode_differs_is_made_again(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    file.chmod(0o666)
    made = make([layout.File(str(file), "text")], checker, scratch)
    assert (made.paths, mode(file)) == ([str(file)], 0o640)
    assert [(one["before"]["mode"], one["after"]["mode"]) for one in made.diff] == [("0666", "0640")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_are_root_and_the_group(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    file, directory = tmp_path / "file", tmp_path / "a/b"
    file.write_text("text")
    file.chmod(0o640)
    os.chown(file, 4711, 4712)
    wanted: list[Wanted] = [
        layout.Directory(str(directory), 4712),
        layout.File(str(file), "text", gid=4712),
    ]
    assert make(wanted, checker, scratch).paths == [str(directory), str(file)]
    for path in (file, directory, directory.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 4712)
    assert make(wanted, checker, scratch).paths == []


def test_directory_that_is_there_gets_the_wanted_mode(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o777)
    assert make([layout.Directory(str(tmp_path / "a"))], checker, scratch).paths == [str(tmp_path / "a")]
    assert mode(tmp_path / "a") == 0o750


def test_file_in_the_way_of_a_directory_is_said(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(layout.FilesError, match="a is no directory; move it away and run again"):
        make([layout.Directory(str(tmp_path / "a"))], checker, scratch)


def test_only_root_may_say_by_a_link_which_directory_is_meant(
    tmp_path: Path, checker: Checker, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that owns the parent may put a link there; what it leads to would become the daemon's."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir(0o700)
    link.symlink_to(target)
    wanted = layout.Directory(str(link))
    lstat = os.lstat

    def made_by(uid: int) -> None:
        def seen(path: str) -> os.stat_result:
            found = list(lstat(path))
            found[stat.ST_UID] = uid
            return os.stat_result(found)

        monkeypatch.setattr(os, "lstat", seen)

    made_by(1000)
    for check_mode in (True, False):
        with pytest.raises(layout.FilesError, match=r"link is a link to .*target that user 1000 has made"):
            make([wanted], checker, scratch, check_mode)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    made_by(0)
    assert make([wanted], checker, scratch).paths == [str(link)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_refused_file_leaves_the_one_in_use_and_all_that_come_after(
    tmp_path: Path, checker: Checker, scratch: Path
) -> None:
    paths = [tmp_path / name for name in ("first", "second", "third")]
    for path in paths:
        path.write_text("before")
    texts = ("good", "bad", "good")
    wanted = [
        layout.File(str(path), text, check="/usr/bin/checker --file %s")
        for path, text in zip(paths, texts, strict=True)
    ]
    with pytest.raises(layout.FilesError) as caught:
        make(wanted, checker, scratch)
    assert str(caught.value) == (
        f"checker refuses {paths[1]}: {paths[1]}: line 1: bad; the file in use stays, correct the variable that this "
        "comes from and run again"
    )
    assert [path.read_text() for path in paths] == ["good", "before", "before"]
    assert list(scratch.iterdir()) == []


def test_checker_finds_the_files_before_it_in_place(tmp_path: Path, scratch: Path) -> None:
    rules = tmp_path / "rules"

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        return int(not rules.exists()), "", "no rules"

    wanted = [layout.File(str(rules), ""), layout.File(str(tmp_path / "config"), "", check="check %s")]
    assert len(layout.make([], wanted, run=run, scratch=str(scratch)).paths) == 2


def test_dry_run_writes_nothing_and_asks_nobody(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    wanted: list[Wanted] = [
        layout.Directory(str(tmp_path / "a")),
        layout.File(str(tmp_path / "a/file"), "bad", check="check %s"),
    ]
    made = make(wanted, checker, scratch, check_mode=True)
    assert made.paths == [str(tmp_path / "a"), str(tmp_path / "a/file")]
    assert (list(tmp_path.iterdir()), checker.asked) == ([scratch], [])


def test_difference_shows_texts_but_no_secrets(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    for path in (shown, hidden):
        path.write_text("before")
        path.chmod(0o640)
    wanted = [layout.File(str(shown), "after"), layout.File(str(hidden), "hunter2", secret=True)]
    text, note = make(wanted, checker, scratch).diff
    assert (text["before"], text["after"], text["after_header"]) == ("before", "after", str(shown))
    assert note == {"prepared": f"{hidden} differs; it holds secrets, which are not shown.\n"}


def test_command_without_a_place_for_the_file_is_refused(tmp_path: Path, checker: Checker, scratch: Path) -> None:
    with pytest.raises(layout.FilesError, match="command promtool check config has no %s"):
        make([layout.File(str(tmp_path / "a"), "", check="promtool check config")], checker, scratch)
    assert not (tmp_path / "a").exists()


def test_words_of_a_command_are_kept_together() -> None:
    assert layout.checked("a 'b c' --file=%s 100%", "/x y") == ["a", "b c", "--file=/x y", "100%"]


@pytest.mark.parametrize("text", ["416", "640", "u=rw", "00640", ""])
def test_mode_that_yaml_may_have_counted_is_refused(text: str) -> None:
    with pytest.raises(layout.FilesError, match='none such as "0640", in quotes'):
        layout.parse_mode(text, "/etc/x")


def test_mode_is_octal() -> None:
    assert layout.parse_mode("0640", "/etc/x") == 0o640


@settings(deadline=None)
@given(TEXTS)
def test_any_text_is_written_once(text: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        wanted = [layout.File(os.path.join(root, "file"), text)]
        found = [layout.make([], wanted, run=lambda _command: (1, "", ""), scratch=root).paths for _run in range(2)]
    assert found == [[wanted[0].path], []]


class Killed(BaseException):
    """The run ends here."""


@contextlib.contextmanager
def killed_at(call: int) -> Iterator[None]:
    """End what runs at its so many-th call of a function, those of the standard library and the system included."""
    seen = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        if event in ("call", "c_call"):
            seen += 1
            if seen == call:
                raise Killed

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_run_that_ends_anywhere_leaves_whole_files_and_the_next_one_converges(tmp_path: Path, scratch: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    wanted = [layout.File(str(path), "after", check="true %s") for path in (there, new)]

    def attempt() -> None:
        layout.make([], wanted, run=lambda _command: (0, "", ""), scratch=str(scratch))

    for call in itertools.count(1):
        there.write_text("before")
        new.unlink(missing_ok=True)
        try:
            with killed_at(call):
                attempt()
        except Killed:
            assert there.read_text() in ("before", "after")
            assert not new.exists() or new.read_text() == "after"
            attempt()
            assert not any(map(files.differs, wanted))
        else:
            break
    assert call > 100
