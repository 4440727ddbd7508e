# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the settings of a service."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import complete, service_of

GOOD = {"port": 3000, "command": "bin/catalog"}


def test_only_a_low_port_gets_the_one_capability() -> None:
    assert complete("catalog", {**GOOD, "port": 443}, "node-1")["capabilities"] == "CAP_NET_BIND_SERVICE"
    assert complete("catalog", {**GOOD, "port": 1024}, "node-1")["capabilities"] == ""


def test_a_percent_sign_is_no_specifier() -> None:
    service = complete("catalog", {**GOOD, "command": "bin/x --load 50%"}, "node-1")
    assert service["exec_start"] == "/opt/catalog/current/bin/x --load 50%%"


def test_a_rollout_and_the_role_find_the_environment_in_the_same_place() -> None:
    service = complete("catalog", GOOD, "node-1")
    assert service_of(service).environment_file == service["environment_file"] == "/etc/default/catalog"


@pytest.mark.parametrize(
    ("given", "sentence"), [(None, "app is no mapping; pass the service as"), ({"name": "x"}, "app has no port, unit,")]
)
def test_a_service_that_the_filter_has_not_completed_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as why:
        service_of(given)
    assert str(why.value).startswith(sentence)
