# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules on any hosts of the inventory at once, from within one action plugin, each with a deadline.

Every call is a child process with a connection of its own, made from the host's variables as Ansible makes it for a
task. So an unreachable host is an answer and not the end of the play, a connection that hangs can be given up, and the
parent goes on showing what happens meanwhile. Tasks would cost a fork, a template run and a callback each, and an
unreachable host would skip both their rescue and their always.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, become_loader, connection_loader
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle

COLLECTION = "mesops.platform."
TICK = 0.5
CHUNK = 1 << 16
MARGIN = 30.0
"""Seconds beyond what a module itself takes, for the connection."""


class ControllerGone(BaseException):
    """The process that runs the play is no more; nobody would hear of what this one does."""


@dataclass(frozen=True)
class Call:
    """One module of this collection to run on one host."""

    host: str
    module: str
    """Its name in this collection."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds that the module itself may take."""
    check: bool = False
    """Whether it is only to say what it would do."""
    action: bool = False
    """Whether its action plugin has to run, such as the one that brings a file to the host."""


@dataclass(frozen=True)
class Answer:
    """What came of a call: the module's result, or why there is none."""

    result: Mapping[str, Any]
    unreachable: bool = False

    @property
    def failed(self) -> bool:
        """Whether it did not do what it was asked."""
        return self.unreachable or bool(self.result.get("failed"))

    @property
    def reason(self) -> str:
        """Why it failed, on one line."""
        return " ".join(str(self.result.get("msg") or "no reason given").split())


@dataclass
class _Child:
    call: Call
    pid: int
    pipe: int
    deadline: float
    data: bytes = b""


