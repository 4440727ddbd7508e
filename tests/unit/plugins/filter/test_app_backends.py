# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service says of itself reaches the load balancers, and nothing else of it does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.filter.app_backends import app_backends

GIVEN: dict[str, Any] = {"port": 3000, "command": "bin/catalog"}


class Elsewhere(dict[str, Any]):
    """Variables that only the service's own hosts have."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(name)

    items = values = __iter__ = __getitem__  # type: ignore[assignment]


def test_little_has_to_be_said() -> None:
    assert app_backends({}) == {}
    assert app_backends({"catalog": GIVEN}) == {
        "catalog": {
            **{"service": "catalog", "path": "/readyz", "host": "localhost", "status": "200-299", "within": 2},
            "weights": [10, 100],
        }
    }


def test_everything_that_is_said_counts_for_each_backend() -> None:
    readiness = {"path": "/up", "host": "www.example.com", "status": [200, "204-205"], "within": 5}
    given = {
        **{f"readiness_{key}": value for key, value in readiness.items()},
        "rollout": {"weights": [100], "backends": ["api", "web"], "gates": Elsewhere()},
        "environment": Elsewhere(),
    }
    found = app_backends({"catalog": given, "pricing": GIVEN})
    assert list(found) == ["api", "web", "pricing"]
    assert (
        found["api"] == found["web"] == {**readiness, "service": "catalog", "status": "200,204-205", "weights": [100]}
    )


@pytest.mark.parametrize(
    ("services", "sentence"),
    [
        ([], "app_services is no mapping of service names to settings; write it as one."),
        ({"catalog": None}, "app_services.catalog is no mapping; give it at least port and command."),
        ({"catalog": {"readiness_host": "a b"}}, "app_services.catalog.readiness_host is 'a b'; give a host name"),
        ({"catalog": {"readiness_path": "up"}}, "app_services.catalog.readiness_path is 'up'; give a path"),
        ({"catalog": {"readiness_status": "ok"}}, "app_services.catalog.readiness_status is 'ok'; give a status"),
        ({"catalog": {"readiness_status": []}}, "app_services.catalog.readiness_status is []; give a status"),
        ({"catalog": {"readiness_within": 0}}, "app_services.catalog.readiness_within is 0; give seconds from 1 to 60"),
        ({"catalog": {"rollout": {"weights": [10]}}}, "app_services.catalog.rollout.weights is [10]; give rising"),
    ],
)
def test_mistakes_are_one_sentence(services: Any, sentence: str) -> None:
    with pytest.raises(AnsibleFilterError) as why:
        app_backends(services)
    assert str(why.value).startswith(sentence)
