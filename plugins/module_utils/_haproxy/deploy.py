# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a HAProxy configuration in force: check, install, reload, prove, or restore. No Ansible in here.

What the running worker has loaded is asked from the worker itself: every configuration ends in a ``setenv`` with the
digest of its text and files, which "show env" gives back. So a run that was killed between two steps, a plain
"systemctl reload" and a reboot all converge without any record to go stale.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core import files, systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.locks import Held, take_lock
from ansible_collections.mesops.platform.plugins.module_utils._core.replacing import read_text, write_atomically
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import state

DIGEST_NAME = "MESOPS_CONFIG_SHA256"
MASK = "********"
RUNNING = {"active", "reloading", "refreshing"}
POLL = 0.1
JOURNAL_LINES = 40


class DeployError(Exception):
    """The configuration could not be put in force; the text is one sentence for the user."""


@dataclass(frozen=True)
class Machine:
    """The few things that touch the host, passed in so that tests can replace them."""

    run: Run
    ask: Callable[[str], str]
    clock: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class File(files.File):
    """A file that must be on disk; ``loaded`` says that HAProxy reads it, so that a change needs a reload."""

    loaded: bool = True


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for."""

    config: File
    files: tuple[File, ...] = ()
    exclusive_dirs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    unit: str = "haproxy.service"
    binary: str = "/usr/sbin/haproxy"
    state_file: str = state.STATE_FILE
    run_dir: str = "/run"
    reload_timeout: float = 30.0
    settle_timeout: float = 10.0
    check_mode: bool = False


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


def digest(config: str, files: Sequence[File]) -> str:
    """Digest of everything that HAProxy reads."""
    total = hashlib.sha256(config.encode())
    for one in sorted(files, key=lambda item: item.path):
        if one.loaded:
            total.update(f"\0{one.path}\0{one.content}".encode())
    return total.hexdigest()


def with_digest(config: str, sha256: str) -> str:
    """Append the digest, after the last line so that line numbers stay those of the template's output."""
    trailer = f'# What a worker has loaded: "show env {DIGEST_NAME}".\nglobal\n    setenv {DIGEST_NAME} {sha256}\n'
    return f"{config.rstrip()}\n\n{trailer}"


def digest_in(text: str) -> str:
    """Return the digest that a configuration or a "show env" reply carries."""
    found = re.search(DIGEST_NAME + r"[ =]([0-9a-f]{64})", text)
    return found.group(1) if found else ""


def alerts(output: str, level: str = "ALERT") -> list[str]:
    """Return the messages of one level from HAProxy's start-up output, in order and without repetition."""
    found = re.findall(rf"^\[{level}\]\s*(?:\S+\s*)?\(\d+\) : (.+)$", output, re.MULTILINE)
    return list(dict.fromkeys(re.sub(r"^config : ", "", one).strip() for one in found))


def explain(output: str, config: str, path: str, secrets: Sequence[str] = ()) -> str:
    """Turn HAProxy's complaints about the file ``path`` into one clause with the line's number and its text."""
    messages = alerts(output)
    lines = config.splitlines()
    for message in messages:
        found = re.search(r"\[?" + re.escape(path) + r":(\d+)\]?", message)
        if not found:
            continue
        number = int(found.group(1))
        text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        rest = re.sub(r"^(?i:parsing) ", "", message.replace(found.group(0), "")).strip(" :'.")
        shown = mask(text, secrets)
        hidden = set(_WORD.findall(text)) - set(_WORD.findall(shown))
        return f'line {number}, "{shown}": {_mask_words(mask(rest, secrets), hidden)}'
    useful = [one for one in messages if "rror(s) found" not in one and "errors found" not in one] or messages
    tail = output.strip().splitlines()[-1:] or ["no reason given"]
    return mask((useful or tail)[0].rstrip("."), secrets)


_SECRET_WORD = re.compile(
    r"(\bstats auth|[\w.-]*(?:password|passwd|secret|token|authorization|api-?key)[\w-]*[\"')]*)[ \t]+\S.*",
    re.IGNORECASE,
)
"""What follows such a word in a configuration is nobody's business, wherever in ``haproxy_extra`` it stands."""
_WORD = re.compile(r"[^\s\"'(){}:,]+")
SHORTEST = 4
"""Shorter words, such as "if" and "-m", tell nothing, and HAProxy's complaint needs them to be read."""


def _mask_words(text: str, hidden: Set[str]) -> str:
    """Hide words wherever they stand alone."""
    long = {word for word in hidden if len(word) >= SHORTEST}
    return _WORD.sub(lambda found: MASK if found.group() in long else found.group(), text)


