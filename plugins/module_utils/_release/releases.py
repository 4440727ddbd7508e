# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of one service on one host: what is there, and how a plan is carried out. No Ansible in here.

    /opt/<service>/releases/<version>/   one complete release each; the marker file in it says so
    /opt/<service>/releases/.unpack-*    a release on its way in, .remove-* one on its way out; never a release
    /opt/<service>/current               the link to the release that runs, swapped by rename
    /opt/<service>/.history.json         the releases that were activated, newest first
    /opt/<service>/configurations/       see ``shelf``; the active one is under /etc
    /opt/<service>/shared/               what outlives a release; the only place that the service may own

Each step is one rename, so that a run may be killed between any two system calls. The history is written before the
link is swapped, which is safe: see ``history``. Its lines are names of version and configuration, see ``naming``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, locks
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Configuration
from ansible_collections.mesops.platform.plugins.module_utils._release.marks import read_mark, write_mark
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import VERSION, version_of
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Plan
from ansible_collections.mesops.platform.plugins.module_utils._release.shelf import Shelf, no_step
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Snapshot
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPACKING = ".unpack-"
REMOVING = ".remove-"
SWAPPING = ".swap-"

_LINK = re.compile(r"releases/([^/]+)/?")


@dataclass
class Store:
    """The releases of one service on disk."""

    root: str
    service: str
    uid: int = 0
    gid: int = 0
    private: bool = False
    shared_ids: tuple[int, int] | None = None
    step: Callable[[str], None] = no_step
    owner_gid: int = 0
    """The primary group of ``uid``, for files that only it may change, active under /etc."""
    etc: str = "/"
    """Where /etc lies in."""

    def __post_init__(self) -> None:
        place = os.path.join(self.base, "configurations")
        self.shelf = Shelf(place, self.service, self.uid, self.gid, self.owner_gid, self.etc, self._stepped)

    def _stepped(self, name: str) -> None:
        self.step(name)

    @property
    def base(self) -> str:
        """The service's own directory."""
        return os.path.join(self.root, self.service)

    @property
    def releases(self) -> str:
        """The directory of all releases."""
        return os.path.join(self.base, "releases")

    @property
    def current(self) -> str:
        """The link to the active release."""
        return os.path.join(self.base, "current")

    @property
    def shared(self) -> str:
        """The directory that outlives releases."""
        return os.path.join(self.base, "shared")

    def path(self, version: str) -> str:
        """The directory of a release."""
        return os.path.join(self.releases, version)

    @contextmanager
    def locked(self, wait: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> Iterator[None]:
        """Hold the lock of the root directory, so that two runs never change releases at once; no file is left."""
        with ExitStack() as held:
            try:
                held.enter_context(locks.directory(self.root, wait, clock=clock, sleep=sleep))
            except locks.Held as error:
                raise Refused(
                    f"another run has been changing releases below {self.root} for {wait:.0f} s; wait for it to end"
                ) from error
            except OSError as error:
                raise Refused(
                    f"root {self.root} is no directory that can be opened ({error.strerror}); create it"
                ) from error
            yield

    def read(self) -> Snapshot:
        """See what is there; a half-done step of a killed run shows up as a leftover."""
        if not os.path.isdir(self.base):
            return Snapshot(configuration=self.shelf.name(self.shelf.active()), exposed=tuple(self.shelf.exposed()))
        leftovers = [name for name in sorted(os.listdir(self.base)) if name.startswith(SWAPPING)]
        found = []
        for name in sorted(os.listdir(self.releases)) if os.path.isdir(self.releases) else ():
            if name.startswith((UNPACKING, REMOVING)):
                leftovers.append(os.path.join("releases", name))
            elif os.path.isdir(self.path(name)) and not os.path.islink(self.path(name)):
                found.append(read_mark(self.path(name), name))
        leftovers += [os.path.join("configurations", name) for name in self.shelf.leftovers()]
        return Snapshot(
            exists=os.path.isdir(self.releases) and self._shared_is_right(),
            current=self._read_current(),
            history=self._read_history(),
            releases=tuple(found),
            leftovers=tuple(leftovers),
            kept=self.shelf.kept,
            configuration=self.shelf.name(self.shelf.active()),
            configurations=self.shelf.stored(),
            exposed=tuple(self.shelf.exposed()),
        )

    def _shared_is_right(self) -> bool:
        try:
            found = os.lstat(self.shared)
        except FileNotFoundError:
            return False
        return self.shared_ids in (None, (found.st_uid, found.st_gid))

    def _read_current(self) -> str | None:
        try:
            target = os.readlink(self.current)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(
                f"{self.current} is no link to a release; move it away before releases are managed"
            ) from error
        inside = target[len(self.base) + 1 :] if target.startswith(self.base + "/") else target
        match = _LINK.fullmatch(inside)
        if match is None or not VERSION.fullmatch(match.group(1)):
            raise Refused(
                f"{self.current} points to {target}, which is no release of {self.service}; move the link away"
            )
        return match.group(1)

    @property
    def _history(self) -> str:
        return os.path.join(self.base, ".history.json")

    def _read_history(self) -> tuple[str, ...]:
        try:
            with open(self._history, encoding="utf-8") as handle:
                names = json.load(handle)["versions"]
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"{self._history} cannot be read ({error}); remove it, and roll back by activating a version by name"
            ) from error
        return tuple(name for name in names if isinstance(name, str) and VERSION.fullmatch(version_of(name)))

    def apply(
        self,
        plan: Plan,
        artifact: str | None,
        tree: Tree | None,
        configuration: Configuration | None = None,
    ) -> None:
        """Carry out a plan."""
        for name in plan.clean:
            self.step(f"clean {name}")
            _delete(os.path.join(self.base, name))
        if plan.create:
            self._create()
        self._prepare_configurations(plan, configuration)
        if plan.install is not None:
            if artifact is None or tree is None:
                raise ValueError("an installation needs the artifact and its tree")
            self._install(plan, artifact, tree)
        if plan.after.history != plan.before.history and not (plan.remove or plan.forget):
            self._write_history(plan.after.history)
        if plan.enforce is not None:
            self.shelf.enforce(plan.enforce)
        if plan.activate is not None:
            self._swap(plan.activate)
        for version in plan.remove:
            self._remove(version)
        for digest in plan.forget:
            self.step(f"forget {digest}")
            self.shelf.remove(digest)
        if (plan.remove or plan.forget) and plan.after.history != plan.before.history:
            self._write_history(plan.after.history)

    def _prepare_configurations(self, plan: Plan, given: Configuration | None) -> None:
        if plan.keep:
            self.shelf.create()
        if plan.protect:
            self.shelf.protect()
        for one in (self.shelf.active(), given):
            if one is not None and self.shelf.name(one) in plan.store:
                self.shelf.store(one)

    def _create(self) -> None:
        for path in (self.base, self.releases, self.shared):
            self.step(f"create {path}")
            if not os.path.isdir(path):
                os.mkdir(path, 0o755)
                os.chmod(path, 0o755 if path != self.shared else 0o750)
            if path == self.shared and self.shared_ids is not None:
                os.chown(path, *self.shared_ids, follow_symlinks=False)

    def _install(self, plan: Plan, artifact: str, tree: Tree) -> None:
        version = str(plan.install)
        release = plan.after.find(version)
        if release is None:
            raise ValueError("a plan that installs a release has to list it")
        self.step("make room")
        beside = tempfile.mkdtemp(prefix=f"{UNPACKING}{version}-", dir=self.releases)
        try:
            self.step("unpack")
            archives.unpack(artifact, tree, beside)
            self.step("own")
            archives.own(tree, beside, self.uid, self.gid, self.private)
            self.step("mark")
            write_mark(beside, release)
            self.step("flush")
            archives.flush(beside)
            if plan.replace:
                self._remove(version)
            self.step("show")
            os.rename(beside, self.path(version))
            directories.sync(self.releases)
        except Exception:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def _write_history(self, history: tuple[str, ...]) -> None:
        beside = os.path.join(self.base, f"{SWAPPING}history")
        content = json.dumps({"versions": list(history)}) + "\n"
        with replacing(
            self._history, 0o644, beside=beside, durable=True, step=lambda what: self.step(f"{what} history")
        ) as file:
            file.write(content.encode())

    def _swap(self, version: str) -> None:
        self.step("link")
        beside = os.path.join(self.base, f"{SWAPPING}current")
        _delete(beside)
        os.symlink(os.path.join("releases", version), beside)
        self.step("swap")
        os.rename(beside, self.current)
        directories.sync(self.base)

    def _remove(self, version: str) -> None:
        self.step(f"hide {version}")
        hidden = os.path.join(self.releases, REMOVING + version)
        os.rename(self.path(version), hidden)
        self.step(f"delete {version}")
        _delete(hidden)


def _delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
