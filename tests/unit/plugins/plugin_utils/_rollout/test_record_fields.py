# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the fields of a record."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import record_fields


@pytest.mark.parametrize(
    ("kind", "rules"),
    [(Record, record_fields.RECORD), (HostRecord, record_fields.HOST), (Migration, record_fields.MIGRATION)],
)
def test_every_field_has_a_rule(kind: Any, rules: dict[str, Any]) -> None:
    assert {one.name for one in fields(kind)} == set(rules)
