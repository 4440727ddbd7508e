# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AnsibleModule for modules with secrets within lists, mappings and texts, where ``no_log`` does not find them all."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule


class QuietModule(AnsibleModule):  # type: ignore[misc]
    """Says that it ran, but not with what: neither in the system's log nor in its result.

    Ansible writes a list or a mapping as one string and masks secrets in that. A secret with a quote or a backslash
    looks different there, and one in a mapping of any form has no option that could be called secret.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked")

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        super()._return_formatted({"invocation": {}, **kwargs})
