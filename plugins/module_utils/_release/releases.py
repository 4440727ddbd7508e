# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of one service on one host: what is there, what a request changes, and the change itself. No Ansible.

    /opt/<service>/releases/<version>/   one complete release each; the marker file in it says so
    /opt/<service>/releases/.unpack-*    a release on its way in, .remove-* one on its way out; never a release
    /opt/<service>/current               the link to the release that runs, swapped by rename
    /opt/<service>/.history.json         the releases that were activated, newest first
    /opt/<service>/configurations/       see ``configurations``; what is in force is under /etc
    /opt/<service>/shared/               what outlives a release; the only place that the service may own

Each step is one rename, so that a run may be killed between any two system calls. The history is written before the
link is swapped. That is safe because *previous* is what follows the current release in the history: until the swap has
happened the new first line counts for nothing. Its lines are names as ``names`` joins them, version and configuration.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.mesops.platform.plugins.module_utils._core import directories, locks
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import replacing, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._release import archives
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Configuration, Shelf
from ansible_collections.mesops.platform.plugins.module_utils._release.names import (
    CHECKSUM,
    VERSION,
    joined,
    parted,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MARKER = ".mesops-release"
MANIFEST = "mesops.json"
UNPACKING = ".unpack-"
REMOVING = ".remove-"
SWAPPING = ".swap-"
MAX_HISTORY = 50

_LINK = re.compile(r"releases/([^/]+)/?")


@dataclass(frozen=True)
class Release:
    """One directory below `releases`."""

    version: str
    complete: bool
    installed_at: str = ""
    checksum: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that is known of a service's releases at one moment."""

    exists: bool = False
    current: str | None = None
    history: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    leftovers: tuple[str, ...] = ()
    kept: bool = False
    """Whether configurations are kept on this host."""
    configuration: str = ""
    """The digest of the one in force; empty where there is none."""
    configurations: tuple[str, ...] = ()
    """The digests of those that are kept, the oldest first."""
    exposed: tuple[str, ...] = ()
    """Files of the one in force that have a wrong owner or mode."""

    @property
    def name(self) -> str | None:
        """The current release and the configuration in force."""
        return joined(self.current, self.configuration if self.kept else "")

    @property
    def previous_name(self) -> str | None:
        """What a roll back goes to."""
        return previous_of(self.history, self.name)

    @property
    def previous(self) -> str | None:
        """The release that a roll back goes to; the current one when only its configuration was another."""
        return version_of(self.previous_name) if self.previous_name else None

    def find(self, version: str | None) -> Release | None:
        """The complete release of that version."""
        return next((one for one in self.releases if one.version == version and one.complete), None)

    def view(self) -> dict[str, Any]:
        """What the diff shows."""
        return {
            "current": self.current,
            "previous": self.previous,
            "releases": [one.version for one in self.releases if one.complete],
            "leftovers": [*self.leftovers, *(one.version for one in self.releases if not one.complete)],
            "configuration": self.configuration if self.kept else "",
            "configurations": list(self.configurations),
        }


@dataclass(frozen=True)
class Plan:
    """What a request changes: steps in this order, and how the store looks afterwards."""

    before: Snapshot
    after: Snapshot
    clean: tuple[str, ...] = ()
    create: bool = False
    install: str | None = None
    replace: bool = False
    activate: str | None = None
    remove: tuple[str, ...] = ()
    keep: bool = False
    """Whether to begin to keep configurations."""
    store: tuple[str, ...] = ()
    """Configurations to keep, by their digests."""
    enforce: str | None = None
    """The configuration to put in force."""
    protect: bool = False
    """Whether to mend owner and mode of the one in force."""
    forget: tuple[str, ...] = ()
    """Configurations to keep no longer."""
    actions: tuple[str, ...] = field(default=())

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.actions)


def _place(history: Sequence[str], current: str | None) -> int:
    """Where *current* stands, or else its version: its configuration may be edited by hand or half changed; or -1."""
    if current is None:
        return -1
    if current in history:
        return history.index(current)
    same = (number for number, name in enumerate(history) if version_of(name) == version_of(current))
    return next(same, -1)


