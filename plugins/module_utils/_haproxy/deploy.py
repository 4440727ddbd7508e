# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a HAProxy configuration: check, install, reload, verify, or restore. No Ansible in here."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import files, systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import Held, take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import server_states
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.complaints import alerts, explain, mask
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.configuration import (
    File,
    Wanted,
    digest,
    digest_in,
    with_digest,
)
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.loading import DeployError, Loader, Machine

RUNNING = {"active", "reloading", "refreshing"}


@dataclass
class Outcome:
    """What was done, or would be done in check mode."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    worker_pid: int = 0
    sha256: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything was or would be done."""
        return bool(self.actions)


@dataclass(frozen=True)
class Unit:
    """What systemd says of the unit."""

    running: bool
    enabled: bool
    needs_daemon_reload: bool


def read_unit(machine: Machine, unit: str) -> Unit:
    """Ask systemd about the unit."""
    try:
        values = systemd.show(machine.run, unit, ("ActiveState", "UnitFileState", "NeedDaemonReload"))
    except systemd.Unanswered:
        values = {}
    return Unit(
        values.get("ActiveState", "") in RUNNING,
        values.get("UnitFileState", "") == "enabled",
        values.get("NeedDaemonReload", "") == "yes",
    )


class Deployment:
    """One execution: the plan is made first, check mode stops there."""

    def __init__(self, machine: Machine, wanted: Wanted) -> None:
        self.machine = machine
        self.wanted = wanted
        self.outcome = Outcome(sha256=digest(wanted.config.content, wanted.files))
        text = with_digest(wanted.config.content, self.outcome.sha256)
        self.config = File(wanted.config.path, text, wanted.config.mode, wanted.config.gid)
        self.pending = os.path.join(wanted.run_dir, "mesops-haproxy-pending")
        self.last_good = wanted.config.path + ".last-good"
        self.loader = Loader(machine, wanted, self.config, self.outcome.sha256)
        self.previous: dict[str, File | None] = {}

    def deploy(self) -> Outcome:
        """Do it, or in check mode say what would be done."""
        wanted, outcome = self.wanted, self.outcome
        if not os.access(wanted.binary, os.X_OK):
            return self._without_haproxy()
        unit = read_unit(self.machine, wanted.unit)
        stale = [one for one in wanted.files if files.differs(one)]
        extra = self._extra_files()
        write_config = files.differs(self.config)
        loaded = self.loader.loaded() if unit.running else ""
        outcome.worker_pid = self.loader.worker_pid
        # Another text on disk may have been loaded by hand, digest and all.
        edited = read_text(self.config.path) != self.config.content
        outdated = unit.running and (edited or loaded != outcome.sha256 or os.path.exists(self.pending))
        self._plan(unit, write_config, stale, extra, outdated)
        self._describe(stale + ([self.config] if write_config else []), extra)
        if write_config or outdated or not unit.running or any(one.loaded for one in stale):
            self._check_candidate()
        if wanted.check_mode or not outcome.changed:
            return outcome
        self._apply(unit, stale + ([self.config] if write_config else []), outdated, loaded)
        outcome.worker_pid = self.loader.worker_pid
        for path in extra:
            os.unlink(path)
        return outcome

    def _without_haproxy(self) -> Outcome:
        if not self.wanted.check_mode:
            raise DeployError(f"HAProxy is not installed ({self.wanted.binary} is missing); install its package first.")
        self.outcome.actions = ["install", "start"]
        self._describe([*self.wanted.files, self.config], [])
        return self.outcome

    def _plan(self, unit: Unit, write_config: bool, stale: list[File], extra: list[str], outdated: bool) -> None:
        steps = {
            "install": write_config or bool(stale),
            "remove": bool(extra),
            "daemon-reload": unit.needs_daemon_reload,
            "reload": unit.running and (outdated or any(one.loaded for one in stale)),
            "start": not unit.running,
            "enable": not unit.enabled,
        }
        self.outcome.actions = [name for name, needed in steps.items() if needed]

    def _extra_files(self) -> list[str]:
        keep = {one.path for one in self.wanted.files}
        found: list[str] = []
        for directory in self.wanted.exclusive_dirs:
            if os.path.isdir(directory):
                paths = (os.path.join(directory, name) for name in sorted(os.listdir(directory)))
                found += [path for path in paths if path not in keep and os.path.isfile(path)]
        return found

    def _describe(self, written: list[File], removed: list[str]) -> None:
        for one in written:
            before, after = read_text(one.path), one.content
            if one.loaded and one.path != self.config.path:
                # Keys and certificates are shown by their digests only; units and scripts hold no secret.
                before = f"sha256 {hashlib.sha256(before.encode()).hexdigest()}\n" if before else ""
                after = f"sha256 {hashlib.sha256(after.encode()).hexdigest()}\n"
            self.outcome.diff.append(
                {
                    "before": mask(before, self.wanted.secrets),
                    "after": mask(after, self.wanted.secrets),
                    "before_header": one.path,
                    "after_header": one.path,
                }
            )
        for path in removed:
            self.outcome.diff.append({"before": "present\n", "after": "", "before_header": path, "after_header": path})

    def _check_candidate(self) -> None:
        """Let the installed HAProxy check the candidate with its own files, all of them staged beside the real ones."""
        directory = tempfile.mkdtemp(prefix="mesops-haproxy-", dir=self.wanted.run_dir)
        try:
            text = self.config.content
            for number, one in enumerate(sorted(self.wanted.files, key=lambda item: len(item.path), reverse=True)):
                if one.loaded:
                    staged = os.path.join(directory, f"{number}-{os.path.basename(one.path)}")
                    write_atomically(staged, one.content)
                    text = text.replace(one.path, staged)
            candidate = os.path.join(directory, "candidate.cfg")
            write_atomically(candidate, text)
            rc, out, err = self.machine.run([self.wanted.binary, "-c", "-f", candidate])
            output = f"{out}\n{err}"
            if rc != 0:
                reason = explain(output, self.config.content, candidate, self.wanted.secrets)
                raise DeployError(
                    f"HAProxy refuses the new configuration at {reason}; nothing was changed, correct the variable "
                    "that this line comes from and run again."
                )
            self.outcome.warnings = [mask(one, self.wanted.secrets) for one in alerts(output, "WARNING")]
        finally:
            shutil.rmtree(directory)

    def _apply(self, unit: Unit, written: list[File], outdated: bool, loaded: str) -> None:
        with open(self.pending, "w", encoding="ascii"):
            pass
        self.previous = {one.path: self._read_back(one) for one in written}
        for one in written:
            files.write(one)
        if unit.needs_daemon_reload or self._wrote_units():
            self._systemctl("daemon-reload")
        if not unit.running:
            self._start()
        elif "reload" in self.outcome.actions or outdated:
            self._reload(loaded)
        if not unit.enabled:
            self._systemctl("enable", self.wanted.unit)
        good = File(self.last_good, self.config.content, self.config.mode, self.config.gid)
        if files.differs(good):
            files.write(good)
        os.unlink(self.pending)

    @staticmethod
    def _read_back(wanted: File) -> File | None:
        if not os.path.exists(wanted.path):
            return None
        now = os.stat(wanted.path)
        gid = None if wanted.gid is None else now.st_gid
        return File(wanted.path, read_text(wanted.path), now.st_mode & 0o7777, gid, wanted.loaded)

    def _wrote_units(self) -> bool:
        return any(path.startswith("/etc/systemd/") for path in self.previous)

    def _systemctl(self, *arguments: str) -> None:
        rc, out, err = self.machine.run(["systemctl", *arguments])
        if rc != 0:
            raise DeployError(f"systemctl {' '.join(arguments)} failed: {(err or out).strip()}.")

    def _start(self) -> None:
        try:
            self.loader.start()
        except DeployError as error:
            self._restore("")
            raise DeployError(f"HAProxy did not start: {error}; the previous configuration is back on disk.") from error
        self.loader.prove(None)
        self.loader.settle()

    def _reload(self, loaded: str) -> None:
        # A drain meanwhile would be taken back: the new worker begins with the state that is written here.
        lock = self._take_lock(loaded)
        try:
            self._reload_locked(loaded)
        finally:
            os.close(lock)
        self.loader.settle()

    def _take_lock(self, loaded: str) -> int:
        path = os.path.join(self.wanted.run_dir, os.path.basename(server_states.LOCK))
        try:
            return take_lock(path, server_states.LOCK_TIMEOUT, self.machine.clock, self.machine.sleep)
        except Held as error:
            self._restore(loaded)
            raise DeployError(f"HAProxy was not reloaded ({error}); run again when they have finished.") from error

    def _reload_locked(self, loaded: str) -> None:
        before = self.loader.hand_over()
        try:
            self.loader.reload(before)
        except DeployError as error:
            self._restore(loaded)
            raise DeployError(
                f"HAProxy did not take the new configuration ({error}); the old worker keeps serving and the "
                "previous configuration is back on disk."
            ) from error

    def _restore(self, loaded: str) -> None:
        """Put back the active configuration, where it is still known, else what was there before."""
        for path, before in self.previous.items():
            if before is not None:
                files.write(before)
            elif path != self.config.path:
                os.unlink(path)
        good = read_text(self.last_good)
        if loaded and digest_in(good) == loaded and digest_in(read_text(self.config.path)) != loaded:
            files.write(File(self.config.path, good, self.config.mode, self.config.gid))
        if self._wrote_units():
            self.machine.run(["systemctl", "daemon-reload"])


def deploy(machine: Machine, wanted: Wanted) -> dict[str, Any]:
    """Activate ``wanted`` and return what a module returns."""
    outcome = Deployment(machine, wanted).deploy()
    return {
        "changed": outcome.changed,
        "actions": outcome.actions,
        "diff": outcome.diff,
        "config_warnings": outcome.warnings,
        "worker_pid": outcome.worker_pid,
        "sha256": outcome.sha256,
    }
