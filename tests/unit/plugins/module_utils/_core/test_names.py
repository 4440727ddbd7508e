# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service has a plain name, from which a directory, a user and a unit can be made."""

from __future__ import annotations

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service


@pytest.mark.parametrize("service", ["catalog", "catalog-api", "a_1", "x" * 31])
def test_plain_names_are_taken(service: str) -> None:
    assert check_service(service) == service


@pytest.mark.parametrize("service", ["../x", "Catalog", "", "1st", "x" * 32, "a.b", "-x", "a\n"])
def test_services_that_must_be_refused(service: str) -> None:
    with pytest.raises(Refused, match="plain name"):
        check_service(service)
