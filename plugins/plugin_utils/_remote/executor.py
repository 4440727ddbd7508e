# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module on one host, with a connection as Ansible makes it for a task.

Ansible has no documented way to do that from within an action plugin, so whatever a new version of it changes in its
action plugins and connections is to be followed here alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, become_loader, connection_loader
from ansible.utils.display import Display
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Call

COLLECTION = "mesops.platform."


class Executor:
    """Runs modules in place of a task of the play."""

    def __init__(self, action: ActionBase, hostvars: Any, controller: int) -> None:
        """``controller``: the process that runs the play, for whom connections may be kept."""
        self._action = action
        self._hostvars = hostvars
        self._controller = controller

    def execute(self, call: Call, interpreter: str = "") -> dict[str, Any]:
        """Run the module; every exception is an answer. ``interpreter`` is what a call before has found on the host."""
        try:
            handler, variables = self._handler(call, interpreter)
            if handler._is_pipelining_enabled("new", wrap_async=False):
                # Also where an action plugin decides when the module runs.
                handler._execute_module = partial(self._execute_bundle, call.module, handler, variables)
            try:
                result: dict[str, Any] = dict(handler.run(None, variables))
            finally:
                # What the action plugin has sent, such as an artifact, would stay on the host.
                handler.cleanup()
            found = getattr(handler, "_discovered_interpreter", None)
            if found:
                result["_interpreter"] = str(found)
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

    def _handler(self, call: Call, interpreter: str) -> tuple[ActionBase, dict[str, Any]]:
        """The action plugin of the module, with a connection to the host."""
        own = self._action
        raw = {**self._hostvars.raw_get(call.host), "hostvars": self._hostvars}
        if interpreter:
            raw["ansible_python_interpreter"] = interpreter
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
            context.connection, context, None, task_uuid=task._uuid, ansible_playbook_pid=str(self._controller)
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
