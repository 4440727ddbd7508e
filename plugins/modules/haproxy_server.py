#!/usr/bin/python
# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# More than 300 lines, of which some 330 are the documentation of its options and of what it returns.
"""Take servers out of one HAProxy's traffic and put them back, and see that it was done."""

from __future__ import annotations

DOCUMENTATION = r"""
module: haproxy_server
short_description: Drain a server of one HAProxy, put it back, weigh it, and see that it was done
version_added: 0.1.0
author:
  - The mesops.platform authors (@mesops)
description:
  - Runs on the load balancer and speaks with the current worker through the master's socket. Every reply is read.
    What HAProxy refuses fails with HAProxy's own words.
  - V(drain) and V(maint) wait until the server has no session and no queued request left, in the current worker and in
    every worker that a reload has left behind, and until no such worker has a client whose next request it could send
    there. A reload meanwhile is noticed, and what it has lost is set again.
  - V(ready) never lets a dead server in. Unless HAProxy's own checks have passed after the module began (see
    O(fresh)), it stays out of traffic. O(weight) is set before, so it never takes more than that.
  - What was changed is saved at once. So it survives reloads, restarts and crashes of HAProxy.
  - What counts as a change is the administrative state and the weight, never the traffic.
requirements:
  - HAProxy 2.6 or newer in master-worker mode with a master socket of level admin, as the role C(haproxy) sets it up.
extends_documentation_fragment:
  - mesops.platform.attributes
  - mesops.platform.attributes.full
  - mesops.platform.rollout_fence
options:
  backend:
    description: The backends, each of which must have every server of O(server).
    type: list
    elements: str
    required: true
  server:
    description:
      - The servers. All of them are handled in one execution.
      - When absent, all servers of the backends are returned. A change needs names.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(drain) gives it no new requests and waits for those that it has. Its health checks go on. Clients that are
        bound to it by a cookie are still sent to it.
      - V(maint) also stops its health checks, and waits in the same way.
      - V(ready) lets it take traffic, once it is healthy.
      - When absent, it is left as it is.
    type: str
    choices: [ready, drain, maint]
  weight:
    description:
      - A percentage of the configured weight, such as C(10%), or a whole number from 0 to 256.
        0 keeps new requests away.
      - A percentage that HAProxy would round to 0 is refused. HAProxy itself refuses weights for static algorithms.
      - When absent, it is left as it is.
    type: str
  wait:
    description:
      - Seconds to wait until the sessions are gone, or until the server is up.
      - 0 does not wait and does not fail, RV(done) then says how far it is. With O(state=ready) HAProxy lets the server
        in by itself when its checks have passed.
    type: float
    default: 60
  on_timeout:
    description:
      - What to do when O(wait) is over.
      - V(fail) leaves everything as it is and fails. A server that was to be V(ready) stays out of traffic.
      - V(revert) puts state and weight back to what they were, and fails.
      - V(kill) shuts down the sessions that are left, waits up to 5 s for their end and goes on. It is like V(fail) for
        O(state=ready).
      - V(report) leaves everything as it is and succeeds with RV(done=false).
    type: str
    choices: [fail, revert, kill, report]
    default: fail
  min_available:
    description:
      - How many other servers of each backend must be up, ready and of a weight above 0, for a server that takes
        traffic to be taken out of it by V(drain), V(maint) or weight 0. Otherwise the module fails before anything is
        changed.
    type: int
    default: 0
  unless:
    description:
      - Administrative states, for servers of O(server) by name, in which somebody else may have put them. A server that
        is in one of its states, in any of the backends, is left alone and named in RV(left_alone).
      - It is looked at and changed in one step, so that nobody's word is overwritten. With O(state=ready) that holds
        while it is waited for as well, also for a server that has been let in already and is taken out again.
    type: dict
    default: {}
  fresh:
    description:
      - Whether a server that comes back must be seen healthy by checks made after the module began.
      - Otherwise the health that its checks have found while it was in drain is good enough. There are none in maint,
        so from there new ones are always needed.
      - HAProxy is told to see the server as down for that, which ends its sessions where the configuration has
        C(on-marked-down shutdown-sessions).
    type: bool
    default: true
  service:
    description: The service whose rollouts O(fence) belongs to. Needed with it.
    type: str
    default: ""
  master_socket:
    description: The master's socket.
    type: path
    default: /run/haproxy-master.sock
  state_file:
    description: The file of the configuration's C(server-state-file), where the state is saved.
    type: path
    default: /var/lib/haproxy/server-state
  config:
    description: HAProxy's configuration, which says what the state file may contain.
    type: path
    default: /etc/haproxy/haproxy.cfg
notes:
  - Executions on one load balancer exclude each other while they decide and change, not while they wait.
  - A server without health checks is ready at once, RV(servers[].checked) says so.
  - A worker that a reload has left behind cannot be told anything. What an idle keep-alive client sends it once more is
    handed to the current worker by the configuration of the role C(haproxy). With another configuration it goes to any
    server that the old worker believes to be up, so a drain waits until such clients have left, which takes as long as
    C(timeout http-keep-alive).
  - A request that was under way when HAProxy was reloaded, and fails on its server afterwards, may be tried again on a
    server that has been drained since.
  - Counters begin with a worker. They are summed over all workers that still run, and end with them.
seealso:
  - module: mesops.platform.haproxy_config
"""

