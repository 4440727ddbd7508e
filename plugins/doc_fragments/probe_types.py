# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What health_gate has to say of each type of probe: what the type says of itself."""

from __future__ import annotations

import json

from ansible_collections.mesops.platform.plugins.module_utils._probe.probes import TYPES


class ModuleDocFragment:
    """`mesops.platform.probe_types`, for health_gate."""

    # With its type: what is assigned without one, ansible-test's yamllint takes for a text.
    DOCUMENTATION: str = json.dumps(
        {
            "options": {},
            "notes": [
                " ".join(filter(None, (f"A probe of C(type: {one.name}) has {one.documentation}.", one.details)))
                for one in TYPES.values()
            ],
        }
    )