def _older(history: Sequence[str], current: str | None) -> tuple[str, ...]:
    """What was activated before *current*; what stands above was rolled back, or about to follow in a killed run."""
    return tuple(history[_place(history, current) + 1 :])


def previous_of(history: Sequence[str], current: str | None) -> str | None:
    """The release that was active before *current*."""
    if current is None:
        return None
    return next((version for version in _older(history, current) if version != current), None)


def pushed(history: Sequence[str], current: str | None, version: str) -> tuple[str, ...]:
    """The history when *version* follows *current*; until the swap it means what it meant before."""
    if tuple(history[:1]) == (version,) and _place(history, current) >= 0:
        # It was left by a roll back, or a run was killed half-way: then what is there now was no state to go back to.
        return tuple(history)
    now = (current,) if current else ()
    return (version, *now, *_older(history, current))[:MAX_HISTORY]


def rolled_back(history: Sequence[str], current: str) -> tuple[str, ...]:
    """The history for a roll back: it means the same before the swap and, with the older release current, after it."""
    return (current, *_older(history, current))


def prunable(snapshot: Snapshot, keep: int, protect: Iterable[str]) -> tuple[str, ...]:
    """The complete releases to remove so that *keep* stay, oldest first; never current, previous or protected ones."""
    bound = {snapshot.current, snapshot.previous, *map(version_of, protect)}
    ordered = sorted(
        (one for one in snapshot.releases if one.complete), key=lambda one: (one.installed_at, one.version)
    )
    spare = [one.version for one in ordered if one.version not in bound]
    surplus = len(ordered) - max(keep, 0)
    return tuple(spare[: max(surplus, 0)])


def forgettable(snapshot: Snapshot, keep: int, protect: Iterable[str]) -> tuple[str, ...]:
    """The configurations to remove so that *keep* stay, oldest first; never those in force, previous or protected."""
    bound = {snapshot.configuration, *(parted(name)[1] for name in (snapshot.previous_name or "", *protect))}
    spare = [digest for digest in snapshot.configurations if digest not in bound]
    return tuple(spare[: max(len(snapshot.configurations) - max(keep, 0), 0)])


@dataclass(frozen=True)
class Request:
    """What the user asked for; names are checked already."""

    state: str
    version: str | None = None
    checksum: str | None = None
    has_artifact: bool = False
    keep: int = 5
    protect: tuple[str, ...] = ()
    """Names as ``names.joined`` makes them, or versions."""
    initial: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """What other hosts run, by host; those that run nothing are left out."""
    silent: tuple[str, ...] = ()
    """Other hosts that did not say what they run."""
    configuration: str = ""
    """The digest of the configuration that is wanted; empty when it is to stay as it is."""
    has_configuration: bool = False
    """Whether its content is at hand."""


def make_plan(snapshot: Snapshot, request: Request, base: str, now: str) -> Plan:
    """Turn a request into a plan, or refuse it. Touches nothing."""
    if request.state == "read":
        return Plan(before=snapshot, after=snapshot)
    plan = Plan(before=snapshot, after=replace(snapshot, exists=True, leftovers=()))
    if not snapshot.exists:
        plan = replace(plan, create=True, actions=(f"prepare the directories of {base}",))
    if snapshot.leftovers:
        removed = tuple(f"remove leftover {name}" for name in snapshot.leftovers)
        plan = replace(plan, clean=snapshot.leftovers, actions=(*plan.actions, *removed))
    if request.has_configuration:
        plan = _plan_keeping(plan, base)
    first = not (request.initial and snapshot.current is not None)
    if request.state in ("installed", "active") and first:
        if request.initial:
            _check_elsewhere(request, base)
        plan = _plan_install(plan, request, base, now)
        plan = _plan_storing(plan, request, base)
        if request.state == "active":
            plan = _plan_activate(plan, str(request.version), request.configuration)
    elif request.state == "prepared" and request.initial and first:
        plan = _plan_activate(_plan_storing(plan, request, base), None, request.configuration)
    elif request.state == "rolled_back":
        plan = _plan_rollback(plan, request, base)
    elif request.state == "pruned":
        plan = _plan_prune(plan, request)
    return plan


