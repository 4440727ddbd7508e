# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe of a gate, as it reads in a rollout. No Ansible in here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import version_of
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings


def fill_probe(
    spec: GateSpec, settings: Settings, target: str, host: str, *, hosts: Sequence[str], baseline: Sequence[str]
) -> dict[str, Any]:
    """A probe with the names of this very rollout in the place of $host, $version and the like.

    ``target`` is what the hosts are to run: in a rollback that is what they ran before.
    """
    names = {
        "service": settings.service.name,
        "version": version_of(target),
        "port": str(settings.service.port),
        "host": host,
        "address": settings.addresses.get(host, host),
        "hosts": "|".join(hosts),
        "baseline": "|".join(baseline),
    }
    return dict(probes.fill(spec.probe, names, f"gates.{spec.name}.probe"))
