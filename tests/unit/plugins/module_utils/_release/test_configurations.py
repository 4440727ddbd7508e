# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two configurations differ in settings that have names, and no value of one leaves the host."""

from __future__ import annotations

from dataclasses import asdict

from ansible_collections.mesops.platform.plugins.module_utils._release import configurations
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import (
    Configuration,
    Difference,
    difference,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Plan
from ansible_collections.mesops.platform.plugins.module_utils._release.snapshots import Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._service.unit_files import environment_text
from hypothesis import given
from hypothesis import strategies as st

UNIT = "[Service]\nUser=catalog\nMemoryMax=512M\n"
A = Configuration.of('LEVEL="info"\nPASSWORD="old secret"\n', UNIT)
B = Configuration.of('LEVEL="info"\nPASSWORD="new secret"\n', UNIT)
C = Configuration.of('LEVEL="debug"\n', UNIT.replace("512M", "1G"))

VALUES = st.one_of(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), st.booleans())
VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "LOG_LEVEL", "DATABASE_URL"]), VALUES)


@given(VARIABLES, VARIABLES)
def test_the_keys_that_differ_are_named_whatever_the_values_are(
    old: dict[str, str | bool], new: dict[str, str | bool]
) -> None:
    found = difference(Configuration.of(environment_text(old), ""), Configuration.of(environment_text(new), ""))
    was, now = (
        {key: str(value).lower() if isinstance(value, bool) else value for key, value in one.items()}
        for one in (old, new)
    )
    if was != now:
        assert set(found.added) == now.keys() - was.keys()
        assert set(found.removed) == was.keys() - now.keys()
        assert set(found.changed) == {key for key in was.keys() & now.keys() if was[key] != now[key]}
    elif list(was) == list(now):
        assert not found


def test_a_difference_names_settings_and_no_value() -> None:
    found = difference(A, C)
    assert found == Difference(removed=("PASSWORD",), changed=("LEVEL", "unit MemoryMax"))
    assert found.text() == "LEVEL, unit MemoryMax, without PASSWORD"
    told = f"{asdict(found)} {A!r} {A} {Plan(Snapshot(), Snapshot())}"
    assert not any(value in told for value in ("secret", "debug", "info", "1G"))
    assert difference(A, A) == Difference()
    assert difference(None, B).added == ("LEVEL", "PASSWORD", "unit MemoryMax", "unit User")
    assert difference(A, Configuration.of("# why\n" + A.environment, UNIT)).text() == "comments or the order of lines"


def test_what_a_failing_service_says_of_its_secrets_stays_on_the_host() -> None:
    variables = {"URL": "postgres://mes:pa$$word@db/mes", "KEY": 'quote"d\\key', "LEVEL": "info", "PEM": "-----\nabc\n"}
    secret = configurations.secrets_of(Configuration.of(environment_text(variables) + "OLD='by hand'\n", ""))
    said = {"text": "info: postgres://mes:pa$$word@db/mes refused pa$$word", "more": ['quote"d\\key', "by hand", 7]}
    assert configurations.masked(said, secret) == {"text": "info: *** refused ***", "more": ["***", "***", 7]}
    assert configurations.secrets_of(None) == []
