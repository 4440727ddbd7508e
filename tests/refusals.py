# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests expect of a refusal: one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError


def refused(check: Callable[..., Any], *arguments: Any) -> str:
    """The sentence with which something is refused."""
    with pytest.raises(PlanError) as why:
        check(*arguments)
    text = str(why.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text
