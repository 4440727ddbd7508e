# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say where the rollouts of a service are stored, and those of its lock."""

from __future__ import annotations


class ModuleDocFragment:
    """`mesops.platform.rollout_store` for the store, and `mesops.platform.rollout_store.lock` for its lock."""

    DOCUMENTATION = r"""
options:
  service:
    description:
      - Name of the service; 1 to 31 lower-case letters, digits, V(_) and V(-), beginning with a letter.
    type: str
    required: true
  backend:
    description:
      - V(file) keeps everything below O(directory) of the host that the module runs on. Always run it on the same one,
        the coordinator. Leases run out by that host's clock.
      - V(etcd) keeps everything in an etcd cluster (3.4 or newer), so the module may run on any host that reaches it.
    type: str
    choices: [file, etcd]
    default: file
  directory:
    description: The directory of all services. It is made when needed, for root only.
    type: path
    default: /var/lib/mesops/rollouts
  endpoints:
    description: URLs of the etcd members, such as V(http://10.0.0.11:2379). Name them all, so that any may be lost.
    type: list
    elements: str
    default: []
  prefix:
    description: What the keys in etcd begin with.
    type: str
    default: /mesops/rollouts
  username:
    description: The user in etcd, where its authentication is enabled.
    type: str
  password:
    description: The user's password.
    type: str
  ca_file:
    description: The certificates to trust, for endpoints with C(https). The system's when not given.
    type: path
  cert_file:
    description: The client's certificate, for an etcd that wants one.
    type: path
  key_file:
    description: The key of O(cert_file), unless it is in the same file.
    type: path
  timeout:
    description:
      - Seconds to wait for other processes at the same files, or for etcd however many members are asked.
    type: float
    default: 6.0
notes:
  - A failure carries C(store_error) when the store cannot be used, C(locked) when somebody else holds the lock, and
    C(lock_lost) when C(token) does not hold it any more. The latter two bring the C(lock) of the one who does.
"""

    LOCK = r"""
options:
  holder:
    description: Who takes the lock.
    type: dict
    suboptions:
      user:
        description: Name of the user.
        type: str
        required: true
      host:
        description: Name of the controlling host.
        type: str
        required: true
      pid:
        description: Id of the controlling process.
        type: int
        default: 0
      boot:
        description: Id of the boot of that host, without which a process id means nothing.
        type: str
        default: ""
      process_started:
        description: When the process began, as that host counts it.
        type: str
        default: ""
      what:
        description: What it does, for a person who finds the service locked.
        type: str
        default: ""
      rollout_id:
        description: The rollout that it is about.
        type: str
        default: ""
  ttl:
    description:
      - Seconds until the lock is free unless it is renewed before, 1 to 3600.
      - Etcd counts in whole seconds, has a least time of its own, and never makes a lease shorter than it was.
    type: float
    default: 45.0
  token:
    description:
      - Shows who holds the lock, as it was returned when the lock was taken.
      - It fences off a run that has lost the lock. It is no secret, and every administrator can find it in the store.
    type: str
  takeover:
    description:
      - The C(id) (or token) of a lease whose holder is known to be dead. It is replaced at once, on record, but only
        that very lease.
    type: str
  patient:
    description:
      - When the lock is held, watch it for as long as the lease lasts. A renewal shows that its holder lives and ends
        the wait with a failure. If none comes, the lock is taken when the lease has run out.
    type: bool
    default: true
"""
