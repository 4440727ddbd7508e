# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a step that a release carries (expand, contract) as a systemd unit of its own. No Ansible in here.

The unit is the service's own, changed in what it starts: the same user, environment, limits and sandbox. systemd keeps
it running when the controller dies, so whoever comes next finds it and waits for it instead of starting a second one.

A command comes from whoever built the release, or from a record that others can write. Its words reach the program as
they are: nothing in them means anything to systemd, which would take a lone ``;`` for another command, and ``+`` before
that one for leave to run it as root.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.mesops.platform.plugins.module_utils._core import systemd
from ansible_collections.mesops.platform.plugins.module_utils._core.command import Run
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import program_of
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import environment_file
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import DIGEST, ROOT

OUTPUT_LINES = 20
TIMEOUT = 300.0
"""Seconds that a step may take where nobody says how many."""
LONGEST = 86400
"""The most seconds that a step may take."""
POLL = 0.1
RUNNING = ("activating", "reloading", "deactivating")
# Directives of the service that make no sense for a step that runs once; the step has its own.
REPLACED = (
    "Type",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "ExecReload",
    "RemainAfterExit",
    "TimeoutStartSec",
    "Restart",
    "RestartSec",
    "WorkingDirectory",
    "ConditionPathExists",
    "StartLimitIntervalSec",
    "StartLimitBurst",
    "Description",
    "SyslogIdentifier",
)


@dataclass(frozen=True)
class Step:
    """What to run."""

    service: str
    unit: str
    """The service's own unit."""
    version: str
    name: str
    """expand or contract."""
    command: str
    """Relative to the release."""
    timeout: float
    """Seconds after which systemd ends it."""
    root: str = ROOT
    units: str = "/etc/systemd/system"
    runtime_units: str = "/run/systemd/system"
    configuration: str = ""
    """The digest of the configuration that it runs with; the active one when empty."""

    @property
    def release(self) -> str:
        """The directory of the release that carries the step."""
        return os.path.join(self.root, self.service, "releases", self.version)

    @property
    def kept(self) -> str:
        """The directory of its configuration."""
        return os.path.join(self.root, self.service, "configurations", self.configuration)

    @property
    def source(self) -> str:
        """The unit of the service that its own is made of."""
        return os.path.join(self.kept, "unit") if self.configuration else os.path.join(self.units, self.unit)

    @property
    def own_unit(self) -> str:
        """The unit of this step; each version has its own."""
        return f"{self.service}-{self.name}-{hashlib.sha256(self.version.encode()).hexdigest()[:8]}.service"

    @property
    def path(self) -> str:
        """Where its unit file is, until the next boot at most."""
        return os.path.join(self.runtime_units, self.own_unit)


@dataclass(frozen=True)
class Result:
    """Where the step stands."""

    state: str
    """running, done or failed; running or idle when it was only looked at."""
    reason: str = ""
    output: str = ""


def check(step: Step, wait: float) -> None:
    """Refuse a step that cannot be run as it is described."""
    program_of(step.command)
    if re.fullmatch(r"[A-Za-z0-9:_.@-]+\.service", step.unit) is None:
        raise Refused(f"unit {step.unit!r} is no name of a service's unit; give one such as {step.service}.service")
    if step.configuration and not DIGEST.fullmatch(step.configuration):
        raise Refused(f"configuration_digest {step.configuration[:80]!r} is none; take it from app_release")
    if not 1 <= step.timeout <= LONGEST:
        raise Refused(f"timeout {step.timeout:g} is not possible; give seconds from 1 to {LONGEST}")
    if not 0 <= wait <= LONGEST:
        raise Refused(f"wait {wait:g} is not possible; give seconds from 0 to {LONGEST}")


def exec_start(release: str, command: str) -> str:
    """The command as a line of a unit: each word in quotes, within which only four characters mean anything.

    The first word is an absolute path, so it cannot begin with one of systemd's prefixes.
    """
    program, *arguments = shlex.split(command)
    quoted = ('"' + re.sub(r'[\\"]', r"\\\g<0>", word) + '"' for word in (os.path.join(release, program), *arguments))
    return " ".join(quoted).replace("$", "$$").replace("%", "%%")


def user_of(service_unit: str) -> str:
    """The user that a unit runs as, as the last line that says so has it; root where none does."""
    found = re.findall(r"^[ \t]*User[ \t]*=[ \t]*(.*?)[ \t]*$", service_unit, re.MULTILINE)
    user = found[-1] if found else ""
    return "root" if user == "" or re.fullmatch("0+", user) else user