def mask(text: str, secrets: Sequence[str]) -> str:
    """Hide secrets in text that a person will read."""
    # Also the one that is just being replaced, which the caller no longer knows.
    text = _SECRET_WORD.sub(rf"\1 {MASK}", text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK).replace(secret.replace("'", "'\\''"), MASK)
    return text


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
        loaded = self._loaded() if unit.running else ""
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
        saved = read_text(self.wanted.state_file)
        # Nobody is healthy until it has been checked: the unit's own "before-start" does that, or else HAProxy.
        kept = state.before_start(self.config.content, saved, {})
        if state.FRESH_MARK in saved and state.FRESH_MARK not in kept:
            kept += f"{state.FRESH_MARK}\n"
        write_atomically(self.wanted.state_file, kept)
        self.machine.run(["systemctl", "reset-failed", self.wanted.unit])
        rc, _out, _err = self.machine.run(["systemctl", "start", self.wanted.unit])
        if rc != 0:
            reason = self._journal_reason()
            self.machine.run(["systemctl", "stop", self.wanted.unit])
            self._restore("")
            raise DeployError(f"HAProxy did not start: {reason}; the previous configuration is back on disk.")
        self._prove(None)
        self._settle()

    def _reload(self, loaded: str) -> None:
        # A drain meanwhile would be taken back: the new worker begins with the state that is written here.
        lock = self._take_lock(loaded)
        try:
            self._reload_locked(loaded)
        finally:
            os.close(lock)
        self._settle()

    def _take_lock(self, loaded: str) -> int:
        path = os.path.join(self.wanted.run_dir, os.path.basename(state.LOCK))
        try:
            return take_lock(path, state.LOCK_TIMEOUT, self.machine.clock, self.machine.sleep)
        except Held as error:
            self._restore(loaded)
            raise DeployError(f"HAProxy was not reloaded ({error}); run again when they have finished.") from error

    def _reload_locked(self, loaded: str) -> None:
        before = state.parse_processes(self._ask("show proc"))
        worker = state.current_worker(before)
        running = self._ask(f"@!{worker.pid} show servers state") if worker else ""
        text = state.next_state(self.config.content, running)
        write_atomically(self.wanted.state_file, state.keep_mark(text, read_text(self.wanted.state_file)))
        try:
            reply = self.machine.ask("reload")
        except OSError:
            reply = ""  # 2.6 closes the connection without a word.
        try:
            if reply.startswith("Success=0"):
                raise DeployError(explain(reply, self.config.content, self.config.path, self.wanted.secrets))
            self._prove(before)
        except DeployError as error:
            self._restore(loaded)
            raise DeployError(
                f"HAProxy did not take the new configuration ({error}); the old worker keeps serving and the "
                "previous configuration is back on disk."
            ) from error

    def _prove(self, before: list[state.Process] | None) -> None:
        """Wait until a new worker answers with the digest of this very configuration."""
        old = {one.pid for one in before or [] if one.kind == "worker"}
        reloads = next((one.reloads for one in before or [] if one.kind == "master"), -1)
        deadline = self.machine.clock() + self.wanted.reload_timeout
        while self.machine.clock() < deadline:
            try:
                processes = state.parse_processes(self.machine.ask("show proc"))
                worker = state.current_worker(processes)
                if worker and worker.pid not in old:
                    loaded = digest_in(self.machine.ask(f"@!{worker.pid} show env {DIGEST_NAME}"))
                    if loaded == self.outcome.sha256:
                        self.outcome.worker_pid = worker.pid
                        return
                    if loaded:
                        raise DeployError(f"the new worker {worker.pid} has loaded another configuration")
                elif worker and any(one.kind == "master" and one.reloads > reloads >= 0 for one in processes):
                    raise DeployError(self._journal_reason())
            except OSError:
                pass  # The master is executing itself anew.
            self.machine.sleep(POLL)
        raise DeployError(f"no new worker after {self.wanted.reload_timeout:g} s")

    def _settle(self) -> None:
        """Give servers that start as "down until checked" the time for their first checks."""
        deadline = self.machine.clock() + self.wanted.settle_timeout
        while self.machine.clock() < deadline:
            rows = state.parse_state(self._ask(f"@!{self.outcome.worker_pid} show servers state")).values()
            if not any(state.waits_for_check(row) for row in rows):
                return
            self.machine.sleep(POLL)

    def _journal_reason(self) -> str:
        told = systemd.journal(self.machine.run, self.wanted.unit, JOURNAL_LINES)
        last = told.rsplit("haproxy version is", 1)[-1]
        return explain(last, self.config.content, self.config.path, self.wanted.secrets)

    def _restore(self, loaded: str) -> None:
        """Put back the configuration that is in force, where it is still known, else what was there before."""
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

    def _loaded(self) -> str:
        worker = state.current_worker(state.parse_processes(self._ask("show proc")))
        if worker is None:
            return ""
        self.outcome.worker_pid = worker.pid
        return digest_in(self._ask(f"@!{worker.pid} show env {DIGEST_NAME}"))

    def _ask(self, command: str) -> str:
        try:
            return self.machine.ask(command)
        except OSError as error:
            raise DeployError(
                f"HAProxy runs, but its master socket does not answer ({error}); look at "
                f'"systemctl status {self.wanted.unit}".'
            ) from error


def deploy(machine: Machine, wanted: Wanted) -> dict[str, Any]:
    """Put ``wanted`` in force and return what a module returns."""
    outcome = Deployment(machine, wanted).deploy()
    return {
        "changed": outcome.changed,
        "actions": outcome.actions,
        "diff": outcome.diff,
        "config_warnings": outcome.warnings,
        "worker_pid": outcome.worker_pid,
        "sha256": outcome.sha256,
    }