def _check_elsewhere(request: Request, base: str) -> None:
    """A first release is for a service that is new, and no old release comes among the newer ones of other hosts."""
    differing = [f"{host} runs {version}" for host, version in request.elsewhere.items() if version != request.version]
    if differing:
        raise Refused(
            f"{base} has no release yet and would begin with {request.version}, but {', '.join(differing)}; let "
            "release in the inventory be what the other hosts run, with its artifact and checksum"
        )
    if request.silent and not request.elsewhere:
        raise Refused(
            f"{base} has no release yet and would begin with {request.version}, but {', '.join(request.silent)} may "
            "run a newer one and cannot be asked; bring back one of them, or take them out of the group until "
            "then"
        )


def _plan_install(plan: Plan, request: Request, base: str, now: str) -> Plan:
    version = str(request.version)
    found = plan.before.find(version)
    if found is not None:
        if request.checksum and found.checksum != request.checksum:
            raise Refused(
                f"version {version} is already installed in {base} with {found.checksum}, not {request.checksum}; "
                "a release never changes, so give the new content a new version"
            )
        return plan
    if not request.has_artifact:
        raise Refused(f"version {version} is not installed in {base}; give its artifact and checksum to install it")
    damaged = any(one.version == version for one in plan.before.releases)
    if damaged and version == plan.before.current:
        raise Refused(
            f"{base}/releases/{version} is in use but carries no mark of a complete release, so the module did not put "
            "it there; activate another version first, or move it away"
        )
    if damaged:
        plan = replace(plan, replace=True, actions=(*plan.actions, f"remove incomplete {version}"))
    new = Release(version, True, now, str(request.checksum))
    kept = tuple(one for one in plan.after.releases if one.version != version)
    return replace(
        plan,
        install=version,
        after=replace(plan.after, releases=tuple(sorted((*kept, new), key=lambda one: one.version))),
        actions=(*plan.actions, f"install {version}"),
    )


def _plan_keeping(plan: Plan, base: str) -> Plan:
    """Begin to keep configurations, and see that nobody else reads the one in force."""
    if not plan.before.kept:
        after, actions = replace(plan.after, kept=True), (*plan.actions, f"keep configurations in {base}")
        plan = replace(plan, keep=True, after=after, actions=actions)
    if plan.before.exposed:
        protected = tuple(f"protect {path}" for path in plan.before.exposed)
        plan = replace(plan, protect=True, after=replace(plan.after, exposed=()), actions=(*plan.actions, *protected))
    return plan


def _plan_storing(plan: Plan, request: Request, base: str) -> Plan:
    """Keep the configuration that is wanted, and the one in force, so that there is a way back to it."""
    before, wanted = plan.before, request.configuration
    if not wanted:
        return plan
    if wanted not in before.configurations and not request.has_configuration:
        raise Refused(
            f"configuration {wanted} is not kept in {base}; give its content, or run site.yml and roll the "
            "configuration of the inventory out"
        )
    new = tuple(one for one in dict.fromkeys((before.configuration, wanted)) if one not in ("", *before.configurations))
    after = replace(plan.after, configurations=(*before.configurations, *new))
    return replace(plan, store=new, after=after, actions=(*plan.actions, *(f"keep configuration {one}" for one in new)))


def _plan_activate(plan: Plan, version: str | None, configuration: str) -> Plan:
    """Let the host run a version, if one is named, with a configuration, or with the one that it has."""
    before = plan.before
    after = replace(plan.after, current=version, configuration=configuration or before.configuration)
    if (before.current, before.configuration) == (after.current, after.configuration):
        return plan
    if after.name is not None:
        after = replace(after, history=pushed(before.history, before.name, after.name))
    plan = replace(plan, after=after)
    if after.configuration != before.configuration:
        done = f"activate configuration {after.configuration}"
        plan = replace(plan, enforce=after.configuration, actions=(*plan.actions, done))
    if version is not None and version != before.current:
        plan = replace(plan, activate=version, actions=(*plan.actions, f"activate {version}"))
    return plan


