# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group is asked for by its name, and may be missing in a dry run only."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._daemon.deploy import group_id
from ansible_collections.mesops.platform.plugins.module_utils._daemon.layout import FilesError


def test_group_is_missing_before_what_brings_it_is_installed() -> None:
    assert group_id("no-such-group", True) is None
    with pytest.raises(FilesError, match="There is no group no-such-group; install what brings it"):
        group_id("no-such-group", False)