EXAMPLES = r"""
- name: Take a server out of traffic and wait until it has nothing to do
  mesops.platform.haproxy_server:
    backend: [catalog]
    server: [app-1]
    state: drain
    min_available: 1
    on_timeout: revert

- name: Put it back with a tenth of its traffic
  mesops.platform.haproxy_server:
    backend: [catalog]
    server: [app-1]
    state: ready
    weight: 10%

- name: Give it all of its traffic
  mesops.platform.haproxy_server:
    backend: [catalog]
    server: [app-1]
    weight: 100%

- name: See who takes traffic
  mesops.platform.haproxy_server:
    backend: [catalog]
  register: balancer
"""

RETURN = r"""
done:
  description:
    - Whether everything is as wanted. Sessions gone, servers up.
    - In check mode, whether it is so without any change.
  returned: always
  type: bool
  sample: true
killed:
  description: By backend and server, sessions that were shut down, in all workers.
  returned: always
  type: dict
  sample: {catalog/app-1: 2}
left_alone:
  description: The servers that were left alone because of O(unless), with their administrative state.
  returned: always
  type: dict
  sample: {app-2: maint}
waited_s:
  description: Seconds that were waited.
  returned: always
  type: float
  sample: 1.204
workers:
  description: HAProxy processes that serve requests, those that a reload has left behind included.
  returned: always
  type: int
  sample: 1
counters:
  description:
    - By name, what was counted of every server of the backends, whether it was named or not. The keys are those of
      RV(servers[].counters).
  returned: always
  type: dict
  sample: {app-1: {requests: 5120, responses_5xx: 0}, app-2: {requests: 5098, responses_5xx: 0}}
traffic:
  description:
    - What is known of the traffic of every server of the backends, for gates that compare two looks.
    - C(workers) has by process number and server what each worker has counted since it began. C(sent) requests,
      C(answered) ones, answers C(failed) with 5xx or C(cut) off, connections C(refused), C(broken) responses,
      C(retries) and C(redispatches) away from it, requests that clients have C(aborted), how often it went down
      (C(downs)), C(failed_checks), and sessions C(now). C(health) has by server whether it is C(up) and C(in_traffic).
  returned: always
  type: dict
  sample: {at: 0.0, workers: {"4711": {app-1: {sent: 5120, answered: 5120}}}, health: {app-1: {up: true}}}
available:
  description: By backend, the number of servers that are up, ready and of a weight above 0.
  returned: always
  type: dict
  sample: {catalog: 2}
busy_before:
  description: Sessions and queued requests of every server in all workers when the module began, by C(backend/server).
  returned: always
  type: dict
  sample: {catalog/app-1: 12}
before:
  description: State and weight of every server before, by C(backend/server).
  returned: always
  type: dict
  sample: {catalog/app-1: {admin: ready, weight: 100}}
after:
  description: State and weight of every server now, or what they would be in check mode.
  returned: always
  type: dict
  sample: {catalog/app-1: {admin: drain, weight: 100}}
fenced:
  description: Whether the failure is that another run, or one of another store, changes this service here.
  returned: on failure, when it is
  type: bool
servers:
  description: The servers as they are now.
  returned: always
  type: list
  elements: dict
  contains:
    backend:
      description: Name of the backend.
      type: str
      sample: catalog
    server:
      description: Name of the server.
      type: str
      sample: app-1
    address:
      description: Address and port.
      type: str
      sample: 10.0.0.1:8080
    admin:
      description: What it is told to be, V(ready), V(drain) or V(maint).
      type: str
      sample: drain
    status:
      description: HAProxy's own word for it, such as UP, DOWN, DRAIN, MAINT, UP 1/3, no check.
      type: str
      sample: DRAIN
    up:
      description: Whether it is healthy beyond doubt. UP 1/3 is not.
      type: bool
      sample: true
    checked:
      description: Whether HAProxy checks its health.
      type: bool
      sample: true
    check:
      description: What its last check said.
      type: str
      sample: L7OK 200
    weight:
      description: The weight that it has, before any slow start.
      type: int
      sample: 10
    weight_configured:
      description: The weight that its configuration gives it.
      type: int
      sample: 100
    algorithm:
      description: How its backend is balanced, in HAProxy's own word, such as roundrobin or source.
      type: str
      sample: roundrobin
    sessions:
      description: Requests and connections that it works on for the current worker.
      type: int
      sample: 0
    queued:
      description: Requests that wait for it in all workers.
      type: int
      sample: 0
    sessions_old_workers:
      description: Requests and connections that it works on for workers that a reload has left behind.
      type: int
      sample: 0
    clients_old_workers:
      description:
        - Clients of workers that a reload has left behind, whose next request may go to any server of the backend
          that such a worker believes to be up. Always 0 with the configuration of the role C(haproxy), where such a
          request is handed to the current worker.
      type: int
      sample: 0
    counters:
      description: Counters since the workers began.
      type: dict
      contains:
        requests:
          description: Requests, or connections over tcp.
          type: int
          sample: 5120
        responses_5xx:
          description: Responses with a status from 500 to 599.
          type: int
          sample: 0
        connection_errors:
          description: Connections that could not be made.
          type: int
          sample: 0
        response_errors:
          description: Responses that were broken off or not valid.
          type: int
          sample: 0
        retries:
          description: Requests that were tried again.
          type: int
          sample: 0
        redispatches:
          description: Requests that were tried again on another server.
          type: int
          sample: 0
        aborted_by_client:
          description: Requests whose client left.
          type: int
          sample: 0
        check_failures:
          description: Health checks that failed while it was up.
          type: int
          sample: 0
        downtime_s:
          description: Seconds in which it was down, for the current worker.
          type: int
          sample: 0
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mesops.platform.plugins.module_utils._haproxy import master, server_lines, server_states
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.change import change
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.commands import Tools, file_lock, save
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.goals import ON_TIMEOUT, Wanted
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.outcome import TimedOut
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import STATES, RuntimeFailure
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced


def wanted_from(params: dict[str, Any], check_mode: bool) -> Wanted:
    """Translate the module's parameters."""
    return Wanted(
        backends=tuple(params["backend"]),
        servers=tuple(params["server"]),
        state=params["state"],
        weight=params["weight"],
        wait=params["wait"],
        on_timeout=params["on_timeout"],
        min_available=params["min_available"],
        fresh=params["fresh"],
        unless=params["unless"],
        check_mode=check_mode,
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "list", "elements": "str", "required": True},
            "server": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": STATES},
            "weight": {"type": "str"},
            "wait": {"type": "float", "default": 60.0},
            "on_timeout": {"type": "str", "choices": ON_TIMEOUT, "default": "fail"},
            "min_available": {"type": "int", "default": 0},
            "fresh": {"type": "bool", "default": True},
            "unless": {"type": "dict", "default": {}},
            "service": {"type": "str", "default": ""},
            **fencing.ARGUMENTS,
            "master_socket": {"type": "path", "default": master.MASTER_SOCKET},
            "state_file": {"type": "path", "default": server_states.STATE_FILE},
            "config": {"type": "path", "default": server_lines.CONFIG},
        },
        supports_check_mode=True,
    )
    params = module.params

    def ask(command: str) -> str:
        return master.ask(params["master_socket"], command)

    wanted = wanted_from(params, module.check_mode)
    fence = Fence.of(params["service"], params)
    tools = Tools(
        ask=ask,
        clock=time.monotonic,
        sleep=time.sleep,
        save=lambda: save(ask, params["config"], params["state_file"]),
        lock=lambda: file_lock(server_states.LOCK, time.monotonic, time.sleep),
        superseded=fence.superseded,
    )
    try:
        fence.claim(write=not module.check_mode)
        outcome = change(tools, wanted)
    except Fenced as why:
        module.fail_json(msg=str(why), fenced=True)
    except RuntimeFailure as error:
        told = {"fenced": True} if fence.superseded() else {}
        module.fail_json(msg=str(error), **told, **(error.outcome.public() if isinstance(error, TimedOut) else {}))
    except OSError as error:
        module.fail_json(msg=f"The servers of HAProxy could not be changed: {error}.")
    module.exit_json(**outcome.public())


if __name__ == "__main__":
    main()