def _plan_rollback(plan: Plan, request: Request, base: str) -> Plan:
    before = plan.before
    wanted = (request.version or before.current, request.configuration or before.configuration)
    if wanted != (before.current, before.configuration):
        return plan
    if before.name is None or before.previous_name is None:
        raise Refused(
            f"there is no release to roll back to in {base}: current is {before.name or 'not set'} and no other was "
            "active before it; activate a version by name"
        )
    version, configuration = parted(before.previous_name)
    if before.find(version) is None:
        raise Refused(
            f"the previous release {version} is not complete in {base}, so {before.name} stays; install it again or "
            "activate another version by name"
        )
    plan = _plan_storing(plan, replace(request, configuration=configuration, has_configuration=False), base)
    back = _plan_activate(replace(plan, actions=()), version, configuration)
    after = replace(back.after, history=rolled_back(before.history, before.name))
    told = f"roll back from {before.name} to {after.name}"
    return replace(back, after=after, actions=(*plan.actions, told))


def _plan_prune(plan: Plan, request: Request) -> Plan:
    gone = prunable(plan.before, request.keep, request.protect)
    forgotten = forgettable(plan.before, request.keep, request.protect)
    after = replace(
        plan.after,
        releases=tuple(one for one in plan.after.releases if one.version not in gone),
        configurations=tuple(one for one in plan.after.configurations if one not in forgotten),
        history=tuple(name for name in plan.after.history if not _is_gone(name, gone, forgotten)),
    )
    told = (*(f"remove {one}" for one in gone), *(f"remove configuration {one}" for one in forgotten))
    return replace(plan, remove=gone, forget=forgotten, after=after, actions=(*plan.actions, *told))


def _is_gone(name: str, versions: Sequence[str], configurations: Sequence[str]) -> bool:
    version, configuration = parted(name)
    return version in versions or configuration in configurations


def _no_step(_name: str) -> None:
    """Tests put a crash here."""