class Fleet:
    """The hosts of an inventory, as one action plugin reaches them."""

    def __init__(self, action: ActionBase, task_vars: Mapping[str, Any], forks: int) -> None:
        self._action = action
        self._hostvars = task_vars["hostvars"]
        self._forks = max(1, forks)
        self.tick: Callable[[], None] = lambda: None
        """Called whenever the fleet waits."""
        self._interpreters: dict[str, str] = {}
        self._parent = os.getppid()
        self._queue: list[tuple[str, Call]] = []
        self._running: dict[str, _Child] = {}
        self._answers: dict[str, Answer] = {}
        self._selector = selectors.DefaultSelector()

    def run(self, calls: Mapping[str, Call]) -> dict[str, Answer]:
        """Run calls on their hosts at once and wait for all of them."""
        self._queue.extend(calls.items())
        while not all(key in self._answers for key in calls):
            self._advance(TICK)
        return {key: self._answers.pop(key) for key in calls}

    def begin(self, key: str, call: Call) -> None:
        """Run a call in the background, beside all others; ``collect`` has its answer.

        It does not wait for a free process: a lease is renewed while every one is busy with a host that is slow.
        """
        self._launch(key, call)

    def collect(self, key: str) -> Answer | None:
        """The answer of a background call, once."""
        return self._answers.pop(key, None)

    def busy(self, key: str) -> bool:
        """Whether a background call is still under way."""
        return key in self._running

    def sleep(self, seconds: float) -> None:
        """Wait, while background calls go on."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._advance(min(TICK, left))

    def end(self) -> None:
        """End what still runs."""
        for child in list(self._running.values()):
            self._give_up(child, "it was not waited for")
            os.waitpid(child.pid, 0)
        self._running.clear()

    # ----------------------------------------------------------------------------------------------------- processes

    def _advance(self, seconds: float) -> None:
        """Start what may start, read what has come, give up what took too long."""
        if os.getppid() != self._parent:
            raise ControllerGone
        while self._queue and len(self._running) < self._forks:
            self._launch(*self._queue.pop(0))
        if not self._running:
            time.sleep(seconds)
        else:
            for event, _mask in self._selector.select(seconds):
                self._read(event.data)
        now = time.monotonic()
        for key, child in list(self._running.items()):
            if now > child.deadline:
                self._give_up(child, f"it gave no answer for {child.call.timeout + MARGIN:.0f} s")
                self._finish(key)
        self.tick()

    def _launch(self, key: str, call: Call) -> None:
        self._running[key] = self._start(call)
        self._selector.register(self._running[key].pipe, selectors.EVENT_READ, key)

    def _read(self, key: str) -> None:
        child = self._running[key]
        part = os.read(child.pipe, CHUNK)
        child.data += part
        if not part:
            self._finish(key)

    def _give_up(self, child: _Child, why: str) -> None:
        os.kill(child.pid, signal.SIGKILL)
        child.data = json.dumps({"unreachable": True, "msg": f"{child.call.host}: {why}"}).encode()

    def _finish(self, key: str) -> None:
        child = self._running.pop(key)
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        os.waitpid(child.pid, 0)
        try:
            result = json.loads(child.data)
        except ValueError:
            result = {"failed": True, "msg": f"{child.call.module} on {child.call.host} ended without an answer"}
        found = result.pop("_interpreter", None)
        if found:
            self._interpreters[child.call.host] = found
        self._answers[key] = Answer(result, bool(result.get("unreachable")))

    def _start(self, call: Call) -> _Child:
        if not call.action:
            # Here, where it is kept for the calls to come: a child takes what it makes to its grave.
            bundle.packed_sources(call.module)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return _Child(call, pid, reader, time.monotonic() + call.timeout + MARGIN)
        try:
            # The worker's own handlers would end its whole group.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.close(reader)
            data = json.dumps(self._execute(call), default=str).encode()
            while data:
                data = data[os.write(writer, data) :]
        finally:
            os._exit(0)

    # ----------------------------------------------------------------------------------------------- inside the child

    def _execute(self, call: Call) -> dict[str, Any]:
        """Run the module; every exception is an answer."""
        try:
            handler, variables = self._handler(call)
            if handler._is_pipelining_enabled("new", wrap_async=False):
                # Also where an action plugin decides when the module runs.
                handler._execute_module = partial(self._execute_bundle, call.module, handler, variables)
            try:
                result: dict[str, Any] = dict(handler.run(None, variables))
            finally:
                # What the action plugin has sent, such as an artifact, would stay on the host.
                handler.cleanup()
            interpreter = getattr(handler, "_discovered_interpreter", None)
            if interpreter:
                result["_interpreter"] = str(interpreter)
            return result
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, "msg": str(error)}
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}
        except Exception as error:
            Display().vvv(traceback.format_exc(), host=call.host)
            return {"failed": True, "msg": f"{type(error).__name__}: {error}"}

    @staticmethod
    def _execute_bundle(
        module: str,
        handler: ActionBase,
        variables: Mapping[str, Any],
        module_args: Mapping[str, Any] | None = None,
        **_of_the_wrapper: Any,
    ) -> dict[str, Any]:
        """What ``ActionBase._execute_module`` does, without Ansible's wrapper."""
        wanted = variables.get("ansible_python_interpreter") or C.config.get_config_value("INTERPRETER_PYTHON")
        told = str(handler._templar.template(wanted))
        interpreter = "python3" if told.startswith("auto") else told
        arguments = handler._task.args if module_args is None else module_args
        code = bundle.program(module, arguments, handler._task.check_mode)
        done = handler._low_level_execute_command(bundle.command(interpreter), in_data=code)
        return bundle.result(int(done["rc"]), str(done["stdout"]), str(done["stderr"]))

    def _handler(self, call: Call) -> tuple[ActionBase, dict[str, Any]]:
        """The action plugin of the module, with a connection to the host."""
        own = self._action
        raw = {**self._hostvars.raw_get(call.host), "hostvars": self._hostvars}
        if call.host in self._interpreters:
            raw["ansible_python_interpreter"] = self._interpreters[call.host]
        templar = own._templar.copy_with_new_env(available_variables=raw)

        def value(name: str) -> Any:
            return templar.template(raw[name]) if name in raw else None

        task = own._task.copy()
        task.action, task.args = COLLECTION + call.module, dict(call.arguments)
        task.check_mode = call.check or own._task.check_mode
        context = own._play_context.copy()
        context.check_mode = task.check_mode
        context.remote_addr = value("ansible_host") or call.host
        context.connection = value("ansible_connection") or task.connection
        connection = connection_loader.get(
            context.connection, context, None, task_uuid=task._uuid, ansible_playbook_pid=str(self._parent)
        )
        if connection is None:
            raise AnsibleError(f"the connection plugin {context.connection} of {call.host} was not found")
        become = self._become(task, value)
        connection.set_become_plugin(become)
        context.set_attributes_from_plugin(connection)
        keys = task.dump_attrs()
        keys.pop("retries", None)
        keys["timeout"] = context.timeout
        if context.password:
            keys["password"] = context.password

        def options(kind: str, name: str) -> dict[str, Any]:
            return {one: value(one) for one in C.config.get_plugin_vars(kind, name) if one in raw}

        connection.set_options(task_keys=keys, var_options=connection._resolve_option_variables(raw, templar))
        connection._shell.set_options(task_keys=keys, var_options=options("shell", connection._shell._load_name))
        if become is not None:
            if context.become_pass:
                keys["become_pass"] = context.become_pass
            become.set_options(task_keys=keys, var_options=options("become", become._load_name))
        name = task.action if call.action else "ansible.legacy.normal"
        handler = action_loader.get(
            name,
            task=task,
            connection=connection,
            play_context=context,
            loader=own._loader,
            templar=templar,
            shared_loader_obj=own._shared_loader_obj,
        )
        if handler is None:
            raise AnsibleError(f"the action plugin {name} was not found")
        return handler, raw

    @staticmethod
    def _become(task: Any, value: Callable[[str], Any]) -> Any:
        wanted = value("ansible_become")
        if not (task.become if wanted is None else boolean(wanted)):
            return None
        method = value("ansible_become_method") or task.become_method or "sudo"
        plugin = become_loader.get(method)
        if plugin is None:
            raise AnsibleError(f"the become plugin {method} was not found")
        return plugin