def unit_text(step: Step, service_unit: str) -> str:
    """The service's unit, turned into one that runs the step once."""
    lines: list[str] = []
    section = ""
    current = os.path.join(step.root, step.service, "current")
    own = f"EnvironmentFile={os.path.join(step.kept, 'environment')}"
    in_kept = {f"EnvironmentFile={environment_file(step.service)}": own} if step.configuration else {}
    for line in service_unit.splitlines():
        if line.startswith("["):
            section = line.strip()
        key = line.partition("=")[0]
        if section == "[Install]" or key in REPLACED:
            continue
        lines.append(in_kept.get(line, line).replace(f"{current}/", f"{step.release}/"))
        if section == line.strip() == "[Unit]":
            lines.append(f"Description={step.name} of {step.service} {step.version}")
        if section == line.strip() == "[Service]":
            command = exec_start(step.release, step.command)
            lines += [
                "Type=oneshot",
                "RemainAfterExit=yes",
                f"WorkingDirectory={step.release}",
                f"ExecStart={command}",
                f"TimeoutStartSec={math.ceil(step.timeout)}",
                f"SyslogIdentifier={step.service}-{step.name}",
            ]
    return "\n".join(lines).rstrip() + "\n"


class Silent(Exception):
    """Nobody says how the step stands, which is no outcome of it."""


class Runner:
    """One step on one host."""

    def __init__(
        self,
        step: Step,
        run: Run,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        allowed: Callable[[], None] = lambda: None,
    ) -> None:
        self.step = step
        self.run = run
        self.clock = clock
        self.sleep = sleep
        self.allowed = allowed
        """Raises when this run may not start anything any more; asked right before the step is started."""

    def state(self) -> dict[str, str]:
        """What systemd says of the step's unit; nothing when it does not say."""
        return self._show("LoadState", "ActiveState", "Result", "ExecMainStatus", "Job")

    def _show(self, *properties: str) -> dict[str, str]:
        try:
            return systemd.show(self.run, self.step.own_unit, properties)
        except systemd.Unanswered:
            return {}

    def _ask(self, deadline: float) -> dict[str, str]:
        """The state, as soon as systemd says it: silence means nothing about the step, which may well go on."""
        while not (found := self.state()):
            if self.clock() >= deadline:
                raise Silent(f"systemd says nothing of {self.step.own_unit}; look at it there, then try again")
            self.sleep(POLL)
        return found

    def carry_out(self, wait: float) -> Result:
        """Start the step unless it runs already, and wait at most ``wait`` seconds for its end."""
        deadline = self.clock() + wait
        found = self._ask(deadline)
        if not _under_way(found) and found.get("ActiveState") not in ("active", "failed"):
            self._start()
            found = self._ask(deadline)
        while _under_way(found):
            if self.clock() >= deadline:
                return Result("running")
            self.sleep(POLL)
            found = self._ask(deadline)
        output = self._output()
        self._forget()
        if found.get("ActiveState") == "active":
            return Result("done", output=output)
        told = " | ".join(output.splitlines()[-3:])
        why = f"'{self.step.command}' of {self.step.version} failed ({self._why(found)}): {told or 'it wrote nothing'}"
        return Result("failed", why, output)

    def look(self, wait: float) -> Result:
        """Whether the step runs now; nothing is begun or cleared away."""
        return Result("running" if _under_way(self._ask(self.clock() + wait)) else "idle")

    def _why(self, found: Mapping[str, str]) -> str:
        if found.get("Result") == "timeout":
            return f"it did not end within {math.ceil(self.step.timeout)} s"
        if found.get("ActiveState") == "inactive" and found.get("Result") == "success":
            return "it was stopped before its end"
        return f"{found.get('Result')}, exit status {found.get('ExecMainStatus')}"

    def _start(self) -> None:
        step = self.step
        program = os.path.join(step.release, program_of(step.command))
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            raise Refused(
                f"{program} is no executable file, so {step.name} cannot run; correct the command or the release"
            )
        try:
            with open(step.source, encoding="utf-8") as stream:
                service_unit = stream.read()
        except OSError as error:
            raise Refused(
                f"{step.source} cannot be read ({error.strerror}); run site.yml for this host first"
            ) from error
        if user_of(service_unit) == "root":
            raise Refused(
                f"{step.source} runs as root, and a release brings no command that does; give unit the service's own "
                "unit"
            )
        text = unit_text(step, service_unit)
        os.makedirs(step.runtime_units, exist_ok=True)
        self.allowed()
        with open(step.path, "w", encoding="utf-8") as stream:
            stream.write(text)
        for command in (["daemon-reload"], ["start", "--no-block", "--", step.own_unit]):
            rc, out, err = self.run(["systemctl", *command])
            if rc != 0:
                raise Refused(f"systemctl {' '.join(command)} failed: {' '.join((err or out).split())}")

    def _output(self) -> str:
        start = self._show("InvocationID").get("InvocationID", "")
        return systemd.journal(self.run, self.step.own_unit, OUTPUT_LINES, start)

    def _forget(self) -> None:
        """Leave nothing behind: the record knows the outcome, and another rollout may have to run it again."""
        for verb in ("stop", "reset-failed"):
            self.run(["systemctl", verb, "--", self.step.own_unit])
        if os.path.exists(self.step.path):
            os.unlink(self.step.path)
        self.run(["systemctl", "daemon-reload"])


def _under_way(found: Mapping[str, str]) -> bool:
    """Whether a unit runs, or is about to: a job that was only just queued does not show in its state."""
    return found.get("ActiveState") in RUNNING or found.get("Job", "") not in ("", "0")