@dataclass
class Store:
    """The releases of one service on disk."""

    root: str
    service: str
    uid: int = 0
    gid: int = 0
    private: bool = False
    shared_ids: tuple[int, int] | None = None
    step: Callable[[str], None] = _no_step
    owner_gid: int = 0
    """The primary group of ``uid``, for files that only it may change, in force under /etc."""
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
            return Snapshot(configuration=self.shelf.name(self.shelf.in_force()), exposed=tuple(self.shelf.exposed()))
        leftovers = [name for name in sorted(os.listdir(self.base)) if name.startswith(SWAPPING)]
        found = []
        for name in sorted(os.listdir(self.releases)) if os.path.isdir(self.releases) else ():
            if name.startswith((UNPACKING, REMOVING)):
                leftovers.append(os.path.join("releases", name))
            elif os.path.isdir(self.path(name)) and not os.path.islink(self.path(name)):
                found.append(self._read_release(name))
        leftovers += [os.path.join("configurations", name) for name in self.shelf.leftovers()]
        return Snapshot(
            exists=os.path.isdir(self.releases) and self._shared_is_right(),
            current=self._read_current(),
            history=self._read_history(),
            releases=tuple(found),
            leftovers=tuple(leftovers),
            kept=self.shelf.kept,
            configuration=self.shelf.name(self.shelf.in_force()),
            configurations=self.shelf.stored(),
            exposed=tuple(self.shelf.exposed()),
        )

    def _shared_is_right(self) -> bool:
        try:
            found = os.lstat(self.shared)
        except FileNotFoundError:
            return False
        return self.shared_ids in (None, (found.st_uid, found.st_gid))

    def _read_release(self, version: str) -> Release:
        try:
            with open(os.path.join(self.path(version), MARKER), encoding="ascii") as handle:
                lines = dict(line.rstrip("\n").split("=", 1) for line in handle if "=" in line)
        except (OSError, ValueError):
            return Release(version, False)
        checksum = lines.get("SERVICE_CHECKSUM", "")
        complete = lines.get("SERVICE_VERSION") == version and bool(CHECKSUM.fullmatch(checksum))
        return Release(version, complete, lines.get("SERVICE_INSTALLED_AT", ""), checksum)

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

    def manifest(self, version: str) -> dict[str, Any]:
        """What an installed release says of itself, nothing when it has no manifest."""
        path = os.path.join(self.path(version), MANIFEST)
        try:
            with open(path, "rb") as handle:
                return parse_manifest(handle.read(), path)
        except FileNotFoundError:
            return {}

    def check_room(self, tree: archives.Tree, reserve: int) -> None:
        """Refuse a release that would leave less than *reserve* bytes on its file system."""
        where = self.base
        while not os.path.isdir(where):
            where = os.path.dirname(where)
        free = os.statvfs(where)
        have, need = free.f_bavail * free.f_frsize, tree.disk_size + reserve
        if have < need:
            raise Refused(
                f"{where} has {_mib(have)} free, but the release takes {_mib(tree.disk_size)} and {_mib(reserve)} must "
                "stay free; prune old releases or make room"
            )
        if free.f_files and free.f_favail < len(tree.entries) + 2:
            raise Refused(
                f"{where} has {free.f_favail} inodes free, but the release takes {len(tree.entries) + 2}; "
                "prune old releases or make room"
            )

    def check_installed_command(self, version: str, word: str) -> None:
        """The start command of a release that is installed already."""
        where = os.path.realpath(self.path(version))
        program = os.path.realpath(os.path.join(where, word))
        if not program.startswith(where + "/") or not os.path.isfile(program):
            raise Refused(f"start command '{word}' is no file of release {version}; correct the command or the release")
        if not os.stat(program).st_mode & 0o111:
            raise Refused(f"start command '{word}' of release {version} is not executable; build a new release")

    def apply(
        self,
        plan: Plan,
        artifact: str | None,
        tree: archives.Tree | None,
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
        for one in (self.shelf.in_force(), given):
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

    def _install(self, plan: Plan, artifact: str, tree: archives.Tree) -> None:
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
            write_atomically(
                os.path.join(beside, MARKER),
                f"SERVICE_VERSION={version}\nSERVICE_CHECKSUM={release.checksum}\n"
                f"SERVICE_INSTALLED_AT={release.installed_at}\n",
                0o644,
            )
            self.step("flush")
            _flush(beside)
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


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """What a release says of itself: one JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where} is no JSON ({error}); correct it in the release") from error
    if not isinstance(found, dict):
        raise Refused(f"{where} is no JSON object; correct it in the release")
    return found


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _flush(path: str) -> None:
    """Bring a release to the disk before it becomes visible, so that no power cut leaves empty files in it.

    File by file: syncfs would write out all that others have changed on the file system, and let a database wait.
    """
    for directory, _directories, files in os.walk(path):
        for one in (os.path.join(directory, name) for name in files):
            if not os.path.islink(one):
                directories.sync(one)
        directories.sync(directory)


def utc_now(clock: Callable[[], float] = time.time) -> str:
    """The time as it stands in a marker."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))


def running_version(store: Store, pid: int, proc: str = "/proc") -> str | None:
    """The release that a process was started on: its working directory, or else what its environment says."""
    inside = os.path.realpath(store.releases) + "/"
    try:
        where = os.readlink(f"{proc}/{pid}/cwd")
        if where.startswith(inside):
            return where[len(inside) :].split("/", 1)[0]
    except OSError:
        # In a container even root may not look there, but the environment can be read.
        pass
    try:
        with open(f"{proc}/{pid}/environ", "rb") as handle:
            variables = handle.read().split(b"\0")
    except OSError:
        return None
    return next((one[16:].decode("utf-8", "replace") for one in variables if one.startswith(b"SERVICE_VERSION=")), None)
