# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of app_release say is checked before anything is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._app.options import ready_of, request_of, wanted_digest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store
from ansible_collections.mesops.platform.plugins.modules.app_release import ARGUMENTS


def options(**given: Any) -> dict[str, Any]:
    return {**{name: one.get("default") for name, one in ARGUMENTS.items()}, "service": "catalog", **given}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), "catalog", etc=str(tmp_path))


def test_a_request_names_what_other_hosts_run_and_omits_those_that_run_nothing(store: Store) -> None:
    given = options(version="1", checksum="SHA256:" + "A" * 64, artifact="x", elsewhere={"a": "1", "b": None, "c": ""})
    found = request_of(given, store)
    assert (found.version, found.checksum, found.has_artifact) == ("1", "sha256:" + "a" * 64, True)
    assert found.elsewhere == {"a": "1"}
    assert (found.configuration, found.has_configuration) == ("", False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"service": "../x"}, "is no plain name"),
        ({"version": "../x"}, "is no plain name"),
        ({"protect": ["../x@0123456789ab"]}, "is no plain name"),
        ({"checksum": "md5:1"}, "is not of the form sha256:"),
        ({"keep": 0}, "keep 0 is too small; give 1 or more"),
        ({"max_size_mb": 0}, "max_size_mb 0 is too small; give 1 or more"),
        ({"reserve_mb": -1}, "reserve_mb -1 is too small; give 0 or more"),
        ({"configuration_digest": "../x"}, "is none; take it from the result of this module"),
    ],
)
def test_options_that_are_refused(store: Store, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        request_of(options(**given), store)


def test_a_digest_that_is_neither_kept_nor_that_of_what_was_given_is_refused(store: Store) -> None:
    content = {"environment": "A=1\n", "unit": ""}
    own = wanted_digest(options(configuration=content), store)
    assert wanted_digest(options(configuration=content, configuration_digest=own), store) == own
    assert wanted_digest(options(configuration_digest="0123456789ab"), store) == "0123456789ab"
    with pytest.raises(Refused, match="configuration 0123456789ab is not kept on this host"):
        wanted_digest(options(configuration=content, configuration_digest="0123456789ab"), store)


def test_a_probe_that_cannot_be_taken_is_named_with_its_place() -> None:
    assert ready_of(options()).until == {}
    with pytest.raises(Refused, match=r"^ready\.once\.up"):
        ready_of(options(ready={"once": {"up": {"type": "?"}}}))
