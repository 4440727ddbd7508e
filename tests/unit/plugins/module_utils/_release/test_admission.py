# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be installed is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.admission import check_room
from ansible_collections.mesops.platform.plugins.module_utils._release.trees import FILE, Entry, check_entries


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    tree = check_entries([Entry("bin/run", FILE, 9, 0o755)], 1 << 20, ".mark")
    where = str(tmp_path / "catalog")
    with pytest.raises(Refused, match=r"MiB free, but the release takes .* must stay free"):
        check_room(where, tree, 1 << 60)
    check_room(where, tree, 0)
