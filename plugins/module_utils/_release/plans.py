# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request changes in the releases and configurations of a service, as steps, or its refusal. No Ansible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.history import pushed, rolled_back
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import parted, version_of
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Release, Snapshot


@dataclass(frozen=True)
class Request:
    """What the user asked for; names are checked already."""

    state: str
    version: str | None = None
    checksum: str | None = None
    has_artifact: bool = False
    keep: int = 5
    protect: tuple[str, ...] = ()
    """Names as ``naming.joined`` makes them, or versions."""
    initial: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """What other hosts run, by host; those that run nothing are omitted."""
    silent: tuple[str, ...] = ()
    """Other hosts that did not say what they run."""
    configuration: str = ""
    """The digest of the configuration that is wanted; empty when it is to stay as it is."""
    has_configuration: bool = False
    """Whether its content is at hand."""


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
    """The configuration to activate."""
    protect: bool = False
    """Whether to mend owner and mode of the active one."""
    forget: tuple[str, ...] = ()
    """Configurations to keep no longer."""
    actions: tuple[str, ...] = field(default=())

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.actions)


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
    """Begin to keep configurations, and see that nobody else reads the active one."""
    if not plan.before.kept:
        after, actions = replace(plan.after, kept=True), (*plan.actions, f"keep configurations in {base}")
        plan = replace(plan, keep=True, after=after, actions=actions)
    if plan.before.exposed:
        protected = tuple(f"protect {path}" for path in plan.before.exposed)
        plan = replace(plan, protect=True, after=replace(plan.after, exposed=()), actions=(*plan.actions, *protected))
    return plan


def _plan_storing(plan: Plan, request: Request, base: str) -> Plan:
    """Keep the configuration that is wanted, and the active one, so that there is a way back to it."""
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
    """The configurations to remove so that *keep* stay, oldest first; never active, previous or protected ones."""
    bound = {snapshot.configuration, *(parted(name)[1] for name in (snapshot.previous_name or "", *protect))}
    spare = [digest for digest in snapshot.configurations if digest not in bound]
    return tuple(spare[: max(len(snapshot.configurations) - max(keep, 0), 0)])


def _is_gone(name: str, versions: Sequence[str], configurations: Sequence[str]) -> bool:
    version, configuration = parted(name)
    return version in versions or configuration in configurations
